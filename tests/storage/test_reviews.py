"""Reviews: what buyers said, under whose name, and what it comes to."""

from pathlib import Path

import pytest

from marketd.clock import instant
from marketd.storage.pages import Page
from marketd.storage.reviews import FindReview, ListReviews, ReviewCard, ReviewFound, Reviews, Sort
from tests.storage.history import Market, market

pytestmark = pytest.mark.asyncio


async def reviews(m: Market, key: str = "lamp", page: Page | None = None, sort: Sort = "newest") -> Reviews:
    found = await m.ask(ListReviews(key, page or Page(), sort))
    assert isinstance(found, Reviews)
    return found


async def the_review(m: Market) -> ReviewCard:
    (card,) = (await reviews(m)).cards
    return card


async def test_a_review_is_shown_as_it_was_written(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("ann", name="Ann")
        await m.list_product("lamp")
        await m.sell("lamp")
        at = instant(m.now_ms)
        await m.review("lamp", 4, title="Bright", body="It shines.")

        assert ReviewCard(
            "review-lamp-ann", "lamp", "ann", "Ann", 4, "Bright", "It shines.", None, at, at
        ) == await the_review(m)


async def test_a_product_without_reviews_has_no_rating(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        nobody = {"1": 0, "2": 0, "3": 0, "4": 0, "5": 0}

        assert Reviews(0, 0.0, nobody, []) == await reviews(m)


async def test_the_figures_are_those_of_all_reviews_of_the_product(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        for key in ("lamp", "saw"):
            await m.list_product(key)
        for buyer, rating in (("ann", 5), ("bob", 5), ("cid", 2)):
            await m.sell_and_review("lamp", rating, buyer=buyer)
        await m.sell_and_review("saw", 1)
        found = await reviews(m, page=Page(1, 1))

        assert (3, 4.0, {"1": 0, "2": 1, "3": 0, "4": 0, "5": 2}) == (found.total, found.average, found.histogram)


async def test_the_newest_comes_first(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        for buyer in ("ann", "bob", "cid"):
            await m.sell_and_review("lamp", 5, buyer=buyer)

        assert ["cid", "bob", "ann"] == [card.author_id for card in (await reviews(m)).cards]


async def test_pages_have_no_gap_and_no_repeat(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        for n in range(7):
            await m.sell_and_review("lamp", 5, buyer=f"b{n}")
        pages = [(await reviews(m, page=Page(number, 3))).cards for number in (1, 2, 3)]

        assert [f"b{n}" for n in reversed(range(7))] == [card.author_id for page in pages for card in page]


async def test_an_edited_review_keeps_its_place_and_counts_once(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.sell_and_review("lamp", 1, buyer="ann")
        await m.sell_and_review("lamp", 5, buyer="bob")
        await m.edit_review("lamp", rating=3, body="Better now.")
        found = await reviews(m)

        assert (2, 4.0, ["bob", "ann"]) == (found.total, found.average, [card.author_id for card in found.cards])
        assert found.cards[1].created_at < found.cards[1].updated_at


async def test_a_deleted_review_counts_no_more(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.sell_and_review("lamp", 1, buyer="ann")
        await m.sell_and_review("lamp", 5, buyer="bob")
        await m.delete_review("lamp")
        found = await reviews(m)

        assert (1, 5.0, ["bob"]) == (found.total, found.average, [card.author_id for card in found.cards])


async def test_after_a_deleted_one_another_may_be_written(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.sell_and_review("lamp", 1)
        await m.delete_review("lamp")
        await m.review("lamp", 4, id="second")
        found = await reviews(m)

        assert (1, 4.0, "second") == (found.total, found.average, found.cards[0].id)


async def test_the_sellers_reply_is_shown(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.sell_and_review("lamp", 1)
        await m.reply("lamp", "We are sorry.")

        assert "We are sorry." == (await the_review(m)).reply


async def test_an_author_is_shown_under_the_present_name(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("ann")
        await m.list_product("lamp")
        await m.sell_and_review("lamp", 5)
        await m.rename("ann", "Anna")

        assert "Anna" == (await the_review(m)).author_name


async def test_a_review_outlives_a_refund(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.sell_and_review("lamp", 1)
        await m.refund("order-lamp-ann")

        assert 1 == (await reviews(m)).total


async def test_a_review_is_found_by_its_id(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        id = await m.sell_and_review("lamp", 5)

        assert ReviewFound(await the_review(m)) == await m.ask(FindReview(id))


async def test_a_review_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        assert await m.ask(FindReview("absent")) is None


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("newest", ["dee", "cid", "bob", "ann"]),
        ("oldest", ["ann", "bob", "cid", "dee"]),
        ("highest", ["cid", "ann", "dee", "bob"]),
        ("lowest", ["bob", "dee", "ann", "cid"]),
    ],
)
async def test_each_order(tmp_path: Path, sort: Sort, expected: list[str]) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        for buyer, rating in (("ann", 4), ("bob", 1), ("cid", 5), ("dee", 3)):
            await m.sell_and_review("lamp", rating, buyer=buyer)

        assert expected == [card.author_id for card in (await reviews(m, sort=sort)).cards]


@pytest.mark.parametrize("sort", ["highest", "lowest"])
async def test_among_those_of_the_same_rating_the_newest_comes_first(tmp_path: Path, sort: Sort) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        for buyer in ("ann", "bob", "cid"):
            await m.sell_and_review("lamp", 3, buyer=buyer)
        pages = [(await reviews(m, page=Page(number, 2), sort=sort)).cards for number in (1, 2)]

        assert ["cid", "bob", "ann"] == [card.author_id for page in pages for card in page]


# Hidden ones.


async def with_one_hidden(m: Market) -> None:
    """Two reviews of a lamp; ann's, of one star, is hidden."""
    await m.list_product("lamp")
    await m.sell_and_review("lamp", 1, buyer="ann")
    await m.sell_and_review("lamp", 5, buyer="bob")
    await m.hide_review("lamp", "an insult", by="ann")


async def figures(m: Market) -> tuple[int, float, int, list[str]]:
    """How many there are, their mean, how many have one star, and whose are listed."""
    found = await reviews(m)
    return found.total, found.average, found.histogram["1"], [card.author_id for card in found.cards]


async def test_a_hidden_review_is_neither_listed_nor_counted(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await with_one_hidden(m)

        assert (1, 5.0, 0, ["bob"]) == await figures(m)


async def test_a_hidden_review_is_found_by_its_id_with_the_reason(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await with_one_hidden(m)
        card = (await m.ask(FindReview("review-lamp-ann"))).card

        assert (True, "an insult") == (card.hidden, card.hidden_reason)


async def test_the_last_reason_is_the_one_that_counts(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await with_one_hidden(m)
        await m.hide_review("lamp", "spam", by="ann")

        assert "spam" == (await m.ask(FindReview("review-lamp-ann"))).card.hidden_reason
        assert (1, 5.0, 0, ["bob"]) == await figures(m)


async def test_a_hidden_review_that_is_edited_stays_hidden(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await with_one_hidden(m)
        await m.edit_review("lamp", by="ann", rating=2, body="Better now.")
        card = (await m.ask(FindReview("review-lamp-ann"))).card

        assert (1, 5.0, 0, ["bob"]) == await figures(m)
        assert ("Better now.", True) == (card.body, card.hidden)


async def test_a_hidden_review_that_is_deleted_takes_nothing_with_it(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await with_one_hidden(m)
        await m.delete_review("lamp", by="ann")

        assert (1, 5.0, 0, ["bob"]) == await figures(m)


async def test_a_review_that_is_shown_again_is_listed_and_counted_again(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await with_one_hidden(m)
        await m.show_review("lamp", by="ann")

        assert (2, 3.0, 1, ["bob", "ann"]) == await figures(m)


async def test_a_review_that_was_edited_while_hidden_counts_as_it_is_now(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await with_one_hidden(m)
        await m.edit_review("lamp", by="ann", rating=2)
        await m.show_review("lamp", by="ann")

        assert (2, 3.5, 0, ["bob", "ann"]) == await figures(m)
