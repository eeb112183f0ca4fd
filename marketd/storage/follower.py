"""
Follows the log from a checkpoint and keeps what is open: whatever a record has begun here that is not at its end.

The one rule: the checkpoint lies before the first record of everything that is open. So whoever is started again hears
again of all that the last one had not brought to an end, and of little else.
"""

from collections.abc import AsyncGenerator, Container, Mapping
from contextlib import aclosing
from types import MappingProxyType
from typing import NamedTuple

from msgspec import Struct

from marketd.bus.port import Envelope
from marketd.clock import Clock, new_id
from marketd.spans import within
from marketd.storage.log import EventLog, Meta, Recorded
from marketd.storage.unhurried import unhurried
from marketd.trace import Cause, taken_up


class Work(NamedTuple):
    """
    Something that may be open: the record it was first heard of by, and the newest one, as positions; how the newest
    came about; and when the first was written, in ms since the epoch.
    """

    first: int
    newest: int
    meta: Meta
    at: int

    @property
    def cause(self) -> Cause:
        return Cause(self.meta.correlation, self.meta.trace)


def because_of(
    meta: Meta,
    message: Struct,
    clock: Clock,
    *,
    principal: str,
    wait_s_max: float,
    id: str = "",
    at_least: int = 0,
    is_step: bool = False,
) -> Envelope:
    """Make an envelope for what `principal` asks because of a record of this `meta`; `id` is a new one if not given."""
    return Envelope(
        id=id or new_id(clock),
        message=message,
        correlation=meta.correlation,
        deadline=clock.now_ms() + int(wait_s_max * 1000),
        principal=principal,
        trace=within(meta.trace) or taken_up(meta.trace, clock),
        at_least=at_least,
        is_step=is_step,
    )


class Follower:
    """
    One reader of the whole log, by the name of its checkpoint; a checkpoint is kept for so many records. With a clock
    it is unhurried. Where it is told by few types of events, it hears the records with one of those.
    """

    def __init__(
        self,
        events: EventLog,
        name: str,
        *,
        checkpoint_every: int,
        clock: Clock | None = None,
        telling: Container[type] | None = None,
    ) -> None:
        self._log, self._name, self._every, self._clock = events, name, checkpoint_every, clock
        self._telling = telling
        self._open: dict[str, Work] = {}  # in the order of `first`
        self._heard = self._noted = 0
        self.open: Mapping[str, Work] = MappingProxyType(self._open)

    @property
    def heard(self) -> int:
        """The position up to which every record has been taken in."""
        return self._heard

    @property
    def checkpoint(self) -> int:
        """The position that a new start may begin after: before the oldest that is open."""
        oldest = next(iter(self._open.values()), None)
        return oldest.first - 1 if oldest else self._heard

    @property
    def oldest_at(self) -> int | None:
        """When the record was written that began what is open longest; None where nothing is open."""
        return next((work.at for work in self._open.values()), None)

    async def records(self) -> AsyncGenerator[Recorded, None]:
        """Follow the log for ever; a record counts as heard when the next one is asked for."""
        self._heard = self._noted = await self._log.checkpoint(self._name)
        clock, telling = self._clock, self._telling
        following = self._log.tail(self._heard) if clock is None else unhurried(self._log, self._heard, clock)
        async with aclosing(following) as batches:
            async for batch in batches:
                for record in batch:
                    if telling is None or any(type(event) in telling for event in record.commit.events):
                        yield record
                    self._heard = record.position
                self.note()

    def take_up(self, key: str, record: Recorded) -> None:
        """Have it open from the record on; of what is open already, this is the newest."""
        known, commit = self._open.get(key), record.commit
        first, at = (known.first, known.at) if known else (record.position, commit.at)
        self._open[key] = Work(first, record.position, commit.meta, at)

    def close(self, key: str) -> None:
        """Have it at its end."""
        del self._open[key]

    def note(self) -> None:
        """Keep the checkpoint, if it has moved on far enough."""
        if self.checkpoint >= self._noted + self._every:
            self._noted = self.checkpoint
            self._log.offer_checkpoint(self._name, self._noted)
