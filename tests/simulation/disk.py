"""
The log as one process sees it: a way to the memory twin on which appends take time, fail and kill.

What the twin has taken is kept for ever, whoever dies. An append in flight when its process dies is on one side of that
moment or on the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from marketd.storage.log import Appended, Commit, LogFull, Outcome, Recorded, Snapshot, Unknown
from marketd.storage.memory import MemoryLog

if TYPE_CHECKING:
    from tests.simulation.world import Host, World

READ_S_MAX: Final = 0.002


class Disk(MemoryLog):
    """What outlives every process; each record is shown to the laws at the moment when it is taken."""

    def __init__(self, world: World) -> None:
        super().__init__(world.log_codec)
        self._world = world

    async def append(self, stream: str, expected_version: int, commits: Sequence[Commit]) -> Outcome:
        outcome = await super().append(stream, expected_version, commits)
        if isinstance(outcome, Appended):
            self._world.on_taken(self._records[-len(commits) :])
        return outcome

    def recorded(self, stream: str, command_id: str) -> Recorded | None:
        """Find what a command led to, at once."""
        return next((r for r in self._streams.get(stream, []) if r.commit.command_id == command_id), None)

    @property
    def records(self) -> list[Recorded]:
        """Everything, in order."""
        return self._records

    def replayed(self) -> dict[str, list[Recorded]]:
        """Everything, by stream."""
        return self._streams


class HostLog:
    """The event log of one process."""

    def __init__(self, world: World, host: Host) -> None:
        self._world, self._host, self._disk = world, host, world.disk

    @property
    def head(self) -> int:
        return self._disk.head

    async def append(self, stream: str, expected_version: int, commits: Sequence[Commit]) -> Outcome:
        world, weather = self._world, self._world.weather
        await self._pause(weather.write_s)
        if world.by_chance(weather.full):
            raise LogFull("too many wait")
        dies_at = world.chance.choice(["before", "inside", "after"]) if world.by_chance(weather.crash) else ""
        is_unknown = world.by_chance(weather.unknown)
        if dies_at == "before" or (dies_at == "inside" and world.by_chance(0.5)):
            await self._die()
        if is_unknown and world.by_chance(0.5):
            return Unknown("it was not taken")
        outcome = await self._disk.append(stream, expected_version, commits)
        if dies_at == "inside":
            await self._die()
        await self._pause(weather.write_s)
        if dies_at == "after":
            await self._die()
        return Unknown("it was taken") if is_unknown else outcome

    async def read(self, stream: str, after_version: int = 0, until_version: int | None = None) -> list[Recorded]:
        await self._pause(READ_S_MAX)
        return await self._disk.read(stream, after_version, until_version)

    async def find(self, stream: str, command_id: str) -> Recorded | None:
        await self._pause(READ_S_MAX)
        return await self._disk.find(stream, command_id)

    async def wake(self, stream: str, fingerprint: str) -> tuple[Snapshot | None, list[Recorded]]:
        await self._pause(READ_S_MAX)
        return await self._disk.wake(stream, fingerprint)

    async def tail(self, after: int) -> AsyncGenerator[Sequence[Recorded], None]:
        async with aclosing(self._disk.tail(after)) as batches:
            async for batch in batches:
                await self._pause(READ_S_MAX)
                yield batch

    def offer_snapshot(self, snapshot: Snapshot) -> None:
        self._note_later(lambda: self._disk.offer_snapshot(snapshot))

    async def checkpoint(self, name: str) -> int:
        await self._pause(READ_S_MAX)
        return await self._disk.checkpoint(name)

    def offer_checkpoint(self, name: str, position: int) -> None:
        self._note_later(lambda: self._disk.offer_checkpoint(name, position))

    def _note_later(self, note: Callable[[], None]) -> None:
        """Keep it when there is time, unless the process is gone by then."""
        if not self._world.by_chance(self._world.weather.lost_notes):
            delay_s = self._world.chance.uniform(0, self._world.weather.write_s)
            self._world.loop.call_later(delay_s, lambda: note() if self._host.is_alive else None)

    async def _pause(self, seconds_max: float) -> None:
        await asyncio.sleep(self._world.chance.uniform(0.0001, seconds_max))
        if not self._host.is_alive:
            await asyncio.Event().wait()

    async def _die(self) -> None:
        self._world.crash(self._host)
        await asyncio.Event().wait()
