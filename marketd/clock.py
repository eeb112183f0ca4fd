"""
Time, ids and chance: everything that differs from run to run comes from here, as an argument.

No other module calls `now()` or `sleep()`, so that a test or a simulation controls the clock.
"""

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Protocol

from msgspec import Meta

HOUR_MS: Final = 60 * 60 * 1000
DAY_MS: Final = 24 * HOUR_MS
CHANCE_BYTES: Final = 4_096
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Instant = Annotated[datetime, Meta(tz=True)]  # a time with its UTC offset; `instant` makes them


class Clock(Protocol):
    """The source of time and chance."""

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


COUNTED: Final = 12  # the digits of an id that are counted up


class SystemClock:
    """The machine's own clock and its own randomness, which is fetched in advance: a call to the kernel costs 10 µs."""

    _chance = b""
    _used = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    monotonic_s = staticmethod(time.monotonic)  # called many times for each request, so without a call between

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random_bytes(self, count: int) -> bytes:
        if self._used + count > len(self._chance):
            self._chance, self._used = os.urandom(max(CHANCE_BYTES, count)), 0
        self._used += count
        return self._chance[self._used - count : self._used]


def new_id(clock: Clock) -> str:
    """Make a UUIDv7 (RFC 9562, section 5.7): 48 bits of Unix milliseconds, then 74 bits of chance."""
    return id_of(clock.now_ms(), clock.random_bytes(10))


def id_of(ms: int, drawn: bytes) -> str:
    """Make a UUIDv7 from a time and ten random bytes, the same each time."""
    time, chance = f"{ms:012x}", drawn[:10].hex()
    variant = "89ab"[drawn[1] & 0b11]
    return f"{time[:8]}-{time[8:]}-7{chance[:3]}-{variant}{chance[4:7]}-{chance[7:19]}"


class Ids:
    """
    Makes UUIDv7 for what needs many, and may be guessed: within a millisecond they count up from a random start (RFC
    9562, section 6.2), which takes a fifth of the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ms, self._begin, self._count = -1, "", 0

    def make(self) -> str:
        """Make the next id."""
        ms = self._clock.now_ms()
        if ms != self._ms:
            first = new_id(self._clock)
            self._ms, self._begin, self._count = ms, first[:-COUNTED], int(first[-COUNTED:], 16) >> 1  # room to count
        self._count += 1
        return f"{self._begin}{self._count:012x}"


def made_at(text: str) -> int:
    """Say when an id was made, in ms since the epoch: a UUIDv7 begins with it."""
    return int(text[:8] + text[9:13], 16)


def pack_id(text: str) -> bytes:
    """Write an id as its 16 bytes."""
    return bytes.fromhex(text.replace("-", ""))


def unpack_id(packed: bytes) -> str:
    """Write an id of 16 bytes as text."""
    digits = packed.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def instant(ms: int) -> Instant:
    """Turn milliseconds since the epoch into a time, exactly."""
    return EPOCH + timedelta(milliseconds=ms)


def ms_of(time: datetime) -> int:
    """Turn a time into the milliseconds since the epoch that it was made of."""
    return (time - EPOCH) // timedelta(milliseconds=1)
