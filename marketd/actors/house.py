"""
Who is awake: finds the one actor of an address, wakes it, and puts it to sleep again.

Every address always exists; being awake only means being in memory. There are `awake_max` places, and the one that was
asked longest ago sleeps first; who has work goes to sleep only after it, and admission bounds how many those are. An
actor takes one, and one more for every `PLACE_BYTES` that its state has collected: so what buyers come to own has a
bound in memory, however old a shop grows. Those that have come to an end, as each order soon does, get a share of the
places and no more: or a stream of orders would push out the products and buyers that the next ones need. Putting an
actor to sleep loses nothing: its stream has everything.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AsyncExitStack
from contextvars import Context
from itertools import chain
from typing import Any, Final, Self

from msgspec import Struct

from marketd.actors.address import Address
from marketd.actors.aggregate import Aggregate
from marketd.actors.runtime import Actor, ActorLimits, Kind
from marketd.bus.port import Answer, Bus, Envelope, NobodyServes, Undecodable
from marketd.bus.subjects import address_of, all_partitions
from marketd.clock import Clock
from marketd.storage.log import EventLog

PLACE_BYTES: Final = 6_000  # of what it has collected; 1,000 more are the actor itself
BULKY_SHARE: Final = 64  # of all places, nobody takes more than one in so many, or nobody else could be awake
RESTING_SHARE: Final = 8  # of all places, one in so many is for those at rest: who has just bought still looks

log = logging.getLogger("marketd.actors")


class HouseLimits(Struct, frozen=True):
    """How many places there are for those awake, and for how long without being asked."""

    awake_max: int = 5_000
    idle_s: float = 300
    sweep_s: float = 30


class House:
    """All awake actors of this process; enter it to let them work, `open` it to let them be asked."""

    def __init__(
        self,
        aggregates: Iterable[Aggregate[Any, Any, Any]],
        events: EventLog,
        clock: Clock,
        limits: HouseLimits,
        actor_limits: ActorLimits,
    ) -> None:
        self._kinds = {aggregate.kind: Kind(aggregate) for aggregate in aggregates}
        self._log, self._clock = events, clock
        self._limits, self._actor_limits = limits, actor_limits
        self._awake: OrderedDict[Address, Actor] = OrderedDict()  # who was asked longest ago comes first, as below
        self._resting: OrderedDict[Address, Actor] = OrderedDict()  # those of them that are at rest
        self._taken = 0  # of the places
        self._is_closing = False
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
        self._sweeper = self._tasks.create_task(self._sweep())
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Finish the turns in hand, and begin none."""
        self._is_closing = True
        self._sweeper.cancel()
        await self._stack.aclose()

    async def open(self, bus: Bus) -> None:
        """Serve the commands of all partitions."""
        for subject in all_partitions():
            await bus.serve(subject, self.handle)

    async def handle(self, subject: str, envelope: Envelope) -> Answer:
        """Let the actor of the subject decide; raise `Refused` or a `BusError`."""
        if self._is_closing:
            raise NobodyServes(f"whoever serves {subject} is closing")
        try:
            actor = self._find(address_of(subject))
        except ValueError:
            raise Undecodable(f"there are no actors at {subject}") from None
        if (answer := actor.answer_at_once(envelope)) is not None:
            return answer
        answered = actor.post(envelope)
        if not actor.is_running:
            actor.is_running = True
            # In a context of its own: it answers others too, not only for who happens to have woken it.
            self._tasks.create_task(self._work(actor), context=Context())
        return await answered

    def statistics(self) -> dict[str, int]:
        """Who is awake, how many places they take, and what waits for them."""
        depths = [actor.statistics()["mailbox_depth"] for actor in self._awake.values()]
        return {
            "awake": len(depths),
            "places": self._taken,
            "mailbox_depth": sum(depths),
            "mailbox_depth_deepest": max(depths, default=0),
        }

    def kinds(self) -> dict[str, Kind]:
        """Each kind of aggregate by its name, with what its actors' turns came to."""
        return dict(self._kinds)

    def _find(self, address: Address) -> Actor:
        actor = self._awake.get(address)
        if actor is None:
            kind = self._kinds.get(address.kind)
            if kind is None or not address.is_sound:
                raise Undecodable(f"there are no actors at {address}")
            self._make_room(1)
            actor = Actor(address, kind, self._log, self._clock, self._actor_limits)
            self._awake[address] = actor
            self._taken += actor.places
        self._awake.move_to_end(address)
        if address in self._resting:
            self._resting.move_to_end(address)
        return actor

    async def _work(self, actor: Actor) -> None:
        await actor.run_turns()
        places = 1 + min(actor.bulk // PLACE_BYTES, self._limits.awake_max // BULKY_SHARE)
        self._taken += places - actor.places
        actor.places = places
        self._resting.pop(actor.address, None)
        if actor.is_at_rest:
            self._resting[actor.address] = actor
        self._make_room(0)

    def _make_room(self, wanted: int) -> None:
        """Put to sleep those asked longest ago until so many places are free, or nobody is left without work."""
        surplus = self._taken + wanted - self._limits.awake_max
        if surplus <= 0:
            return
        is_crowded = len(self._resting) > self._limits.awake_max // RESTING_SHARE
        first = self._resting if is_crowded else {}
        others = (entry for entry in self._awake.items() if entry[0] not in first)
        oldest = (actor for _, actor in chain(first.items(), others) if actor.is_idle)
        leaving = []
        while surplus > 0 and (actor := next(oldest, None)) is not None:
            leaving.append(actor.address)
            surplus -= actor.places
        for address in leaving:
            self._forget(address)

    def _forget(self, address: Address) -> None:
        self._taken -= self._awake.pop(address).places
        self._resting.pop(address, None)

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(self._limits.sweep_s)
            asleep_since = self._clock.monotonic_s() - self._limits.idle_s
            for address, actor in list(self._awake.items()):
                if actor.is_idle and actor.last_turn_s < asleep_since:
                    self._forget(address)
