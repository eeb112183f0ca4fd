"""Sales: a row for each that was completed, and how often each product was."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from marketd.actors.money import Money
from marketd.actors.steps import Denied, Step, Succeeded
from marketd.storage.projector import AskReached
from tests.storage.history import Market, market

pytestmark = pytest.mark.asyncio


async def rows(m: Market, folder: Path, query: str) -> list[Any]:
    await m.ask(AskReached())
    with closing(sqlite3.connect(folder / "read.db")) as db:
        return db.execute(query).fetchall()


async def counts(m: Market, folder: Path) -> dict[str, int]:
    return dict(await rows(m, folder, "SELECT product_id, orders FROM product_sales"))


async def test_a_completed_sale_has_a_row(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", price=Money(500, "JPY"))
        before_ms = m.now_ms
        await m.sell("lamp", order_id="o1", price=Money(500, "JPY"))
        ((*sale, completed_at, refunded_at),) = await rows(m, tmp_path, "SELECT * FROM sales")

        assert (["o1", "lamp", "seller", "ann", 500, "JPY"], None) == (sale, refunded_at)
        assert before_ms < completed_at <= m.now_ms


async def test_a_sale_under_way_is_not_counted(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.place("o1")

        assert {} == await counts(m, tmp_path)


async def test_a_sale_that_failed_leaves_no_row(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.place("o1")
        await m.advance("o1", (Step.PROCESS_PAYMENT, Denied("no funds")), (Step.END_CLAIMS, Succeeded()))

        assert [] == await rows(m, tmp_path, "SELECT * FROM sales")


async def test_a_sale_that_failed_and_owes_leaves_no_row(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.place("o1")
        await m.advance(
            "o1",
            (Step.PROCESS_PAYMENT, Succeeded()),
            (Step.UPDATE_INVENTORY, Denied("sold out")),
            (Step.REFUND_PAYMENT, Denied("closed account")),
            (Step.END_CLAIMS, Succeeded()),
        )

        assert [] == await rows(m, tmp_path, "SELECT * FROM sales")


async def test_the_sales_of_a_product_are_counted(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        for key in ("lamp", "saw"):
            await m.list_product(key)
        for key, buyer in (("lamp", "ann"), ("lamp", "bob"), ("saw", "ann")):
            await m.sell(key, buyer=buyer)

        assert {"lamp": 2, "saw": 1} == await counts(m, tmp_path)


async def test_a_refunded_sale_is_counted_no_more(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.sell("lamp", buyer="bob")
        await m.refund(await m.sell("lamp", buyer="ann"))

        assert {"lamp": 1} == await counts(m, tmp_path)


async def test_a_refunded_sale_keeps_its_row(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.refund(await m.sell("lamp", order_id="o1"))
        query = "SELECT order_id, completed_at < refunded_at FROM sales"

        assert [("o1", 1)] == await rows(m, tmp_path, query)
