"""
The circuit breaker for calls to external services (Nygard, Release It!, 2018, chapter 5).

    closed      calls go through; consecutive failures are counted
    open        after `failures_max` of them calls are rejected for `open_s`
    half-open   then one call at a time may try: if it succeeds the circuit closes, if it fails the circuit opens again

A call that began before the circuit opened is not interrupted: if it succeeds it closes the circuit at once, if it
fails nothing changes but the counts.

    BreakerOpen     the call is rejected
"""

from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

from msgspec import Struct

from marketd.clock import Clock

T = TypeVar("T")

State = Literal["closed", "open", "half-open"]


class BreakerOpen(Exception):
    """The call is rejected, because the circuit is open or another call is trying it."""


class Circuit(Struct, frozen=True, rename="camel"):
    """A breaker as operators see it: its state, and its counts since the start; `refused` calls were rejected."""

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
    """Guards the calls to one external service."""

    def __init__(self, name: str, clock: Clock, *, failures_max: int = 5, open_s: float = 30) -> None:
        self.name, self._clock = name, clock
        self._failures_max, self._open_s = failures_max, open_s
        self._in_row = self._calls = self._failures = self._successes = self._refused = self._opened = 0
        self._closed_again_s: float | None = None
        self._is_probing = False
        self._last_error: str | None = None

    @property
    def state(self) -> State:
        """The current state."""
        if self._closed_again_s is None:
            return "closed"
        return "open" if self._clock.monotonic_s() < self._closed_again_s else "half-open"

    def statistics(self) -> Circuit:
        """Give the state and the counts."""
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
        """Make an open circuit half-open at once, because there is reason to think that a call will succeed."""
        if self._closed_again_s is not None:
            self._closed_again_s = self._clock.monotonic_s()

    async def call(self, work: Callable[[], Awaitable[T]], *failures: type[Exception]) -> T:
        """Do the work, and count these errors as failures; raise `BreakerOpen` if the call is rejected."""
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
        is_open = self._closed_again_s is not None  # so this call began before it opened, and says nothing new
        if probes or (not is_open and self._in_row >= self._failures_max):
            self._opened += 1
            self._closed_again_s = self._clock.monotonic_s() + self._open_s
