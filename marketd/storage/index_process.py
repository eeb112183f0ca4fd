"""
The process of the search index, as the service sees it: started, watched, and started again for as long as the
service lives; put to rest when nobody asks it, and woken by the next who does.

The child gets what it needs to know as one line of JSON on its standard input, which stays open: when it ends, the
service is gone. Without the index everything else goes on, so there is no giving up, only longer pauses.
"""

import asyncio
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from typing import Final, Literal

import msgspec
from msgspec import Struct

from marketd.children import subordinate
from marketd.clock import Clock

READY: Final = "ready"
PAUSE_S: Final = 0.5
PAUSE_S_MAX: Final = 30.0
STEADY_S: Final = 60.0  # who has lived so long begins again with the shortest pause
STOP_S_MAX: Final = 5.0
RISE_S_MAX: Final = 1.0  # for the first time or after a rest; if it takes longer, it takes very long

log = logging.getLogger("marketd.index")


class IndexNeeds(Struct, frozen=True):
    """
    What the index process is told: where the index and the catalogue are, how it reaches the bus, and where its spans
    go, if anywhere.
    """

    folder: str
    catalogue: str
    url: str
    user: str | None
    password: str | None
    log_level: str
    log_format: Literal["text", "json"] = "text"
    traces_endpoint: str | None = None
    traces_share: float = 1.0


class IndexProcess:
    """
    Keeps the index process alive; `run` it for as long as the service lives.

    Who asks the index awaits `wake` before, and who has an answer of it already says so by `note_use`. Nobody having
    done either for `rest_s` (at the latest for twice that), the process ends, and its memory is there for others; None
    keeps it up.
    """

    def __init__(self, needs: IndexNeeds, clock: Clock, *, rest_s: float | None = None) -> None:
        self._needs, self._clock, self._rest_s = needs, clock, rest_s
        self.pid: int | None = None
        self._starts = 0
        self._is_resting, self._rises_until_s = False, 0.0
        self._asked, self._risen = asyncio.Event(), asyncio.Event()
        self._risen.set()

    @property
    def is_resting(self) -> bool:
        """Say whether it waits to be asked."""
        return self._is_resting

    def statistics(self) -> dict[str, int | None]:
        """Its process id, None while there is none, and how often it was started."""
        return {"pid": self.pid, "starts": self._starts}

    def note_use(self) -> None:
        """Somebody was answered with what it has said before."""
        self._asked.set()

    async def wake(self) -> None:
        """
        Somebody is about to ask it: where it rests, or comes up for the first time, wait until it is up, or has failed
        to come up; but who comes when it should have come up long ago does not wait.
        """
        self._asked.set()
        if self._is_resting or self._clock.monotonic_s() < self._rises_until_s:
            await self._risen.wait()

    async def run(self, on_ready: Callable[[], None], on_rest: Callable[[], None]) -> None:
        """Start it, and again whenever it has ended; say so when it answers, and when it will not until it is asked."""
        pause_s = PAUSE_S
        self._rise()
        while True:
            begun_s = self._clock.monotonic_s()
            try:
                await self._live(on_ready)
            except* OSError as group:
                log.error("the index process does not start: %s", group.exceptions[0])
            if self._is_resting:
                log.debug("the index process rests until somebody asks it")
                on_rest()
                await self._asked.wait()
                self._is_resting, pause_s = False, PAUSE_S
                self._rise()
                continue
            self._risen.set()
            if self._clock.monotonic_s() - begun_s > STEADY_S:
                pause_s = PAUSE_S
            log.warning("the index process has ended; starting it again in %g s", pause_s)
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, PAUSE_S_MAX)

    def _rise(self) -> None:
        self._risen.clear()
        self._rises_until_s = self._clock.monotonic_s() + RISE_S_MAX

    async def _live(self, on_ready: Callable[[], None]) -> None:
        self._starts += 1
        process = await asyncio.create_subprocess_exec(
            *_command(),
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,
            preexec_fn=subordinate(),
            env={**os.environ, "MALLOC_ARENA_MAX": "1"},  # what its threads have freed is for all to use again
        )
        self.pid = process.pid
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(msgspec.json.encode(self._needs) + b"\n")
            async with asyncio.TaskGroup() as tasks:
                resting: asyncio.Task[None] | None = None
                while line := await process.stdout.readline():
                    if line.decode().strip() == READY:
                        on_ready()
                        self._risen.set()
                        resting = tasks.create_task(self._end_unasked(process))
                await process.wait()
                if resting is not None:
                    resting.cancel()
        finally:
            self.pid = None
            await _end(process)

    async def _end_unasked(self, process: Process) -> None:
        """End it once nobody has asked for so long; who asks from then on waits for the next."""
        if self._rest_s is None:
            return
        while not self._is_resting:
            self._asked.clear()
            await self._clock.sleep(self._rest_s)
            self._is_resting = not self._asked.is_set()
        self._risen.clear()
        await _end(process)


async def _end(process: Process) -> None:
    """SIGTERM, patience, SIGKILL."""
    if process.returncode is not None:
        return
    try:
        process.terminate()
        async with asyncio.timeout(STOP_S_MAX):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def _command() -> list[str]:
    """Run this very program; a frozen one is its own interpreter."""
    return [sys.executable, "index"] if getattr(sys, "frozen", False) else [sys.executable, "-m", "marketd", "index"]
