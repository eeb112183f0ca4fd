"""The search over a real catalogue: what is found, in which order, and that it follows every change."""

import json
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

import pytest

from marketd.actors.address import Address
from marketd.actors.buyer import DeleteReview
from marketd.actors.money import Money
from marketd.storage import harvest
from marketd.storage.catalog import BrowseProducts, Sort
from marketd.storage.database import Connection
from marketd.storage.inverted import VERSION
from marketd.storage.pages import Page
from marketd.storage.questions import Alike, Spelt
from tests.clock import settle
from tests.storage.history import market
from tests.storage.indexed import FOLDER, Shop, id_of, index_over, indexed, name_of

pytestmark = pytest.mark.asyncio

SORTS: tuple[Sort, ...] = get_args(Sort)


async def furnish(shop: Shop) -> None:
    """Four products that differ in everything, in two segments."""
    await shop.list_product("lamp", title="Lamp", price=Money(1000, "USD"), category="light", seller="sam")
    await shop.list_product("bulb", title="Bulb", price=Money(500, "USD"), category="light", seller="sue")
    await shop.caught_up()
    await shop.list_product("saw", title="Saw", price=Money(3000, "USD"), category="tools", seller="sam")
    await shop.list_product("lathe", title="Lathe", price=Money(90000, "USD"), category="tools", seller="sue")
    await shop.rate("lamp", 5, "ann", seller="sam")
    await shop.rate("lamp", 4, "bob", seller="sam")
    await shop.rate("saw", 2, "ann", seller="sam")
    await shop.sell("saw", "bob", seller="sam")
    await shop.sell("saw", "cid", seller="sam")


async def library(shop: Shop) -> None:
    """Texts of many kinds."""
    await shop.list_product("cafe", title="Café au lait", description="Running recipes", category="drinks")
    await shop.list_product("street", title="Straße", description="Lamps for the street", category="light")
    await shop.list_product("lamp", title="Lamp", description="It shines brightly", category="light")
    await shop.caught_up()
    await shop.list_product("data", title="数据分析 course", description="foo_bar C++ 3D résumé", category="courses")
    await shop.list_product("fish", title="Smørrebrød", description="Don't panic, it is fish", category="food")


# Words.


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("lamp", ["lamp", "street"]),
        ("LAMP", ["lamp", "street"]),
        ("lamps", ["lamp", "street"]),
        ("light", ["lamp", "street"]),
        ("cafe", ["cafe"]),
        ("CAFÉ", ["cafe"]),
        ("cafe\N{COMBINING ACUTE ACCENT}", ["cafe"]),
        ("re\N{COMBINING ACUTE ACCENT}sume\N{COMBINING ACUTE ACCENT}", ["data"]),
        ("run", ["cafe"]),
        ("recipe runs", ["cafe"]),
        ("lamp street", ["street"]),
        ("lamp cafe", []),
        ("Straße", ["street"]),
        ("数据", ["data"]),
        ("据数", ["data"]),
        ("数 course", ["data"]),
        ("foo_bar", ["data"]),
        ("c++", ["data"]),
        ("3d", ["data"]),
        ("smorrebrod", ["fish"]),
        ("don’t", ["fish"]),
        ("the lamp", ["lamp", "street"]),
        ("  lamp\t\n shines ", ["lamp"]),
        ("lam", []),
    ],
)
async def test_what_words_find(tmp_path: Path, q: str, expected: list[str]) -> None:
    async with indexed(tmp_path) as shop:
        await library(shop)

        assert expected == await shop.found(q)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ('"shines brightly"', ["lamp"]),
        ('"SHINES, Brightly!"', ["lamp"]),
        ('"brightly shines"', []),
        ('"shine brightly"', []),
        ('"shines bright"', []),
        ('"café au lait"', ["cafe"]),
        ('"cafe au"', ["cafe"]),
        ('"lamps for the street"', ["street"]),
        ('"for the"', []),
        ('"lamps street"', []),
        ('lamp "it shines"', ["lamp"]),
        ('"it shines" "shines brightly"', ["lamp"]),
        ('"it shines" "brightly shines"', []),
        ('"数据分析"', ["data"]),
        ('"据分"', ["data"]),
        ('"据数"', []),
        ('"分析 course"', ["data"]),
        ('"smørrebrød don\'t"', []),
        ('"smørrebrød"', ["fish"]),
        ('"don\'t panic"', ["fish"]),
        ('"lamps"', ["lamp", "street"]),
        ('"c++ 3d"', ["data"]),
        ('"lamp it shines"', []),
        ('"shines brightly', ["lamp"]),
        ('""', []),
        ('"" lamp', ["lamp", "street"]),
    ],
)
async def test_what_phrases_find(tmp_path: Path, q: str, expected: list[str]) -> None:
    async with indexed(tmp_path) as shop:
        await library(shop)

        assert expected == await shop.found(q)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("the if", ["band"]),
        ('"The If"', ["band"]),
        ('"if the"', []),
        ("if -the", ["band"]),
        ("it", ["novel"]),
        ("the", ["band", "song"]),
        ("of", []),
        ("the song", ["song"]),
    ],
)
async def test_stop_words_alone_are_looked_for_in_titles(tmp_path: Path, q: str, expected: list[str]) -> None:
    async with indexed(tmp_path) as shop:
        await shop.list_product("song", title="The song", description="of the if and when")
        await shop.list_product("novel", title="It", description="A clown")
        await shop.caught_up()
        await shop.list_product("band", title="The If", description="A band")

        assert expected == await shop.found(q)


async def test_stop_words_alone_heed_the_filters(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await shop.list_product("if", title="The If", category="music")
        await shop.list_product("which", title="The Which", category="books")

        assert ["which"] == await shop.found("the", category="books")


async def test_a_phrase_may_have_letters_that_are_folded(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await shop.list_product("fish", description="The best Smørrebrød på torvet")
        await shop.list_product("jam", description="Re\N{COMBINING ACUTE ACCENT}sume\N{COMBINING ACUTE ACCENT} of jams")

        assert [["fish"], ["jam"]] == [await shop.found('"smorrebrod pa torvet"'), await shop.found('"résumé of jams"')]


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("-lamp", ["fish", "data", "cafe"]),
        ("light -shines", ["street"]),
        ("light -SHINING", ["street"]),
        ("light -moon", ["lamp", "street"]),
        ("light -shines -street", []),
        ("light -shines-moon", ["street"]),
        ("light - shines", ["lamp"]),
        ("foo-bar", []),
        ("foo_bar -", ["data"]),
        ("--shines light", ["street"]),
        ('light -"shines brightly"', ["street"]),
        ('light -"brightly shines"', ["lamp", "street"]),
        ('light -"lamp"', []),
        ('-"shines brightly" light "it shines"', []),
        ('light-"shines brightly"', ["lamp"]),
        ('-"for the street"', ["fish", "data", "lamp", "cafe"]),
        ('light -"shines brightly" -"for the street"', []),
    ],
)
async def test_what_words_leave_out(tmp_path: Path, q: str, expected: list[str]) -> None:
    async with indexed(tmp_path) as shop:
        await library(shop)

        assert expected == await shop.found(q)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("lamp*", ["lamp", "street"]),
        ("*", []),
        ("?", []),
        ("la?p", []),
        ("lamp AND", ["lamp", "street"]),
        ("lamp OR cafe", []),
        ("title:lamp", []),
        ("^lamp", ["lamp", "street"]),
        ("lamp~2", []),
        ("[a TO z]", []),
        ("lamp'); DROP TABLE products; --", []),
        ("!?.,;:()[]{}", []),
        ("lamp\0shines", ["lamp"]),
        ("\0", []),
        ("💡", []),
        ("💡 lamp", ["lamp", "street"]),
        ("\u202elamp", ["lamp", "street"]),
        ("\ud800 lamp", ["lamp", "street"]),
        ("x" * 10_000, []),
        ("lamp " * 2_000, ["lamp", "street"]),
        ("lamp " + " ".join(f"word{n}" for n in range(400)), []),
        ("((((" * 2_500, []),
        ('"' * 10_000, []),
        ('"lamp ' * 2_000, ["lamp", "street"]),
        ("-" * 10_000, []),
        ("-a " * 3_000, []),
        ('"' + "lamp " * 2_000 + '"', []),
    ],
    ids=lambda value: ascii(value)[:30],
)
async def test_no_query_is_too_strange(tmp_path: Path, q: str, expected: list[str]) -> None:
    async with indexed(tmp_path) as shop:
        await library(shop)

        assert expected == await shop.found(q)


@pytest.mark.parametrize("q", ["", " ", "\t\n"])
async def test_a_query_of_nothing_finds_everything(tmp_path: Path, q: str) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)

        assert ["lathe", "saw", "bulb", "lamp"] == await shop.found(q)


async def test_in_an_empty_catalogue_nothing_is_found(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        found = [await shop.find(q, sort=sort) for q in ("", "lamp", '"a lamp"', "-lamp") for sort in SORTS]

        assert [(0, [], {})] * len(found) == [(page.total, page.hits, page.categories) for page in found]


# Scores.


async def test_a_word_in_the_title_weighs_three_times_as_much(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await shop.list_product("title", title="kettle", description="brass", category="iron")
        await shop.list_product("text", title="steel", description="kettle", category="iron")
        await shop.list_product("category", title="copper", description="gold", category="kettle")
        hits = (await shop.find("kettle")).hits
        scores = {name_of(product_id): score for product_id, score in hits}

        assert ["title", "category", "text"] == [name_of(product_id) for product_id, _ in hits]
        assert [3.0, 1.0] == [pytest.approx(scores[name] / scores["text"], rel=1e-3) for name in ("title", "category")]


async def test_among_equals_the_newest_comes_first_also_across_segments(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        for name in ("a", "b", "c", "d", "e"):
            await shop.list_product(name, title="Kettle")
            if name in "bd":
                await shop.caught_up()

        assert ["e", "d", "c", "b", "a"] == await shop.found("kettle")


async def test_a_score_is_the_same_in_whatever_segment(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await shop.list_product("a", title="Kettle")
        await shop.caught_up()
        await shop.list_product("b", title="Kettle")
        (_, first), (_, second) = (await shop.find("kettle")).hits

        assert first == second > 0


async def test_without_words_every_score_is_nothing(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)

        assert {0.0} == {score for _, score in (await shop.find()).hits}


@pytest.mark.parametrize("sort", SORTS)
async def test_a_score_does_not_depend_on_the_order(tmp_path: Path, sort: Sort) -> None:
    async with indexed(tmp_path) as shop:
        await library(shop)

        assert dict((await shop.find("lamp")).hits) == dict((await shop.find("lamp", sort=sort)).hits)


# Filters, orders and pages.


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"category": "light"}, ["bulb", "lamp"]),
        ({"seller": "sam"}, ["saw", "lamp"]),
        ({"min_price": Decimal(10)}, ["lathe", "saw", "lamp"]),
        ({"max_price": Decimal("10.00")}, ["bulb", "lamp"]),
        ({"min_price": Decimal("10.001")}, ["lathe", "saw"]),
        ({"min_price": Decimal(10), "max_price": Decimal(10)}, ["lamp"]),
        ({"min_price": Decimal(20), "max_price": Decimal(10)}, []),
        ({"min_price": Decimal(10**9), "max_price": Decimal(10**9)}, []),
        ({"min_rating": Decimal("4.5")}, ["lamp"]),
        ({"min_rating": Decimal("4.51")}, []),
        ({"min_rating": Decimal(0)}, ["saw", "lamp"]),
        ({"category": "light", "seller": "sam"}, ["lamp"]),
        ({"category": "tools", "seller": "sam", "max_price": Decimal(100), "min_rating": Decimal(1)}, ["saw"]),
        (
            {"category": "tools", "seller": "sam", "max_price": Decimal(100), "min_rating": Decimal(1), "q": "saw"},
            ["saw"],
        ),
        ({"category": "tools", "seller": "sam", "max_price": Decimal(10)}, []),
        ({"category": "Light"}, []),
        ({"category": "moon"}, []),
        ({"seller": "nobody"}, []),
    ],
    ids=str,
)
async def test_conditions_hold_together(tmp_path: Path, query: dict[str, Any], expected: list[str]) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)

        assert expected == await shop.found(**query)


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("relevance", ["lathe", "saw", "bulb", "lamp"]),
        ("newest", ["lathe", "saw", "bulb", "lamp"]),
        ("price", ["bulb", "lamp", "saw", "lathe"]),
        ("-price", ["lathe", "saw", "lamp", "bulb"]),
        ("rating", ["lamp", "saw", "lathe", "bulb"]),
        ("bestselling", ["saw", "lamp", "lathe", "bulb"]),
    ],
)
async def test_each_order(tmp_path: Path, sort: Sort, expected: list[str]) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)

        assert expected == await shop.found(sort=sort)


async def test_what_was_found_by_words_can_be_put_in_another_order(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await library(shop)
        await shop.list_product("cheap", title="Cheap street lamp", price=Money(1, "USD"))

        assert ["cheap", "lamp", "street"] == await shop.found("lamp", sort="price")


async def test_prices_of_all_currencies_are_compared_by_what_is_written(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await shop.list_product("yen", price=Money(20, "JPY"))
        await shop.list_product("dollar", price=Money(1999, "USD"))
        await shop.list_product("dinar", price=Money(19_991, "KWD"))

        assert ["dollar", "dinar", "yen"] == await shop.found(sort="price")
        assert ["dinar"] == await shop.found(min_price=Decimal("19.991"), max_price=Decimal("19.991"))


async def test_the_categories_are_those_of_the_whole_result(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)
        page = await shop.find(min_price=Decimal(10), page=Page(1, 1))

        assert (3, 1, [("tools", 2), ("light", 1)]) == (page.total, len(page.hits), list(page.categories.items()))


async def test_the_categories_are_right_under_words_and_filters(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await library(shop)
        await shop.list_product("table", title="Table lamp", category="furniture", seller="sue")

        assert {"light": 2, "furniture": 1} == (await shop.find("lamp")).categories
        assert {"furniture": 1} == (await shop.find("lamp", seller="sue")).categories


async def test_a_page_beyond_the_last_is_empty_and_tells_the_whole_count(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)
        page = await shop.find(page=Page(9, 2))

        assert (4, [], {"light": 2, "tools": 2}) == (page.total, page.hits, page.categories)


async def warehouse(shop: Shop) -> None:
    """Sixty products in several segments, many of them equal by most orders."""
    for n in range(60):
        price = Money(100 * (n % 4 + 1), "USD")
        title = "Lamp" if n % 2 else "Lamp of brass"
        await shop.list_product(f"p{n:02}", title=title, price=price, category="abc"[n % 3])
        if n % 13 == 0:
            await shop.caught_up()
        if n % 7 == 0:
            await shop.rate(f"p{n:02}", n % 5 + 1)
    await shop.withdraw("p03")
    await shop.revise("p05", title="Lamp of gold")


@pytest.mark.parametrize("q", ["", "lamp", '"lamp of"', "-gold"])
@pytest.mark.parametrize("sort", SORTS)
async def test_pages_have_no_gap_and_no_repeat(tmp_path: Path, q: str, sort: Sort) -> None:
    async with indexed(tmp_path) as shop:
        await warehouse(shop)
        whole = await shop.found(q, sort=sort, page=Page(1, 100))
        pages = [await shop.found(q, sort=sort, page=Page(number, 7)) for number in range(1, 11)]

        assert whole == [name for page in pages for name in page]
        assert len(whole) == len(set(whole)) == (await shop.find(q)).total


@pytest.mark.parametrize("sort", SORTS)
async def test_the_order_is_that_of_the_database(tmp_path: Path, sort: Sort) -> None:
    async with indexed(tmp_path) as shop:
        await warehouse(shop)
        shown = await shop.market.browse(sort=sort, page=Page(1, 100))

        assert [name_of(hit.card.id) for hit in shown.hits] == await shop.found(sort=sort, page=Page(1, 100))


# Changes.


async def test_a_withdrawn_product_vanishes(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)
        await shop.caught_up()
        await shop.withdraw("lamp", seller="sam")
        page = await shop.find()

        assert (["lathe", "saw", "bulb"], []) == (await shop.found(), await shop.found("lamp"))
        assert (3, {"tools": 2, "light": 1}) == (page.total, page.categories)


async def test_a_product_that_was_withdrawn_before_it_was_indexed_is_never_found(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await shop.list_product("lamp")
        await shop.withdraw("lamp")

        assert [] == await shop.found()


async def test_after_a_revision_the_new_words_find_it_and_the_old_ones_do_not(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await library(shop)
        await shop.caught_up()
        await shop.revise("lamp", title="Lantern")

        assert (["lamp"], ["street"]) == (await shop.found("lantern"), await shop.found("lamp"))


async def test_a_revision_changes_price_and_category(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)
        await shop.caught_up()
        await shop.revise("lamp", seller="sam", price=Money(100, "USD"), category="garden")

        assert (["lamp"], ["lamp"]) == (await shop.found(category="garden"), await shop.found(max_price=Decimal(1)))
        assert ["bulb"] == await shop.found(category="light")


async def test_a_revised_product_keeps_its_rating_and_its_sales(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)
        await shop.caught_up()
        await shop.revise("saw", seller="sam", title="Handsaw")

        assert (["saw", "lamp"], "saw") == (
            await shop.found(min_rating=Decimal(2)),
            (await shop.found(sort="bestselling"))[0],
        )


def files_of(folder: Path) -> set[str]:
    return {path.name for path in (folder / FOLDER).iterdir()}


async def test_a_rating_changes_order_and_filters_and_no_file(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)
        await shop.caught_up()
        before = files_of(tmp_path)
        await shop.rate("bulb", 5, "ann", seller="sue")

        assert ["bulb", "lamp", "saw", "lathe"] == await shop.found(sort="rating")
        assert ["bulb"] == await shop.found(min_rating=Decimal(5))
        assert before == files_of(tmp_path)


async def test_a_review_that_is_deleted_changes_order_and_filters(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)
        await shop.caught_up()
        await shop.market.tell(Address("buyer", "ann"), DeleteReview(id_of("saw"), "review-saw-ann"))

        assert (["lamp"], ["lamp", "lathe", "saw", "bulb"]) == (
            await shop.found(min_rating=Decimal(0)),
            await shop.found(sort="rating"),
        )


async def test_a_sale_changes_the_order_and_no_file(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)
        await shop.caught_up()
        before = files_of(tmp_path)
        for buyer in ("ann", "bob", "cid", "dee"):
            await shop.sell("bulb", buyer, seller="sue")

        assert (["bulb", "saw", "lamp", "lathe"], before) == (await shop.found(sort="bestselling"), files_of(tmp_path))


async def test_a_refund_changes_the_order(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)
        await shop.caught_up()
        for buyer in ("bob", "cid"):
            await shop.market.refund(f"order-saw-{buyer}", id_of("saw"), buyer=buyer)

        assert ["lamp", "saw", "lathe", "bulb"] == await shop.found(sort="bestselling")


async def test_while_a_revision_is_taken_in_the_product_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with indexed(tmp_path) as shop:
        await shop.list_product("lamp", title="Lamp")
        await shop.list_product("saw", title="Saw")
        await shop.caught_up()
        run, found = shop.catalogue.run, []

        async def run_and_look(function: Callable[..., Any], *arguments: Any) -> Any:
            result = await run(function, *arguments)
            monkeypatch.setattr(shop.catalogue, "run", run)
            found.append((await shop.index.find(BrowseProducts())).total)
            monkeypatch.setattr(shop.catalogue, "run", run_and_look)
            return result

        await shop.revise("lamp", title="Lantern")
        await shop.market.projector.wait_reached(shop.market.log.head)
        monkeypatch.setattr(shop.catalogue, "run", run_and_look)
        await shop.index.catch_up()
        monkeypatch.setattr(shop.catalogue, "run", run)

        assert {2} == set(found)


async def test_many_changes_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harvest, "BATCH_TEXTS_MAX", 3)
    async with indexed(tmp_path) as shop:
        for n in range(10):
            await shop.list_product(f"p{n}")
            if n % 2:
                await shop.rate(f"p{n}", 5)
        await shop.withdraw("p4")

        assert [f"p{n}" for n in (9, 8, 7, 6, 5, 3, 2, 1, 0)] == await shop.found()
        assert ["p9", "p7", "p5", "p3", "p1"] == await shop.found(min_rating=Decimal(5))


async def test_a_read_model_that_is_halted_keeps_no_product_from_being_found(tmp_path: Path) -> None:
    def halt(db: Connection) -> None:
        db.execute("UPDATE models SET halted = 'so', position = 0 WHERE name = 'reviews'")

    async with indexed(tmp_path) as shop:
        await shop.list_product("lamp")
        await shop.caught_up()
        await shop.list_product("saw")
        await shop.market.projector.wait_reached(shop.market.log.head)
        await shop.market.projector._writer.run(halt)

        assert ["saw", "lamp"] == await shop.found()


async def test_the_generation_differs_whenever_something_has_changed(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        generations = []
        await shop.list_product("lamp")
        generations.append((await shop.find()).generation)
        generations.append((await shop.find()).generation)
        await shop.rate("lamp", 5)
        generations.append((await shop.find()).generation)
        await shop.withdraw("lamp")
        generations.append((await shop.find()).generation)

        assert [True, False, False] == [a == b for a, b in pairwise(generations)]


# Starting again.


async def test_after_a_restart_everything_is_found_at_once(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        async with index_over(m, tmp_path) as shop:
            await furnish(shop)
            await shop.caught_up()
        async with index_over(m, tmp_path) as shop:
            found = await shop.index.find(BrowseProducts(sort="bestselling"))
            left_to_do = await shop.index.catch_up()

    assert (["saw", "lamp", "lathe", "bulb"], False) == ([name_of(id) for id, _ in found.hits], left_to_do)


async def test_after_a_restart_it_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with market(tmp_path) as m:
        async with index_over(m, tmp_path) as shop:
            await furnish(shop)
            await shop.caught_up()
            position = shop.index.position
            await shop.list_product("moon", seller="sam")
            await shop.rate("bulb", 5, seller="sue")
            await shop.withdraw("saw", seller="sam")
        async with index_over(m, tmp_path) as shop:
            assert position == shop.index.position
            assert ["bulb", "lamp", "moon", "lathe"] == await shop.found(sort="rating")


def stamp_of(folder: Path) -> Path:
    return folder / FOLDER / "stamp.json"


STAMPS = {
    "gone": None,
    "empty": "",
    "no JSON": "{",
    "a number": "7",
    "of another version": json.dumps({"version": VERSION + 1, "position": 3}),
    "of an older version": json.dumps({"version": VERSION - 1, "position": 3}),
    "without a position": json.dumps({"version": VERSION}),
    "with a position that is none": json.dumps({"version": VERSION, "position": "3"}),
    "ahead of the catalogue": json.dumps({"version": VERSION, "position": 10**9}),
    "no text": b"\xff\xfe\xff",
}


@pytest.mark.parametrize("what", STAMPS)
async def test_an_index_whose_stamp_will_not_do_is_made_again(tmp_path: Path, what: str) -> None:
    stamp = STAMPS[what]
    async with market(tmp_path) as m:
        async with index_over(m, tmp_path) as shop:
            await furnish(shop)
            await shop.caught_up()
        stamp_of(tmp_path).unlink()
        if stamp is not None:
            stamp_of(tmp_path).write_bytes(stamp if isinstance(stamp, bytes) else stamp.encode())
        async with index_over(m, tmp_path) as shop:
            assert 0 == shop.index.position
            assert ["lathe", "saw", "bulb", "lamp"] == await shop.found()


@pytest.mark.parametrize("what", ["all gone", "garbage", "a file in its place"])
async def test_an_index_that_can_not_be_opened_is_made_again(tmp_path: Path, what: str) -> None:
    folder = tmp_path / FOLDER
    async with market(tmp_path) as m:
        async with index_over(m, tmp_path) as shop:
            await furnish(shop)
            await shop.caught_up()
        for path in folder.iterdir():
            if what != "garbage":
                path.unlink()
            elif path != stamp_of(tmp_path):
                path.write_bytes(b"garbage" * 100)
        if what == "a file in its place":
            folder.rmdir()
            folder.write_text("I am no folder")
        async with index_over(m, tmp_path) as shop:
            assert ["lathe", "saw", "bulb", "lamp"] == await shop.found()


async def test_with_a_catalogue_that_was_made_again_nothing_is_lost(tmp_path: Path) -> None:
    """Its read models come slower than the index opens: what it sees of the catalogue then is little."""
    async with indexed(tmp_path) as shop:
        log = shop.market.log
        await furnish(shop)
        await shop.caught_up()
    (tmp_path / "read.db").rename(tmp_path / "gone.db")
    async with market(tmp_path, log) as m:
        await m.projector.wait_reached(m.log.head)
        await m.projector._writer.run(lambda db: db.execute("UPDATE models SET position = 1") and None)
        async with index_over(m, tmp_path) as shop:
            position = shop.index.position

    assert 0 == position


async def test_what_is_condemned_is_made_again(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        async with index_over(m, tmp_path) as shop:
            await furnish(shop)
            await shop.caught_up()
            shop.index.condemn()
        async with index_over(m, tmp_path) as shop:
            assert 0 == shop.index.position


# Spelling, and what is alike.


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("lmap", "lamp"),
        ("lapm shade", "lamp shade"),
        ("LANTRENS", "lanterns"),
        ("lamp", None),
        ("lamps", None),
        ("xyzzyxyz", None),
        ("", None),
        ("!!", None),
        ("kettel xyzzyxyz", "kettle xyzzyxyz"),
        ("x" * 10_000, None),
    ],
    ids=lambda value: ascii(value)[:30],
)
async def test_what_was_probably_meant(tmp_path: Path, q: str, expected: str | None) -> None:
    async with indexed(tmp_path) as shop:
        await shop.list_product("lamp", title="Lamp shade")
        await shop.list_product("lantern", title="Lanterns and lamps")
        await shop.caught_up()
        await shop.list_product("kettle", title="Kettle")
        await shop.caught_up()

        assert Spelt(expected) == shop.index.spell(q)


async def test_of_words_as_near_the_more_frequent_was_meant(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        for name in ("one", "two", "three"):
            await shop.list_product(name, title="Cart")
        await shop.list_product("four", title="Card")
        await shop.caught_up()

        assert Spelt("cart") == shop.index.spell("carx")


async def alike(shop: Shop, name: str, count: int = 8) -> list[str]:
    await shop.caught_up()
    found = await shop.index.alike(id_of(name), count)
    assert isinstance(found, Alike)
    return [name_of(product_id) for product_id in found.product_ids]


async def gallery(shop: Shop) -> None:
    await shop.list_product("one", title="Brass kettle", category="kitchen")
    await shop.list_product("two", title="Brass kettle polish", category="care")
    await shop.caught_up()
    await shop.list_product("three", title="Kettle", category="kitchen")
    await shop.list_product("four", title="Moon map", category="maps")


async def test_alike_is_what_has_the_same_rare_words(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await gallery(shop)

        assert {"two", "three"} == set(await alike(shop, "one"))
        assert [] == await alike(shop, "four")


async def test_of_what_is_alike_there_are_no_more_than_wanted_and_the_likest_first(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await gallery(shop)

        assert ["two"] == await alike(shop, "one", 1)


async def test_nothing_is_alike_that_was_withdrawn(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await gallery(shop)
        await shop.caught_up()
        await shop.withdraw("two")

        assert ["three"] == await alike(shop, "one")


async def test_nothing_is_like_what_is_not_there(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await gallery(shop)

        assert [] == await alike(shop, "moon")


async def test_the_frequent_words_are_read_ahead(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)
        await shop.caught_up()
        while await shop.index.warm(settle):
            pass

        assert all("light" in shelf.segment._postings for shelf in shop.index._shelves[:1])
