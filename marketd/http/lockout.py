"""
The lockout: who has failed too often in a row must wait, longer each time.

It counts for addresses that have no account just as for those that have one, so that it tells nobody which is which.
It is kept in memory, for at most `accounts_max` of them: a restart gives everybody a fresh start.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

from marketd.bus.port import Busy
from marketd.clock import Clock

ACCOUNTS_MAX: Final = 50_000
WAITING_MAX: Final = 64


class _Failures(NamedTuple):
    in_a_row: int
    locked_until_s: float


class Lockout:
    """Failures in a row, by account key."""

    def __init__(self, clock: Clock, *, failures_max: int, lockout_s: float, lockout_s_max: float) -> None:
        self._clock = clock
        self._failures_max, self._lockout_s, self._lockout_s_max = failures_max, lockout_s, lockout_s_max
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Let one attempt at an account go on at a time: of many at once, each sees how the one before ended."""
        lock, waiting = self._turns.get(key, (asyncio.Lock(), 0))
        if waiting >= WAITING_MAX:
            raise Busy(f"{waiting} attempts at one account wait already")
        self._turns[key] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._turns.pop(key)
            if waiting > 1:
                self._turns[key] = (lock, waiting - 1)

    def wait_s(self, key: str) -> float:
        """Say how long this account has to wait before it may try again; 0 if not at all."""
        known = self._failures.get(key)
        return max(0.0, known.locked_until_s - self._clock.monotonic_s()) if known else 0.0

    def failed(self, key: str) -> None:
        """Count a failure; from the last allowed one on, each locks, twice as long as the one before."""
        count = self._failures.pop(key, _Failures(0, 0)).in_a_row + 1
        beyond = count - self._failures_max
        lock_s = min(self._lockout_s * 2 ** min(beyond, 32), self._lockout_s_max) if beyond >= 0 else 0.0
        self._failures[key] = _Failures(count, self._clock.monotonic_s() + lock_s)
        if len(self._failures) > ACCOUNTS_MAX:
            self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forget the failures."""
        self._failures.pop(key, None)
