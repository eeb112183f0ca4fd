"""
The first answers of requests that came with an Idempotency-Key, in a file of their own: `answers.db`.

The one rule: a request is on record before it is worked on, and its answer before anybody gets it, each with an fsync
that all who wait share. So after a crash either the answer is here, or at least when the work was begun.

Requests, owners and fingerprints are digests and answers are sealed: nothing in here can be read without the key that
the request came with.

    Busy (bus.port)             more wait to be written than the queue may hold
    Unsure (bus.port)           whoever wrote for all gave up meanwhile: it may be written, or not
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
SWEPT_MAX: Final = 1_000  # in one transaction, so that nobody waits long behind it

log = logging.getLogger("marketd.answers")


class Begun(Struct, frozen=True):
    """A request on record: since when (ms since the epoch), and the sealed answer if it has got one."""

    at: int
    fingerprint: bytes
    answer: bytes | None
    is_first: bool = False


class FirstAnswers:
    """Keeps answers for `keep_hours`, of one owner the newest `owner_keys_max`; enter it, and `run` it."""

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
        """Put a request on record, or give what is there since it came first."""
        now_ms = self._clock.now_ms()
        begun: Begun = await self._together.run(_begin, request, owner, fingerprint, now_ms, now_ms - self._keep_ms)
        return begun

    async def find(self, request: bytes) -> Begun | None:
        """Give what is on record of a request."""
        return await self._database.run(_find, request, self._clock.now_ms() - self._keep_ms)

    async def keep(self, request: bytes, owner: bytes, fingerprint: bytes, answer: bytes) -> None:
        """Keep a request's answer, whether or not its beginning is on record."""
        await self._together.run(_keep, request, owner, self._clock.now_ms(), fingerprint, answer)

    async def forget(self, request: bytes) -> None:
        """Strike out a request that has changed nothing."""
        await self._together.run(_forget, request)

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await self._clock.sleep(SWEEP_S)
            try:
                while await self.sweep() >= SWEPT_MAX:
                    pass
            except StorageError as error:
                log.error("old answers stay: %s", error)

    async def sweep(self) -> int:
        """Remove some of those that are too old, or too many of one owner; say how many."""
        oldest = self._clock.now_ms() - self._keep_ms
        return await self._database.run(in_transaction, _sweep, oldest, self._owner_keys_max)


def _begin(db: Connection, request: bytes, owner: bytes, fingerprint: bytes, now_ms: int, oldest: int) -> Begun:
    known = _find(db, request, oldest)
    if known is not None:
        return known
    row = (request, owner, now_ms, fingerprint)
    db.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, NULL)", row)  # of what is too old, nothing stays
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
