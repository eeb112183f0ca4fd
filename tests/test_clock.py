"""Time, ids and chance come from a clock; the test's own moves only when it is told to."""

import asyncio
import re

import pytest

from marketd.clock import Ids, SystemClock, instant, made_at, new_id
from tests.clock import TestClock, settle

UUID7 = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


@pytest.mark.parametrize("seed", range(20))
def test_an_id_is_a_uuid_of_version_7(seed: int) -> None:
    assert re.fullmatch(UUID7, new_id(TestClock(seed=seed)))


@pytest.mark.parametrize("now_ms", [0, 1, 1_700_000_000_000, 2**48 - 1])
def test_an_id_begins_with_its_time(now_ms: int) -> None:
    assert now_ms == int(new_id(TestClock(now_ms)).replace("-", "")[:12], 16)


def test_ids_of_one_moment_differ() -> None:
    clock = TestClock()

    assert 1_000 == len({new_id(clock) for _ in range(1_000)})


def test_ids_sort_by_their_time() -> None:
    ids = [new_id(TestClock(now_ms)) for now_ms in range(1_700_000_000_000, 1_700_000_000_100)]

    assert sorted(ids) == ids


def test_an_id_says_when_it_was_made() -> None:
    assert 1_700_000_000_123 == made_at(new_id(TestClock(1_700_000_000_123)))


def test_ids_that_are_counted_are_no_others() -> None:
    clock = TestClock(1_700_000_000_123)
    ids = Ids(clock)
    made = [ids.make() for _ in range(1_000)]

    assert 1_000 == len({*made}) and sorted(made) == made
    assert all(re.fullmatch(UUID7, one) and made_at(one) == 1_700_000_000_123 for one in made)


@pytest.mark.asyncio
async def test_ids_are_counted_from_another_start_in_each_millisecond() -> None:
    clock = TestClock()
    ids = Ids(clock)
    first = ids.make()
    await clock.advance(0.001)
    second = ids.make()

    assert made_at(first) + 1 == made_at(second) and first[-12:] != second[-12:]


def test_two_services_count_from_other_starts() -> None:
    assert Ids(TestClock(seed=1)).make() != Ids(TestClock(seed=2)).make()


def test_there_is_room_to_count() -> None:
    class Full(TestClock):
        def random_bytes(self, count: int) -> bytes:
            return b"\xff" * count

    ids = Ids(Full())
    ids.make()

    assert re.fullmatch(UUID7, ids.make())


def test_an_instant_is_exact() -> None:
    assert "2023-11-14T22:13:20.001000+00:00" == instant(1_700_000_000_001).isoformat()


@pytest.mark.parametrize("count", [0, 1, 10, 4_095, 4_096, 4_097, 100_000])
def test_the_system_gives_as_much_chance_as_is_asked_for(count: int) -> None:
    clock = SystemClock()

    assert [count, 10, count] == [len(clock.random_bytes(n)) for n in (count, 10, count)]


def test_the_system_gives_no_chance_twice() -> None:
    clock = SystemClock()

    assert 10_000 == len({clock.random_bytes(10) for _ in range(10_000)})


def test_the_system_never_goes_back() -> None:
    clock = SystemClock()

    assert clock.monotonic_s() <= clock.monotonic_s()


@pytest.mark.asyncio
async def test_who_sleeps_wakes_when_the_time_has_come_and_not_before() -> None:
    clock, woken = TestClock(), asyncio.Event()

    async def sleep() -> None:
        await clock.sleep(5)
        woken.set()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sleep())
        await clock.advance(4.9)
        before = woken.is_set()
        await clock.advance(0.1)

    assert (False, True) == (before, woken.is_set())


@pytest.mark.asyncio
async def test_sleepers_wake_in_the_order_of_their_times() -> None:
    clock, order = TestClock(), list[int]()

    async def sleep(seconds: int) -> None:
        await clock.sleep(seconds)
        order.append(clock.now_ms() - 1_700_000_000_000)

    async with asyncio.TaskGroup() as tasks:
        for seconds in (3, 1, 2):
            tasks.create_task(sleep(seconds))
        await clock.advance(10)

    assert [1000, 2000, 3000] == order


@pytest.mark.asyncio
async def test_a_sleeper_who_was_cancelled_sleeps_no_more() -> None:
    clock = TestClock()
    async with asyncio.TaskGroup() as tasks:
        sleeper = tasks.create_task(clock.sleep(5))
        await settle()
        before = clock.sleepers
        sleeper.cancel()
        await settle()

    assert (1, 0) == (before, clock.sleepers)
