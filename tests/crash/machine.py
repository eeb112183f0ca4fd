"""The machine under the service: starts it again and again on one data directory, and does to it what machines do."""

import asyncio
import os
import random
import resource
import signal
import struct
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from tests.journeys.process import NotReady, Service, starting

CLOCK: Final = Path(__file__).parent / "clock"
SETTINGS: Final = {
    "MARKETD_BREAKERS__OPEN_S": "2",  # who is in trouble is asked again within the round
    "MARKETD_SAGA__RETRY_S_MAX": "2",
    "MARKETD_SAGA__CLAIM_S": "3",  # and so is what nobody came for given back
    "MARKETD_ACTORS__REPLY_WAIT_S_MAX": "3",
    "MARKETD_STORAGE__FREE_BYTES_MIN": "1048576",  # small disks are filled here
    "MARKETD_UPLOADS__FREE_BYTES_MIN": "1048576",
}
# What a life writes into its log when something happens that nobody has thought of.
DEFECTS: Final = ("Traceback", "crashed", "panic", "is halted")
NO_FILE_BYTES: Final = 1


class Machine:
    """One data directory, and the service on it, if it lives."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.disk, self.chance = folder, folder / "disk", chance
        self.disk.mkdir(exist_ok=True)
        self.data = self.disk / "data"
        self.kills = self.starts = 0
        self.defects: list[str] = []
        self.has_clock = False
        self._service: Service | None = None
        self._life = AsyncExitStack()
        self._clock_file = folder / "clock"
        self._clock_file.write_bytes(bytes(8))

    @property
    def service(self) -> Service:
        assert self._service is not None
        return self._service

    @property
    def is_dead(self) -> bool:
        return self._service is None

    async def begin(self, *, has_clock: bool = False) -> Service:
        """Begin a life, and do not wait for the ready line. With `has_clock` its clock can be set."""
        settings = SETTINGS | {
            "MARKETD_PAYMENTS__SANDBOX_DELAY_MS": self.chance.choice(["0", "5", "40"]),
            "MARKETD_NATS__IN_PROCESS": self.chance.choice(["true", "true", "false"]),
        }
        self.has_clock = has_clock
        if has_clock:
            paths = [str(CLOCK), *filter(None, [os.environ.get("PYTHONPATH")])]
            settings |= {"PYTHONPATH": os.pathsep.join(paths), "CLOCK_FILE": str(self._clock_file)}
        self._service = await self._life.enter_async_context(starting(self.data, settings=settings))
        self.starts += 1
        return self._service

    async def start(self, *, has_clock: bool = False) -> Service:
        """Begin a life, and wait until it is ready."""
        service = await self.begin(has_clock=has_clock)
        try:
            await service.wait_ready()
        except NotReady as error:
            self.defects.append(f"it does not start: {error}")
            raise
        return service

    async def kill(self) -> None:
        """Kill the service and all its children with -9, in any order."""
        family = self.service.family()
        self.chance.shuffle(family)
        for pid in family:
            send(pid, signal.SIGKILL)
        self.kills += 1
        await self.service.wait_ended()
        await self.bury()

    async def stop(self) -> None:
        """Stop it as an operator does."""
        code = await self.service.stop()
        if code != 0:
            self.defects.append(f"it ended with {code}: {self.service.log[-2_000:]}")
        await self.bury()

    async def bury(self) -> None:
        """Leave nothing behind of a life, but what its log says of defects."""
        if self._service is None:
            return
        await self._life.aclose()
        self._life, service = AsyncExitStack(), self._service
        self.defects += defects_of(service.log)
        (self.folder / f"life-{self.starts}.log").write_text(service.log)
        self._service = None

    def set_clock(self, ahead_s: float) -> None:
        """Set the clock of those lives that have one."""
        with self._clock_file.open("r+b") as file:
            file.write(struct.pack("<q", int(ahead_s * 1000)))

    @asynccontextmanager
    async def unwritable(self) -> AsyncIterator[None]:
        """Let no file of the service grow: every write fails, and the disk gives that as an error of its own."""
        soft, hard = resource.prlimit(self.service.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.service.pid, resource.RLIMIT_FSIZE, (NO_FILE_BYTES, hard))
        try:
            yield
        finally:
            resource.prlimit(self.service.pid, resource.RLIMIT_FSIZE, (soft, hard))

    @asynccontextmanager
    async def full(self) -> AsyncIterator[None]:
        """Fill the disk to its last byte, and keep it full; it must be one of our own."""
        assert self.disk.is_mount()
        ballast = self.disk / "ballast"
        filling = asyncio.create_task(_fill(ballast))
        try:
            yield
        finally:
            filling.cancel()
            await asyncio.wait([filling])
            ballast.unlink()

    @asynccontextmanager
    async def stopped(self, pid: int) -> AsyncIterator[None]:
        """Let a process do nothing."""
        send(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            send(pid, signal.SIGCONT)


async def _fill(ballast: Path) -> None:
    while True:
        with ballast.open("ab", buffering=0) as file:
            for piece in (65_536, 4_096, 512, 1):
                try:
                    while True:
                        file.write(bytes(piece))
                except OSError:
                    continue
        await asyncio.sleep(0.02)


def defects_of(log: str) -> list[str]:
    """Give the lines of a log that nobody may ever read in it."""
    return [f"the log says: {line[:2_000]}" for line in log.splitlines() if any(word in line for word in DEFECTS)]


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
