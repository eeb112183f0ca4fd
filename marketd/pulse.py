"""
The lag of the event loop: how late a timer fires, which delays everything that waits in the loop at least as much.
"""

from typing import Final

from marketd.clock import Clock
from marketd.measures import Histogram

BEAT_S: Final = 0.25


class Pulse:
    """Measures the lag four times a second; `run` it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.late = Histogram()

    async def run(self) -> None:
        """Measure for ever."""
        while True:
            due_s = self._clock.monotonic_s() + BEAT_S
            await self._clock.sleep(BEAT_S)
            self.late.note(max(0.0, self._clock.monotonic_s() - due_s))
