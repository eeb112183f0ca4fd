"""Exporting: every event as one line of JSON, as it is stored, in the order of the log."""

from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Struct

from marketd.clock import Instant, instant
from marketd.config.folder import Folder
from marketd.storage import sqlite
from marketd.storage.database import Part, cut, rows
from marketd.storage.log import CorruptLog, chain
from marketd.storage.records import RECORD

PAGE_RECORDS: Final = 1_000  # read at a time: a slow reader must not hold the log's journal


class Line(Struct, rename="camel"):
    """An event and its place: `index` counts those of one record from 0, `event` is the stored JSON."""

    position: int
    index: int
    stream: str
    version: int
    at: Instant
    command_id: str
    event: msgspec.Raw
    meta: msgspec.Raw


def export(folder: Folder, after: int) -> Iterator[bytes]:
    """Give the lines of all events beyond a position, up to the log's end; raise `CorruptLog` or `StorageError`."""
    encode = msgspec.json.Encoder().encode
    events_of = msgspec.json.Decoder(list[msgspec.Raw]).decode
    while True:
        with cut(Part(folder.events, sqlite.SCHEMA_VERSION)) as (db,):
            page = f"{RECORD} WHERE c.position > ? ORDER BY c.position LIMIT {PAGE_RECORDS}"
            records = list(rows(folder.events, db, page, (after,)))
        for position, stream, version, command_id, at, events, reply, meta, written_hash, previous in records:
            columns = (command_id, at, events, reply, meta)
            if position != after + 1:
                raise CorruptLog(f"there is no record at position {after + 1}, but one at {position}")
            if chain(previous or bytes(32), position, stream, version, columns) != written_hash:
                raise CorruptLog(f"the record at position {position} ({stream}@{version}) does not fit its hash")
            after = position
            try:
                for index, event in enumerate(events_of(events)):
                    written = msgspec.Raw(meta.encode())
                    line = Line(position, index, stream, version, instant(at), command_id, event, written)
                    yield encode(line) + b"\n"
            except msgspec.DecodeError as error:
                raise CorruptLog(f"the record at position {position} ({stream}@{version}): {error}") from None
        if len(records) < PAGE_RECORDS:
            return
