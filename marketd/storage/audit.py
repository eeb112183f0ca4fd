"""
The audit of a log: a walk through every record, and through every stream.

The one rule: nothing is assumed and nothing is changed. A fault is reported with its place and the walk continues, so
that one run finds all faults; what is unreadable because of an earlier fault is not reported again.

The audit reads the file as of one moment (`database.cut`), so the service may go on writing. It keeps nothing in memory
that grows with the log: what has to be looked up later is in a scratch database.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from msgspec import Struct

from marketd.actors.aggregate import Aggregate
from marketd.storage.database import Connection, Row, StorageError, rows
from marketd.storage.log import GENESIS, CorruptLog, LogCodec, Recorded, chain

FAULTS_MAX: Final = 1_000  # listed; all are counted
TOLD_RECORDS: Final = 5_000
RECORDS: Final = """
    SELECT c.position, s.name, c.version, c.command_id, c.at, c.events, c.reply, c.meta, c.hash, c.stream
    FROM commits c LEFT JOIN streams s ON s.id = c.stream
"""
BY_STREAM: Final = """
    SELECT s.name, s.version, c.version, c.position, c.events
    FROM streams s LEFT JOIN commits c ON c.stream = s.id ORDER BY s.id, c.version
"""
SNAPSHOT: Final = "SELECT version, fingerprint, state FROM snapshots WHERE stream = ?"

Tell = Callable[[str, int, int], None]  # progress: the step, how many are done, how many there are


class Fault(Struct, frozen=True, omit_defaults=True):
    """What is wrong, and where: the record's position, its stream, its version in the stream."""

    detail: str
    position: int = 0
    stream: str = ""
    version: int = 0

    def __str__(self) -> str:
        place = f"position {self.position}" if self.position else ""
        name = f"{self.stream}@{self.version}" if self.version else self.stream
        return ": ".join(part for part in (place, name, self.detail) if part)


class Faults:
    """The faults found so far: the first FAULTS_MAX of them, and their number."""

    def __init__(self) -> None:
        self.listed: list[Fault] = []
        self.count = 0

    def add(self, fault: Fault) -> None:
        self.count += 1
        if len(self.listed) < FAULTS_MAX:
            self.listed.append(fault)


class Walked(NamedTuple):
    """What the log contains: its last position, the number of events and of streams, and the last hash of the chain."""

    head: int
    events: int
    streams: int
    hash: str


class Ended(NamedTuple):
    """A stream after its last record; `state` is None if it can't be determined."""

    name: str
    position: int
    version: int
    state: Any


class Replayer(Protocol):
    """One kind of aggregate, and how this code writes its states into snapshots."""

    fingerprint: str

    @property
    def aggregate(self) -> Aggregate[Any, Any, Any]: ...

    def pack(self, state: Any) -> bytes: ...


# Is called for every event: stream, position, version, the state before the event, the event.
Meet = Callable[[str, int, int, Any, Any], None]


def walk(db: Connection, path: Path, codec: LogCodec, faults: Faults, tell: Tell) -> Walked:
    """Check all records in order: positions have no gaps, and each record decodes and matches its hash."""
    for (said,) in rows(path, db, "PRAGMA quick_check(20)"):
        if said != "ok":
            faults.add(Fault(f"{path.name} is damaged: {said}"))
    (head, streams) = next(
        rows(path, db, "SELECT (SELECT coalesce(max(position), 0) FROM commits), (SELECT count(*) FROM streams)")
    )
    position, events, previous = 0, 0, GENESIS
    for row in rows(path, db, f"{RECORDS} ORDER BY c.position"):
        if row[0] != position + 1:
            missing = f"{position + 1}" if row[0] == position + 2 else f"{position + 1} to {row[0] - 1}"
            faults.add(Fault(f"there is no record at position {missing}", position + 1))
        events += _look(row, previous if row[0] == position + 1 else None, codec, faults)
        position, previous = row[0], row[8]
        if position % TOLD_RECORDS == 0:
            tell("records", position, head)
    tell("records", head, head)
    return Walked(head, events, streams, previous.hex())


def _look(row: Row, previous: bytes | None, codec: LogCodec, faults: Faults) -> int:
    """Check one record; give its number of events. Its hash is checked only if the `previous` one is known."""
    position, stream, version, command_id, at, events, reply, meta, written_hash, number = row
    if stream is None:
        faults.add(Fault(f"it belongs to stream {number}, and there is none of that number", position))
        stream = ""
    columns = (command_id, at, events, reply, meta)
    if previous is not None and chain(previous, position, stream, version, columns) != written_hash:
        faults.add(Fault("it does not fit its hash", position, stream, version))
    try:
        return len(codec.decode(*columns).events)
    except CorruptLog as error:
        faults.add(Fault(str(error), position, stream, version))
        return 0


def walk_streams(
    db: Connection,
    path: Path,
    codec: LogCodec,
    kinds: Mapping[str, Replayer],
    faults: Faults,
    tell: Tell,
    meet: Meet,
) -> Iterator[Ended]:
    """Check the streams one by one: versions have no gaps, `evolve` accepts each event, snapshots match the state."""
    done = 0
    (head,) = next(rows(path, db, "SELECT count(*) FROM commits"))
    for name, length, records in _streams(rows(path, db, BY_STREAM)):
        kind = kinds.get(name.partition("/")[0])
        if kind is None:
            faults.add(Fault("there is no such kind of aggregate", stream=name))
        state = kind.aggregate.initial if kind else None
        snapshot = next(rows(path, db, SNAPSHOT, (name,)), (0, "", b""))
        position = version = 0
        for found, position, text in records:
            if found != version + 1:
                faults.add(Fault(f"the stream has no version {version + 1}", position, name, found))
                state = None
            version = found
            if kind and state is not None:
                state = _fold(kind.aggregate, state, codec, Fault(text, position, name, version), faults, meet)
                if (
                    state is not None
                    and snapshot[:2] == (version, kind.fingerprint)
                    and snapshot[2] != kind.pack(state)
                ):
                    faults.add(Fault("its snapshot is not what its records come to", position, name, version))
            done += 1
            if done % TOLD_RECORDS == 0:
                tell("streams", done, head)
        if version != length:
            faults.add(Fault(f"the stream should end with version {length}", position, name, version))
            state = None
        yield Ended(name, position, version, state)
    if done != head:
        faults.add(Fault(f"{head} records are stored, and {done} are found by their stream"))
    tell("streams", head, head)


def _fold(
    aggregate: Aggregate[Any, Any, Any], state: Any, codec: LogCodec, record: Fault, faults: Faults, meet: Meet
) -> Any:
    """Apply one record, whose events are in `record.detail`, to the state; give None if that fails."""
    _, position, name, version = record.detail, record.position, record.stream, record.version
    try:
        for event in codec.decode_events(record.detail):
            meet(name, position, version, state, event)
            state = aggregate.evolve(state, event)
    except CorruptLog:
        return None  # reported by `walk`
    except Exception as error:  # any error is a fault: `evolve` accepts every event that was ever decided
        faults.add(Fault(f"it can't have happened there: {error}", position, name, version))
        return None
    return state


def _streams(found: Iterator[Row]) -> Iterator[tuple[str, int, Iterable[tuple[int, int, str]]]]:
    """Group rows by stream, without ever holding a whole stream in memory."""
    row = next(found, None)

    def records(name: str) -> Iterator[tuple[int, int, str]]:
        nonlocal row
        while row is not None and row[0] == name:
            if row[2] is not None:
                yield row[2], row[3], row[4]
            row = next(found, None)

    while row is not None:
        yield row[0], row[1], records(row[0])


def records(db: Connection, path: Path, codec: LogCodec, until: int) -> Iterator[Recorded]:
    """Yield the records up to a position, as followers see them; raise `CorruptLog`."""
    for row in rows(path, db, f"{RECORDS} WHERE c.position <= ? ORDER BY c.position", (until,)):
        yield Recorded(row[0], row[1], row[2], codec.decode(*row[3:8]))


def check_notes(db: Connection, path: Path, faults: Faults) -> None:
    """Check what is stored beside the records: no snapshot and no checkpoint may be ahead of them."""
    ahead = """
        SELECT n.stream, n.version, n.position FROM snapshots n LEFT JOIN streams s ON s.name = n.stream
        WHERE n.version > coalesce(s.version, 0) OR n.position > (SELECT coalesce(max(position), 0) FROM commits)
    """
    for stream, version, position in rows(path, db, ahead):
        faults.add(Fault("a snapshot is ahead of its stream", position, stream, version))
    beyond = "SELECT name, position FROM checkpoints WHERE position > (SELECT coalesce(max(position), 0) FROM commits)"
    for name, position in rows(path, db, beyond):
        faults.add(Fault(f"the checkpoint {name} is ahead of the log", position))


def damaged(error: StorageError) -> Fault:
    """Turn the error that ended a walk into a fault."""
    return Fault(str(error))
