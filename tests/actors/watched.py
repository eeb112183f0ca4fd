"""A log in memory that counts what is asked of it, and that has the troubles that a test gives it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from enum import Enum

from marketd.config.codecs import log_codec
from marketd.storage.log import Commit, LogFull, Outcome, Recorded, Snapshot, Unknown
from marketd.storage.memory import MemoryLog
from tests.clock import settle

CODEC = log_codec()


class Trouble(Enum):
    """What becomes of an append."""

    TAKEN_UNKNOWN = "it is taken, but nobody says so"
    LOST_UNKNOWN = "it is not taken, and nobody says so"
    FULL = "it is refused at once"
    BROKEN = "it raises what nobody expects"


class WatchedLog(MemoryLog):
    """
    `appends` are the commits of each append, `woken` the streams that were read to wake an actor, `found` the
    commands that were looked for.
    """

    def __init__(self) -> None:
        super().__init__(CODEC)
        self.appends: list[int] = []
        self.woken: list[str] = []
        self.found: list[str] = []
        self.snapshots: list[Snapshot] = []
        self.checkpoints: list[int] = []
        self.troubles: deque[Trouble] = deque()  # of the next appends
        self.trouble_at: dict[int, Trouble] = {}  # by the number of the append, from 1
        self.page_records_max = 1_000  # of those who follow it, who wait for each page as for a file's
        self.gate = asyncio.Event()  # an append waits until it is open
        self.gate.set()

    async def append(self, stream: str, expected_version: int, commits: Sequence[Commit]) -> Outcome:
        self.appends.append(len(commits))
        await self.gate.wait()
        match self.troubles.popleft() if self.troubles else self.trouble_at.get(len(self.appends)):
            case Trouble.TAKEN_UNKNOWN:
                await super().append(stream, expected_version, commits)
                return Unknown("the disk went away")
            case Trouble.LOST_UNKNOWN:
                return Unknown("the disk was away")
            case Trouble.FULL:
                raise LogFull("too many wait")
            case Trouble.BROKEN:
                raise RuntimeError("a defect in the log")
            case None:
                return await super().append(stream, expected_version, commits)

    async def find(self, stream: str, command_id: str) -> Recorded | None:
        self.found.append(command_id)
        return await super().find(stream, command_id)

    async def wake(self, stream: str, fingerprint: str) -> tuple[Snapshot | None, list[Recorded]]:
        self.woken.append(stream)
        return await super().wake(stream, fingerprint)

    async def tail(self, after: int) -> AsyncGenerator[Sequence[Recorded], None]:
        async with aclosing(super().tail(after)) as batches:
            async for batch in batches:
                yield batch[: self.page_records_max]
                for first in range(self.page_records_max, len(batch), self.page_records_max):
                    await settle()
                    yield batch[first : first + self.page_records_max]

    def offer_snapshot(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)
        super().offer_snapshot(snapshot)

    def offer_checkpoint(self, name: str, position: int) -> None:
        self.checkpoints.append(position)
        super().offer_checkpoint(name, position)
