"""Who waits for an order is answered when it is no longer pending, or when their time is over."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from marketd.actors import order
from marketd.actors.aggregate import Refused
from marketd.actors.watch import AwaitChange, AwaitOutcome, OrderWatch
from marketd.bus.port import Busy, Envelope
from marketd.bus.subjects import query_subject
from tests.actors.shop import LIMITS, Shop
from tests.actors.watched import WatchedLog
from tests.clock import TestClock, settle

pytestmark = pytest.mark.asyncio

REAL_S_MAX = 5  # who is not answered by then has been forgotten


class Watched:
    """A shop whose processor is down at first, and somebody at the door who waits for orders."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.watch = OrderWatch(shop.bus, shop.log, shop.clock)

    async def outcome(self, order_id: str = "o1", *, wait_s: float = 3600) -> str:
        """The status of an order, when it is no longer pending or so much time has passed."""
        now_ms = self.shop.clock.now_ms()
        query = AwaitOutcome(order_id, now_ms + int(wait_s * 1000))
        envelope = Envelope("q1", query, "r1", now_ms + int(wait_s * 1000) + 10_000)
        async with asyncio.timeout(REAL_S_MAX):
            answer = await self.shop.bus.ask(query_subject(AwaitOutcome), envelope)
        assert isinstance(answer.value, order.View)
        return answer.value.status

    async def change(self, after: int, order_id: str = "o1", *, wait_s: float = 3600) -> int:
        """The position of an order's newest record, when that is after this one or so much time has passed."""
        now_ms = self.shop.clock.now_ms()
        query = AwaitChange(order_id, after, now_ms + int(wait_s * 1000))
        envelope = Envelope("q1", query, "r1", now_ms + int(wait_s * 1000) + 10_000)
        async with asyncio.timeout(REAL_S_MAX):
            return (await self.shop.bus.ask(query_subject(AwaitChange), envelope)).position

    @property
    def waiting(self) -> int:
        return self.watch.statistics()["waiting"]

    async def answer_payments(self) -> None:
        """The processor is there."""
        self.shop.processor.is_down = lambda what, order_id: False
        await self.shop.clock.advance(LIMITS.retry_s_max)
        await self.shop.rest()


@pytest_asyncio.fixture
async def door(log: WatchedLog, clock: TestClock) -> AsyncIterator[Watched]:
    async with Shop(log, clock) as shop:
        shop.processor.is_down = lambda what, order_id: True
        await shop.offer()
        door = Watched(shop)
        await door.watch.open()
        follows = asyncio.create_task(door.watch.run())
        await settle()
        yield door
        follows.cancel()
        await asyncio.wait([follows])


async def test_who_waits_is_not_answered_while_the_order_is_pending(door: Watched) -> None:
    await door.shop.place("o1")
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(door.outcome())
        await settle()
        is_answered = asked.done()
        await door.answer_payments()

    assert not is_answered


async def test_who_waits_is_answered_when_the_order_is_complete(door: Watched) -> None:
    await door.shop.place("o1")
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(door.outcome())
        await settle()
        await door.answer_payments()

    assert "completed" == asked.result()


async def test_who_waits_is_answered_when_the_order_has_failed(door: Watched) -> None:
    await door.shop.place("o1", pays_with="pm_bad")
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(door.outcome())
        await settle()
        await door.answer_payments()

    assert "failed" == asked.result()


async def test_who_waits_is_answered_when_a_refund_is_over(door: Watched) -> None:
    await door.shop.place("o1")
    await door.answer_payments()
    door.shop.processor.is_down = lambda what, order_id: what == "refund"
    await door.shop.refund("o1")
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(door.outcome())
        await settle()
        is_answered = asked.done()
        await door.answer_payments()

    assert (False, "refunded") == (is_answered, asked.result())


async def test_all_who_wait_for_an_order_are_answered(door: Watched) -> None:
    await door.shop.place("o1")
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(door.outcome()) for _ in range(5)]
        await settle()
        await door.answer_payments()

    assert ["completed"] * 5 == [task.result() for task in asked]


async def test_who_waits_for_another_order_waits_on(door: Watched) -> None:
    await door.shop.place("o1")
    await door.shop.place("o2", buyer_id="bob")
    async with asyncio.TaskGroup() as tasks:
        other = tasks.create_task(door.outcome("o2"))
        await settle()
        door.shop.processor.is_down = lambda what, order_id: order_id == "o2"
        await door.shop.clock.advance(LIMITS.retry_s_max)
        await door.shop.rest(open_orders=1)
        is_answered = other.done()
        await door.answer_payments()

    assert not is_answered


async def test_an_order_that_is_not_pending_is_answered_at_once(door: Watched) -> None:
    await door.shop.place("o1")
    await door.answer_payments()

    assert "completed" == await door.outcome()


async def test_when_time_is_over_the_order_is_shown_as_it_is(door: Watched) -> None:
    await door.shop.place("o1")

    assert "pending" == await door.outcome(wait_s=0.02)


async def test_who_has_no_time_is_answered_at_once(door: Watched) -> None:
    await door.shop.place("o1")

    assert "pending" == await door.outcome(wait_s=0)


async def test_an_order_that_does_not_exist_is_refused(door: Watched) -> None:
    with pytest.raises(Refused) as caught:
        await door.outcome("o9")

    assert order.Reason.NO_SUCH_ORDER is caught.value.reason


async def test_a_release_answers_all_who_wait(door: Watched) -> None:
    await door.shop.place("o1")
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(door.outcome()) for _ in range(3)]
        await settle()
        door.watch.release()

    assert ["pending"] * 3 == [task.result() for task in asked]


async def test_after_a_release_nobody_waits_any_more(door: Watched) -> None:
    await door.shop.place("o1")
    door.watch.release()

    assert "pending" == await door.outcome()


async def test_those_who_wait_are_counted(door: Watched) -> None:
    await door.shop.place("o1")
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(door.outcome())
        await settle()
        waiting = door.waiting
        door.watch.release()

    assert 3 == waiting


async def test_who_was_answered_does_not_wait(door: Watched) -> None:
    await door.shop.place("o1")
    await door.outcome(wait_s=0.01)

    assert 0 == door.waiting


async def test_who_has_gone_does_not_wait(door: Watched) -> None:
    await door.shop.place("o1")
    asked = asyncio.create_task(door.outcome())
    await settle()
    asked.cancel()
    await asyncio.wait([asked])

    assert 0 == door.waiting


async def test_too_many_may_not_wait(door: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketd.actors.watch.WAITERS_MAX", 1)
    await door.shop.place("o1")
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(door.outcome())
        await settle()
        with pytest.raises(Busy):
            await door.outcome()
        door.watch.release()


async def test_who_waits_for_a_change_is_answered_at_once_where_there_was_one(door: Watched) -> None:
    await door.shop.place("o1")

    assert await door.change(0) > 0


async def test_who_waits_for_a_change_is_answered_when_there_is_one(door: Watched) -> None:
    await door.shop.place("o1")
    newest = await door.change(0)
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(door.change(newest))
        await settle()
        is_answered = asked.done()
        await door.answer_payments()

    assert (False, True) == (is_answered, asked.result() > newest)


async def test_who_waits_for_a_change_in_vain_is_answered_when_their_time_is_over(door: Watched) -> None:
    await door.shop.place("o1")
    newest = await door.change(0)

    assert newest == await door.change(newest, wait_s=0.05)
