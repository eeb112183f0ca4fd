"""
The relay: follows the log and publishes what is public in the stream of events.

The one rule: what it has published, the stream itself says. It goes on after the last event that it finds there, and
every event has to follow the one before it; after any failure, and when the server was away, it looks again. So neither
a crash between publishing and noting, nor a second relay, nor a server that has lost its newest messages with the
power, puts one in twice or leaves one out. Only where the stream's last event is not there any more (all are too old)
is it a checkpoint that says where to go on, which may be a little old. A stream that never had a message gets all that
it would still keep.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from msgspec import Struct

from marketd.bus.events import PublicEvent, PublicEvents, encode, position_of
from marketd.bus.stream import EventStream, Message, StreamAway, StreamError, StreamRepeated
from marketd.clock import Clock
from marketd.rests import BackOff, Interruptible
from marketd.storage.log import EventLog, Recorded
from marketd.storage.unhurried import unhurried

CHECKPOINT: Final = "relay"

log = logging.getLogger("marketd.events")


class RelayLimits(Struct, frozen=True):
    """How many events go out before their answers are waited for; the pauses before it is tried again, in seconds."""

    window_events_max: int = 128
    retry_s: float = 0.2
    retry_s_max: float = 2
    checkpoint_every: int = 256
    keep_s: float = 30 * 86_400


class _Place(NamedTuple):
    """
    Where to go on: after this record; of the next one, after so many events; after that number in the stream. What was
    written before `since` (ms since the epoch) is too old.
    """

    position: int
    skipped: int
    sequence: int
    since: int = 0


class Relay:
    """Follows the log; run it for as long as the service lives. `prepare` sees to it that the stream is there."""

    def __init__(
        self,
        events: EventLog,
        stream: EventStream,
        source: str,
        prepare: Callable[[], Awaitable[None]],
        clock: Clock,
        limits: RelayLimits,
    ) -> None:
        self._log, self._stream, self._source, self._clock = events, stream, source, clock
        self._prepare, self._limits = prepare, limits
        self._position = self._noted = self._published = 0
        self._trouble: str | None = None
        self._refused_since_s: float | None = None
        self._following = Interruptible()

    @property
    def trouble(self) -> str | None:
        """What keeps events from going out, if anything does."""
        return self._trouble

    @property
    def refused_s(self) -> float:
        """For how many seconds the stream has answered and taken nothing; 0 where it takes what comes, or is away."""
        return 0.0 if self._refused_since_s is None else self._clock.monotonic_s() - self._refused_since_s

    def statistics(self) -> dict[str, int]:
        """The position up to which all is published, how far that is behind, and how many events went out."""
        behind = self._log.head - self._position
        return {"position": self._position, "behind": behind, "published": self._published}

    async def run(self) -> None:
        """Follow the log for ever; whoever sells does not wait for it."""
        self._stream.on_back(self._look_again)
        waits = BackOff(self._clock, self._limits.retry_s, self._limits.retry_s_max)
        while True:
            published = self._published
            try:
                async with self._following.going():  # until `_look_again` interrupts it
                    await self._follow()
            except StreamError as error:
                if self._trouble is None:
                    log.warning("public events wait in the log: %s", error)
                self._trouble = str(error)
                if isinstance(error, StreamAway):
                    self._refused_since_s = None
                elif self._refused_since_s is None:
                    self._refused_since_s = self._clock.monotonic_s()
            except Exception as error:  # a defect, or a log that can't be read: it must not stop who sells
                if self._trouble is None:
                    log.exception("public events wait in the log, after position %d", self._position)
                self._trouble = f"{type(error).__name__}: {error}"
            if self._published > published:
                waits.reset()
            await waits.rest()

    def _look_again(self) -> None:
        """Find the place anew: also where nothing more is to be published that would show what is lost."""
        self._following.interrupt()

    async def _follow(self) -> None:
        if not self._position:  # so that who looks sees how far it came before
            self._position = min(await self._log.checkpoint(CHECKPOINT), self._log.head)
        await self._prepare()
        teller = PublicEvents(self._log, self._source)
        place = await self._find_place(teller)
        self._position = place.position
        if self._position == self._log.head:  # nothing is left that would show whether it is taken
            self._go_on_well()
        sequence, skipped = place.sequence, place.skipped
        waiting: list[PublicEvent] = []
        async with aclosing(unhurried(self._log, place.position, self._clock)) as batches:
            async for batch in batches:
                for record in batch:
                    if record.commit.at >= place.since:
                        waiting += (await teller.of(record))[skipped:]
                    skipped = 0
                    if len(waiting) >= self._limits.window_events_max:
                        sequence, waiting = await self._publish(waiting, sequence), []
                        self._come_to(record)
                sequence, waiting = await self._publish(waiting, sequence), []
                self._come_to(batch[-1])

    async def _publish(self, events: Sequence[PublicEvent], sequence: int) -> int:
        """Publish them after that number, but those that were in it before; give the number of the last."""
        messages = [Message(event.subject, event.body.id, encode(event)) for event in events]
        while messages:
            try:
                await self._stream.publish(messages, sequence)
                taken, messages = len(messages), []
            except StreamRepeated as repeated:  # which its operator has removed since, or another relay has published
                taken, messages = repeated.taken, messages[repeated.taken + 1 :]
            sequence += taken
            self._published += taken
        return sequence

    def _go_on_well(self) -> None:
        """Note that the stream takes what it is sent."""
        if self._trouble is not None:
            log.info("public events go out again, up to position %d of the log", self._position)
        self._trouble = self._refused_since_s = None

    def _come_to(self, record: Recorded) -> None:
        self._position = record.position
        self._go_on_well()
        if self._position >= self._noted + self._limits.checkpoint_every:
            self._noted = self._position
            self._log.offer_checkpoint(CHECKPOINT, self._noted)

    async def _find_place(self, teller: PublicEvents) -> _Place:
        """Go on after the stream's last event; where that is not there or not ours, after the checkpoint."""
        self._noted = min(await self._log.checkpoint(CHECKPOINT), self._log.head)
        last = await self._stream.last()
        if last.sequence == 0:
            return _Place(0, 0, 0, self._clock.now_ms() - int(self._limits.keep_s * 1000))
        position = position_of(last.id or "")
        if position is not None and position <= self._log.head:
            record = await self._record(position)
            ids = [event.body.id for event in await teller.of(record)]
            if last.id in ids:
                return _Place(position - 1, ids.index(last.id) + 1, last.sequence)
        if last.id is not None:
            log.warning("the last public event, %s, is of another history: going on after %d", last.id, self._noted)
        return _Place(self._noted, 0, last.sequence)

    async def _record(self, position: int) -> Recorded:
        async with aclosing(self._log.tail(position - 1)) as batches:
            return (await anext(batches))[0]
