"""One actor on a watched log, asked by hand."""

import asyncio
from typing import Any

from msgspec import Struct

from marketd.actors import product
from marketd.actors.address import Address
from marketd.actors.aggregate import Aggregate
from marketd.actors.money import Money
from marketd.actors.product import PRODUCT, File, List, Offer, Reserve, Reserved
from marketd.actors.runtime import Actor, ActorLimits, Kind
from marketd.bus.port import Answer, Envelope
from marketd.storage.log import Commit, Done, Meta, Snapshot
from tests.actors.watched import WatchedLog
from tests.clock import TestClock

OFFER = Offer("Serif", "A typeface.", Money(1999, "USD"), "fonts", (File("f", "font/ttf", 9, "upload://f"),))
P1 = Address("product", "p1")


def listing(stock: int | None = None, keys: tuple[str, ...] = ()) -> List:
    return List("sue", OFFER, stock, keys, 1)


def description(stock: int | None = None, *, offer: Offer = OFFER, updated_at: int = 1) -> product.Description:
    return product.Description("sue", offer, stock, True, 1, updated_at)


class Desk:
    """The actor of one product, and whoever asks it."""

    def __init__(
        self, log: WatchedLog, clock: TestClock, limits: ActorLimits, aggregate: Aggregate[Any, Any, Any] = PRODUCT
    ) -> None:
        self.log, self.clock, self.limits, self.kind = log, clock, limits, Kind(aggregate)
        self.actor = Actor(P1, self.kind, log, clock, limits)

    def sleep(self) -> None:
        """Let the actor sleep, and another one wake at its address."""
        self.actor = Actor(P1, self.kind, self.log, self.clock, self.limits)

    def envelope(
        self, message: Struct, command_id: str, *, wait_s: float = 10, is_step: bool = False, at_least: int = 0
    ) -> Envelope:
        deadline = self.clock.now_ms() + int(wait_s * 1000)
        return Envelope(command_id, message, "r1", deadline, is_step=is_step, at_least=at_least)

    async def tell(self, *envelopes: Envelope) -> list[Answer | BaseException]:
        """Post all of them, let the actor work, and collect what each sender gets."""
        answers = [self.actor.post(envelope) for envelope in envelopes]
        await self.actor.run_turns()
        return await asyncio.gather(*answers, return_exceptions=True)

    async def ask(
        self, message: Struct, command_id: str, *, is_step: bool = False, at_least: int = 0
    ) -> Answer | BaseException:
        """Ask one thing."""
        (answer,) = await self.tell(self.envelope(message, command_id, is_step=is_step, at_least=at_least))
        return answer

    async def intrude(self, order_id: str) -> None:
        """Reserve a unit behind the actor's back, as another owner of its address would."""
        version = len(await self.log.read(str(P1)))
        commit = Commit(f"x-{order_id}", 1, (Reserved(order_id, None),), Done(product.Reservation(None)), Meta())
        await self.log.append(str(P1), version, [commit])

    def snapshot(self, state: product.State, fingerprint: str) -> Snapshot:
        """What the actor's state would be kept as after one record."""
        return Snapshot(str(P1), 1, 1, fingerprint, self.kind.pack(state))

    async def stored_events(self) -> list[object]:
        """Everything that is in the actor's stream."""
        return [event for record in await self.log.read(str(P1)) for event in record.commit.events]

    def reserve(self, n: int, *, is_step: bool = True) -> Envelope:
        """The step of the n-th order."""
        return self.envelope(Reserve(f"o{n}"), f"o{n}:UpdateInventory", is_step=is_step)
