"""
The log in memory: the twin of sqlite.py for tests and simulations. It forgets everything when it goes.

Records pass through the codec both ways, so that what can't be stored fails here as it would there.
"""

from collections.abc import AsyncGenerator, Sequence

from marketd.storage.log import Appended, Commit, Conflict, LogCodec, Outcome, Recorded, Repeats, Snapshot
from marketd.storage.recent import Recent


class MemoryLog:
    """Lists and dictionaries that keep the port's promises."""

    def __init__(self, codec: LogCodec) -> None:
        self._codec = codec
        self._records: list[Recorded] = []
        self._streams: dict[str, list[Recorded]] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._checkpoints: dict[str, int] = {}
        self._recent = Recent(0, records_max=1, bytes_max=0)

    @property
    def head(self) -> int:
        return self._recent.head

    async def append(self, stream: str, expected_version: int, commits: Sequence[Commit]) -> Outcome:
        records = self._streams.get(stream, [])
        wanted = {commit.command_id for commit in commits}
        if known := {r.commit.command_id: r for r in records if r.commit.command_id in wanted}:
            return Repeats(known)
        if len(records) != expected_version:
            return Conflict(len(records))
        added = [
            Recorded(self.head + n, stream, expected_version + n, self._stored(commit))
            for n, commit in enumerate(commits, 1)
        ]
        self._streams[stream] = records + added
        self._records += added
        self._recent.add(added, 0)
        return Appended(self.head)

    def _stored(self, commit: Commit) -> Commit:
        return self._codec.decode(commit.command_id, commit.at, *self._codec.encode(commit))

    async def read(self, stream: str, after_version: int = 0, until_version: int | None = None) -> list[Recorded]:
        return self._streams.get(stream, [])[after_version:until_version]

    async def find(self, stream: str, command_id: str) -> Recorded | None:
        records = self._streams.get(stream, [])
        return next((record for record in records if record.commit.command_id == command_id), None)

    async def wake(self, stream: str, fingerprint: str) -> tuple[Snapshot | None, list[Recorded]]:
        snapshot = self._snapshots.get(stream)
        if snapshot is None or snapshot.fingerprint != fingerprint:
            return None, await self.read(stream)
        return snapshot, await self.read(stream, snapshot.version)

    async def tail(self, after: int) -> AsyncGenerator[Sequence[Recorded], None]:
        while True:
            await self._recent.wait_beyond(after)
            batch = self._records[after:]
            after = batch[-1].position
            yield batch

    def offer_snapshot(self, snapshot: Snapshot) -> None:
        self._snapshots[snapshot.stream] = snapshot

    async def checkpoint(self, name: str) -> int:
        return self._checkpoints.get(name, 0)

    def offer_checkpoint(self, name: str, position: int) -> None:
        self._checkpoints[name] = position
