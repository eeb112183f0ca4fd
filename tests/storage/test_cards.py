"""Product cards: kept until something about them changes, and never older than the read models."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from marketd.actors import product
from marketd.actors.money import Money
from marketd.storage.cards import EncodedProduct, ProductCards, ReadProduct
from marketd.storage.projector import AskReached
from tests.storage.history import Market, market

pytestmark = pytest.mark.asyncio


async def furnish(m: Market) -> None:
    """Two products that ann has bought and reviewed, both with their cards kept."""
    await m.register("sam", name="Sam")
    for key in ("lamp", "saw"):
        await m.list_product(key, seller="sam", stock=9)
        await m.sell(key)
        await m.review(key, 4)
    for key in ("lamp", "saw"):
        await m.ask(ReadProduct(key))


async def public(m: Market, key: str = "lamp") -> dict[str, Any]:
    card = await m.ask(ReadProduct(key))
    assert isinstance(card, EncodedProduct)
    return dict(msgspec.json.decode(card.public))


async def test_a_card_is_the_product_as_people_see_it(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        card = await public(m)

        assert {
            "id": "lamp",
            "sellerId": "sam",
            "sellerName": "Sam",
            "title": "Lamp",
            "description": "Ready to use.",
            "price": 19.99,
            "currency": "USD",
            "category": "tools",
            "files": [{"name": "lamp.zip", "type": "application/zip", "size": 1024}],
            "previews": [],
            "status": "active",
            "stock": 8,
            "rating": {"average": 4.0, "count": 1},
        } == {name: value for name, value in card.items() if name not in ("createdAt", "updatedAt")}


async def test_a_price_is_written_with_all_its_decimals(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", price=Money(1990, "USD"))
        card = await m.ask(ReadProduct("lamp"))

        assert b'"price":19.90,' in card.public


async def test_the_sellers_own_card_has_the_addresses_of_the_files(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        card = await m.ask(ReadProduct("lamp"))

        assert ("sam", ["upload://" + "ab" * 32]) == (
            card.seller_id,
            [file["url"] for file in msgspec.json.decode(card.own)["files"]],
        )


async def test_a_product_that_is_not_there_has_no_card(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        assert await m.ask(ReadProduct("absent")) is None


async def test_a_product_that_came_later_has_one(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.ask(ReadProduct("lamp"))
        await m.list_product("lamp")

        assert "Lamp" == (await public(m))["title"]


async def test_a_card_that_was_read_is_kept(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)

        assert await m.ask(ReadProduct("lamp")) == m.cards.kept("lamp")


async def test_a_withdrawn_product_keeps_its_card(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        await m.withdraw("lamp", seller="sam")

        assert "withdrawn" == (await public(m))["status"]


Change = Callable[[Market], Awaitable[Any]]
CHANGES: dict[str, Change] = {
    "revised": lambda m: m.revise("lamp", seller="sam", title="Lantern"),
    "withdrawn": lambda m: m.withdraw("lamp", seller="sam"),
    "reserved": lambda m: m.reserve("lamp"),
    "released": lambda m: m.release("lamp"),
    "review edited": lambda m: m.edit_review("lamp", rating=1),
    "review deleted": lambda m: m.delete_review("lamp"),
    "review hidden": lambda m: m.hide_review("lamp"),
    "seller renamed": lambda m: m.rename("sam", "Samuel"),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_after_a_change_the_card_shows_it(tmp_path: Path, what: str) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        before = await public(m)
        await CHANGES[what](m)
        after = await public(m)

        assert before != after


async def tag(m: Market) -> str:
    card = await m.ask(ReadProduct("lamp"))
    assert isinstance(card, EncodedProduct)
    return card.tag


@pytest.mark.parametrize("what", CHANGES)
async def test_after_a_change_it_has_another_tag(tmp_path: Path, what: str) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        before = await tag(m)
        await CHANGES[what](m)

        assert before != await tag(m)


@pytest.mark.parametrize("what", CHANGES)
async def test_its_tag_names_the_version_that_its_actor_knows(tmp_path: Path, what: str) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        await CHANGES[what](m)
        events = [event for record in await m.log.read("product/lamp") for event in record.commit.events]
        described = product.answer(product.PRODUCT.replay(events), product.Describe(), [])

        assert isinstance(described, product.Description)
        assert described.version == (await tag(m)).partition("-")[0]


@pytest.mark.parametrize("what", ["review edited", "review deleted", "review hidden", "seller renamed"])
async def test_what_its_seller_can_not_change_makes_no_other_version(tmp_path: Path, what: str) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        before = await tag(m)
        await CHANGES[what](m)

        assert before.partition("-")[0] == (await tag(m)).partition("-")[0]


async def test_a_review_that_is_shown_again_counts_again_on_the_card(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        await m.hide_review("lamp")
        hidden = (await public(m))["rating"]
        await m.show_review("lamp")

        assert ({"average": 0.0, "count": 0}, {"average": 4.0, "count": 1}) == (hidden, (await public(m))["rating"])


@pytest.mark.parametrize("what", [what for what in CHANGES if what != "seller renamed"])
async def test_a_change_of_one_product_costs_no_other_its_card(tmp_path: Path, what: str) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        await CHANGES[what](m)
        await m.ask(AskReached())

        assert (None, True) == (m.cards.kept("lamp"), m.cards.kept("saw") is not None)


async def test_what_concerns_no_card_costs_none(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        await m.register("bob")
        await m.place("o1", buyer="bob")
        await m.grant("lamp", buyer="bob")
        await m.ask(AskReached())

        assert {"cards": 2} == m.cards.statistics()


async def test_a_card_that_changed_while_it_was_read_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.ask(AskReached())
        read = m.projector.read

        async def read_slowly(*arguments: Any) -> Any:
            found = await read(*arguments)
            await m.revise("lamp", title="Lantern")
            await m.projector.wait_reached(m.log.head)
            return found

        monkeypatch.setattr(m.projector, "read", read_slowly)
        assert "Lamp" == (await public(m))["title"]
        monkeypatch.setattr(m.projector, "read", read)

        assert "Lantern" == (await public(m))["title"]


async def test_who_has_just_changed_a_product_sees_the_change(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", stock=50)
        stock = []
        for n in range(50):
            await m.reserve("lamp", f"order-{n}")
            stock.append((await public(m))["stock"])

        assert list(reversed(range(50))) == stock


async def test_beyond_the_limit_the_card_that_was_read_longest_ago_goes(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        m.cards._cards_max = 2
        for key in ("a", "b", "c"):
            await m.list_product(key)
        for key in ("a", "b", "a", "c"):
            await m.ask(ReadProduct(key))

        assert [True, False, True] == [m.cards.kept(key) is not None for key in ("a", "b", "c")]


async def test_beyond_so_many_bytes_the_card_that_was_read_longest_ago_goes(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        for key in ("a", "b", "c"):
            await m.list_product(key, description="word " * 100)
        await m.ask(ReadProduct("a"))
        m.cards._bytes_max = m.cards._bytes * 5 // 2
        for key in ("b", "a", "c"):
            await m.ask(ReadProduct(key))
        kept = [m.cards.kept(key) is not None for key in ("a", "b", "c")]
        for key in ("a", "b", "c"):
            await m.withdraw(key)
        await m.projector.wait_reached(m.log.head)

        assert ([True, False, True], 0) == (kept, m.cards._bytes)


async def test_cards_do_not_halt_the_read_models(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        ProductCards(m.projector)
        await furnish(m)

        assert {None} == {standing.halted for standing in m.projector.statistics().values()}
