"""
Who waits for an order: answers when it is no longer pending, nor being taken back, or when the time that its asker gave
is over.
"""

import asyncio
from collections import Counter
from contextlib import aclosing
from typing import Final

import msgspec
from msgspec import Struct

from marketd.actors import order
from marketd.actors.address import Address
from marketd.bus.port import Answer, Bus, Busy, Envelope
from marketd.bus.subjects import command_subject, query_subject
from marketd.clock import Clock
from marketd.deadlines import Deadlines
from marketd.storage.log import EventLog

WAITERS_MAX: Final = 10_000
ENDINGS: Final = (order.Completed, order.Failed, order.FailedWithAlert, order.Refunded)  # after which it is settled


class AwaitOutcome(Struct, frozen=True, tag="order-outcome"):
    """Ask for the order when it is no longer under way, but at `until` (ms since the epoch) in any case."""

    order_id: str
    until: int


class AwaitChange(Struct, frozen=True, tag="order-change"):
    """Ask for the order when there is a record of it after a position, but at `until` in any case."""

    order_id: str
    after: int
    until: int


class OrderWatch:
    """Answers `market.query.order-outcome` and `order-change`; run it for as long as the service lives."""

    def __init__(self, bus: Bus, events: EventLog, clock: Clock) -> None:
        self._bus, self._log, self._clock = bus, events, clock
        self._changed: dict[tuple[type, str], asyncio.Event] = {}  # by what is awaited, and of which stream
        self._waiting: Counter[tuple[type, str]] = Counter()
        self._released = False
        self._deadlines = Deadlines()

    async def open(self) -> None:
        """Serve the query."""
        await self._bus.serve(query_subject(AwaitOutcome), self._answer)
        await self._bus.serve(query_subject(AwaitChange), self._answer)

    def statistics(self) -> dict[str, int]:
        """How many wait."""
        return {"waiting": self._waiting.total()}

    def release(self) -> None:
        """Let nobody wait any more: each is answered with what there is."""
        self._released = True
        for changed in self._changed.values():
            changed.set()

    async def run(self) -> None:
        """Follow the log for ever."""
        async with aclosing(self._log.tail(self._log.head)) as batches:
            async for batch in batches:
                for record in batch:
                    self._tell(AwaitChange, record.stream)
                    if any(isinstance(event, ENDINGS) for event in record.commit.events):
                        self._tell(AwaitOutcome, record.stream)

    def _tell(self, query: type, stream: str) -> None:
        if changed := self._changed.pop((query, stream), None):
            changed.set()

    async def _answer(self, subject: str, envelope: Envelope) -> Answer:
        query = envelope.message
        assert isinstance(query, AwaitOutcome | AwaitChange)
        if self._waiting.total() >= WAITERS_MAX:
            raise Busy(f"{WAITERS_MAX} wait for orders already")
        address = Address("order", query.order_id)
        kind = (type(query), str(address))
        self._waiting[kind] += 1
        try:
            with self._deadlines.within((query.until - self._clock.now_ms()) / 1000):
                while True:
                    changed = self._changed.setdefault(kind, asyncio.Event())
                    answer = await self._describe(address, envelope)
                    if self._released or _is_it(query, answer):
                        return answer
                    await changed.wait()
        except TimeoutError:
            return await self._describe(address, envelope)
        finally:
            self._waiting[kind] -= 1
            if not self._waiting[kind]:
                del self._waiting[kind]
                self._changed.pop(kind, None)

    async def _describe(self, address: Address, envelope: Envelope) -> Answer:
        return await self._bus.ask(
            command_subject(address), msgspec.structs.replace(envelope, message=order.Describe())
        )


def _is_it(query: AwaitOutcome | AwaitChange, answer: Answer) -> bool:
    """Say whether this is what was waited for; where there is no order, there is nothing to wait for."""
    if not isinstance(answer.value, order.View):
        return True
    return answer.position > query.after if isinstance(query, AwaitChange) else _is_settled(answer.value)


def _is_settled(view: order.View) -> bool:
    """Say whether nothing is under way, the end of a refund neither."""
    return view.status != "pending" and (view.status, view.delivery_status) != ("completed", "revoked")
