"""Files that are not what they should be: each is refused by name, and none is changed."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from marketd.storage.database import DiskTrouble, ForeignFile, NewerFile, StorageError
from marketd.storage.log import CorruptLog, chain
from marketd.storage.records import ROW_RECORDS_MAX
from tests.storage.history import append
from tests.storage.logs import followed, sqlite_log

pytestmark = pytest.mark.asyncio

A, B = "order/a", "order/b"


async def written(folder: Path) -> None:
    """Six records of two streams, of which the tests change the third: b@1."""
    async with sqlite_log(folder) as log:
        await append(log, A, "a1", "a2")
        await append(log, B, "b1", "b2")
        await append(log, A, "a3", "a4")


def altered(folder: Path, *statements: str) -> None:
    with closing(sqlite3.connect(folder / "events.db", isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


ALTERATIONS = {
    "events": """UPDATE commits SET events = replace(events, 'b1', 'x1') WHERE position = 3""",
    "reply": 'UPDATE commits SET reply = \'{"type":"done","value":null }\' WHERE position = 3',
    "meta": 'UPDATE commits SET meta = \'{"principal":"mallory"}\' WHERE position = 3',
    "time": "UPDATE commits SET at = at + 1 WHERE position = 3",
    "command-id": "UPDATE commits SET command_id = 'b0' WHERE position = 3",
    "hash": "UPDATE commits SET hash = zeroblob(32) WHERE position = 3",
    "version": "UPDATE commits SET version = 9 WHERE position = 3",
    "stream": "UPDATE commits SET stream = 1, version = 9 WHERE position = 3",
    "name": "UPDATE streams SET name = 'order/c' WHERE name = 'order/b'",
}


@pytest.mark.parametrize("what", ALTERATIONS)
async def test_a_changed_record_is_found_at_the_start(tmp_path: Path, what: str) -> None:
    await written(tmp_path)
    altered(tmp_path, ALTERATIONS[what])
    with pytest.raises(CorruptLog, match=r"position 3 \(order/.@\d\) does not fit its hash$"):
        await sqlite_log(tmp_path).__aenter__()


@pytest.mark.parametrize("what", ["events", "reply", "meta", "time", "command-id", "hash"])
async def test_a_changed_record_is_found_when_it_is_read(tmp_path: Path, what: str) -> None:
    await written(tmp_path)
    altered(tmp_path, ALTERATIONS[what])
    async with sqlite_log(tmp_path, check_commits=0) as log:
        with pytest.raises(CorruptLog, match=r"^the record at position 3 \(order/b@1\) does not fit its hash$"):
            await log.read(B)


async def test_a_changed_record_is_found_when_it_is_followed(tmp_path: Path) -> None:
    await written(tmp_path)
    altered(tmp_path, ALTERATIONS["events"])
    async with sqlite_log(tmp_path, check_commits=0) as log:
        with pytest.raises(CorruptLog, match="position 3"):
            await followed(log, 0, 6)


async def test_a_hash_that_was_made_to_fit_is_found_at_the_next_record(tmp_path: Path) -> None:
    await written(tmp_path)
    with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as db:
        (previous,) = db.execute("SELECT hash FROM commits WHERE position = 2").fetchone()
        columns = "command_id, at, events, reply"
        facts = (*db.execute(f"SELECT {columns} FROM commits WHERE position = 3").fetchone(), '{"principal":"mallory"}')
        forged = chain(previous, 3, B, 1, facts)
        db.execute("UPDATE commits SET meta = ?, hash = ? WHERE position = 3", (facts[-1], forged))
    with pytest.raises(CorruptLog, match=r"position 4 \(order/b@2\) does not fit its hash$"):
        await sqlite_log(tmp_path).__aenter__()


async def test_what_is_no_text_is_refused_without_telling_it(tmp_path: Path) -> None:
    await written(tmp_path)
    altered(tmp_path, "UPDATE commits SET events = CAST(events || x'ff' AS TEXT) WHERE position = 3")
    with pytest.raises(DiskTrouble, match=f"^{tmp_path}/events.db: there is text in it that is not UTF-8$"):
        await sqlite_log(tmp_path).__aenter__()


@pytest.mark.parametrize("position", [1, 2, 3, 5])
async def test_a_missing_record_is_found_at_the_start(tmp_path: Path, position: int) -> None:
    await written(tmp_path)
    altered(tmp_path, f"DELETE FROM commits WHERE position = {position}")
    with pytest.raises(CorruptLog, match=f"position {position}|position {position + 1} "):
        await sqlite_log(tmp_path).__aenter__()


async def test_a_stream_that_is_gone_is_found_at_the_start(tmp_path: Path) -> None:
    await written(tmp_path)
    altered(tmp_path, "DELETE FROM streams WHERE name = 'order/a'")
    with pytest.raises(CorruptLog, match=r"^there is no record at position 1\b"):
        await sqlite_log(tmp_path).__aenter__()


async def test_a_stream_that_is_gone_is_found_when_its_newest_records_are_followed(tmp_path: Path) -> None:
    await written(tmp_path)
    altered(tmp_path, "DELETE FROM streams WHERE name = 'order/a'")
    async with sqlite_log(tmp_path, check_commits=0) as log:
        with pytest.raises(CorruptLog, match=r"^there is no record at position 5\b"):
            await followed(log, 4, 6)


async def test_a_missing_record_is_found_when_it_is_followed(tmp_path: Path) -> None:
    await written(tmp_path)
    altered(tmp_path, "DELETE FROM commits WHERE position = 3")
    async with sqlite_log(tmp_path, check_commits=0) as log:
        with pytest.raises(CorruptLog, match="position 4"):
            await followed(log, 0, 6)


async def test_a_missing_last_record_is_found_when_its_stream_is_read(tmp_path: Path) -> None:
    await written(tmp_path)
    altered(tmp_path, "DELETE FROM commits WHERE position = 6")
    async with sqlite_log(tmp_path) as log:
        with pytest.raises(CorruptLog, match=r"^order/a has no version 4, but should have$"):
            await log.read(A)


async def test_a_missing_last_record_is_found_however_long_its_stream_is(tmp_path: Path) -> None:
    count = 3 * ROW_RECORDS_MAX
    async with sqlite_log(tmp_path) as log:
        await append(log, A, *(f"a{number}" for number in range(count)))
    altered(tmp_path, f"DELETE FROM commits WHERE version = {count}")
    async with sqlite_log(tmp_path, check_commits=0) as log:
        with pytest.raises(CorruptLog, match=f"^{A} has no version {count}, but should have$"):
            await log.read(A)


async def test_records_that_changed_places_are_found(tmp_path: Path) -> None:
    await written(tmp_path)
    altered(
        tmp_path,
        "UPDATE commits SET position = 99 WHERE position = 3",
        "UPDATE commits SET position = 3 WHERE position = 4",
        "UPDATE commits SET position = 4 WHERE position = 99",
    )
    with pytest.raises(CorruptLog, match=r"position 3 \(order/b@2\)"):
        await sqlite_log(tmp_path).__aenter__()


async def test_only_the_last_records_are_checked_at_the_start(tmp_path: Path) -> None:
    await written(tmp_path)
    altered(tmp_path, 'UPDATE commits SET meta = \'{"trace":"1"}\' WHERE position = 3')
    async with sqlite_log(tmp_path, check_commits=3) as log:
        assert 6 == log.head


async def test_a_corrupt_file_is_not_changed_by_refusing_it(tmp_path: Path) -> None:
    await written(tmp_path)
    altered(tmp_path, ALTERATIONS["events"])
    before = (tmp_path / "events.db").read_bytes()
    with pytest.raises(CorruptLog):
        await sqlite_log(tmp_path).__aenter__()

    assert before == (tmp_path / "events.db").read_bytes()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(100_000))


def short_garbage(path: Path) -> None:
    path.write_bytes(b"not a database")


def text(path: Path) -> None:
    path.write_text("My shopping list\n" * 100)


def other_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE bookmarks(url TEXT); INSERT INTO bookmarks VALUES('https://example.org');")


def other_application_by_its_id(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("PRAGMA application_id = 1234; CREATE TABLE layers(id); DROP TABLE layers; VACUUM;")


FOREIGN = [garbage, short_garbage, text, other_application, other_application_by_its_id]


@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: str(make.__name__))
async def test_a_foreign_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "events.db")
    with pytest.raises(ForeignFile, match=f"^{tmp_path}/events.db is not a database of marketd$"):
        await sqlite_log(tmp_path).__aenter__()


@pytest.mark.parametrize("make", FOREIGN, ids=lambda make: str(make.__name__))
async def test_a_foreign_file_is_not_changed(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "events.db")
    before = (tmp_path / "events.db").read_bytes()
    with pytest.raises(StorageError):
        await sqlite_log(tmp_path).__aenter__()

    assert {"events.db": before} == contents(tmp_path)


async def newer(folder: Path) -> bytes:
    await written(folder)
    altered(folder, "PRAGMA user_version = 99")
    return (folder / "events.db").read_bytes()


async def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    await newer(tmp_path)
    with pytest.raises(NewerFile, match=r"has format 99, written by a newer marketd; this one knows format 2$"):
        await sqlite_log(tmp_path).__aenter__()


async def test_a_file_of_an_older_format_is_not_for_an_older_marketd_any_more(tmp_path: Path) -> None:
    await written(tmp_path)
    altered(tmp_path, "PRAGMA user_version = 1")
    async with sqlite_log(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "events.db")) as db:
        (version,) = db.execute("PRAGMA user_version").fetchone()

    assert 2 == version


async def test_a_newer_file_is_not_changed(tmp_path: Path) -> None:
    before = await newer(tmp_path)
    with pytest.raises(NewerFile):
        await sqlite_log(tmp_path).__aenter__()

    assert before == (tmp_path / "events.db").read_bytes()


async def test_an_empty_file_is_a_new_log(tmp_path: Path) -> None:
    (tmp_path / "events.db").touch()
    async with sqlite_log(tmp_path) as log:
        assert 0 == log.head
