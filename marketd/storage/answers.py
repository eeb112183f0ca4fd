"""
The first responses to requests with an Idempotency-Key, in a file of their own: `answers.db`.

The one rule: a request is recorded before it is executed, and its response before it is sent. Each of the two is one
fsync, shared by all writes that wait. So after a crash the file holds either the response or the time of the start.

Requests, owners and fingerprints are stored as digests, and responses encrypted: nothing here can be read without the
idempotency key.

    Busy (bus.port)                   the queue of writes is full
    Unsure (bus.port)                 the shared write was cancelled: the record may be stored or not
    DiskTrouble (storage.database)
"""

import logging
from pathlib import Path
from typing import Final, Self

from msgspec import Struct

from marketd.clock import Clock
from marketd.storage.database import Connection, Database, StorageError
from marketd.storage.together import Together, in_transaction

SCHEMA_VERSION: Final = 1
TABLES: Final = """
    CREATE TABLE answers (
        request BLOB PRIMARY KEY,
        owner BLOB NOT NULL,
        begun_at INTEGER NOT NULL,
        fingerprint BLOB NOT NULL,
        answer BLOB
    );
    CREATE INDEX answers_by_age ON answers(begun_at);
    CREATE INDEX answers_by_owner ON answers(owner, begun_at);
"""
SWEEP_S: Final = 60.0
SWEPT_MAX: Final = 1_000  # rows per transaction, so that other writes do not wait long

log = logging.getLogger("marketd.answers")


class Begun(Struct, frozen=True):
    """A recorded request: when it was begun (ms since the epoch), and its encrypted response if there is one."""

    at: int
    fingerprint: bytes
    answer: bytes | None
    is_first: bool = False


class FirstAnswers:
    """Keeps responses for `keep_hours`, and the newest `owner_keys_max` per owner; enter it, and `run` it."""

    def __init__(self, path: Path, clock: Clock, *, keep_hours: float, owner_keys_max: int) -> None:
        self._database = Database(path, SCHEMA_VERSION, TABLES)
        self._clock, self._owner_keys_max = clock, owner_keys_max
        self._keep_ms = int(keep_hours * 3_600_000)
        self._together = Together(self._database)

    async def __aenter__(self) -> Self:
        await self._database.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._database.__aexit__(*raised)

    async def begin(self, request: bytes, owner: bytes, fingerprint: bytes) -> Begun:
        """Record a request, or give the record of the first time it came."""
        now_ms = self._clock.now_ms()
        begun: Begun = await self._together.run(_begin, request, owner, fingerprint, now_ms, now_ms - self._keep_ms)
        return begun

    async def find(self, request: bytes) -> Begun | None:
        """Give the record of a request."""
        return await self._database.run(_find, request, self._clock.now_ms() - self._keep_ms)

    async def keep(self, request: bytes, owner: bytes, fingerprint: bytes, answer: bytes) -> None:
        """Store a request's response, whether or not the request is recorded."""
        await self._together.run(_keep, request, owner, self._clock.now_ms(), fingerprint, answer)

    async def forget(self, request: bytes) -> None:
        """Remove the record of a request that has changed nothing, unless it has a response."""
        await self._together.run(_forget, request)

    async def run(self) -> None:
        """Sweep periodically, for ever."""
        while True:
            await self._clock.sleep(SWEEP_S)
            try:
                while await self.sweep() >= SWEPT_MAX:
                    pass
            except StorageError as error:
                log.error("old answers stay: %s", error)

    async def sweep(self) -> int:
        """Remove some of the records that are too old or too many for one owner; give their number."""
        oldest = self._clock.now_ms() - self._keep_ms
        return await self._database.run(in_transaction, _sweep, oldest, self._owner_keys_max)


def _begin(db: Connection, request: bytes, owner: bytes, fingerprint: bytes, now_ms: int, oldest: int) -> Begun:
    known = _find(db, request, oldest)
    if known is not None:
        return known
    row = (request, owner, now_ms, fingerprint)
    db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, NULL)", row)  # replaces an expired record
    return Begun(now_ms, fingerprint, None, is_first=True)


def _find(db: Connection, request: bytes, oldest: int) -> Begun | None:
    wanted = "SELECT begun_at, fingerprint, answer FROM answers WHERE request = ? AND begun_at > ?"
    row = db.execute(wanted, (request, oldest)).fetchone()
    return Begun(*row) if row else None


def _keep(db: Connection, request: bytes, owner: bytes, now_ms: int, fingerprint: bytes, answer: bytes) -> None:
    db.execute(
        "INSERT INTO answers VALUES (?, ?, ?, ?, ?) ON CONFLICT (request) "
        "DO UPDATE SET fingerprint = excluded.fingerprint, answer = excluded.answer",
        (request, owner, now_ms, fingerprint, answer),
    )


def _forget(db: Connection, request: bytes) -> None:
    db.execute("DELETE FROM answers WHERE request = ? AND answer IS NULL", (request,))


def _sweep(db: Connection, oldest: int, owner_keys_max: int) -> int:
    old = "DELETE FROM answers WHERE rowid IN (SELECT rowid FROM answers WHERE begun_at <= ? LIMIT ?)"
    swept = db.execute(old, (oldest, SWEPT_MAX)).rowcount
    crowded = "SELECT owner, count(*) - ? FROM answers GROUP BY owner HAVING count(*) > ?"
    for owner, surplus in db.execute(crowded, (owner_keys_max, owner_keys_max)).fetchall():
        first = "SELECT rowid FROM answers WHERE owner = ? ORDER BY begun_at LIMIT ?"
        taken = (owner, min(surplus, SWEPT_MAX))
        swept += db.execute(f"DELETE FROM answers WHERE rowid IN ({first})", taken).rowcount
    return swept
