"""
The port to the log of events, the only truth: `append` to one stream, `read` one stream, `tail` everything.

The one rule: what was answered `Appended` is there for good, at a position that no other record ever has. The events of
one command are one record; a command id takes effect once in a stream, and its repeat finds the first result.

    LogFull         more appends wait than the queue may hold; nothing was taken
    CorruptLog      a record that does not decode, or does not follow from the one before it
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, Protocol

import msgspec
from msgspec import Struct

GENESIS: Final = bytes(32)  # what the first record's hash is chained to


class Done(Struct, frozen=True, tag="done", omit_defaults=True):
    """The command was decided, and its sender learnt this."""

    value: Any = None


class Refusal(Struct, frozen=True, tag="refused"):
    """A saga's step was refused, for this reason."""

    code: str


Reply = Done | Refusal


class Meta(Struct, frozen=True, omit_defaults=True):
    """How a record came about: first cause, nearest cause, who was behind it, W3C traceparent."""

    correlation: str = ""
    cause: str = ""
    principal: str = ""
    trace: str = ""


class Commit(Struct, frozen=True):
    """What one command led to; `at` in ms since the epoch."""

    command_id: str
    at: int
    events: tuple[Any, ...]
    reply: Reply
    meta: Meta


class Recorded(Struct, frozen=True):
    """A commit in its place: `position` counts all records from 1, `version` those of its stream from 1."""

    position: int
    stream: str
    version: int
    commit: Commit


class Snapshot(Struct, frozen=True):
    """An aggregate's state after `version` records of its stream; `fingerprint` says what code can read it."""

    stream: str
    version: int
    position: int
    fingerprint: str
    state: bytes


class Appended(Struct, frozen=True):
    """All commits were taken; the last one has this position."""

    position: int


class Repeats(Struct, frozen=True):
    """Nothing was taken: these commands, by id, are in the stream already."""

    known: dict[str, Recorded]


class Conflict(Struct, frozen=True):
    """Nothing was taken: the stream has another version than was expected."""

    version: int


class Unknown(Struct, frozen=True):
    """It was taken or not; the same append again will tell."""

    why: str


Outcome = Appended | Repeats | Conflict | Unknown


class LogFull(Exception):
    """More appends wait than the queue may hold."""


class CorruptLog(Exception):
    """A record that can't be true. Nothing is mended by itself."""


class EventLog(Protocol):
    """Keeps every event of every stream, in one order."""

    @property
    def head(self) -> int:
        """The position of the last record; 0 where there is none."""
        ...

    async def append(self, stream: str, expected_version: int, commits: Sequence[Commit]) -> Outcome:
        """Add all the commits to the stream, or none; raise `LogFull`, or `CorruptLog` where a repeat can't be read."""
        ...

    async def read(self, stream: str, after_version: int = 0, until_version: int | None = None) -> list[Recorded]:
        """Read a stream, or a part of it, in order; raise `CorruptLog`."""
        ...

    async def find(self, stream: str, command_id: str) -> Recorded | None:
        """Find what a command led to in a stream; raise `CorruptLog`."""
        ...

    async def wake(self, stream: str, fingerprint: str) -> tuple[Snapshot | None, list[Recorded]]:
        """Read the newest snapshot that the fingerprint fits, and what came after it; raise `CorruptLog`."""
        ...

    def tail(self, after: int) -> AsyncGenerator[Sequence[Recorded], None]:
        """Follow the whole log from a position, for ever, in batches; raise `CorruptLog`."""
        ...

    def offer_snapshot(self, snapshot: Snapshot) -> None:
        """Keep it when there is time; it may be lost, which costs only speed."""
        ...

    async def checkpoint(self, name: str) -> int:
        """Read how far a follower has come; 0 where it never said."""
        ...

    def offer_checkpoint(self, name: str, position: int) -> None:
        """Note how far a follower has come when there is time; an older note may remain after a crash."""
        ...


# How the stored fields of a type that is written no more become those of one that is: by the stored tag.
Upcasts = Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]


class _StoredDone(Struct, frozen=True, tag="done"):
    value: msgspec.Raw = msgspec.Raw(b"null")


class LogCodec:
    """
    How records are written: JSON, so that any SQLite shell can read them. `events` and `answers` are tagged unions.

    A type that only gets fields with defaults reads its old lines by itself. One that is renamed or built otherwise
    gets a new tag, and `upcasts` says what a line under the old tag is called today. Records are never written again.
    """

    def __init__(self, events: Any, answers: Any, upcasts: Upcasts | None = None) -> None:
        self._encoder = msgspec.json.Encoder()
        self._events = _Reader(tuple[events, ...], upcasts or {})
        self._reply = msgspec.json.Decoder(_StoredDone | Refusal)
        self._answer = _Reader(answers | None, upcasts or {})
        self._meta = msgspec.json.Decoder(Meta)

    def encode(self, commit: Commit) -> tuple[str, str, str]:
        """Write events, reply and metadata."""
        encode = self._encoder.encode
        return encode(commit.events).decode(), encode(commit.reply).decode(), encode(commit.meta).decode()

    def decode_events(self, events: str) -> tuple[Any, ...]:
        """Read a record's events alone; raise `CorruptLog`."""
        try:
            decoded: tuple[Any, ...] = self._events.decode(events)
        except msgspec.DecodeError as error:
            raise CorruptLog(f"its events can't be read: {error}") from None
        return decoded

    def decode(self, command_id: str, at: int, events: str, reply: str, meta: str) -> Commit:
        """Read what `encode` wrote; raise `CorruptLog`."""
        try:
            stored = self._reply.decode(reply)
            answer = stored if isinstance(stored, Refusal) else Done(self._answer.decode(stored.value))
            return Commit(command_id, at, self._events.decode(events), answer, self._meta.decode(meta))
        except msgspec.DecodeError as error:
            raise CorruptLog(f"command {command_id} can't be read: {error}") from None


class _Reader:
    """Reads one type; lines that are none of today's are brought to today's form first."""

    def __init__(self, type_: Any, upcasts: Upcasts) -> None:
        self._decoder = msgspec.json.Decoder(type_)
        self._type, self._upcasts = type_, upcasts

    def decode(self, text: str | msgspec.Raw) -> Any:
        """Read it; raise `DecodeError`. An old tag is none of today's, so what is today's needs no second look."""
        try:
            return self._decoder.decode(text)
        except msgspec.ValidationError:
            if not self._upcasts:
                raise
            return msgspec.convert(self._brought(msgspec.json.decode(text)), self._type)

    def _brought(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._brought(one) for one in value]
        for _ in self._upcasts:  # a form that is twice old takes two steps
            upcast = self._upcasts.get(str(value.get("type"))) if isinstance(value, dict) else None
            if upcast is None:
                break
            try:
                value = upcast(value)
            except (LookupError, TypeError, ValueError) as error:
                raise msgspec.ValidationError(f"it is not as it was ever written: {error!r}") from None
        return value


def chain(previous: bytes, position: int, stream: str, version: int, columns: Iterable[str | int]) -> bytes:
    """SHA-256 over a record and its predecessor's hash."""
    return sha256(previous + msgspec.json.encode((position, stream, version, *columns))).digest()
