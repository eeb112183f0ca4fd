"""Answers gathered from parts: a part that fails costs its own field and nothing else."""

import asyncio
import logging

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from marketd.actors.aggregate import Refused
from marketd.actors.order import Reason
from marketd.bus.port import Busy, Crashed, NoAnswer
from marketd.http.gathering import Gathering, together
from marketd.http.keys import REQUEST_ID

pytestmark = pytest.mark.asyncio


def a_request() -> web.Request:
    request = make_mocked_request("GET", "/")
    request[REQUEST_ID] = "r1"
    return request


async def giving(value: int) -> int:
    return value


async def failing(error: Exception) -> int:
    raise error


async def never() -> int:
    await asyncio.Event().wait()
    raise AssertionError


async def test_each_part_brings_its_own() -> None:
    async with Gathering(a_request()) as parts:
        one, two = parts.add("one", giving(1), 1, empty=0), parts.add("two", giving(2), 1, empty=0)

    assert (1, 2, []) == (one.result(), two.result(), parts.degraded)


async def test_the_parts_are_gathered_side_by_side() -> None:
    met = asyncio.Barrier(2)

    async def meeting() -> int:
        return await met.wait()

    async with Gathering(a_request()) as parts:
        tasks = [parts.add(name, meeting(), 1, empty=-1) for name in ("one", "two")]

    assert {0, 1} == {task.result() for task in tasks}


@pytest.mark.parametrize(
    "error", [NoAnswer(), Busy(), Crashed(), Refused(Reason.NO_SUCH_ORDER), ValueError("a defect")]
)
async def test_a_part_that_fails_is_empty_and_named(error: Exception) -> None:
    async with Gathering(a_request()) as parts:
        bad, good = parts.add("bad", failing(error), 1, empty=0), parts.add("good", giving(2), 1, empty=0)

    assert (0, 2, ["bad"]) == (bad.result(), good.result(), parts.degraded)


async def test_a_part_that_takes_too_long_is_empty_and_named() -> None:
    async with Gathering(a_request()) as parts:
        late = parts.add("late", never(), 0.001, empty=0)

    assert (0, ["late"]) == (late.result(), parts.degraded)


async def test_a_part_that_fails_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with Gathering(a_request()) as parts:
        parts.add("reviews", failing(NoAnswer()), 1, empty=0)

    expected = "the answer to request r1 goes without its reviews: a part of the service did not answer"
    assert [expected] == [record.message for record in caplog.records]


async def test_a_part_with_a_defect_leaves_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with Gathering(a_request()) as parts:
        parts.add("reviews", failing(ValueError("a defect")), 1, empty=0)

    assert [logging.ERROR] == [record.levelno for record in caplog.records if record.exc_info]


async def test_the_names_are_in_the_order_of_the_alphabet() -> None:
    async with Gathering(a_request()) as parts:
        for name in ("b", "c", "a"):
            parts.add(name, failing(NoAnswer()), 1, empty=0)

    assert ["a", "b", "c"] == parts.degraded


async def test_who_hangs_up_ends_the_parts() -> None:
    ended = asyncio.Event()

    async def ending() -> int:
        try:
            return await never()
        finally:
            ended.set()

    async def gathering() -> None:
        async with Gathering(a_request()) as parts:
            parts.add("one", ending(), 60, empty=0)

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(gathering())
        for _ in range(3):
            await asyncio.sleep(0)
        waiting.cancel()

    assert ended.is_set()


async def test_things_done_together_come_in_their_order() -> None:
    assert [1, 2, 3] == await together(giving(n) for n in (1, 2, 3))


async def test_of_things_done_together_the_first_failure_comes_by_itself() -> None:
    with pytest.raises(Busy):
        await together([never(), failing(Busy())])
