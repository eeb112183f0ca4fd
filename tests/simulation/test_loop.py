"""The loop: order by lot, time by number, and owners who die."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.simulation.loop import Endless, Owner, SeededLoop, Stuck


def order_of(loop: SeededLoop, count: int = 20) -> list[int]:
    """In which order so many tasks take their turns."""
    seen: list[int] = []

    async def appear(n: int) -> None:
        await asyncio.sleep(0)
        seen.append(n)

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            for n in range(count):
                tasks.create_task(appear(n))

    loop.run(main())
    return seen


def run(coro: Coroutine[Any, Any, Any]) -> Any:
    return SeededLoop(1).run(coro)


def test_a_seed_is_an_order() -> None:
    assert order_of(SeededLoop(1)) == order_of(SeededLoop(1))


def test_another_seed_is_another_order() -> None:
    assert order_of(SeededLoop(1)) != order_of(SeededLoop(2))


def test_everybody_has_their_turn() -> None:
    assert list(range(20)) == sorted(order_of(SeededLoop(1)))


def test_without_disorder_the_first_comes_first() -> None:
    assert list(range(20)) == order_of(SeededLoop(1, disorder=0))


def test_a_year_passes_at_once() -> None:
    loop = SeededLoop(1)
    loop.run(asyncio.sleep(31_536_000))

    assert 31_536_000 == loop.time()


def test_who_sleeps_less_wakes_first() -> None:
    woken: list[int] = []

    async def sleep(seconds: int) -> None:
        await asyncio.sleep(seconds)
        woken.append(seconds)

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            for seconds in (3, 1, 2):
                tasks.create_task(sleep(seconds))

    run(main())
    assert [1, 2, 3] == woken


def test_a_timeout_is_one_of_the_loops_own_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(600):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert 600 == run(main())


def test_a_timer_that_was_cancelled_holds_nobody_up() -> None:
    async def main() -> float:
        async with asyncio.timeout(600):
            await asyncio.sleep(1)
        await asyncio.sleep(1)
        return asyncio.get_running_loop().time()

    assert 2 == run(main())


def test_who_would_wait_for_ever_is_told() -> None:
    with pytest.raises(Stuck):
        run(asyncio.Event().wait())


def test_who_never_rests_is_stopped() -> None:
    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Endless):
        run(spin())


def test_when_an_owner_dies_so_do_its_tasks_and_those_that_they_began() -> None:
    ended: list[str] = []

    async def child(name: str) -> None:
        try:
            await asyncio.sleep(10)
            ended.append(f"{name} lived")
        except asyncio.CancelledError:
            ended.append(f"{name} died")
            raise

    async def parent() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(child("a child"))
            await child("a parent")

    async def main(loop: SeededLoop, mortal: Owner) -> None:
        loop.begin(parent(), mortal)
        loop.begin(child("another"), Owner())
        await asyncio.sleep(1)
        mortal.die()
        await asyncio.sleep(10)

    loop = SeededLoop(1, disorder=0)
    loop.run(main(loop, Owner()))
    assert ["a parent died", "a child died", "another lived"] == ended


def test_what_a_callback_raises_is_noted() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    loop = SeededLoop(1)
    loop.run(main())
    assert 1 == len(loop.mishaps)
