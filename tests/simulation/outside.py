"""
Who is reached over a wire that we do not own: the processor and whoever sends notices.

What was sent to the processor arrives whether or not its sender still lives, also long after; and what it did it has
done, whether or not anybody hears of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from marketd.actors.money import Money
from marketd.actors.notices.port import NoticeFailed, Receipt
from marketd.actors.payments.processor import Captured, Declined, PaidBack, ProcessorUnavailable, RefundDenied

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")

CALL_S_MAX: Final = 0.2
SLOW_CALL_S_MAX: Final = 45.0  # beyond the wait for the processor


class FarProcessor:
    """The way to the ledger, which is the memory twin."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def charge(self, order_id: str, price: Money, payment_method_id: str) -> Captured | Declined:
        bank = self._world.bank
        return await self._call(f"charge {order_id}", lambda: bank.charge(order_id, price, payment_method_id))

    async def refund(self, order_id: str) -> PaidBack | RefundDenied:
        return await self._call(f"refund {order_id}", lambda: self._world.bank.refund(order_id))

    async def _call(self, what: str, work: Callable[[], Awaitable[T]]) -> T:
        world, weather = self._world, self._world.weather
        if world.is_bank_down:
            await asyncio.sleep(world.chance.uniform(0, CALL_S_MAX))
            raise ProcessorUnavailable("no connection")
        answered = world.loop.create_future()
        fate = world.chance.choice(["unheard", "unanswered", "hung"]) if world.by_chance(weather.bank_drop) else ""
        if fate != "unheard":
            world.loop.begin(self._work(what, work, answered, is_heard=not fate), world.loop.nobody)
        if fate in ("unheard", "unanswered"):
            await asyncio.sleep(world.chance.uniform(0, CALL_S_MAX))
            raise ProcessorUnavailable("the connection was lost")
        done: T = await answered
        return done

    async def _work(
        self, what: str, work: Callable[[], Awaitable[T]], answered: asyncio.Future[T], *, is_heard: bool
    ) -> None:
        world = self._world
        is_slow = world.by_chance(world.weather.bank_slow)
        await asyncio.sleep(world.chance.uniform(0, SLOW_CALL_S_MAX if is_slow else CALL_S_MAX))
        outcome = await work()
        world.note("bank", what, type(outcome).__name__)
        world.judge(lambda laws: laws.on_money(what.partition(" ")[2]))
        await asyncio.sleep(world.chance.uniform(0, CALL_S_MAX))
        if is_heard and not answered.done():
            answered.set_result(outcome)


class FarNotices:
    """The way to people."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def send(self, receipt: Receipt) -> None:
        await asyncio.sleep(self._world.chance.uniform(0, CALL_S_MAX))
        if self._world.by_chance(self._world.weather.notice):
            raise NoticeFailed("mailbox full")
        self._world.told.add(receipt.order_id)
