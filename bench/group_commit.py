"""
The reference for what is durable: SQLite alone, one table, one writer that commits all that waits in one transaction.

It has the journal and the fsync that the log has, and nothing else: no streams, no versions, no hash, no readers.
"""

import asyncio
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import NamedTuple


class Shape(NamedTuple):
    """What one purchase leaves in a log: so many records, one after the other, of so many bytes each."""

    records: int
    record_bytes: int


def shape_of(log: Path, after: int, purchases: int) -> Shape:
    """Look at what the records after a position take, where all of them are of so many purchases."""
    columns = "length(command_id) + length(events) + length(reply) + length(meta) + length(hash)"
    with closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as db:
        count, total = db.execute(
            f"SELECT count(*), sum({columns}) FROM commits WHERE position > ?", (after,)
        ).fetchone()
    return Shape(round(count / purchases), round(total / count))


def head_of(log: Path) -> int:
    """Give a log's last position."""
    with closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT coalesce(max(position), 0) FROM commits").fetchone()[0])


async def raw_purchases(path: Path, shape: Shape, *, writers: int, seconds: float) -> float:
    """Let so many write at once what purchases leave, each record when the one before is durable; give the rate."""
    waiting: list[tuple[bytes, asyncio.Future[None]]] = []
    work, end, made = asyncio.Event(), time.perf_counter() + seconds, 0
    begun = time.perf_counter()

    async def purchase() -> None:
        nonlocal made
        while time.perf_counter() < end:
            for _ in range(shape.records):
                done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                waiting.append((os.urandom(shape.record_bytes), done))
                work.set()
                await done
            made += 1

    async def write() -> None:
        loop = asyncio.get_running_loop()
        while True:
            await work.wait()
            work.clear()
            batch, waiting[:] = list(waiting), []
            await loop.run_in_executor(thread, _commit, db, [body for body, _ in batch])
            for _, done in batch:
                done.set_result(None)

    with ThreadPoolExecutor(1) as thread, closing(sqlite3.connect(path, check_same_thread=False)) as db:
        db.isolation_level = None
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE IF NOT EXISTS records(position INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT")
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(write())
            async with asyncio.TaskGroup() as buyers:
                for _ in range(writers):
                    buyers.create_task(purchase())
            passed_s = time.perf_counter() - begun
            writing.cancel()
    return made / passed_s


def _commit(db: sqlite3.Connection, bodies: list[bytes]) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO records(body) VALUES(?)", ((body,) for body in bodies))
    db.execute("COMMIT")
