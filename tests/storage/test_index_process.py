"""The index process as the service sees it: started, watched, started again, put to rest, and never left behind."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from marketd.storage import index_process
from marketd.storage.index_process import PAUSE_S, PAUSE_S_MAX, RISE_S_MAX, STEADY_S, IndexNeeds, IndexProcess
from tests.bus.post import wait_until
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio

NEEDS = IndexNeeds("search", "read.db", "nats://127.0.0.1:1", "user", "secret", "info")
REST_S = 60.0
ENDING = "raise SystemExit(1)"
READY = "import sys; print('ready', flush=True); sys.stdin.read(); sys.stdin.read()"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True: time.sleep(9)
"""
LISTENING = """
import sys
open({!r}, "w").write(sys.stdin.readline())
print("ready", flush=True)
sys.stdin.read()
"""


class Stage:
    """An index process that runs a program of the test's."""

    def __init__(self, clock: TestClock, rest_s: float | None) -> None:
        self.clock, self.readies, self.rests = clock, 0, 0
        self.process = IndexProcess(NEEDS, clock, rest_s=rest_s)

    async def run(self) -> None:
        await self.process.run(self._note_ready, self._note_rest)

    def _note_ready(self) -> None:
        self.readies += 1

    def _note_rest(self) -> None:
        self.rests += 1

    @property
    def starts(self) -> int | None:
        return self.process.statistics()["starts"]

    async def wait_ended(self) -> None:
        """Wait until the process has ended and its keeper pauses."""
        await wait_until(lambda: self.clock.sleepers > 0)

    async def goes_to_rest(self) -> None:
        """Let it be ready, and then let nobody ask for `REST_S`."""
        await wait_until(lambda: self.clock.sleepers > 0)
        await self.clock.advance(REST_S)
        await wait_until(lambda: self.rests > 0)


@asynccontextmanager
async def keeping(monkeypatch: pytest.MonkeyPatch, program: str, rest_s: float | None = None) -> AsyncIterator[Stage]:
    monkeypatch.setattr(index_process, "_command", lambda: [sys.executable, "-c", program])
    stage = Stage(TestClock(), rest_s)
    running = asyncio.create_task(stage.run())
    try:
        yield stage
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_is_told_what_it_needs_on_standard_input_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    async with keeping(monkeypatch, LISTENING.format(str(told))) as stage:
        await wait_until(lambda: stage.readies == 1)

    assert {
        "folder": "search",
        "catalogue": "read.db",
        "url": "nats://127.0.0.1:1",
        "user": "user",
        "password": "secret",
        "log_level": "info",
        "log_format": "text",
        "traces_endpoint": None,
        "traces_share": 1.0,
    } == json.loads(told.read_text())


async def test_when_it_is_ready_it_is_welcomed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(monkeypatch, READY) as stage:
        await wait_until(lambda: stage.readies == 1)
        pid = stage.process.pid

        assert pid is not None and {"pid": pid, "starts": 1} == stage.process.statistics()


async def test_what_has_ended_is_started_again_after_ever_longer_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(monkeypatch, ENDING) as stage:
        starts = []
        for pause_s in (PAUSE_S, 2 * PAUSE_S, 4 * PAUSE_S):
            await stage.wait_ended()
            await stage.clock.advance(pause_s - 0.01)
            starts.append(stage.starts)
            await stage.clock.advance(0.01)
        await stage.wait_ended()

        assert ([1, 2, 3], 4, 0, None) == (starts, stage.starts, stage.readies, stage.process.pid)


async def test_no_pause_is_longer_than_the_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(monkeypatch, ENDING) as stage:
        monkeypatch.setattr(index_process, "_command", lambda: ["/no/such/program"])
        await stage.wait_ended()
        await stage.clock.advance(10 * PAUSE_S_MAX)
        before = stage.starts or 0
        await stage.clock.advance(PAUSE_S_MAX)

        assert before + 1 == stage.starts


@pytest.mark.parametrize(("lived_s", "expected"), [(STEADY_S + 1, 3), (STEADY_S - 1, 2)])
async def test_only_who_has_lived_long_is_started_again_after_the_shortest_pause(
    monkeypatch: pytest.MonkeyPatch, lived_s: float, expected: int
) -> None:
    async with keeping(monkeypatch, ENDING) as stage:
        await stage.wait_ended()
        monkeypatch.setattr(index_process, "_command", lambda: [sys.executable, "-c", READY])
        await stage.clock.advance(PAUSE_S)
        await wait_until(lambda: stage.readies == 1)
        await stage.clock.advance(lived_s)
        assert stage.process.pid
        os.kill(stage.process.pid, signal.SIGKILL)
        await stage.wait_ended()
        await stage.clock.advance(PAUSE_S)

        assert expected == stage.starts


async def test_a_program_that_is_not_there_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(monkeypatch, ENDING) as stage:
        monkeypatch.setattr(index_process, "_command", lambda: ["/no/such/program"])
        await stage.wait_ended()
        monkeypatch.setattr(index_process, "_command", lambda: [sys.executable, "-c", READY])
        for _ in range(3):
            await stage.clock.advance(PAUSE_S_MAX)
            await asyncio.sleep(0)
        await wait_until(lambda: stage.readies == 1)

        assert stage.process.pid is not None


@pytest.mark.parametrize("program", [READY, STUBBORN], ids=["willing", "stubborn"])
async def test_when_the_service_ends_so_does_it(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(index_process, "STOP_S_MAX", 0.2)
    async with keeping(monkeypatch, program) as stage:
        await wait_until(lambda: stage.readies == 1)
        pid = stage.process.pid
        assert pid is not None and is_alive(pid)

    assert not is_alive(pid)


async def test_who_asks_while_it_comes_up_for_the_first_time_waits_until_it_is_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with keeping(monkeypatch, READY) as stage:
        await wait_until(lambda: stage.starts == 1)
        await stage.process.wake()

        assert 1 == stage.readies


async def test_who_takes_too_long_to_come_up_for_the_first_time_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with keeping(monkeypatch, "import time; time.sleep(99)") as stage:
        await wait_until(lambda: stage.starts == 1)
        await stage.clock.advance(RISE_S_MAX)
        await asyncio.wait_for(stage.process.wake(), 1)

        assert 0 == stage.readies


async def test_nobody_waits_for_who_fails_to_come_up_for_the_first_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(monkeypatch, ENDING) as stage:
        await stage.wait_ended()
        await asyncio.wait_for(stage.process.wake(), 1)

        assert 0 == stage.readies


# At rest.


@pytest.mark.parametrize("program", [READY, STUBBORN], ids=["willing", "stubborn"])
async def test_who_is_not_asked_for_so_long_ends_and_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr(index_process, "STOP_S_MAX", 0.2)
    async with keeping(monkeypatch, program, REST_S) as stage:
        await wait_until(lambda: stage.readies == 1)
        pid = stage.process.pid
        await stage.goes_to_rest()
        await stage.clock.advance(10 * PAUSE_S_MAX)

        assert pid is not None and not is_alive(pid)
        assert (True, {"pid": None, "starts": 1}) == (stage.process.is_resting, stage.process.statistics())


async def test_who_was_asked_meanwhile_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(monkeypatch, READY, REST_S) as stage:
        await wait_until(lambda: stage.readies == 1)
        for _ in range(5):
            await wait_until(lambda: stage.clock.sleepers > 0)
            await stage.process.wake()
            await stage.clock.advance(REST_S)

        assert (0, 1, False) == (stage.rests, stage.starts, stage.process.is_resting)


async def test_what_it_said_before_counts_as_asking_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(monkeypatch, READY, REST_S) as stage:
        await wait_until(lambda: stage.readies == 1)
        for _ in range(3):
            await wait_until(lambda: stage.clock.sleepers > 0)
            stage.process.note_use()
            await stage.clock.advance(REST_S)

        assert 0 == stage.rests


async def test_who_takes_too_long_to_come_up_is_not_waited_for_by_those_who_come_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with keeping(monkeypatch, READY, REST_S) as stage:
        await stage.goes_to_rest()
        monkeypatch.setattr(index_process, "_command", lambda: [sys.executable, "-c", "import time; time.sleep(99)"])
        first = asyncio.create_task(stage.process.wake())
        await wait_until(lambda: stage.starts == 2)
        await stage.clock.advance(RISE_S_MAX)
        await asyncio.wait_for(stage.process.wake(), 1)
        is_waiting = not first.done()
        first.cancel()

        assert (True, 1) == (is_waiting, stage.readies)


async def test_who_rests_is_up_when_waking_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(monkeypatch, READY, REST_S) as stage:
        await stage.goes_to_rest()
        await stage.process.wake()

        assert (2, 2, False) == (stage.starts, stage.readies, stage.process.is_resting)
        assert stage.process.pid is not None


async def test_all_who_ask_while_it_rests_wake_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(monkeypatch, READY, REST_S) as stage:
        await stage.goes_to_rest()
        await asyncio.gather(*[stage.process.wake() for _ in range(5)])

        assert 2 == stage.starts


async def test_nobody_waits_for_who_fails_to_come_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(monkeypatch, READY, REST_S) as stage:
        await stage.goes_to_rest()
        monkeypatch.setattr(index_process, "_command", lambda: [sys.executable, "-c", ENDING])
        await stage.process.wake()
        await stage.wait_ended()
        await stage.process.wake()

        assert (1, False) == (stage.readies, stage.process.is_resting)


async def test_who_is_to_be_always_there_never_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(monkeypatch, READY) as stage:
        await wait_until(lambda: stage.readies == 1)
        await stage.clock.advance(1_000 * REST_S)

        assert (0, 1) == (stage.rests, stage.starts)


async def test_a_service_ends_while_it_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    async with keeping(monkeypatch, READY, REST_S) as stage:
        await stage.goes_to_rest()

    assert stage.process.pid is None
