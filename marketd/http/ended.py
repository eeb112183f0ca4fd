"""
The sessions that ended recently: an access token is valid by itself, so the end of its session is remembered until the
token expires.

Ends arrive with the records that the read models apply; those from before the start are loaded from a read model. If
that is behind the log, the missing records are read from the log, and `is_behind` holds until then. At most
`sessions_max` are remembered; beyond that, the one that ended first is forgotten.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from marketd.actors.account import SessionEnded
from marketd.clock import Clock
from marketd.storage.log import Recorded
from marketd.storage.people import EndedOnes


class EndedSessions:
    """Knows which sessions have ended within the lifetime of an access token."""

    def __init__(self, clock: Clock, *, access_minutes: int, sessions_max: int) -> None:
        self._heard = self._head = 0  # at the start: the log position of what was loaded, and the head of the log
        self._whole = asyncio.Event()
        self._clock, self._kept_ms, self._sessions_max = clock, access_minutes * 60_000, sessions_max
        self._ended: OrderedDict[str, int] = OrderedDict()
        self._listeners: list[Callable[[str], None]] = []

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._ended

    def __len__(self) -> int:
        return len(self._ended)

    @property
    def since(self) -> int:
        """The time before which an end no longer matters, in ms since the epoch."""
        return self._clock.now_ms() - self._kept_ms

    def on_end(self, listener: Callable[[str], None]) -> None:
        """Call the listener with each session that ends from now on."""
        self._listeners.append(listener)

    @property
    def is_behind(self) -> bool:
        """Say whether sessions that ended before the start may still be missing."""
        return self._heard < self._head

    def take(self, known: EndedOnes, until: int = 0, head: int = 0) -> None:
        """Load the sessions that ended before the start: as of log position `until`, while the log ended at `head`."""
        self._heard, self._head = until, head
        for session_id, at in known.sessions:
            self._note(session_id, at)

    async def catch_up(self, tail: Callable[[int], AsyncGenerator[Sequence[Recorded], None]]) -> None:
        """Read the records between what was loaded and the start, by following the log from a position."""
        if self.is_behind:
            async with aclosing(tail(self._heard)) as batches:
                async for batch in batches:
                    self.on_applied(batch)
                    self._heard = batch[-1].position
                    if not self.is_behind:
                        break
        self._whole.set()

    async def wait_whole(self) -> None:
        """Wait until no session is missing."""
        await self._whole.wait()

    def on_applied(self, batch: Sequence[Recorded]) -> None:
        """Note the sessions that ended in these records."""
        for record in batch:
            for event in record.commit.events:
                if isinstance(event, SessionEnded):
                    self._note(event.session_id, record.commit.at)
                    for listener in self._listeners:
                        listener(event.session_id)

    def _note(self, session_id: str, at: int) -> None:
        since = self.since
        if at <= since:
            return
        self._ended[session_id] = at
        while self._ended and (len(self._ended) > self._sessions_max or next(iter(self._ended.values())) <= since):
            self._ended.popitem(last=False)
