"""
What one transaction appends to the log: one statement to look up, and one to insert (more for many commits).

sqlite3 releases the GIL around every step of a statement, and the writer thread then waits until the event loop lets it
have the GIL again: with single statements a batch of eight commits took 4 ms, of which the disk took 0.25 ms. So all
rows are inserted by one statement, and a temporary trigger distributes them to both tables.
"""

from collections.abc import Sequence
from itertools import chain as flat
from typing import Any, Final, NamedTuple

import msgspec

from marketd.storage.database import Connection
from marketd.storage.log import Appended, Commit, Conflict, CorruptLog, Outcome, Recorded, Repeats, chain
from marketd.storage.records import RECORD, Records

INCOMING: Final = """
    CREATE TEMP VIEW incoming AS
        SELECT position, stream, '' AS name, version, command_id, at, events, reply, meta, hash FROM main.commits;
    CREATE TEMP TRIGGER take INSTEAD OF INSERT ON incoming BEGIN
        INSERT INTO streams VALUES(new.stream, new.name, new.version)
            ON CONFLICT(id) DO UPDATE SET version = excluded.version;
        INSERT INTO commits VALUES(
            new.position, new.stream, new.version, new.command_id, new.at, new.events, new.reply, new.meta, new.hash
        );
    END;
"""
COLUMNS: Final = 10
ROWS_MAX: Final = 64  # per statement; one is cached for each number of rows, and SQLite accepts 32,766 values
KNOWN: Final = """
    SELECT json_group_array(json_array(s.name, s.id, s.version, c.command_id))
    FROM json_each(?) asked CROSS JOIN streams s ON s.name = json_extract(asked.value, '$[0]')
    LEFT JOIN commits c ON c.stream = s.id AND c.command_id = json_extract(asked.value, '$[1]')
"""


class End(NamedTuple):
    """The end of the log: its last position, that record's hash, and the highest stream id."""

    position: int
    hash: bytes
    streams: int


class Addition(NamedTuple):
    """Commits for one stream, and their columns as they are stored."""

    stream: str
    expected_version: int
    commits: Sequence[Commit]
    written: Sequence[tuple[str, str, str]]


class _Known(NamedTuple):
    """A stream's id and version, and which of the commands it already contains."""

    stream: int
    version: int
    repeats: list[str]


class Batch:
    """Appends to different streams, one addition for each. Runs in the writer thread."""

    def __init__(self, end: End, records: Records) -> None:
        self.end, self._records = end, records
        self.added: list[Recorded] = []
        self.added_bytes = 0
        self._rows: list[tuple[Any, ...]] = []

    def write(self, db: Connection, additions: Sequence[Addition]) -> list[Outcome | CorruptLog]:
        """Append what can be appended; more than ROWS_MAX commits need a transaction around this call."""
        known = _known(db, additions)
        outcomes = [self._decide(db, addition, known.get(addition.stream)) for addition in additions]
        for first in range(0, len(self._rows), ROWS_MAX):
            rows = self._rows[first : first + ROWS_MAX]
            values = ",".join([f"({','.join('?' * COLUMNS)})"] * len(rows))
            db.execute(f"INSERT INTO incoming VALUES {values}", list(flat.from_iterable(rows)))
        return outcomes

    def _decide(self, db: Connection, addition: Addition, known: _Known | None) -> Outcome | CorruptLog:
        position, newest, streams = self.end
        if known is None:
            streams += 1
            known = _Known(streams, 0, [])
        stream, version, repeats = known
        if repeats:
            try:
                return Repeats({command_id: self._find(db, stream, command_id) for command_id in repeats})
            except CorruptLog as error:  # concerns only the caller of this addition, not the whole batch
                return error
        if version != addition.expected_version:
            return Conflict(version)
        for commit, columns in zip(addition.commits, addition.written, strict=True):
            position, version = position + 1, version + 1
            facts = (commit.command_id, commit.at, *columns)
            newest = chain(newest, position, addition.stream, version, facts)
            self._rows.append((position, stream, addition.stream, version, *facts, newest))
            self.added.append(Recorded(position, addition.stream, version, commit))
            self.added_bytes += len(columns[0]) + len(columns[1])
        self.end = End(position, newest, streams)
        return Appended(position)

    def _find(self, db: Connection, stream: int, command_id: str) -> Recorded:
        where = "WHERE c.stream = ? AND c.command_id = ?"
        return self._records.decode(db.execute(f"{RECORD} {where}", (stream, command_id)).fetchone())


def _known(db: Connection, additions: Sequence[Addition]) -> dict[str, _Known]:
    """Look up the streams and command ids of all additions in one query."""
    asked = [(addition.stream, commit.command_id) for addition in additions for commit in addition.commits]
    if not asked:
        return {}
    ((found,),) = db.execute(KNOWN, (msgspec.json.encode(asked).decode(),))
    known: dict[str, _Known] = {}
    for name, stream, version, repeat in msgspec.json.decode(found):
        known.setdefault(name, _Known(stream, version, []))
        if repeat is not None:
            known[name].repeats.append(repeat)
    return known
