"""
What befalls the service while people use it, each as what it is under `make crash`: by name, with its needs.

Each ends with the service alive and in order, so that what is there can be looked at.
"""

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

from tests.crash.machine import Machine, send
from tests.crash.people import Town
from tests.crash.seen import verify
from tests.journeys.people import Answer
from tests.journeys.process import COMMAND, Service, marketd

HOUR_S: Final = 3_600.0
AGAIN_S_MAX: Final = 30.0  # until what was in trouble works again
NATS_ENDS_MAX: Final = 3  # in one life
STARTS_NATS: Final = "nats-server ended with exit code -9; starting it again"
LINE_IS_UP: Final = "the line to NATS is up again"


class Round:
    """One round: who is there, for how long things are stopped, and what is drawn."""

    def __init__(self, machine: Machine, town: Town, chance: random.Random, stop_s: float) -> None:
        self.machine, self.town, self.chance, self.stop_s = machine, town, chance, stop_s

    async def live(self, befalls: Callable[[Service], Awaitable[None]]) -> None:
        """Let people use the service, and something befall it meanwhile."""
        service, enough = self.machine.service, asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.town.live(service, enough, self.chance))
            try:
                await befalls(service)
            finally:
                enough.set()

    async def wait(self, from_s: float, to_s: float) -> None:
        """Let people go on for a while."""
        await asyncio.sleep(self.chance.uniform(from_s, to_s))

    async def again(self, *, has_clock: bool = False) -> None:
        """Start the service again, with everybody."""
        await self.town.move(await self.machine.start(has_clock=has_clock))


async def kill(round_: Round) -> None:
    """Everything is killed in the middle of the load."""

    async def blow(service: Service) -> None:
        await round_.wait(0.1, 3)
        await round_.machine.kill()

    await round_.live(blow)
    await round_.again()


async def kill_start(round_: Round) -> None:
    """And killed again while it starts and takes up what was open, some times over."""
    await kill_only(round_)
    for _ in range(round_.chance.choice([1, 2, 3])):
        await round_.machine.begin()
        await round_.wait(0.05, 1.5)
        await round_.machine.kill()
    await round_.again()


async def kill_only(round_: Round) -> None:
    async def blow(service: Service) -> None:
        await round_.wait(0.5, 1.5)
        await round_.machine.kill()

    await round_.live(blow)


async def kill_backup(round_: Round) -> None:
    """Everything is killed while a backup is made, the backup too; one that was made is as good as the store."""
    saved = round_.machine.folder / "backup.tar"

    async def blow(service: Service) -> None:
        await round_.wait(0.3, 1)
        backup = await asyncio.create_subprocess_exec(
            *(*COMMAND, "backup", str(saved), "--data", str(service.data)), stderr=asyncio.subprocess.DEVNULL
        )
        await round_.wait(0.2, 2)
        send(backup.pid, signal.SIGKILL)
        await round_.machine.kill()
        await backup.wait()

    await round_.live(blow)
    if saved.exists():
        await _check_backup(round_.machine, saved)
        saved.unlink()
    await round_.again()


async def _check_backup(machine: Machine, saved: Path) -> None:
    restored = machine.folder / "restored"
    done = await marketd("restore", str(saved), "--data", str(restored))
    if done.code != 0:
        machine.defects.append(f"a backup can't be restored: {done}")
        return
    machine.defects += [f"a restored backup: {fault}" for fault in await verify(restored)]
    shutil.rmtree(restored)


async def kill_nats(round_: Round) -> None:
    """The nats-server alone is killed; it comes back by itself. (If it ended too often, the service would end too.)"""
    if round_.machine.service.log.count(STARTS_NATS) >= NATS_ENDS_MAX:
        await round_.machine.stop()
        await round_.again()

    async def blow(service: Service) -> None:
        await round_.wait(0.1, 2)
        before = service.log.count(LINE_IS_UP)
        for pid in service.nats_servers():
            os.kill(pid, signal.SIGKILL)
        round_.machine.kills += 1
        async with asyncio.timeout(AGAIN_S_MAX):
            while service.log.count(LINE_IS_UP) == before:
                await asyncio.sleep(0.05)
        await round_.wait(0.1, 1)

    await round_.live(blow)


async def kill_index(round_: Round) -> None:
    """The index process alone is killed; it comes back by itself."""

    async def blow(service: Service) -> None:
        await round_.wait(0.1, 2)
        for pid in service.index_processes():
            os.kill(pid, signal.SIGKILL)
        round_.machine.kills += 1
        await round_.wait(0.5, 2)

    await round_.live(blow)


async def stop(round_: Round) -> None:
    """The service stands still for a while."""

    async def blow(service: Service) -> None:
        await round_.wait(0.1, 2)
        async with round_.machine.stopped(service.pid):
            await asyncio.sleep(round_.stop_s)
        await round_.wait(0.5, 1)

    await round_.live(blow)


async def stop_nats(round_: Round) -> None:
    """The nats-server stands still for a while."""

    async def blow(service: Service) -> None:
        await round_.wait(0.1, 2)
        (pid,) = service.nats_servers()
        async with round_.machine.stopped(pid):
            await asyncio.sleep(round_.stop_s)
        await round_.wait(0.5, 1)

    await round_.live(blow)


async def unwritable(round_: Round) -> None:
    """No file can be written for a while: what would have to be is refused, what can be read is read."""
    await _without_writing(round_, round_.machine.unwritable, round_.town.writes)


async def full(round_: Round) -> None:
    """The disk is full for a while. (What is small may find room in a file that was larger before.)"""
    await _without_writing(round_, round_.machine.full, round_.town.uploads)


async def _without_writing(
    round_: Round, trouble: Callable[[], AbstractAsyncContextManager[None]], writes: Callable[[], Awaitable[Answer]]
) -> None:
    """What needs the disk is refused in order, what can be read is read, and then all goes on by itself."""
    defect = round_.town.told.defect

    async def blow(service: Service) -> None:
        await round_.wait(0.3, 1.5)
        async with trouble():
            await asyncio.sleep(0.5)  # what was under way before
            for _ in range(5):
                refused = await writes()
                if refused.status != 503 or "Retry-After" not in refused.headers:
                    defect(f"what can't be written is answered with {refused}")
                for path, read in await round_.town.reads():
                    if read.status != 200:
                        defect(f"{path} can be read, and is answered with {read}")
                await asyncio.sleep(0.1)
        async with asyncio.timeout(AGAIN_S_MAX):
            while (await writes()).status >= 300:
                await asyncio.sleep(0.1)
        await round_.wait(0.3, 1)

    await round_.live(blow)


async def clock(round_: Round) -> None:
    """The clock is set back by an hour, with a kill after it or without; later it is right again."""
    await round_.machine.stop()
    await round_.again(has_clock=True)

    async def blow(service: Service) -> None:
        await round_.wait(0.5, 1)
        round_.machine.set_clock(-HOUR_S)
        await round_.wait(1, 2)
        if round_.chance.random() < 0.5:
            await round_.machine.kill()

    await round_.live(blow)
    if round_.machine.is_dead:
        await round_.machine.start(has_clock=True)
        await round_.town.refresh(round_.machine.service)


Fault = Callable[[Round], Awaitable[None]]
FAULTS: Final[dict[str, Fault]] = {
    "kill": kill,
    "kill-start": kill_start,
    "kill-backup": kill_backup,
    "kill-nats": kill_nats,
    "kill-index": kill_index,
    "stop": stop,
    "stop-nats": stop_nats,
    "unwritable": unwritable,
    "full": full,
    "clock": clock,
}
