"""
The records of a log as they are read from its file: whoever reads, each is held against its hash and its place.

    async with LogReader(path, codec, schema_version) as log:    # beside the service that writes it
        records = await log.page(after)
"""

from pathlib import Path
from typing import Final, Self

from marketd.storage.database import Connection, Database, Row
from marketd.storage.log import GENESIS, CorruptLog, LogCodec, Recorded, chain

PAGE_RECORDS_MAX: Final = 1_000
RECORD: Final = """
    SELECT c.position, s.name, c.version, c.command_id, c.at, c.events, c.reply, c.meta, c.hash,
           (SELECT p.hash FROM commits p WHERE p.position = c.position - 1)
    FROM commits c JOIN streams s ON s.id = c.stream
"""


class Records:
    """Reads records by a connection, in its thread; raises `CorruptLog`."""

    def __init__(self, codec: LogCodec) -> None:
        self._codec = codec

    def of_stream(
        self, db: Connection, stream: str, after_version: int, until_version: int | None = None
    ) -> list[Recorded]:
        """Read a stream, or a part of it, in order."""
        _, newest = stream_of(db, stream)  # read first: meanwhile there may be more, never fewer
        newest = newest if until_version is None else min(newest, until_version)
        where = "WHERE c.stream = (SELECT id FROM streams WHERE name = ?) AND c.version > ? ORDER BY c.version LIMIT ?"
        count = -1 if until_version is None else max(0, until_version - after_version)  # SQLite has -1 for no limit
        records = [self.decode(row) for row in db.execute(f"{RECORD} {where}", (stream, after_version, count))]
        for version, record in enumerate(records, after_version + 1):
            if record.version != version:
                raise CorruptLog(f"{stream} has no version {version}, but a version {record.version}")
        if after_version + len(records) < newest:
            raise CorruptLog(f"{stream} has no version {newest}, but should have")
        return records

    def page(self, db: Connection, after: int) -> list[Recorded]:
        """Read what follows a position, but no more than a page."""
        rows = db.execute(f"{RECORD} WHERE c.position > ? ORDER BY c.position LIMIT ?", (after, PAGE_RECORDS_MAX))
        records = [self.decode(row) for row in rows]
        for position, record in enumerate(records, after + 1):
            if record.position != position:
                raise CorruptLog(f"there is no record at position {position}, but one at {record.position}")
        return records

    def decode(self, row: Row) -> Recorded:
        """Decode a row of RECORD, and hold it against its hash."""
        position, stream, version, command_id, at, events, reply, meta, written_hash, previous = row
        columns = (command_id, at, events, reply, meta)
        if chain(previous or GENESIS, position, stream, version, columns) != written_hash:
            raise CorruptLog(f"the record at position {position} ({stream}@{version}) does not fit its hash")
        try:
            return Recorded(position, stream, version, self._codec.decode(*columns))
        except CorruptLog as error:
            raise CorruptLog(f"the record at position {position} ({stream}@{version}): {error}") from None


def stream_of(db: Connection, name: str) -> tuple[int, int]:
    """Give the id and the version of a stream; both 0 where there is none."""
    row = db.execute("SELECT id, version FROM streams WHERE name = ?", (name,)).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


class LogReader:
    """The file of a log that somebody else may be writing to; enter it to open."""

    def __init__(self, path: Path, codec: LogCodec, schema_version: int) -> None:
        self._file = Database(path, schema_version, "", read_only=True)
        self._records = Records(codec)

    async def __aenter__(self) -> Self:
        await self._file.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._file.__aexit__(*raised)

    async def read(self, stream: str, after_version: int = 0, until_version: int | None = None) -> list[Recorded]:
        """Read a stream, or a part of it, in order; raise `CorruptLog`."""
        return await self._file.run(self._records.of_stream, stream, after_version, until_version)

    async def page(self, after: int) -> list[Recorded]:
        """Read what follows a position, but no more than a page; raise `CorruptLog`."""
        return await self._file.run(self._records.page, after)

    async def head(self) -> int:
        """Give the position of the last record; 0 where there is none."""
        return await self._file.run(_head)

    async def before(self, at: int) -> int:
        """Give the last position before all that was written at a time or later, in ms since the epoch."""
        return await self._file.run(_before, at)


def _head(db: Connection) -> int:
    ((head,),) = db.execute("SELECT coalesce(max(position), 0) FROM commits")
    return int(head)


def _before(db: Connection, at: int) -> int:
    """A clock may have been set back, so no bisection: the column is walked, which takes a second for ten millions."""
    ((first,),) = db.execute("SELECT min(position) FROM commits WHERE at >= ?", (at,))
    return _head(db) if first is None else int(first) - 1
