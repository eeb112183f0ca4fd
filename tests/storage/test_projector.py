"""The projector: what it makes of the log, also after a crash, with a model that fails, or over a file gone bad."""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marketd.config.codecs import MODELS, log_codec
from marketd.storage.database import Connection, DiskTrouble
from marketd.storage.log import EventLog, Recorded
from marketd.storage.memory import MemoryLog
from marketd.storage.projector import AskReached, LogTooShort, Projector, Reached, ReadModel, Standing
from tests.clock import TestClock
from tests.storage.history import append, market, random_history

pytestmark = pytest.mark.asyncio

A = "order/a"


def note(db: Connection, record: Recorded) -> None:
    db.execute("INSERT INTO notes VALUES(?)", (record.position,))


def stumbling(at: int, error: BaseException) -> Callable[[Connection, Recorded], None]:
    """Make an `apply` that writes the record of that position, and then fails."""

    def apply(db: Connection, record: Recorded) -> None:
        db.execute("INSERT INTO stumbles VALUES(?)", (record.position,))
        if record.position == at:
            raise error

    return apply


NOTES = ReadModel("notes", 1, {"notes": "CREATE TABLE notes(position INTEGER PRIMARY KEY) STRICT"}, note, {})
STUMBLES = ReadModel(
    "stumbles",
    1,
    {"stumbles": "CREATE TABLE stumbles(position INTEGER PRIMARY KEY) STRICT"},
    stumbling(0, ZeroDivisionError()),
    {},
)


class PowerCut(BaseException):
    """Nobody catches it."""


async def log_of(*ids: str) -> MemoryLog:
    log = MemoryLog(log_codec())
    for id in ids:
        await append(log, A, id)
    return log


async def catch_up(projector: Projector) -> None:
    """Run the projector until it is where the log is."""
    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(projector.run())
        async for _ in projector.wait_caught_up():
            pass
        running.cancel()


async def projected(folder: Path, log: EventLog, models: Sequence[ReadModel] = (NOTES,)) -> dict[str, Standing]:
    """Start a projector, let it catch up, and stop it; give how its models stood then."""
    async with Projector(folder / "read.db", log, models) as projector:
        await catch_up(projector)
        return projector.statistics()


def rows(folder: Path, table: str) -> list[Any]:
    with closing(sqlite3.connect(folder / "read.db")) as db:
        return db.execute(f"SELECT * FROM {table}").fetchall()


def noted(folder: Path, table: str = "notes") -> list[int]:
    return [position for (position,) in rows(folder, table)]


def dump(folder: Path, models: Sequence[ReadModel]) -> dict[str, list[Any]]:
    """Every row of every table that a model made, whatever keys SQLite gave them."""
    tables = [table for model in models for table in model.tables]
    return {table: sorted(rows(folder, table), key=repr) for table in tables}


def altered(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "read.db", isolation_level=None)) as db:
        db.execute(statement)


@pytest.mark.parametrize("seed", range(6))
async def test_what_was_fed_bit_by_bit_equals_a_fresh_replay(tmp_path: Path, seed: int) -> None:
    (tmp_path / "again").mkdir()
    async with market(tmp_path) as m:
        await random_history(m, seed, commands=150)
        await m.ask(AskReached())
        log = m.log
    await projected(tmp_path / "again", log, MODELS)

    assert dump(tmp_path / "again", MODELS) == dump(tmp_path, MODELS)


@pytest.mark.parametrize("seed", range(3))
async def test_the_histories_leave_no_table_empty_and_halt_no_model(tmp_path: Path, seed: int) -> None:
    async with market(tmp_path) as m:
        await random_history(m, seed, commands=150)
        await m.ask(AskReached())
        standings = m.projector.statistics()

    assert {model.name: Standing(m.log.head, None) for model in MODELS} == standings
    assert [] == [table for table, found in dump(tmp_path, MODELS).items() if not found]


async def test_after_a_restart_it_goes_on_where_it_was(tmp_path: Path) -> None:
    log = await log_of("1", "2")
    await projected(tmp_path, log)
    await append(log, A, "3")
    await projected(tmp_path, log)

    assert [1, 2, 3] == noted(tmp_path)


async def test_a_model_that_was_left_out_for_a_while_catches_up(tmp_path: Path) -> None:
    log = await log_of("1")
    await projected(tmp_path, log, [NOTES, STUMBLES])
    await append(log, A, "2")
    await projected(tmp_path, log, [STUMBLES])  # as an older marketd has it
    await projected(tmp_path, log, [NOTES, STUMBLES])

    assert [1, 2] == noted(tmp_path)


async def test_a_crash_leaves_rows_and_position_as_they_were(tmp_path: Path) -> None:
    log = await log_of("1", "2")
    models = [NOTES, replace(STUMBLES, apply=stumbling(4, PowerCut()))]
    await projected(tmp_path, log, models)
    await append(log, A, "3", "4")
    async with Projector(tmp_path / "read.db", log, models) as projector:
        with pytest.raises(PowerCut):
            await projector.run()

    assert ([1, 2], [1, 2]) == (noted(tmp_path), noted(tmp_path, "stumbles"))
    assert {2} == {position for _, _, position, _ in rows(tmp_path, "models")}


async def test_what_a_crash_took_back_is_applied_at_the_next_start(tmp_path: Path) -> None:
    log = await log_of("1", "2", "3")
    async with Projector(
        tmp_path / "read.db", log, [NOTES, replace(STUMBLES, apply=stumbling(2, PowerCut()))]
    ) as projector:
        with pytest.raises(PowerCut):
            await projector.run()
    await projected(tmp_path, log, [NOTES, STUMBLES])

    assert ([1, 2, 3], [1, 2, 3]) == (noted(tmp_path), noted(tmp_path, "stumbles"))


async def halted(folder: Path) -> tuple[MemoryLog, dict[str, Standing]]:
    """A log of five, one of the two models of which fails at the fourth."""
    log = await log_of("1", "2", "3")
    models = [replace(STUMBLES, apply=stumbling(4, ZeroDivisionError("0/0"))), NOTES]
    await projected(folder, log, models)
    await append(log, A, "4", "5")
    return log, await projected(folder, log, models)


async def test_a_model_that_fails_is_halted_where_it_was_and_says_why(tmp_path: Path) -> None:
    _, standings = await halted(tmp_path)

    assert Standing(3, "order/a@4: ZeroDivisionError: 0/0") == standings["stumbles"]


async def test_a_model_that_fails_equals_the_log_up_to_its_position(tmp_path: Path) -> None:
    await halted(tmp_path)

    assert [1, 2, 3] == noted(tmp_path, "stumbles")


async def test_the_others_go_on(tmp_path: Path) -> None:
    _, standings = await halted(tmp_path)

    assert (Standing(5, None), [1, 2, 3, 4, 5]) == (standings["notes"], noted(tmp_path))


async def test_a_model_that_fails_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await halted(tmp_path)

    assert [(logging.ERROR, "the read model stumbles is halted at order/a@4")] == [
        (record.levelno, record.getMessage()) for record in caplog.records
    ]


async def test_a_model_that_fails_holds_up_no_reader(tmp_path: Path) -> None:
    log = await log_of("1", "2")
    models = [NOTES, replace(STUMBLES, apply=stumbling(1, ZeroDivisionError()))]
    async with Projector(tmp_path / "read.db", log, models) as projector:
        await catch_up(projector)

        assert 2 == projector.position


async def test_a_halted_model_is_healed_by_the_next_start(tmp_path: Path) -> None:
    log, _ = await halted(tmp_path)
    standings = await projected(tmp_path, log, [STUMBLES, NOTES])

    assert (Standing(5, None), [1, 2, 3, 4, 5]) == (standings["stumbles"], noted(tmp_path, "stumbles"))


async def test_while_one_is_healed_nothing_is_applied_twice_to_the_others(tmp_path: Path) -> None:
    log, _ = await halted(tmp_path)
    await projected(tmp_path, log, [STUMBLES, NOTES])

    assert [1, 2, 3, 4, 5] == noted(tmp_path)


async def limit_pages(projector: Projector, more: int | None) -> None:
    """Let the file grow by so many pages and no more, as on a full disk; None lifts the limit."""

    def limit(db: Connection) -> None:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {2**31 if more is None else pages + more}")

    await projector._writer.run(limit)


LARGE = ReadModel(
    "notes", 1, dict(NOTES.tables) | {"large": "CREATE TABLE large(bytes BLOB) STRICT"}, lambda db, record: None, {}
)


def note_much(db: Connection, record: Recorded) -> None:
    note(db, record)
    db.execute("INSERT INTO large VALUES(zeroblob(100000))")


@asynccontextmanager
async def on_a_full_disk(folder: Path) -> AsyncIterator[tuple[Projector, TestClock]]:
    """Run a projector that has three records to apply, and no room for them."""
    clock, log = TestClock(), await log_of("1", "2", "3")
    async with (
        Projector(folder / "read.db", log, [replace(LARGE, apply=note_much)]) as projector,
        asyncio.timeout(5),
        asyncio.TaskGroup() as tasks,
    ):
        await limit_pages(projector, 1)
        running = tasks.create_task(projector.run(clock))
        while not clock.sleepers:
            await asyncio.sleep(0)
        yield projector, clock
        running.cancel()


async def test_on_a_full_disk_the_models_stand_still_and_say_why(tmp_path: Path) -> None:
    async with on_a_full_disk(tmp_path) as (projector, _):
        assert (Standing(0, None), f"{tmp_path}/read.db: database or disk is full") == (
            projector.statistics()["notes"],
            projector.trouble,
        )


async def test_once_there_is_room_the_models_go_on_by_themselves(tmp_path: Path) -> None:
    async with on_a_full_disk(tmp_path) as (projector, clock):
        await clock.advance(1)
        await limit_pages(projector, None)
        while projector.position < 3:
            await clock.advance(1)

        assert ([1, 2, 3], None) == (noted(tmp_path), projector.trouble)


async def test_without_patience_a_full_disk_is_told_at_once(tmp_path: Path) -> None:
    async with Projector(tmp_path / "read.db", await log_of("1"), [replace(LARGE, apply=note_much)]) as projector:
        await limit_pages(projector, 1)
        with pytest.raises(DiskTrouble, match="full"):
            await projector.run()


async def test_a_model_of_another_version_is_built_again(tmp_path: Path) -> None:
    log = await log_of("1", "2")
    await projected(tmp_path, log)
    wider = {"notes": "CREATE TABLE notes(position INTEGER PRIMARY KEY, stream TEXT NOT NULL) STRICT"}

    def apply(db: Connection, record: Recorded) -> None:
        db.execute("INSERT INTO notes VALUES(?, ?)", (record.position, record.stream))

    await projected(tmp_path, log, [replace(NOTES, version=2, tables=wider, apply=apply)])

    assert [(1, A), (2, A)] == rows(tmp_path, "notes")


async def test_a_new_model_is_built_from_the_beginning(tmp_path: Path) -> None:
    log = await log_of("1", "2")
    await projected(tmp_path, log, [NOTES])
    await projected(tmp_path, log, [NOTES, STUMBLES])

    assert ([1, 2], [1, 2]) == (noted(tmp_path), noted(tmp_path, "stumbles"))


async def test_a_log_that_has_lost_records_is_refused(tmp_path: Path) -> None:
    await projected(tmp_path, await log_of("1", "2", "3"))
    with pytest.raises(LogTooShort, match=r"was made of 3 records, but the log has 2: .* `marketd rebuild` goes on"):
        await projected(tmp_path, await log_of("1", "2"))

    assert [1, 2, 3] == noted(tmp_path)


async def test_a_deleted_file_is_made_again(tmp_path: Path) -> None:
    log = await log_of("1", "2")
    await projected(tmp_path, log)
    (tmp_path / "read.db").unlink()
    await projected(tmp_path, log)

    assert [1, 2] == noted(tmp_path)


def garbage(folder: Path) -> None:
    (folder / "read.db").write_bytes(os.urandom(10_000))


def with_a_broken_page(folder: Path) -> None:
    path = folder / "read.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))


def newer(folder: Path) -> None:
    altered(folder, "PRAGMA user_version = 99")


@pytest.mark.parametrize("spoil", [garbage, with_a_broken_page, newer], ids=lambda spoil: str(spoil.__name__))
async def test_a_file_that_cannot_be_used_is_made_again(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    log = await log_of("1", "2")
    await projected(tmp_path, log)
    spoil(tmp_path)
    await projected(tmp_path, log)

    assert [1, 2] == noted(tmp_path)


async def test_a_file_that_cannot_be_used_is_put_aside(tmp_path: Path) -> None:
    garbage(tmp_path)
    before = (tmp_path / "read.db").read_bytes()
    await projected(tmp_path, await log_of("1"))

    assert before == (tmp_path / "read.db.unusable").read_bytes()


async def test_where_no_file_can_be_made_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble, match=r"absent/read.db: unable to open database file$"):
        await Projector(tmp_path / "absent" / "read.db", await log_of(), [NOTES]).__aenter__()


async def test_a_reader_is_answered_when_the_models_have_come_so_far(tmp_path: Path) -> None:
    log = await log_of("1")
    async with (
        Projector(tmp_path / "read.db", log, [NOTES], read_wait_s_max=10) as projector,
        asyncio.TaskGroup() as tasks,
    ):
        waiting = tasks.create_task(projector.wait_reached(3))
        running = tasks.create_task(projector.run())
        await append(log, A, "2", "3")
        await waiting
        running.cancel()

        assert 3 == projector.position


async def test_a_reader_does_not_wait_for_what_is_there(tmp_path: Path) -> None:
    async with Projector(tmp_path / "read.db", await log_of("1"), [NOTES], read_wait_s_max=0) as projector:
        await catch_up(projector)
        await projector.wait_reached(1)

        assert 1 == projector.position


async def test_a_reader_gives_up_at_the_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Projector(tmp_path / "read.db", await log_of("1"), [NOTES], read_wait_s_max=0.02) as projector:
        await projector.wait_reached(1)

    assert ["the read models are at 0, a reader waited for 1"] == [record.getMessage() for record in caplog.records]


async def test_how_far_the_models_are_can_be_asked(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("ann")
        await m.register("bob")

        assert Reached(2) == await m.ask(AskReached())


async def test_who_takes_a_while_between_the_steps_still_sees_the_end(tmp_path: Path) -> None:
    log = await log_of("1")
    async with (
        Projector(tmp_path / "read.db", log, [NOTES]) as projector,
        asyncio.timeout(5),
        asyncio.TaskGroup() as tasks,
    ):
        running = tasks.create_task(projector.run())
        async for _ in projector.wait_caught_up():
            await projector.wait_reached(1)
        running.cancel()

        assert 1 == projector.position


async def test_each_batch_is_told_once_it_can_be_read(tmp_path: Path) -> None:
    told: list[int] = []
    async with Projector(tmp_path / "read.db", await log_of("1", "2"), [NOTES]) as projector:
        projector.on_applied(lambda batch: told.extend(record.position for record in batch))
        await catch_up(projector)

    assert [1, 2] == told
