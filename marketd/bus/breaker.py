"""
The circuit breaker that stands before everything outside (Nygard, Release It!, 2018, chapter 5).

    closed      calls go through; failures in a row are counted
    open        after `failures_max` of them nobody is let through for `open_s`
    half-open   then one call may try: if it succeeds the breaker closes, if it fails it opens again

    BreakerOpen     nobody is let through now
"""

from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from msgspec import Struct

from marketd.clock import Clock

T = TypeVar("T")

State = Literal["closed", "open", "half-open"]


class BreakerOpen(Exception):
    """Nobody is let through now."""


class Circuit(Struct, frozen=True, rename="camel"):
    """A breaker as operators see it: its state and its counts since the start; `refused` were not let through."""

    name: str
    state: State
    failures_in_row: int
    calls: int
    failures: int
    refused: int
    opened: int
    last_error: str | None
    successes: int


class Breaker:
    """Stands before one thing outside."""

    def __init__(self, name: str, clock: Clock, *, failures_max: int = 5, open_s: float = 30) -> None:
        self.name, self._clock = name, clock
        self._failures_max, self._open_s = failures_max, open_s
        self._in_row = self._calls = self._failures = self._successes = self._refused = self._opened = 0
        self._closed_again_s: float | None = None
        self._is_probing = False
        self._last_error: str | None = None

    @property
    def state(self) -> State:
        """What it does now."""
        if self._closed_again_s is None:
            return "closed"
        return "open" if self._clock.monotonic_s() < self._closed_again_s else "half-open"

    def statistics(self) -> Circuit:
        """State and counts."""
        return Circuit(
            self.name,
            self.state,
            self._in_row,
            self._calls,
            self._failures,
            self._refused,
            self._opened,
            self._last_error,
            self._successes,
        )

    def probe(self) -> None:
        """Let the next call try at once: there is reason to think that it will succeed."""
        if self._closed_again_s is not None:
            self._closed_again_s = self._clock.monotonic_s()

    async def call(self, work: Callable[[], Awaitable[T]], *failures: type[Exception]) -> T:
        """Do it and count how it ends, by these errors; raise `BreakerOpen` if nobody is let through."""
        state = self.state
        if state == "open" or (state == "half-open" and self._is_probing):
            self._refused += 1
            raise BreakerOpen(f"{self.name}: {self._last_error}")
        probes = state == "half-open"
        self._is_probing = self._is_probing or probes
        self._calls += 1
        try:
            done = await work()
        except failures as error:
            self._failed(error, probes=probes)
            raise
        finally:
            self._is_probing = self._is_probing and not probes
        self._successes += 1
        self._in_row, self._closed_again_s = 0, None
        return done

    def _failed(self, error: Exception, *, probes: bool) -> None:
        self._failures += 1
        self._in_row += 1
        self._last_error = f"{type(error).__name__}: {error}"
        is_open = self._closed_again_s is not None  # and this one had begun before: it says nothing new
        if probes or (not is_open and self._in_row >= self._failures_max):
            self._opened += 1
            self._closed_again_s = self._clock.monotonic_s() + self._open_s
