"""
Group commit: all writes that arrive during a transaction share the next one.

    Busy (bus.port)                   WAITING_MAX writes wait already
    Unsure (bus.port)                 the caller that wrote for all was cancelled: it may be written, or not
    DiskTrouble (storage.database)
    BreakerOpen (bus.breaker)         the file is behind a circuit breaker, and the breaker is open
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, Protocol

from marketd.bus.breaker import BreakerOpen
from marketd.bus.port import Busy, Unsure
from marketd.storage.database import Connection, StorageError, transaction

WAITING_MAX: Final = 4_096


class _Job:
    """A function that waits for the next transaction, and its outcome."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.function, self.arguments = function, arguments
        self.result: Any = None
        self.error: Exception | None = None
        self.is_done = False


class Runs(Protocol):
    """Runs a function with a file's connection in its thread: a database, or a circuit breaker in front of one."""

    async def run(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        """Give the function's result; raise `StorageError` or `BreakerOpen`."""
        ...


class Together:
    """Runs functions with one file's connection; all that wait share one transaction."""

    def __init__(self, database: Runs) -> None:
        self._database = database
        self._waiting: list[_Job] = []
        self._writing = asyncio.Lock()

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function with the connection, in one transaction with all others that wait; give its result."""
        if len(self._waiting) >= WAITING_MAX:
            raise Busy(f"{len(self._waiting)} wait to be written")
        job = _Job(function, arguments)
        self._waiting.append(job)
        try:
            async with self._writing:
                if not job.is_done:
                    await self._write()
        except asyncio.CancelledError:
            if job in self._waiting:  # a cancelled caller does not expect it to run later
                self._waiting.remove(job)
            raise
        if job.error is not None:
            raise job.error
        return job.result

    async def _write(self) -> None:
        """Run all waiting jobs; an error of the file fails all of them, an error of one function only its own job."""
        jobs, self._waiting = self._waiting, []
        try:
            await self._database.run(in_transaction, _run_all, jobs)
            for job in jobs:
                job.is_done = True
        except (StorageError, BreakerOpen) as trouble:
            for job in jobs:
                job.is_done, job.error = True, trouble
        except Exception:
            await self._write_each(jobs)
        finally:
            for job in jobs:
                if not job.is_done:  # we are cancelled; the database thread goes on
                    job.is_done, job.error = True, Unsure("the write was given up")

    async def _write_each(self, jobs: list[_Job]) -> None:
        for job in jobs:
            try:
                job.result = await self._database.run(in_transaction, job.function, *job.arguments)
            except Exception as error:
                job.error = error
            job.is_done = True


def in_transaction(db: Connection, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function with the connection in a transaction of its own."""
    with transaction(db):
        return function(db, *arguments)


def _run_all(db: Connection, jobs: list[_Job]) -> None:
    for job in jobs:
        job.result = job.function(db, *job.arguments)
