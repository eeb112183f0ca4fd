"""Of those who come under one key, one goes on at a time."""

import asyncio

import pytest

from marketd.bus.port import Busy
from marketd.http.turns import Turns
from tests.clock import settle

pytestmark = pytest.mark.asyncio


async def enter(turns: Turns[str], key: str, name: str, seen: list[str], gate: asyncio.Event) -> None:
    async with turns.of(key):
        seen.append(name)
        await gate.wait()


async def test_one_goes_on_at_a_time_in_the_order_of_coming() -> None:
    turns, seen, gate = Turns[str](8, "requests"), list[str](), asyncio.Event()
    tasks = [asyncio.ensure_future(enter(turns, "k", name, seen, gate)) for name in "abc"]
    await settle()
    first = list(seen)
    gate.set()
    await asyncio.gather(*tasks)

    assert (["a"], ["a", "b", "c"], 0) == (first, seen, len(turns))


async def test_other_keys_do_not_wait() -> None:
    turns, seen, gate = Turns[str](8, "requests"), list[str](), asyncio.Event()
    tasks = [asyncio.ensure_future(enter(turns, key, key, seen, gate)) for key in "ab"]
    await settle()

    assert ["a", "b"] == seen
    gate.set()
    await asyncio.gather(*tasks)


async def test_beyond_the_limit_nobody_waits() -> None:
    turns, seen, gate = Turns[str](2, "requests"), list[str](), asyncio.Event()
    tasks = [asyncio.ensure_future(enter(turns, "k", name, seen, gate)) for name in "ab"]
    await settle()
    with pytest.raises(Busy, match="2 requests wait already"):
        await enter(turns, "k", "c", seen, gate)
    gate.set()
    await asyncio.gather(*tasks)

    assert 0 == len(turns)


async def test_who_has_waited_too_long_is_told_and_keeps_nobody_waiting() -> None:
    turns, seen, gate = Turns[str](8, "requests"), list[str](), asyncio.Event()
    first = asyncio.ensure_future(enter(turns, "k", "a", seen, gate))
    await settle()
    with pytest.raises(ZeroDivisionError):
        async with turns.of("k", 0.01, ZeroDivisionError):
            pass
    gate.set()
    await first
    await enter(turns, "k", "b", seen, gate)

    assert (["a", "b"], 0) == (seen, len(turns))


async def test_who_gives_up_waiting_leaves_its_place() -> None:
    turns, seen, gate = Turns[str](2, "requests"), list[str](), asyncio.Event()
    first = asyncio.ensure_future(enter(turns, "k", "a", seen, gate))
    second = asyncio.ensure_future(enter(turns, "k", "b", seen, gate))
    await settle()
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    third = asyncio.ensure_future(enter(turns, "k", "c", seen, gate))
    gate.set()
    await asyncio.gather(first, third)

    assert (["a", "c"], 0) == (seen, len(turns))
