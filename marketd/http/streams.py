"""
The open event streams: limited in total and per user, each ended with the session of its client.

A caller that passes `check` opens its stream without awaiting anything in between, so the limits hold.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from marketd.http.problems import RETRY_AFTER_S, Overloaded, TooManyRequests
from marketd.http.tokens import Principal


class StreamLimits(Struct, frozen=True):
    """How many streams there may be, and how long one may be silent; see the settings of the same names."""

    streams_max: int = 1000
    user_streams_max: int = 10
    stream_silence_s_max: float = 15


class Streams:
    """All open streams of one application."""

    def __init__(self, limits: StreamLimits) -> None:
        self.limits = limits
        self._open: dict[asyncio.Timeout, Principal] = {}
        self._by_user: Counter[str] = Counter()
        self.is_over = False

    def statistics(self) -> dict[str, int]:
        """How many are open."""
        return {"open": len(self._open)}

    def check(self, principal: Principal) -> None:
        """Check that there is room for one more; raise `Overloaded` or `TooManyRequests`."""
        if len(self._open) >= self.limits.streams_max:
            raise Overloaded("too many event streams are open", retry_after_s=RETRY_AFTER_S)
        if self._by_user[principal.user_id] >= self.limits.user_streams_max:
            told = f"{self.limits.user_streams_max} event streams of yours are open"
            raise TooManyRequests(told, retry_after_s=self.limits.stream_silence_s_max)

    @contextmanager
    def place(self, principal: Principal, timeout: asyncio.Timeout) -> Iterator[None]:
        """Register a stream for the duration of the block; it is ended by its timeout."""
        self._open[timeout] = principal
        self._by_user[principal.user_id] += 1
        try:
            yield
        finally:
            del self._open[timeout]
            self._by_user[principal.user_id] -= 1
            if not self._by_user[principal.user_id]:
                del self._by_user[principal.user_id]

    def end_session(self, session_id: str) -> None:
        """End the streams of a session that has ended."""
        for timeout, principal in self._open.items():
            if principal.session_id == session_id:
                _end(timeout)

    def release(self) -> None:
        """End all streams, for good: the service stops."""
        self.is_over = True
        for timeout in self._open:
            _end(timeout)


def _end(timeout: asyncio.Timeout) -> None:
    if not timeout.expired():
        timeout.reschedule(0)
