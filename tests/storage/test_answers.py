"""First answers: on record before they go out, for so long, and so many of one owner."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from marketd.bus.port import Busy, Unsure
from marketd.storage import together as module
from marketd.storage.answers import SWEEP_S, SWEPT_MAX, Begun, FirstAnswers
from marketd.storage.database import Connection, ForeignFile
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio

HOUR_S = 3600
NOW_MS = TestClock().now_ms()


def made(folder: Path, clock: TestClock, owner_keys_max: int = 1_000_000) -> FirstAnswers:
    return FirstAnswers(folder / "answers.db", clock, keep_hours=24, owner_keys_max=owner_keys_max)


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest_asyncio.fixture
async def answers(tmp_path: Path, clock: TestClock) -> AsyncIterator[FirstAnswers]:
    async with made(tmp_path, clock) as opened:
        yield opened


async def fill(answers: FirstAnswers, count: int, owner: bytes = b"ann") -> None:
    await asyncio.gather(*(answers.begin(b"%s %d" % (owner, number), owner, b"f") for number in range(count)))


async def test_the_first_is_told_so(answers: FirstAnswers) -> None:
    assert Begun(NOW_MS, b"f", None, is_first=True) == await answers.begin(b"r", b"ann", b"f")


async def test_who_comes_again_is_told_since_when(answers: FirstAnswers, clock: TestClock) -> None:
    await answers.begin(b"r", b"ann", b"f")
    await clock.advance(5)

    assert Begun(NOW_MS, b"f", None) == await answers.begin(b"r", b"ann", b"f")


async def test_another_fingerprint_does_not_replace_the_first(answers: FirstAnswers) -> None:
    await answers.begin(b"r", b"ann", b"f")

    assert b"f" == (await answers.begin(b"r", b"ann", b"other")).fingerprint


async def test_an_answer_is_found(answers: FirstAnswers) -> None:
    await answers.begin(b"r", b"ann", b"f")
    await answers.keep(b"r", b"ann", b"f", b"answer")

    assert Begun(NOW_MS, b"f", b"answer") == await answers.begin(b"r", b"ann", b"f") == await answers.find(b"r")


async def test_an_answer_needs_no_beginning(answers: FirstAnswers) -> None:
    await answers.keep(b"r", b"ann", b"f", b"answer")

    assert Begun(NOW_MS, b"f", b"answer") == await answers.find(b"r")


async def test_an_answer_outlives_the_service(tmp_path: Path, clock: TestClock) -> None:
    async with made(tmp_path, clock) as first:
        await first.keep(b"r", b"ann", b"f", b"answer")
    async with made(tmp_path, clock) as second:
        assert Begun(NOW_MS, b"f", b"answer") == await second.find(b"r")


async def test_what_is_forgotten_is_as_if_it_had_never_come(answers: FirstAnswers) -> None:
    await answers.begin(b"r", b"ann", b"f")
    await answers.forget(b"r")

    assert (await answers.begin(b"r", b"ann", b"other")).is_first


async def test_an_answer_is_not_forgotten(answers: FirstAnswers) -> None:
    await answers.keep(b"r", b"ann", b"f", b"answer")
    await answers.forget(b"r")

    assert b"answer" == (await answers.begin(b"r", b"ann", b"f")).answer


async def test_after_a_day_it_is_another_request(answers: FirstAnswers, clock: TestClock) -> None:
    await answers.keep(b"r", b"ann", b"f", b"answer")
    await clock.advance(24 * HOUR_S)
    later = clock.now_ms()

    found = await answers.find(b"r")
    assert (None, Begun(later, b"f", None, is_first=True)) == (found, await answers.begin(b"r", b"ann", b"f"))


async def test_of_many_at_once_one_is_the_first(answers: FirstAnswers) -> None:
    begun = await asyncio.gather(*(answers.begin(b"r", b"ann", b"f") for _ in range(50)))

    assert 1 == sum(one.is_first for one in begun)


async def test_those_who_wait_share_a_transaction(answers: FirstAnswers, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    run_all = module._run_all

    def counted(db: Connection, jobs: list[module._Job]) -> None:
        batches.append(len(jobs))
        run_all(db, jobs)

    monkeypatch.setattr(module, "_run_all", counted)
    await fill(answers, 100)

    assert [1, 99] == batches


async def test_more_than_may_wait_are_sent_away(answers: FirstAnswers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_MAX", 3)
    told = await asyncio.gather(*(answers.begin(b"%d" % n, b"ann", b"f") for n in range(10)), return_exceptions=True)

    assert {Begun, Busy} == {type(one) for one in told}


async def test_who_gives_up_takes_nobody_along(answers: FirstAnswers) -> None:
    tasks = [asyncio.create_task(answers.begin(b"%d" % number, b"ann", b"f")) for number in range(20)]
    await asyncio.sleep(0)
    tasks[5].cancel()
    told = await asyncio.gather(*tasks, return_exceptions=True)

    assert 19 == sum(isinstance(one, Begun) for one in told)


async def test_who_gives_up_while_writing_leaves_those_behind_with_an_error_or_an_answer(answers: FirstAnswers) -> None:
    tasks = [asyncio.create_task(answers.begin(b"%d" % number, b"ann", b"f")) for number in range(20)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    async with asyncio.timeout(5):
        told = await asyncio.gather(*tasks, return_exceptions=True)

    assert 19 == sum(isinstance(one, Begun | Unsure) for one in told)


async def test_the_old_are_swept_away(answers: FirstAnswers, clock: TestClock) -> None:
    await fill(answers, 10)
    await clock.advance(24 * HOUR_S)
    await fill(answers, 5, b"bob")

    assert (10, 0) == (await answers.sweep(), await answers.sweep())


async def test_a_sweep_takes_only_so_many(answers: FirstAnswers, clock: TestClock) -> None:
    await fill(answers, SWEPT_MAX + 1)
    await clock.advance(24 * HOUR_S)

    assert (SWEPT_MAX, 1) == (await answers.sweep(), await answers.sweep())


async def test_of_too_many_of_one_owner_the_oldest_are_swept_away(tmp_path: Path, clock: TestClock) -> None:
    async with made(tmp_path, clock, owner_keys_max=10) as answers:
        await answers.begin(b"the oldest", b"ann", b"f")
        await answers.begin(b"of bob", b"bob", b"f")
        await clock.advance(1)
        await fill(answers, 10)
        swept = await answers.sweep()
        found = [await answers.find(request) is not None for request in (b"the oldest", b"of bob", b"ann 0")]

    assert (1, [False, True, True]) == (swept, found)


async def test_sweeping_goes_on_by_itself(answers: FirstAnswers, clock: TestClock) -> None:
    await fill(answers, 10)
    running = asyncio.create_task(answers.run())
    await clock.advance(24 * HOUR_S)
    async with asyncio.timeout(5):
        while await answers._database.run(lambda db: db.execute("SELECT count(*) FROM answers").fetchone()) != (0,):
            await clock.advance(SWEEP_S)
    running.cancel()
    await asyncio.wait([running])


async def test_a_file_of_somebody_elses_is_refused(tmp_path: Path, clock: TestClock) -> None:
    (tmp_path / "answers.db").write_bytes(b"somebody's letters, which are no database at all")
    with pytest.raises(ForeignFile):
        async with made(tmp_path, clock):
            pass
