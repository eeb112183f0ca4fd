"""
The records of a log as they are read from its file: whoever reads, each is held against its hash and its place.

Many of them come as one row. Around every row sqlite3 gives Python's lock away and waits to have it back, which takes
longer than to read a record while the loop is at work: an actor with fifty of them would wake for as long as fifty
others hold the lock.

    async with LogReader(path, codec, schema_version) as log:    # beside the service that writes it
        records = await log.page(after)
"""

from pathlib import Path
from typing import Final, Self

import msgspec

from marketd.storage.database import Connection, Database, Row
from marketd.storage.log import GENESIS, CorruptLog, LogCodec, Recorded, chain

PAGE_RECORDS_MAX: Final = 1_000
ROW_RECORDS_MAX: Final = 64  # so that nobody waits long for Python's lock while they are decoded
RECORD: Final = """
    SELECT c.position, s.name, c.version, c.command_id, c.at, c.events, c.reply, c.meta, c.hash,
           (SELECT p.hash FROM commits p WHERE p.position = c.position - 1) AS previous
    FROM commits c JOIN streams s ON s.id = c.stream
"""
MANY: Final = """
    SELECT json_group_array(json_array(
        position, name, version, command_id, at, events, reply, meta, hex(hash), hex(previous)
    )) FROM ({} LIMIT ?)
"""
PAGE: Final = MANY.format(f"{RECORD} WHERE c.position > ? ORDER BY c.position")
STREAM: Final = MANY.format(f"{RECORD} WHERE c.stream = ? AND c.version > ? ORDER BY c.version")

_ROWS: Final = msgspec.json.Decoder(list[tuple[int, str, int, str, int, str, str, str, str, str]])


class Records:
    """Reads records by a connection, in its thread; raises `CorruptLog`."""

    def __init__(self, codec: LogCodec) -> None:
        self._codec = codec

    def of_stream(
        self, db: Connection, stream: str, after_version: int, until_version: int | None = None
    ) -> list[Recorded]:
        """Read a stream, or a part of it, in order."""
        stream_id, newest = stream_of(db, stream)  # read first: meanwhile there may be more, never fewer
        newest = newest if until_version is None else min(newest, until_version)
        return self.versions(db, stream, stream_id, after_version, newest)

    def versions(self, db: Connection, stream: str, stream_id: int, after: int, until: int) -> list[Recorded]:
        """Read what there is of a known stream after one version and up to another."""
        records: list[Recorded] = []
        while (before := after + len(records)) < until:
            count = min(until - before, ROW_RECORDS_MAX)
            found = self._many(db, f"of {stream} after {before}", STREAM, stream_id, before, count)
            for version, record in enumerate(found, before + 1):
                if record.version != version:
                    raise CorruptLog(f"{stream} has no version {version}, but a version {record.version}")
            if not found:
                raise CorruptLog(f"{stream} has no version {until}, but should have")
            records += found
        return records

    def page(self, db: Connection, after: int) -> list[Recorded]:
        """Read what follows a position, but no more than a page."""
        records: list[Recorded] = []
        while len(records) < PAGE_RECORDS_MAX:
            before = after + len(records)
            count = min(PAGE_RECORDS_MAX - len(records), ROW_RECORDS_MAX)
            found = self._many(db, f"after {before}", PAGE, before, count)
            for position, record in enumerate(found, before + 1):
                if record.position != position:
                    raise CorruptLog(f"there is no record at position {position}, but one at {record.position}")
            records += found
            if len(found) < ROW_RECORDS_MAX:
                break
        return records

    def _many(self, db: Connection, which: str, sql: str, *parameters: int) -> list[Recorded]:
        ((found,),) = db.execute(sql, parameters)
        try:
            rows = _ROWS.decode(found)
        except msgspec.DecodeError as error:
            raise CorruptLog(f"the records {which} can't be read: {error}") from None
        return [self.decode((*row[:8], bytes.fromhex(row[8]), bytes.fromhex(row[9]))) for row in rows]

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
