"""Regulars: buyers who came back, counted from the first sale on, also in stores that are older than the question."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from marketd.config.codecs import MODELS
from marketd.storage.projector import ReadModel
from marketd.storage.regulars import REGULARS, Buyers, CountBuyers
from tests.storage.history import Market, market

pytestmark = pytest.mark.asyncio

BEFORE: tuple[ReadModel, ...] = tuple(model for model in MODELS if model is not REGULARS)


async def counted(m: Market, seller: str = "seller") -> Buyers:
    found = await m.ask(CountBuyers(seller))
    assert isinstance(found, Buyers)
    return found


async def sold(m: Market) -> None:
    """Sell: ann comes back twice, bob once, and cid not."""
    for key in ("lamp", "saw", "rug"):
        await m.list_product(key)
    for key, who in (("lamp", "ann"), ("saw", "ann"), ("rug", "ann"), ("lamp", "bob"), ("lamp", "cid"), ("rug", "bob")):
        await m.sell(key, buyer=who)


async def test_who_bought_twice_came_back_once(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await sold(m)

        assert Buyers(3, 2) == await counted(m)


async def test_a_seller_without_sales_has_no_buyers(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        assert Buyers(0, 0) == await counted(m)


async def test_whoever_bought_of_somebody_else_did_not_come_back(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        for key, seller in (("lamp", "sam"), ("saw", "sue")):
            await m.list_product(key, seller=seller)
            await m.sell(key, seller=seller)

        assert [Buyers(1, 0)] * 2 == [await counted(m, seller) for seller in ("sam", "sue")]


async def test_who_gave_it_back_and_bought_again_came_back(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.refund(await m.sell("lamp"))
        await m.sell("lamp", order_id="again")

        assert Buyers(1, 1) == await counted(m)


async def test_a_store_from_before_the_question_answers_it_from_the_first_sale(tmp_path: Path) -> None:
    async with market(tmp_path, models=BEFORE) as m:
        await sold(m)
        await m.projector.wait_reached(m.log.head)
        log = m.log
    with closing(sqlite3.connect(tmp_path / "read.db")) as db:
        assert [] == db.execute("SELECT name FROM sqlite_master WHERE name = 'regulars'").fetchall()

    async with market(tmp_path, log) as m:
        assert Buyers(3, 2) == await counted(m)
