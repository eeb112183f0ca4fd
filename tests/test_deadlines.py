"""Many waits that end when their time is over, by one timer; to each of them as by `asyncio.timeout`."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest

from marketd.deadlines import LOOK_S, Deadlines

pytestmark = pytest.mark.asyncio

SHORT_S = 0.01
LONG_S = 30.0

Within = Callable[[float], AbstractAsyncContextManager[object]]


@pytest.fixture(params=["ours", "asyncio's"])
def within(request: pytest.FixtureRequest) -> Within:
    """The two ways of waiting that have to behave alike."""
    deadlines = Deadlines()

    @asynccontextmanager
    async def ours(seconds: float):  # type: ignore[no-untyped-def]
        with deadlines.within(seconds):
            yield

    return ours if request.param == "ours" else asyncio.timeout


async def test_who_takes_too_long_is_ended(within: Within) -> None:
    with pytest.raises(TimeoutError):
        async with within(SHORT_S):
            await asyncio.sleep(LONG_S)
    task = asyncio.current_task()

    assert task is not None and 0 == task.cancelling()


async def test_who_is_done_in_time_is_left_alone(within: Within) -> None:
    async with within(SHORT_S):
        done = True
    await asyncio.sleep(SHORT_S + 2 * LOOK_S)

    assert done


async def test_what_goes_wrong_inside_goes_out_as_it_is(within: Within) -> None:
    with pytest.raises(ZeroDivisionError):
        async with within(LONG_S):
            raise ZeroDivisionError


async def test_of_two_waits_the_shorter_one_ends_both(within: Within) -> None:
    ended = []
    try:
        async with within(SHORT_S):
            try:
                async with within(LONG_S):
                    await asyncio.sleep(LONG_S)
            except TimeoutError:
                ended.append("inner")
    except TimeoutError:
        ended.append("outer")

    assert ["outer"] == ended


async def test_the_inner_one_can_be_over_alone(within: Within) -> None:
    async with within(LONG_S):
        with suppress(TimeoutError):
            async with within(SHORT_S):
                await asyncio.sleep(LONG_S)
        await asyncio.sleep(2 * LOOK_S)
        is_going_on = True

    assert is_going_on


async def test_who_is_cancelled_from_outside_is_cancelled(within: Within) -> None:
    async def wait() -> None:
        async with within(LONG_S):
            await asyncio.sleep(LONG_S)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(0)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_who_is_cancelled_when_the_time_is_over_too_is_cancelled(within: Within) -> None:
    async def wait() -> None:
        async with within(SHORT_S):
            try:
                await asyncio.sleep(LONG_S)
            except asyncio.CancelledError:
                asyncio.current_task().cancel()  # type: ignore[union-attr]
                raise

    waiting = asyncio.create_task(wait())
    with suppress(asyncio.CancelledError, TimeoutError):
        await waiting

    assert waiting.cancelled()


async def test_who_does_not_mind_being_ended_is_told_at_the_end(within: Within) -> None:
    async def wait() -> str:
        async with within(SHORT_S):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(LONG_S)
        return "went on"

    assert "went on" == await asyncio.create_task(wait())


async def test_nobody_waits_much_longer_than_they_said() -> None:
    deadlines, loop = Deadlines(), asyncio.get_running_loop()
    late_s = []

    async def wait(seconds: float) -> None:
        begun_s = loop.time()
        with suppress(TimeoutError), deadlines.within(seconds):
            await asyncio.sleep(LONG_S)
        late_s.append(loop.time() - begun_s - seconds)

    await asyncio.gather(*[wait(n / 200) for n in range(40)])

    assert 40 == len(late_s) and min(late_s) >= 0 and sorted(late_s)[20] < 2 * LOOK_S


async def test_nobody_looks_where_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines, loop, timers = Deadlines(), asyncio.get_running_loop(), []
    call_later = loop.call_later

    def counted(delay: float, *work: object) -> asyncio.TimerHandle:
        timers.append(delay)
        return call_later(delay, *work)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "call_later", counted)
    for _ in range(100):
        with deadlines.within(LONG_S):
            pass
    looked = timers.count(LOOK_S)
    await asyncio.sleep(3 * LOOK_S)

    assert (1, 1) == (looked, timers.count(LOOK_S))
