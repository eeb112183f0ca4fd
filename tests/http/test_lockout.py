"""The lockout: who fails too often in a row must wait, longer each time."""

import pytest

from marketd.http.lockout import Lockout
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio


KEYS_MAX = 5


def lockout(clock: TestClock, failures_max: int = 3, forget_s: float | None = None) -> Lockout:
    return Lockout(
        clock, failures_max=failures_max, lockout_s=60, lockout_s_max=200, forget_s=forget_s, keys_max=KEYS_MAX
    )


def failed(made: Lockout, times: int, key: str = "ann") -> float:
    for _ in range(times):
        made.failed(key)
    return made.wait_s(key)


@pytest.mark.parametrize(
    ("times", "expected"), [(0, 0), (1, 0), (2, 0), (3, 60), (4, 120), (5, 200), (6, 200), (3_000, 200)]
)
async def test_the_wait_grows_with_the_failures(times: int, expected: float) -> None:
    assert expected == failed(lockout(TestClock()), times)


async def test_the_wait_passes() -> None:
    clock = TestClock()
    made = lockout(clock)
    failed(made, 3)
    await clock.advance(59)
    before = made.wait_s("ann")
    await clock.advance(1)

    assert (1, 0) == (before, made.wait_s("ann"))


async def test_the_first_failure_after_a_wait_locks_for_longer() -> None:
    clock = TestClock()
    made = lockout(clock)
    failed(made, 3)
    await clock.advance(60)

    assert 120 == failed(made, 1)


async def test_a_success_starts_anew() -> None:
    made = lockout(TestClock())
    failed(made, 5)
    made.succeeded("ann")

    assert (0, 0, 60) == (made.wait_s("ann"), failed(made, 2), failed(made, 1))


async def test_a_success_without_a_failure_is_nothing_special() -> None:
    made = lockout(TestClock())
    made.succeeded("ann")

    assert 0 == made.wait_s("ann")


async def test_each_counts_for_oneself() -> None:
    made = lockout(TestClock())
    failed(made, 3)

    assert 0 == failed(made, 2, "bob")


async def test_one_failure_may_be_one_too_many() -> None:
    assert 60 == failed(lockout(TestClock(), failures_max=1), 1)


async def test_of_too_many_the_one_that_failed_longest_ago_is_forgotten() -> None:
    made = lockout(TestClock(), failures_max=1)
    for number in range(KEYS_MAX):
        made.failed(f"{number}")
    made.failed("0")
    made.failed("one more")

    assert (True, False) == (made.wait_s("0") > 0, made.wait_s("1") > 0)


async def test_no_more_are_remembered_than_there_may_be() -> None:
    made = lockout(TestClock(), failures_max=1)
    for number in range(3 * KEYS_MAX):
        made.failed(f"{number}")

    assert KEYS_MAX == sum(made.wait_s(f"{number}") > 0 for number in range(3 * KEYS_MAX))


@pytest.mark.parametrize(("passed_s", "expected"), [(59, 60), (60, 0), (120, 0), (10_000, 0)])
async def test_where_time_forgets_it_forgets_one_failure_after_the_other(passed_s: float, expected: float) -> None:
    clock = TestClock()
    made = lockout(clock, forget_s=60)
    failed(made, 2)
    await clock.advance(passed_s)

    assert expected == failed(made, 1)


async def test_time_forgets_nothing_while_one_waits() -> None:
    clock = TestClock()
    made = lockout(clock, forget_s=60)
    failed(made, 3)
    await clock.advance(60)

    assert 120 == failed(made, 1)


async def test_without_a_time_to_forget_nothing_is_forgotten() -> None:
    clock = TestClock()
    made = lockout(clock)
    failed(made, 2)
    await clock.advance(1_000_000)

    assert 60 == failed(made, 1)
