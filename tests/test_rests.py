"""How one waits before one tries again, and how one is called out of a wait."""

import asyncio

import pytest

from marketd.rests import BackOff, Interruptible, jittered
from tests.clock import TestClock, settle


def test_a_wait_is_shortened_by_no_more_than_a_half() -> None:
    clock = TestClock()
    waits = [jittered(clock, 10) for _ in range(1_000)]

    assert 5 <= min(waits) < 6 and 9 < max(waits) <= 10


async def rested_s(clock: TestClock, waits: BackOff) -> float:
    """Rest once; say how long that took."""
    began_s = clock.monotonic_s()
    resting = asyncio.ensure_future(waits.rest())
    while not resting.done():
        await clock.advance(0.01)
    return clock.monotonic_s() - began_s


@pytest.mark.asyncio
async def test_the_waits_double_up_to_the_longest_and_begin_again() -> None:
    clock = TestClock()
    waits = BackOff(clock, 1.0, 3.0)
    at_most = []
    for _ in range(4):
        at_most.append(waits.next_s)
        assert waits.next_s / 2 <= await rested_s(clock, waits) <= at_most[-1] + 0.02
    waits.reset()

    assert ([1.0, 2.0, 3.0, 3.0], 1.0) == (at_most, waits.next_s)


@pytest.mark.asyncio
async def test_a_wait_that_is_interrupted_has_grown_all_the_same() -> None:
    clock, wait = TestClock(), Interruptible()
    waits = BackOff(clock, 1.0, 3.0)

    async def rest() -> None:
        async with wait.going():
            await waits.rest()

    resting = asyncio.ensure_future(rest())
    await settle()
    wait.interrupt()
    await resting

    assert (0.0, 2.0) == (clock.monotonic_s(), waits.next_s)


@pytest.mark.asyncio
async def test_what_nobody_interrupts_goes_on_to_its_end() -> None:
    wait, done = Interruptible(), False
    async with wait.going():
        await settle()
        done = True

    assert done


@pytest.mark.asyncio
async def test_an_interruption_that_nothing_goes_on_for_is_none_for_what_comes_next() -> None:
    wait, done = Interruptible(), False
    wait.interrupt()
    async with wait.going():
        await settle()
        done = True

    assert done


@pytest.mark.asyncio
async def test_two_interruptions_are_one() -> None:
    wait = Interruptible()

    async def go() -> None:
        async with wait.going():
            await asyncio.sleep(60)

    going = asyncio.ensure_future(go())
    await settle()
    wait.interrupt()
    wait.interrupt()

    await going


@pytest.mark.asyncio
async def test_a_timeout_of_the_blocks_own_goes_on() -> None:
    wait = Interruptible()
    with pytest.raises(TimeoutError, match="its own"):
        async with wait.going():
            raise TimeoutError("its own")


@pytest.mark.asyncio
async def test_who_is_cancelled_is_not_interrupted() -> None:
    wait = Interruptible()

    async def go() -> None:
        async with wait.going():
            await asyncio.sleep(60)

    going = asyncio.ensure_future(go())
    await settle()
    going.cancel()

    with pytest.raises(asyncio.CancelledError):
        await going
