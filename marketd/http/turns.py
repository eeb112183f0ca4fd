"""Turns: of those who come under one key, one goes on at a time; the others wait, up to a limit."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from marketd.bus.port import Busy

K = TypeVar("K", str, bytes)


class Turns(Generic[K]):
    """The turns of all keys; `at_once_max` may come under one key, and `what` they are is told to those beyond."""

    def __init__(self, at_once_max: int, what: str) -> None:
        self._at_once_max, self._what = at_once_max, what
        self._turns: dict[K, tuple[asyncio.Lock, int]] = {}

    def __len__(self) -> int:
        return len(self._turns)

    @asynccontextmanager
    async def of(
        self, key: K, wait_s_max: float | None = None, too_late: Callable[[], Exception] = TimeoutError
    ) -> AsyncIterator[None]:
        """Enter the block alone; raise `Busy` where too many wait, and `too_late` after waiting so long."""
        lock, count = self._turns.get(key, (asyncio.Lock(), 0))
        if count >= self._at_once_max:
            raise Busy(f"{count} {self._what} wait already")
        self._turns[key] = (lock, count + 1)
        try:
            await _acquire(lock, wait_s_max, too_late)
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, count = self._turns.pop(key)
            if count > 1:
                self._turns[key] = (lock, count - 1)


async def _acquire(lock: asyncio.Lock, wait_s_max: float | None, too_late: Callable[[], Exception]) -> None:
    try:
        async with asyncio.timeout(wait_s_max):
            await lock.acquire()
    except TimeoutError:
        raise too_late() from None
