"""A cut: several files as they were at one moment, whoever writes on."""

import os
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from marketd.storage.database import (
    APPLICATION_ID,
    DiskTrouble,
    ForeignFile,
    NewerFile,
    Part,
    copy,
    cut,
    scratch,
)

NOBODY: Final = 65_534
BETWEEN: Final = 30
BURST: Final = 50
REST_S: Final = 0.005


def made(path: Path, version: int = 1) -> Part:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("CREATE TABLE numbers(n INTEGER)")
        db.execute("INSERT INTO numbers VALUES(0)")
    return Part(path, 1)


@contextmanager
def counting(first: Part, second: Part) -> Iterator[None]:
    """Somebody who counts in two files by turns, the first always ahead by one at most, and rests now and then."""
    enough = threading.Event()

    def count() -> None:
        with (
            closing(sqlite3.connect(first.path, isolation_level=None)) as a,
            closing(sqlite3.connect(second.path, isolation_level=None)) as b,
        ):
            for db in (a, b):
                db.execute("PRAGMA synchronous = OFF")
            while not enough.wait(REST_S):
                for db in (a, b) * BURST:
                    db.execute("UPDATE numbers SET n = n + 1")

    counter = threading.Thread(target=count)
    counter.start()
    try:
        yield
    finally:
        enough.set()
        counter.join()


@pytest.fixture
def shown() -> Iterator[Path]:
    """A folder that anybody may read; what is in it when a test becomes `nobody` nobody can write."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def nobody(folder: Path) -> Iterator[None]:
    user = os.geteuid()
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)
    try:
        if user == 0:
            os.seteuid(NOBODY)
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o755)


def copied_while_open(folder: Path) -> Part:
    """What a snapshot has of a file that is written to: its journal as well."""
    source = made(folder / "source.db")
    with closing(sqlite3.connect(source.path, isolation_level=None)) as db:
        db.execute("UPDATE numbers SET n = 1")
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(folder / f"source.db{suffix}", folder / f"snapshot.db{suffix}")
    return Part(folder / "snapshot.db", 1)


def number(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT n FROM numbers").fetchone()[0])


def test_two_files_that_are_written_by_turns_are_seen_at_one_moment(tmp_path: Path) -> None:
    """Those between them make it last from the first to the last, so that somebody writes meanwhile."""
    first, *between, last = [made(tmp_path / f"{number}.db") for number in range(BETWEEN + 2)]
    ahead = set()
    with counting(first, last):
        for _ in range(50):
            with cut(first, *between, last) as (a, *_, b):
                ahead.add(number(a) - number(b))
            with cut(last, *between, first) as (b, *_, a):
                ahead.add(number(a) - number(b))

    assert ahead <= {0, 1}


def test_what_is_written_later_is_not_seen(tmp_path: Path) -> None:
    part = made(tmp_path / "a.db")
    with cut(part) as (db,), closing(sqlite3.connect(part.path, isolation_level=None)) as writer:
        writer.execute("UPDATE numbers SET n = 7")
        seen = number(db)

    assert 0 == seen


def test_a_copy_is_of_the_moment_of_the_cut(tmp_path: Path) -> None:
    part = made(tmp_path / "a.db")
    with cut(part) as (db,), closing(sqlite3.connect(part.path, isolation_level=None)) as writer:
        writer.execute("UPDATE numbers SET n = 7")
        copy(db, tmp_path / "copy.db", lambda done, total: None)

    with cut(Part(tmp_path / "copy.db", 1)) as (copied,):
        assert 0 == number(copied)


def test_a_copy_is_one_file(tmp_path: Path) -> None:
    part = made(tmp_path / "a.db")
    with cut(part) as (db,):
        copy(db, tmp_path / "copy.db", lambda done, total: None)

    assert ["copy.db"] == [path.name for path in tmp_path.glob("copy.db*")]


def test_nothing_can_be_written_through_a_cut(tmp_path: Path) -> None:
    with cut(made(tmp_path / "a.db")) as (db,), pytest.raises(sqlite3.OperationalError):
        db.execute("UPDATE numbers SET n = 7")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble, match=r"a\.db: unable to open"), cut(Part(tmp_path / "a.db", 1)):
        pass


def test_a_file_of_somebody_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"This is a letter, not a database. " * 100)

    with pytest.raises(ForeignFile), cut(Part(tmp_path / "a.db", 1)):
        pass


def test_a_file_of_a_newer_marketd_is_told(tmp_path: Path) -> None:
    with pytest.raises(NewerFile, match="has format 2"), cut(made(tmp_path / "a.db", version=2)):
        pass


def test_notes_are_kept_until_the_end() -> None:
    with scratch() as db:
        db.execute("CREATE TABLE numbers(n INTEGER)")
        db.execute("INSERT INTO numbers VALUES(7)")

        assert 7 == number(db)


# Where nobody can write.


def test_a_file_that_was_closed_is_read_where_nobody_can_write(shown: Path) -> None:
    part = made(shown / "n.db")
    with nobody(shown), cut(part) as (db,):
        assert 0 == number(db)


def test_a_file_with_an_empty_journal_is_not_taken_for_one_that_is_written_to(shown: Path) -> None:
    part = copied_while_open(shown)
    (shown / "snapshot.db-wal").write_bytes(b"")
    with nobody(shown), cut(part) as (db,):
        assert 0 == number(db)


def test_a_journal_is_read_as_well(shown: Path) -> None:
    part = copied_while_open(shown)
    with nobody(shown), cut(part) as (db,):
        assert 1 == number(db)


def test_a_journal_that_can_not_be_read_there_is_told(shown: Path) -> None:
    part = copied_while_open(shown)
    (shown / "snapshot.db-shm").unlink()
    with nobody(shown), pytest.raises(DiskTrouble, match=r"its folder is read-only, and has journals"), cut(part):
        pass
