"""The tally: how often each type of message was served here, how long that took, and how often it failed."""

from dataclasses import dataclass, field
from typing import Final

from marketd.clock import Clock

NS: Final = 1_000_000_000


@dataclass(slots=True)
class Count:
    """The counts of one type of message; the time is in seconds."""

    asked: int = 0
    failed: int = 0
    taken_s: float = 0
    last_error: str = ""


@dataclass(slots=True)
class Tally:
    """Counts by type of message; requests from the same process are counted too."""

    clock: Clock
    counts: dict[type, Count] = field(default_factory=dict)

    def begin(self) -> float:
        """Give the start time to be passed to `end`."""
        return self.clock.monotonic_s()

    def end(self, kind: type, began_s: float, error: str = "") -> None:
        """Count one request; `error` is empty if it was answered or refused."""
        count = self.counts.get(kind)
        if count is None:
            count = self.counts[kind] = Count()
        count.asked += 1
        count.taken_s += self.clock.monotonic_s() - began_s
        if error:
            count.failed += 1
            count.last_error = error
