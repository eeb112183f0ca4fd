"""Tills: who waits for a sale of theirs is told of it soon, and not too often."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from marketd.bus.port import Busy
from marketd.bus.subjects import query_subject
from marketd.clock import SystemClock
from marketd.storage import tills
from marketd.storage.earnings import Newest
from marketd.storage.tills import AwaitSale, Tills
from tests.clock import TestClock, settle
from tests.storage.history import Market, market

pytestmark = pytest.mark.asyncio

PAUSE_S = 0.5
LONG_MS = 20_000


class Listening:
    """A market with tills, whose pauses end when the test says so."""

    def __init__(self, m: Market, t: Tills, clock: TestClock) -> None:
        self.m, self.tills, self.clock = m, t, clock

    async def sale(self, seller: str = "seller", after: int = 0, wait_ms: int = LONG_MS) -> int:
        found = await self.m.ask(AwaitSale(seller, after, self.clock.now_ms() + wait_ms))
        assert isinstance(found, Newest)
        return found.position

    async def waiting(self, count: int = 1) -> None:
        async with asyncio.timeout(5):
            while self.tills.statistics()["waiting"] != count:
                await settle()
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)  # the look that comes before the wait is in another thread


@asynccontextmanager
async def listening(folder: Path) -> AsyncIterator[Listening]:
    async with market(folder) as m, asyncio.TaskGroup() as tasks:
        clock = TestClock(SystemClock().now_ms())
        t = Tills(m.projector, clock, pause_s=PAUSE_S)
        await t.open(m.bus)
        running = tasks.create_task(t.run())
        for key, seller in (("lamp", "seller"), ("saw", "sue")):
            await m.list_product(key, seller=seller)
        yield Listening(m, t, clock)
        running.cancel()


async def test_a_sale_that_was_not_seen_is_told_at_once(tmp_path: Path) -> None:
    async with listening(tmp_path) as x:
        await x.m.sell("lamp")

        assert x.m.log.head == await x.sale()


@pytest.mark.parametrize("what", ["a sale", "a refund"])
async def test_what_is_waited_for_is_told(tmp_path: Path, what: str) -> None:
    async with listening(tmp_path) as x, asyncio.TaskGroup() as tasks:
        order_id, after = "", 0
        if what == "a refund":
            order_id = await x.m.sell("lamp")
            after = await x.sale()
        waits = tasks.create_task(x.sale(after=after))
        await x.waiting()
        await (x.m.refund(order_id) if order_id else x.m.sell("lamp"))
        async with asyncio.timeout(5):
            found = await waits

        assert x.m.log.head == found


async def test_what_others_sell_is_not_told(tmp_path: Path) -> None:
    async with listening(tmp_path) as x:
        waits = asyncio.ensure_future(x.sale(wait_ms=200))
        await x.waiting()
        await x.m.sell("saw", seller="sue")
        async with asyncio.timeout(5):
            assert 0 == await waits


async def test_between_two_tellings_there_is_a_pause(tmp_path: Path) -> None:
    async with listening(tmp_path) as x, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(x.sale())
        await x.waiting()
        await x.m.sell("lamp", buyer="ann")
        after = await first
        second = tasks.create_task(x.sale(after=after))
        await x.waiting()
        await x.m.sell("lamp", buyer="bob")
        await x.m.projector.wait_reached(x.m.log.head)
        await settle()
        too_early = second.done()
        await x.clock.advance(PAUSE_S)
        async with asyncio.timeout(5):
            found = await second

        assert (False, x.m.log.head) == (too_early, found)


async def test_who_has_waited_long_enough_is_told_what_there_is(tmp_path: Path) -> None:
    async with listening(tmp_path) as x:
        assert (0, {"waiting": 0}) == (await x.sale(wait_ms=10), x.tills.statistics())


async def test_only_so_many_may_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tills, "WAITERS_MAX", 1)
    async with listening(tmp_path) as x:
        waits = asyncio.ensure_future(x.sale(wait_ms=500))
        await x.waiting()
        with pytest.raises(Busy):
            await x.sale()
        await waits


async def test_the_query_has_a_subject_of_its_own() -> None:
    assert "market.query.sale" == query_subject(AwaitSale)
