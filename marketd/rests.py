"""
Waits before a retry, and waits that can be interrupted.

    jittered        a random wait, so that clients that failed together do not retry together
    BackOff         waits that grow, for retrying until it works
    Interruptible   a block that runs until it is done or interrupted
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from marketd.clock import Clock


def jittered(clock: Clock, seconds: float) -> float:
    """Shorten a wait by up to a half, at random."""
    return seconds * (0.5 + int.from_bytes(clock.random_bytes(2), "big") / 0x2_0000)


class BackOff:
    """Waits that begin with `first_s` seconds and double up to `longest_s`; each is shortened at random."""

    def __init__(self, clock: Clock, first_s: float, longest_s: float) -> None:
        self._clock, self._first_s, self._longest_s = clock, first_s, longest_s
        self.next_s = first_s

    def reset(self) -> None:
        """Begin again with the shortest wait."""
        self.next_s = self._first_s

    async def rest(self) -> None:
        """Wait `next_s` at most; the next wait is longer, whether or not this one is interrupted."""
        seconds, self.next_s = self.next_s, min(self.next_s * 2, self._longest_s)
        await self._clock.sleep(jittered(self._clock, seconds))


class Interruptible:
    """`async with it.going():` runs the block until it is done or `interrupt` is called; one block at a time."""

    def __init__(self) -> None:
        self._timeout: asyncio.Timeout | None = None

    @asynccontextmanager
    async def going(self) -> AsyncIterator[None]:
        """Run the block, and end it without an error on `interrupt`; a `TimeoutError` of the block's own is raised."""
        assert self._timeout is None, "one at a time"
        timeout = self._timeout = asyncio.timeout(None)
        try:
            async with timeout:
                yield
        except TimeoutError:
            if not timeout.expired():
                raise
        finally:
            self._timeout = None

    def interrupt(self) -> None:
        """End the block that is running, if there is one."""
        timeout, self._timeout = self._timeout, None
        if timeout is not None:
            timeout.reschedule(0)
