"""
Replaying: publishes older events from the log again, with the content and the ids that they had.

Live readers see none of it: replayed events go into a stream of their own, for one integrator or for all, or to any
other subject.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from marketd.bus.events import PublicEvent, PublicEvents, encode
from marketd.bus.integrators import Register, filters
from marketd.bus.jetstream import JetStream
from marketd.bus.nats import CarrierLost
from marketd.bus.stream import Message, StreamError
from marketd.bus.subjects import FOR_ALL, REPLAYS, REPLAYS_STREAM
from marketd.clock import Clock, new_id
from marketd.config.codecs import log_codec
from marketd.config.errands import ErrandFailed, carrier_of
from marketd.config.folder import found
from marketd.config.progress import Progress
from marketd.config.relaying import make_stream, source_of
from marketd.config.settings import Settings
from marketd.storage import sqlite
from marketd.storage.records import LogReader


class Target:
    """Where replayed events go: below `market.replay` each has its own subject; else all go to the given one."""

    def __init__(self, to: str) -> None:
        self._to = to.removesuffix(".>")
        self.is_kept = self._to.startswith(f"{REPLAYS}.")
        self.whom = self._to.removeprefix(f"{REPLAYS}.").partition(".")[0] if self.is_kept else None
        first = self._to.partition(".")[0]
        is_sound = all(self._to.split(".")) and not set(self._to) & set(" *>\t\r\n")
        if not is_sound or (not self.is_kept and (first == "market" or first.startswith(("$", "_INBOX")))):
            raise ErrandFailed(f"expected a subject of one's own, or one below {REPLAYS}, but got {to!r}")

    def subject(self, event: PublicEvent) -> str:
        """Give the subject of one event."""
        return f"{self._to}.{event.name}.{event.body.subject}" if self.is_kept else self._to


async def replay(settings: Settings, clock: Clock, since: int, to: str | None, progress: Progress) -> int:
    """Publish the events since a time (ms since the epoch) again; give their number."""
    folder, target = found(Path(settings.data.dir)), Target(to or f"{REPLAYS}.{FOR_ALL}")
    carrier, run = carrier_of(settings), new_id(clock)
    guests = Register(folder.integrators).read() if settings.nats.url is None else []
    if settings.nats.url is None and target.whom not in (None, FOR_ALL, *(one.name for one in guests)):
        raise ErrandFailed(f"there is no integrator {target.whom}: nobody would read {to}")
    count = 0
    try:
        async with AsyncExitStack() as stack:
            log = await stack.enter_async_context(LogReader(folder.events, log_codec(), sqlite.SCHEMA_VERSION))
            stream = make_stream(settings, REPLAYS_STREAM, carrier.url, carrier.user, carrier.password)
            await stack.enter_async_context(stream)
            if target.is_kept:
                await stream.prepare({one.name: filters(one)[REPLAYS_STREAM] for one in guests})
            teller = PublicEvents(log, source_of(settings))
            first, head = await log.before(since), await log.head()
            position = first
            while records := await log.page(position):
                events = [event for record in records for event in await teller.of(record)]
                position = records[-1].position
                messages = [Message(target.subject(e), f"{run}.{e.body.id}", encode(e)) for e in events]
                await _publish(stream, messages, settings.events.window_events_max, target.is_kept)
                count += len(messages)
                progress.tell("events", min(position, head) - first, head - first)
    except CarrierLost as error:
        raise ErrandFailed(str(error)) from None
    except StreamError as error:
        raise ErrandFailed(f"after {count} events: {error}") from None
    return count


async def _publish(stream: JetStream, messages: Sequence[Message], window: int, is_kept: bool) -> None:
    for start in range(0, len(messages), window):
        some = messages[start : start + window]
        if is_kept:
            await stream.publish(some, (await stream.last()).sequence)
        else:
            await stream.tell(some)
