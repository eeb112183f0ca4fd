"""
Password hashing with Argon2id (RFC 9106) by argon2-cffi, in threads of their own behind a bounded queue.

    Busy (bus.port)    the queue is full
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from marketd.bus.port import Busy

NOBODY: Final = "a password that nobody has"


class Passwords:
    """Hashes and verifies; `memory_kib` and `time_cost` are Argon2's parameters."""

    def __init__(self, *, threads: int, queue_max: int, memory_kib: int, time_cost: int) -> None:
        self._hasher = PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._places = queue_max + threads
        self._waiting = 0
        self._nobodys: str | None = None

    async def prepare(self) -> None:
        """Make the hash that an unknown account's password is compared with, so that the first one takes no longer."""
        self._nobodys = await self.hash(NOBODY)

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Hash a new password."""
        return await self._run(password, None) or ""

    async def verify(self, password: str, hashed: str | None) -> bool:
        """Verify a password; without a hash, take as long and say no."""
        if hashed is None:
            if self._nobodys is None:
                self._nobodys = await self.hash(NOBODY)
            await self._run(password, self._nobodys)
            return False
        return await self._run(password, hashed) is not None

    async def _run(self, password: str, hashed: str | None) -> str | None:
        """Hash a password, or verify it and give back the hash if it matches."""
        if self._waiting >= self._places:
            raise Busy(f"{self._waiting} passwords wait to be hashed")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._work, password, hashed)
        finally:
            self._waiting -= 1

    def _work(self, password: str, hashed: str | None) -> str | None:
        if hashed is None:
            return self._hasher.hash(password)
        try:
            self._hasher.verify(hashed, password)
        except (Argon2Error, InvalidHashError):
            return None
        return hashed
