"""
One SQLite file, opened through aiosqlite: a connection, its thread, and functions that run there.

A batch of statements is handed to the thread as one function, because a hop per statement costs ten times the
statement. Of each file there is one read-write connection in the whole system, which alone writes and checkpoints;
everybody else reads only (SQLite before 3.51.3 can corrupt a file when two connections write or checkpoint at the
same moment).

    StorageError
    ├── ForeignFile     the file is not a database of marketd's
    ├── NewerFile       a newer marketd wrote it
    ├── DiskTrouble     the disk is full, read-only or broken
    │   └── BrokenFile  what it gives back makes no sense any more
    └── NoCut           several files were never at rest together
"""

import asyncio
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Concatenate, Final, NamedTuple, ParamSpec, Self, TypeVar
from urllib.parse import quote

import aiosqlite

APPLICATION_ID: Final = 0x6D6B7464  # "mktd"
SQLITE: Final = b"SQLite format 3\0"  # how a file begins, and where its application id is: sqlite.org/fileformat.html
HEADER_BYTES: Final = 100
ID_AT: Final = 68
BUSY_WAIT_MS_MAX: Final = 5_000
CACHE_KIB: Final = 2_048
CHECKPOINT_PAGES: Final = 4_000
JOURNAL_BYTES_MAX: Final = 64 * 1024 * 1024
CUT_TRIES_MAX: Final = 10_000
READ_ONLY: Final = "its folder is read-only, and has journals in it: copy all of it to where it can be written"
COPIED_PAGES: Final = 1_024  # at a time

# What SQLite says of the disk and not of the statement: full, failing, read-only, or gone.
OF_THE_DISK: Final = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
)

P = ParamSpec("P")
T = TypeVar("T")
Connection = sqlite3.Connection
Row = tuple[Any, ...]


class StorageError(Exception):
    """What is stored can't be used as it is."""


class ForeignFile(StorageError):
    pass


class NewerFile(StorageError):
    pass


class DiskTrouble(StorageError):
    pass


class BrokenFile(DiskTrouble):
    pass


class NoCut(StorageError):
    pass


class Database:
    """
    One file and one connection to it; enter it to open. `schema_version` and `tables` make a new file and recognise an
    old one. `durable` asks for an fsync a commit; a file that can be rebuilt does without.
    """

    def __init__(
        self, path: Path, schema_version: int, tables: str, *, read_only: bool = False, durable: bool = True
    ) -> None:
        self.path = path
        self._schema_version, self._tables = schema_version, tables
        self._read_only, self._durable = read_only, durable

    async def __aenter__(self) -> Self:
        mode = "ro" if self._read_only else "rwc"
        opening = aiosqlite.connect(
            f"file:{self.path}?mode={mode}", uri=True, isolation_level=None, cached_statements=256
        )
        try:
            self._connection = await opening
        except sqlite3.Error as error:
            await asyncio.to_thread(opening._thread.join)  # it has yet to tell the loop that it ends
            raise DiskTrouble(f"{self.path}: {error}") from None
        try:
            await self.run(self._prepare)
        except BaseException:
            await self._connection.close()
            raise
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._connection.close()

    async def run(self, function: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function of the connection in the connection's thread; raise `StorageError` for trouble of SQLite's."""
        # aiosqlite's own way to run a whole function in its thread; its public calls are one statement each.
        execute: Callable[..., Awaitable[T]] = self._connection._execute
        try:
            return await execute(function, self._connection._conn, *args, **kwargs)
        except sqlite3.DatabaseError as error:
            raise _translated(self.path, error) from None

    def _prepare(self, db: Connection) -> None:
        db.execute(f"PRAGMA busy_timeout = {BUSY_WAIT_MS_MAX}")
        _check_schema(
            db, self.path, self._schema_version
        )  # before anything that would write into a file of somebody else's
        if self._read_only:
            db.execute("PRAGMA query_only = ON")
        else:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA synchronous = {'FULL' if self._durable else 'NORMAL'}")
            db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            db.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES_MAX}")
        db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        # Or a statement of many rows makes a file to undo it by; and a full disk must not keep anybody from sorting.
        db.execute("PRAGMA temp_store = MEMORY")
        if not self._read_only:
            self._make_tables(db)

    def _make_tables(self, db: Connection) -> None:
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if not tables:
            db.executescript(
                f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {self._schema_version}; {self._tables} COMMIT;"
            )
        elif version < self._schema_version:  # the tables are the same, but an older marketd must not write on
            db.execute(f"PRAGMA user_version = {self._schema_version}")


class Part(NamedTuple):
    """A file that is read as it was at one moment."""

    path: Path
    schema_version: int


@contextmanager
def cut(*parts: Part) -> Iterator[list[Connection]]:
    """
    Open files for reading, all as they were at one and the same moment, whoever writes on; raise `StorageError`.

    Each file is asked which version it has, then all are pinned by a transaction; where each still has that version, no
    file was written between the last question and the first pin, and that is the moment.

    On a read-only disk SQLite can't make what it needs beside a file, or takes it for changed each time: a file whose
    journal is empty is then read as one that nobody can change.
    """
    with ExitStack() as stack:
        try:
            opened = _pinned(stack, parts)
        except (NoCut, DiskTrouble) as error:
            closed = [part for part in parts if _is_read_only(part.path)]
            if not closed or isinstance(error, BrokenFile):
                raise
            stack.close()
            if any(_has_journal(part.path) for part in closed if isinstance(error, DiskTrouble)):
                raise DiskTrouble(f"{error}: {READ_ONLY}") from None
            opened = _pinned(stack, parts, [part.path for part in closed if not _has_journal(part.path)])
        yield opened


def is_ours(path: Path) -> bool:
    """Say whether a file is a database of marketd's, whatever its format and state."""
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except OSError:
        return False
    found = int.from_bytes(header[ID_AT : ID_AT + 4]) if header.startswith(SQLITE) else None
    if found == 0 and path.with_name(f"{path.name}-wal").exists():  # a young one was killed, and all is in there still
        with suppress(StorageError), _reading(Part(path, sys.maxsize)) as db:
            ((found,),) = db.execute("PRAGMA application_id")
    return found == APPLICATION_ID


@contextmanager
def scratch() -> Iterator[Connection]:
    """Give an empty database for notes that may outgrow the memory; it is gone at the end."""
    with closing(sqlite3.connect("", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = OFF")
        db.execute("BEGIN")
        yield db


def copy(source: Connection, target: Path, tell: Callable[[int, int], None]) -> None:
    """Write what a connection sees into a new file; `tell` of the pages that are done, and of all."""
    with _translating(target), closing(sqlite3.connect(target, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")  # who asked for it knows when it has to be on the disk
        source.backup(db, pages=COPIED_PAGES, progress=lambda _, left, total: tell(total - left, total))
        db.execute("PRAGMA journal_mode = DELETE")  # one file, without a second beside it


@contextmanager
def transaction(db: Connection) -> Iterator[None]:
    """Have all that the block writes happen together, or none of it where the block or its end fails."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite ends it itself where the disk fails
            db.execute("ROLLBACK")
        raise


@contextmanager
def changing(part: Part) -> Iterator[Connection]:
    """Open a file that nobody else has open, to change it by one transaction; raise `StorageError`."""
    with _translating(part.path), closing(sqlite3.connect(part.path, isolation_level=None)) as db:
        _check_schema(db, part.path, part.schema_version)
        db.execute("PRAGMA synchronous = FULL")
        with transaction(db):
            yield db


def rows(path: Path, db: Connection, sql: str, parameters: Sequence[object] = ()) -> Iterator[Row]:
    """Go through what is found, one row at a time; raise `StorageError`."""
    with _translating(path):
        yield from db.execute(sql, parameters)


def _pinned(stack: ExitStack, parts: Sequence[Part], unchanging: Sequence[Path] = ()) -> list[Connection]:
    opened = [stack.enter_context(_reading(part, immutable=part.path in unchanging)) for part in parts]
    with _translating(parts[0].path):
        for _ in range(CUT_TRIES_MAX):
            before = [_data_version(db) for db in opened]
            for db in opened:
                db.execute("BEGIN")
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if before == [_data_version(db) for db in opened]:
                return opened
            for db in opened:
                db.execute("ROLLBACK")
    raise NoCut(f"{parts[0].path.parent} is written to without a pause: try again when there is less to do")


def _is_read_only(path: Path) -> bool:
    return os.access(path, os.R_OK, effective_ids=True) and not os.access(path.parent, os.W_OK, effective_ids=True)


def _has_journal(path: Path) -> bool:
    journal = path.with_name(f"{path.name}-wal")
    return journal.exists() and journal.stat().st_size > 0


@contextmanager
def _reading(part: Part, *, immutable: bool = False) -> Iterator[Connection]:
    mode = f"mode=ro{'&immutable=1' if immutable else ''}"
    with _translating(part.path):
        db = sqlite3.connect(f"file:{quote(str(part.path))}?{mode}", uri=True, isolation_level=None)
    with closing(db):
        with _translating(part.path):
            db.execute(f"PRAGMA busy_timeout = {BUSY_WAIT_MS_MAX}")
            db.execute("PRAGMA query_only = ON")
            db.text_factory = partial(str, encoding="utf-8", errors="replace")  # what is damaged is still to be named
            _check_schema(db, part.path, part.schema_version)
        yield db


@contextmanager
def _translating(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise _translated(path, error) from None


def _data_version(db: Connection) -> int:
    """Give a number that differs whenever another connection has changed the file."""
    return int(db.execute("PRAGMA data_version").fetchone()[0])


def _check_schema(db: Connection, path: Path, schema_version: int) -> None:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise ForeignFile(f"{path} is not a database of marketd")
    if version > schema_version:
        raise NewerFile(
            f"{path} has format {version}, written by a newer marketd; this one knows format {schema_version}"
        )


def is_of_the_disk(error: Exception) -> bool:
    """Say whether what went wrong in a function of a connection is the disk's fault and none of the function's."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in OF_THE_DISK


def _translated(path: Path, error: sqlite3.DatabaseError) -> StorageError:
    code = getattr(error, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_NOTADB:
        return ForeignFile(f"{path} is not a database of marketd")
    if code == sqlite3.SQLITE_CORRUPT:
        return BrokenFile(f"{path}: {error}")
    if code is None and "Could not decode to UTF-8" in str(error):  # and then it quotes what nobody should see
        return DiskTrouble(f"{path}: there is text in it that is not UTF-8")
    return DiskTrouble(f"{path}: {error}")
