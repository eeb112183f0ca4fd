"""
Long polling for a seller's sales: a query is answered when one of the seller's orders is completed or refunded, or at
the time that the caller gave.

All waiting queries are woken together, at most once per `pause_s`, and each then looks for a newer sale of its seller.
So the cost of a busy hour depends on the number of waiting queries, not on the number of sales.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from marketd.actors import order
from marketd.bus.port import Answer, Bus, Busy, Envelope
from marketd.bus.subjects import query_subject
from marketd.clock import Clock
from marketd.storage.earnings import FindNewest, Newest, newest
from marketd.storage.log import Recorded
from marketd.storage.projector import Projector

WAITERS_MAX: Final = 10_000


class AwaitSale(Struct, frozen=True, tag="sale"):
    """Ask for a seller's newest sale: once its position is above `after`, but at `until` (ms) in any case."""

    seller_id: str
    after: int
    until: int


class Tills:
    """Answers `market.query.sale`; `run` it for as long as the service lives."""

    def __init__(self, projector: Projector, clock: Clock, *, pause_s: float) -> None:
        self._projector, self._clock, self._pause_s = projector, clock, pause_s
        self._rung, self._told = asyncio.Event(), asyncio.Event()
        self._waiting = 0
        projector.on_applied(self._listen)

    async def open(self, bus: Bus) -> None:
        """Serve the query."""
        await bus.serve(query_subject(AwaitSale), self._answer)

    def statistics(self) -> dict[str, int]:
        """Give the number of waiting queries."""
        return {"waiting": self._waiting}

    async def run(self) -> None:
        """Wake the waiting queries after sales, for ever."""
        while True:
            await self._rung.wait()
            self._rung.clear()
            self._told.set()
            self._told = asyncio.Event()
            await self._clock.sleep(self._pause_s)

    def _listen(self, batch: Sequence[Recorded]) -> None:
        events = (event for record in batch for event in record.commit.events)
        if self._waiting and any(isinstance(event, order.Completed | order.Refunded) for event in events):
            self._rung.set()

    async def _answer(self, subject: str, envelope: Envelope) -> Answer:
        query = envelope.message
        assert isinstance(query, AwaitSale)
        if self._waiting >= WAITERS_MAX:
            raise Busy(f"{WAITERS_MAX} wait for sales already")
        await self._projector.wait_reached(envelope.at_least)
        self._waiting += 1
        try:
            async with asyncio.timeout((query.until - self._clock.now_ms()) / 1000):
                while True:
                    told = self._told
                    found = await self._newest(query)
                    if found.position > query.after:
                        break
                    await told.wait()
        except TimeoutError:
            found = await self._newest(query)
        finally:
            self._waiting -= 1
        return Answer(found, self._projector.position)

    async def _newest(self, query: AwaitSale) -> Newest:
        found: Newest = await self._projector.read(newest, FindNewest(query.seller_id))
        return found
