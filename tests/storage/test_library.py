"""The library: what each buyer owns, since when, and by which order."""

from pathlib import Path

import pytest

from marketd.clock import instant
from marketd.storage.library import Library, LibraryEntry, ReadLibrary
from marketd.storage.pages import Page
from tests.storage.history import Market, market

pytestmark = pytest.mark.asyncio


async def owned(m: Market, buyer: str = "ann", page: Page | None = None) -> list[str]:
    library = await m.ask(ReadLibrary(buyer, page or Page()))
    assert isinstance(library, Library)
    return [entry.product_id for entry in library.entries]


async def test_what_was_granted_is_shown_with_its_order(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("sam", name="Sam")
        await m.list_product("lamp", title="Lamp", seller="sam")
        await m.grant("lamp", order_id="o1", seller="sam")
        entry = LibraryEntry("lamp", "o1", "Lamp", "sam", "Sam", instant(m.now_ms))

        assert Library(1, [entry]) == await m.ask(ReadLibrary("ann"))


async def test_nobody_sees_what_another_owns(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.grant("lamp")

        assert Library(0, []) == await m.ask(ReadLibrary("bob"))


async def test_the_newest_comes_first(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        for key in ("a", "c", "b"):
            await m.grant(key)

        assert ["b", "c", "a"] == await owned(m)


async def test_pages_have_no_gap_and_no_repeat(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        for n in range(5):
            await m.grant(f"p{n}")
        pages = [await owned(m, page=Page(number, 2)) for number in (1, 2, 3)]

        assert [["p4", "p3"], ["p2", "p1"], ["p0"]] == pages


async def test_what_was_refunded_is_gone(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.refund(await m.sell("lamp"))

        assert [] == await owned(m)


async def test_what_is_bought_again_is_owned_by_the_new_order(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.refund(await m.sell("lamp", order_id="first"))
        await m.sell("lamp", order_id="second")

        assert ["second"] == [entry.order_id for entry in (await m.ask(ReadLibrary("ann"))).entries]


async def test_a_withdrawn_product_stays_with_its_buyers(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.sell("lamp")
        await m.withdraw("lamp")

        assert ["lamp"] == await owned(m)


async def test_a_product_is_shown_under_its_present_title(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.grant("lamp")
        await m.revise("lamp", title="Lantern")

        assert ["Lantern"] == [entry.title for entry in (await m.ask(ReadLibrary("ann"))).entries]
