"""
Time, ids and chance: everything that differs from run to run comes from here, as an argument.

Nobody else calls `now()` or `sleep()`, so that a test or a simulation holds the clock.
"""

import asyncio
import os
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What the system may know of time and chance."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00:00Z."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that only ever go forward, from an arbitrary start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let that much time pass."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Bytes that nobody can guess."""
        ...


class SystemClock:
    """The machine's own clock and its own randomness."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random_bytes(self, count: int) -> bytes:
        return os.urandom(count)


def new_id(clock: Clock) -> str:
    """Make a UUIDv7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 bits of chance."""
    chance = int.from_bytes(clock.random_bytes(10), "big")
    high = (clock.now_ms() & 0xFFFF_FFFF_FFFF) << 80
    return str(uuid.UUID(int=high | (0x7 << 76) | (chance & ((1 << 12) - 1)) << 64 | (0b10 << 62) | chance >> 18))


def jittered(clock: Clock, seconds: float) -> float:
    """Shorten a wait by up to a half, by chance, so that those who failed together do not come back together."""
    return seconds * (0.5 + int.from_bytes(clock.random_bytes(2), "big") / 0x2_0000)


def instant(ms: int) -> datetime:
    """Turn milliseconds since the epoch into a time, exactly."""
    return EPOCH + timedelta(milliseconds=ms)
