"""
The log in one SQLite file, `events.db`.

One writer takes everything that waits and commits it in one transaction (group commit): one fsync for all. Positions
are given inside that transaction, so readers never see a gap. A record's hash covers its predecessor's.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Self

import msgspec

from marketd.measures import SIZES, Histogram
from marketd.storage.batch import INCOMING, ROWS_MAX, Addition, Batch, End
from marketd.storage.database import Connection, Database, Row, StorageError, transaction
from marketd.storage.log import (
    GENESIS,
    Commit,
    CorruptLog,
    LogCodec,
    LogFull,
    Outcome,
    Recorded,
    Snapshot,
    Unknown,
)
from marketd.storage.recent import Recent
from marketd.storage.records import PAGE_RECORDS_MAX, RECORD, Records

RECENT_BYTES_MAX: Final = 16 * 1024 * 1024  # of what followers find in memory, as it is stored
SCHEMA_VERSION: Final = 2  # since then of what is not counted no unit is sold, which 1 takes for a fault
TABLES: Final = """
    CREATE TABLE streams(
        id INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        version INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE commits(
        position INTEGER PRIMARY KEY,
        stream INTEGER NOT NULL REFERENCES streams(id),
        version INTEGER NOT NULL,
        command_id TEXT NOT NULL,
        at INTEGER NOT NULL,
        events TEXT NOT NULL,
        reply TEXT NOT NULL,
        meta TEXT NOT NULL,
        hash BLOB NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX commits_by_version ON commits(stream, version);
    CREATE UNIQUE INDEX commits_by_command ON commits(stream, command_id);
    CREATE TABLE snapshots(
        stream TEXT PRIMARY KEY,
        version INTEGER NOT NULL,
        position INTEGER NOT NULL,
        fingerprint TEXT NOT NULL,
        state BLOB NOT NULL,
        checksum BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE checkpoints(name TEXT PRIMARY KEY, position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""
WAKE: Final = """
    SELECT s.id, s.version, n.stream, n.version, n.position, n.fingerprint, n.state, n.checksum
    FROM streams s LEFT JOIN snapshots n ON n.stream = s.name AND n.fingerprint = ? WHERE s.name = ?
"""


class _Append(NamedTuple):
    addition: Addition
    done: asyncio.Future[Outcome]


class _Notes(NamedTuple):
    """What is kept when there is time."""

    snapshots: dict[str, Snapshot]
    checkpoints: dict[str, int]


class SqliteLog:
    """The log of one data directory; enter it to open the file, check its end, and start the writer."""

    def __init__(
        self,
        path: Path,
        codec: LogCodec,
        *,
        batch_commits_max: int = 512,
        queue_commits_max: int = 10_000,
        recent_commits_max: int = 4_096,
        check_commits: int = 5_000,
    ) -> None:
        self._codec, self._records = codec, Records(codec)
        self._writer = Database(path, SCHEMA_VERSION, TABLES)
        self._reader = Database(path, SCHEMA_VERSION, TABLES, read_only=True)
        self._batch_commits_max, self._queue_commits_max = batch_commits_max, queue_commits_max
        self._recent_commits_max, self._check_commits = recent_commits_max, check_commits
        self._queue: deque[_Append] = deque()
        self._in_hand: list[_Append] = []
        self._queued_commits = 0
        self._notes = _Notes({}, {})
        self._work = asyncio.Event()
        self._closing = False
        self._trouble: str | None = None
        self._batches = self._batched_commits = self._failed_batches = 0
        self.batch_commits, self.batch_times = Histogram(SIZES), Histogram()
        self.events: Counter[str] = Counter()  # appended since the start, by their stored names
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with self._stack:
            await self._stack.enter_async_context(self._writer)
            await self._stack.enter_async_context(self._reader)
            await self._writer.run(_make_way)
            self._end = await self._reader.run(self._check_end)
            limits = {"records_max": self._recent_commits_max, "bytes_max": RECENT_BYTES_MAX}
            self._recent = Recent(self._end.position, **limits)
            tasks = await self._stack.enter_async_context(asyncio.TaskGroup())
            tasks.create_task(self._write())
            self._stack = self._stack.pop_all()
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Write what waits, then close."""
        self._closing = True
        self._work.set()
        await self._stack.aclose()

    @property
    def head(self) -> int:
        return self._recent.head

    @property
    def trouble(self) -> str | None:
        """Why the last batch could not be written, or None if it was."""
        return self._trouble

    def statistics(self) -> dict[str, int]:
        """Counts since the start, and what waits."""
        return {
            "head": self.head,
            "queued_commits": self._queued_commits,
            "batches": self._batches,
            "batched_commits": self._batched_commits,
            "failed_batches": self._failed_batches,
        }

    async def append(self, stream: str, expected_version: int, commits: Sequence[Commit]) -> Outcome:
        if self._queued_commits + len(commits) > self._queue_commits_max:
            raise LogFull(f"{self._queued_commits} commits wait to be written")
        if self._closing:
            raise LogFull("the log is closing")
        written = [self._codec.encode(commit) for commit in commits]
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._queue.append(_Append(Addition(stream, expected_version, commits, written), done))
        self._queued_commits += len(commits)
        self._work.set()
        return await done

    async def read(self, stream: str, after_version: int = 0, until_version: int | None = None) -> list[Recorded]:
        return await self._reader.run(self._records.of_stream, stream, after_version, until_version)

    async def find(self, stream: str, command_id: str) -> Recorded | None:
        return await self._reader.run(self._find, stream, command_id)

    async def wake(self, stream: str, fingerprint: str) -> tuple[Snapshot | None, list[Recorded]]:
        return await self._reader.run(self._read_wake, stream, fingerprint)

    async def tail(self, after: int) -> AsyncGenerator[Sequence[Recorded], None]:
        while True:
            await self._recent.wait_beyond(after)
            batch = self._recent.since(after, PAGE_RECORDS_MAX)
            if batch is None:
                batch = await self._reader.run(self._records.page, after)
                if not batch:
                    raise CorruptLog(f"there is no record at position {after + 1}")
            after = batch[-1].position
            yield batch

    def offer_snapshot(self, snapshot: Snapshot) -> None:
        self._notes.snapshots[snapshot.stream] = snapshot
        self._work.set()

    async def checkpoint(self, name: str) -> int:
        rows = await self._reader.run(_fetch, "SELECT position FROM checkpoints WHERE name = ?", name)
        return int(rows[0][0]) if rows else 0

    def offer_checkpoint(self, name: str, position: int) -> None:
        self._notes.checkpoints[name] = position
        self._work.set()

    # The writer.

    async def _write(self) -> None:
        try:
            while not self._closing or self._queue:
                await self._work.wait()
                self._work.clear()
                while self._queue or any(self._notes):
                    await self._write_batch()
        finally:  # also where a defect ends us: nobody must wait for a writer that is gone
            self._closing = True
            left = [*self._in_hand, *self._queue]
            self._queue.clear()
            _settle(left, [Unknown("the log's writer has ended")] * len(left))

    async def _write_batch(self) -> None:
        self._in_hand = batch = self._take_batch()
        notes, self._notes = self._notes, _Notes({}, {})
        began_s = asyncio.get_running_loop().time()
        additions = [append.addition for append in batch]
        try:
            outcomes, added = await self._writer.run(self._commit_batch, additions, notes)
            records, self._end = added.added, added.end
        except StorageError as error:
            self._trouble = str(error)
            self._failed_batches += 1
            outcomes, added, records = [Unknown(str(error))] * len(batch), None, []
        else:
            self._trouble = None
            self._batches += 1
            self._batched_commits += len(records)
            self._measure(records, asyncio.get_running_loop().time() - began_s)
        self._recent.add(records, added.added_bytes if added else 0)
        _settle(batch, outcomes)

    def _measure(self, records: Sequence[Recorded], seconds: float) -> None:
        if not records:
            return
        self.batch_commits.note(len(records))
        self.batch_times.note(seconds)
        for record in records:
            for event in record.commit.events:
                self.events[type(event).__struct_config__.tag] += 1

    def _take_batch(self) -> list[_Append]:
        """Take what waits; of appends to one stream, which only two owners of an actor can make, the first."""
        batch: dict[str, _Append] = {}
        commits = 0
        while self._queue and commits < self._batch_commits_max and self._queue[0].addition.stream not in batch:
            append = self._queue.popleft()
            batch[append.addition.stream] = append
            commits += len(append.addition.commits)
        self._queued_commits -= commits
        return list(batch.values())

    def _commit_batch(
        self, db: Connection, additions: list[Addition], notes: _Notes
    ) -> tuple[list[Outcome | CorruptLog], Batch]:
        """Write everything in one transaction. Runs in the writer's thread."""
        batch = Batch(self._end, self._records)
        commits = sum(len(addition.commits) for addition in additions)
        if commits <= ROWS_MAX and not any(notes):  # one statement is a transaction by itself
            return batch.write(db, additions), batch
        with transaction(db):
            outcomes = batch.write(db, additions)
            _keep(db, notes)
        return outcomes, batch

    # The readers.

    def _check_end(self, db: Connection) -> End:
        """Walk the newest records and say where they end."""
        (head,) = db.execute("SELECT coalesce(max(position), 0) FROM commits").fetchone()
        after = max(0, head - self._check_commits)
        while page := self._records.page(db, after):
            after = page[-1].position
        if after != head:
            raise CorruptLog(f"there is no record at position {after + 1}")
        ((newest,),) = db.execute("SELECT hash FROM commits WHERE position = ?", (head,)).fetchall() or ((GENESIS,),)
        (streams,) = db.execute("SELECT coalesce(max(id), 0) FROM streams").fetchone()
        return End(head, newest, streams)

    def _read_wake(self, db: Connection, stream: str, fingerprint: str) -> tuple[Snapshot | None, list[Recorded]]:
        row = db.execute(WAKE, (fingerprint, stream)).fetchone()
        if row is None:
            return None, []
        stream_id, newest, *columns, checksum = row
        kept = Snapshot(*columns) if checksum is not None else None
        snapshot = kept if kept and _checksum(kept) == checksum else None
        after = snapshot.version if snapshot else 0
        return snapshot, self._records.versions(db, stream, stream_id, after, newest)

    def _find(self, db: Connection, stream: str, command_id: str) -> Recorded | None:
        where = "WHERE c.stream = (SELECT id FROM streams WHERE name = ?) AND c.command_id = ?"
        row = db.execute(f"{RECORD} {where}", (stream, command_id)).fetchone()
        return self._records.decode(row) if row else None


def _settle(appends: Sequence[_Append], outcomes: Sequence[Outcome | CorruptLog]) -> None:
    """Tell those who still wait what became of it; the caller of one may have been cancelled."""
    for append, outcome in zip(appends, outcomes, strict=True):
        if append.done.done():
            continue
        if isinstance(outcome, CorruptLog):
            append.done.set_exception(outcome)
        else:
            append.done.set_result(outcome)


def _fetch(db: Connection, sql: str, *parameters: object) -> list[Row]:
    return db.execute(sql, parameters).fetchall()


def _checksum(snapshot: Snapshot) -> bytes:
    return sha256(msgspec.msgpack.encode(snapshot)).digest()


def _make_way(db: Connection) -> None:
    db.executescript(INCOMING)


def _keep(db: Connection, notes: _Notes) -> None:
    for s in notes.snapshots.values():
        row = (s.stream, s.version, s.position, s.fingerprint, s.state, _checksum(s))
        db.execute("INSERT OR REPLACE INTO snapshots VALUES(?,?,?,?,?,?)", row)
    for checkpoint in notes.checkpoints.items():
        db.execute("INSERT OR REPLACE INTO checkpoints VALUES(?,?)", checkpoint)
