"""The log in one file: what a crash, a full disk or a changed byte can and cannot do to it."""

import asyncio
import logging
import os
import sqlite3
import sys
from asyncio.subprocess import PIPE
from contextlib import closing
from pathlib import Path

import pytest

from marketd.actors import product
from marketd.storage.batch import Batch
from marketd.storage.database import Database, DiskTrouble
from marketd.storage.log import (
    Appended,
    Commit,
    Conflict,
    CorruptLog,
    Done,
    LogFull,
    Outcome,
    Repeats,
    Snapshot,
    Unknown,
)
from marketd.storage.sqlite import SqliteLog
from tests.storage.history import Writer, append, commit, random_history
from tests.storage.logs import followed, ids, positions, sqlite_log

pytestmark = pytest.mark.asyncio

A, B = "order/a", "order/b"


async def limit_pages(log: SqliteLog, more: int | None) -> None:
    """Let the file grow by so many pages and no more, as on a full disk; None lifts the limit."""

    def limit(db: sqlite3.Connection) -> None:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {2**31 if more is None else pages + more}")

    await log._writer.run(limit)


def big(id: str) -> Commit:
    return commit(id, reply=Done(product.Reservation("x" * 2_000)))


async def fill(log: SqliteLog) -> int:
    """Append until the disk is full; give how many were taken."""
    taken = 0
    while isinstance(await log.append(f"order/{taken}", 0, [big(f"fill-{taken}")]), Appended):
        taken += 1
    return taken


async def test_everything_is_there_after_reopening(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        await random_history(Writer(log), seed=2, commands=60)
        before = await followed(log, 0, log.head)
    async with sqlite_log(tmp_path) as log:
        assert before == await followed(log, 0, log.head)


async def test_positions_go_on_after_reopening(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        await append(log, A, "a1", "a2")
    async with sqlite_log(tmp_path) as log:
        assert Appended(3) == await append(log, A, "a3")


async def test_the_chain_goes_on_after_reopening(tmp_path: Path) -> None:
    for n in range(4):
        async with sqlite_log(tmp_path) as log:
            await append(log, A, f"a{n}")
    async with sqlite_log(tmp_path) as log:
        assert 4 == log.head


async def test_what_waits_is_written_before_closing(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as tasks, sqlite_log(tmp_path) as log:
        tasks.create_task(log.append(A, 0, [commit("a1")]))
        await asyncio.sleep(0)
        log.offer_checkpoint("relay", 1)
    async with sqlite_log(tmp_path) as log:
        assert (1, 1) == (log.head, await log.checkpoint("relay"))


async def test_who_append_at_once_share_a_transaction(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        await asyncio.gather(*(append(log, f"order/{n}", "one", version=0) for n in range(1_000)))
        statistics = log.statistics()

    assert 1_000 == statistics["batched_commits"]
    assert statistics["batches"] < 20


async def test_a_transaction_has_a_limit(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path, batch_commits_max=10) as log:
        await asyncio.gather(*(append(log, f"order/{n}", "one", version=0) for n in range(100)))

        assert log.statistics()["batches"] >= 10


async def test_a_transaction_may_have_more_values_than_a_statement(tmp_path: Path) -> None:
    def limit(db: sqlite3.Connection) -> None:
        db.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)  # SQLite's own, which some systems raise

    async with sqlite_log(tmp_path, batch_commits_max=10_000) as log:
        await log._writer.run(limit)
        await asyncio.gather(*(append(log, f"order/{n}", "one", version=0) for n in range(4_000)))

        assert (4_000, 1) == (log.head, log.statistics()["batches"])


async def test_a_full_disk_takes_nothing_of_a_transaction_of_many_statements(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        await limit_pages(log, 100)
        full = await asyncio.gather(*(log.append(f"order/{n}", 0, [big("one")]) for n in range(300)))
        await limit_pages(log, None)
        again = await asyncio.gather(*(log.append(f"order/{n}", 0, [big("one")]) for n in range(300)))

    assert {Unknown} == {type(outcome) for outcome in full}
    assert [Appended(n) for n in range(1, 301)] == again


async def test_a_full_disk_takes_nothing_of_one_statement(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        await limit_pages(log, 10)
        full = await asyncio.gather(*(log.append(f"order/{n}", 0, [big("one")]) for n in range(30)))
        await limit_pages(log, None)
        again = await asyncio.gather(*(log.append(f"order/{n}", 0, [big("one")]) for n in range(30)))

    assert {Unknown} == {type(outcome) for outcome in full}
    assert [Appended(n) for n in range(1, 31)] == again


async def test_a_conflict_is_the_business_of_its_caller_alone(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        outcomes = await asyncio.gather(
            append(log, A, "a1", version=0), append(log, B, "b1", version=7), append(log, "order/c", "c1", version=0)
        )

    assert (Appended(1), Conflict(0), Appended(2)) == tuple(outcomes)


async def test_of_two_who_append_to_one_stream_at_once_the_second_learns_of_the_first(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        first, second, other = await asyncio.gather(
            append(log, A, "a1", version=0), append(log, A, "a2", version=0), append(log, B, "b1", version=0)
        )

    assert (Appended(1), Conflict(1), Appended(2)) == (first, second, other)


async def test_a_repeat_is_the_business_of_its_caller_alone(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        await append(log, A, "a1", "a2", version=0)
        again, other = await asyncio.gather(append(log, A, "a2", version=2), append(log, B, "a2", version=0))

    assert isinstance(again, Repeats) and {"a2": 2} == {key: record.position for key, record in again.known.items()}
    assert Appended(3) == other


async def test_a_repeat_of_what_can_not_be_read_is_the_business_of_its_caller_alone(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        await append(log, A, "a1")
        with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as db:
            db.execute("UPDATE commits SET events = '[]'")
        both = (log.append(A, 0, [commit("a1")]), log.append(B, 0, [commit("b1")]))
        told = await asyncio.gather(*both, return_exceptions=True)

        assert [CorruptLog, Appended] == [type(outcome) for outcome in told]
        assert Appended(3) == await log.append(B, 1, [commit("b2")])


async def test_nobody_waits_for_a_writer_that_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(self: Batch, db: object, additions: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Batch, "write", stumble)
    log = sqlite_log(tmp_path, batch_commits_max=1)
    appends: list[asyncio.Future[Outcome]] = []

    async def live() -> None:
        async with log:
            appends.extend(asyncio.ensure_future(log.append(stream, 0, [commit("1")])) for stream in (A, B))
            await asyncio.sleep(60)

    with pytest.raises(BaseExceptionGroup, match="unhandled errors"):
        await live()
    told = await asyncio.wait_for(asyncio.gather(*appends), 10)

    assert [Unknown("the log's writer has ended")] * 2 == told
    with pytest.raises(LogFull, match="the log is closing"):
        await log.append(A, 0, [commit("2")])


async def test_who_no_longer_waits_for_an_append_stops_nobody_else(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log, asyncio.TaskGroup() as tasks:
        leaving = tasks.create_task(append(log, A, "a1", version=0))
        staying = tasks.create_task(append(log, B, "b1", version=0))
        await asyncio.sleep(0)
        leaving.cancel()

        assert Appended(2) == await staying


async def test_beyond_the_limit_nobody_may_wait(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path, queue_commits_max=3) as log, asyncio.TaskGroup() as tasks:
        for n in range(3):
            tasks.create_task(append(log, f"order/{n}", "one", version=0))
        await asyncio.sleep(0)
        with pytest.raises(LogFull, match=r"^3 commits wait to be written$"):
            await append(log, A, "a1", version=0)


async def test_the_queue_that_was_full_is_empty_again(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path, queue_commits_max=3) as log:
        await append(log, A, "a1", "a2", "a3")

        assert Appended(6) == await append(log, A, "a4", "a5", "a6")


async def test_on_a_full_disk_the_outcome_is_unknown(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        await limit_pages(log, 4)
        await fill(log)

        assert Unknown(f"{tmp_path}/events.db: database or disk is full") == await log.append(A, 0, [big("a1")])


async def test_a_full_disk_is_trouble(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        await limit_pages(log, 4)
        await fill(log)

        assert f"{tmp_path}/events.db: database or disk is full" == log.trouble


async def test_on_a_full_disk_nothing_is_half_written(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        await limit_pages(log, 4)
        taken = await fill(log)
        await log.append(A, 0, [big(f"a{n}") for n in range(20)])

        assert (taken, []) == (log.head, await log.read(A))


async def test_on_a_full_disk_everything_can_still_be_read(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        await append(log, A, "a1")
        await limit_pages(log, 4)
        await fill(log)

        assert ["a1"] == ids(await log.read(A))


async def test_with_room_again_the_log_takes_up_where_it_was(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        await limit_pages(log, 4)
        taken = await fill(log)
        await limit_pages(log, None)
        outcome = await append(log, A, "a1", version=0)

        assert (Appended(taken + 1), None) == (outcome, log.trouble)
    async with sqlite_log(tmp_path) as log:
        assert list(range(1, taken + 2)) == positions(await followed(log, 0, log.head))


async def test_a_snapshot_outlives_reopening(tmp_path: Path) -> None:
    snapshot = Snapshot(A, 1, 1, "f1", b"state")
    async with sqlite_log(tmp_path) as log:
        await append(log, A, "a1")
        log.offer_snapshot(snapshot)
    async with sqlite_log(tmp_path) as log:
        assert (snapshot, []) == await log.wake(A, "f1")


@pytest.mark.parametrize("change", ["state = x'00'", "version = 2", "position = 9"])
async def test_a_snapshot_that_was_changed_is_passed_over(tmp_path: Path, change: str) -> None:
    async with sqlite_log(tmp_path) as log:
        await append(log, A, "a1", "a2")
        log.offer_snapshot(Snapshot(A, 1, 1, "f1", b"state"))
    with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as db:
        db.execute(f"UPDATE snapshots SET {change}")
    async with sqlite_log(tmp_path) as log:
        snapshot, records = await log.wake(A, "f1")

    assert (None, ["a1", "a2"]) == (snapshot, ids(records))


async def test_a_reading_connection_cannot_write(tmp_path: Path) -> None:
    async with sqlite_log(tmp_path) as log:
        with pytest.raises(DiskTrouble, match="attempt to write a readonly database"):
            await log._reader.run(lambda db: db.execute("DELETE FROM commits"))


async def test_a_reading_connection_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble, match="unable to open database file"):
        await Database(tmp_path / "absent.db", 1, "", read_only=True).__aenter__()

    assert [] == os.listdir(tmp_path)


async def test_where_no_file_can_be_made_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble, match=f"^{tmp_path}/absent/events.db: unable to open database file$"):
        await sqlite_log(tmp_path / "absent").__aenter__()


async def test_every_commit_is_on_the_disk_before_it_is_acknowledged(tmp_path: Path) -> None:
    def durability(db: sqlite3.Connection) -> tuple[str, int]:
        return db.execute("PRAGMA journal_mode").fetchone()[0], db.execute("PRAGMA synchronous").fetchone()[0]

    async with sqlite_log(tmp_path) as log:
        assert ("wal", 2) == await log._writer.run(durability)  # 2 is FULL


WRITER = """
import asyncio, pathlib, sys
from tests.storage.history import commit
from tests.storage.logs import sqlite_log

async def write(log, worker):
    stream = f"order/{worker}"
    version = len(await log.read(stream))
    while True:
        await log.append(stream, version, [commit(f"{worker}-{version}")])
        print(f"{worker}-{version}", flush=True)
        version += 1

async def main():
    async with sqlite_log(pathlib.Path(sys.argv[1])) as log:
        await asyncio.gather(*(write(log, worker) for worker in range(16)))

asyncio.run(main())
"""


async def killed_writer(folder: Path, lines: int) -> list[str]:
    """Let a process write, kill it -9 after so many lines, and give all that it acknowledged."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(folder), stdout=PIPE)
    assert process.stdout is not None
    told = [await process.stdout.readline() for _ in range(lines)]
    process.kill()
    told += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    return [line.decode().strip() for line in told if line.endswith(b"\n")]


@pytest.mark.slow
async def test_what_a_killed_writer_had_acknowledged_is_there(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for lines in (50, 400, 1_000):
        acknowledged.update(await killed_writer(tmp_path, lines))
        async with sqlite_log(tmp_path, check_commits=1_000_000) as log:
            missing = acknowledged - set(ids(await followed(log, 0, log.head)))

        assert set() == missing


async def test_closing_twice_and_cancelled_notes_log_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with sqlite_log(tmp_path) as log:
        await append(log, A, "a1")

    assert [] == caplog.records
