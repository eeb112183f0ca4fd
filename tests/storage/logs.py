"""The logs that the storage tests run against, and what they look for in them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from pathlib import Path

from marketd.config.codecs import log_codec
from marketd.storage.log import EventLog, Recorded
from marketd.storage.memory import MemoryLog
from marketd.storage.sqlite import SqliteLog

LogMaker = Callable[[], AbstractAsyncContextManager[EventLog]]


def sqlite_log(
    folder: Path,
    *,
    batch_commits_max: int = 512,
    queue_commits_max: int = 10_000,
    recent_commits_max: int = 4_096,
    check_commits: int = 5_000,
) -> SqliteLog:
    return SqliteLog(
        folder / "events.db",
        log_codec(),
        batch_commits_max=batch_commits_max,
        queue_commits_max=queue_commits_max,
        recent_commits_max=recent_commits_max,
        check_commits=check_commits,
    )


def logs(folder: Path) -> dict[str, LogMaker]:
    """All logs there are; the forgetful one has to read what its followers want from the file."""

    @asynccontextmanager
    async def memory() -> AsyncIterator[EventLog]:
        yield MemoryLog(log_codec())

    return {
        "memory": memory,
        "sqlite": lambda: sqlite_log(folder),
        "sqlite-forgetful": lambda: sqlite_log(folder, recent_commits_max=3),
    }


async def followed(log: EventLog, after: int, until: int) -> list[Recorded]:
    """Follow a log from one position to another."""
    records: list[Recorded] = []
    async with asyncio.timeout(10), aclosing(log.tail(after)) as batches:
        async for batch in batches:
            records += batch
            if records[-1].position >= until:
                break
    return records


def positions(records: list[Recorded]) -> list[int]:
    return [record.position for record in records]


def ids(records: list[Recorded]) -> list[str]:
    return [record.commit.command_id for record in records]
