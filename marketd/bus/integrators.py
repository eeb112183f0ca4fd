"""
The integrators: programs of others that may read public events, each just its own, and nothing else.

Each lives in a NATS account of its own. In ours, whoever may ask anything at all could name one of our subjects as the
place for the answer, and the server would publish it there; in one that they shared, one could do so to another, and
take all connections. Theirs imports its events, and of JetStream what pulling from an existing consumer needs; the
consumers are made by us, so nobody can widen what they get. Who they are is kept in a file beside the log, each with a
bcrypt hash of the password, which is shown once and kept nowhere.
"""

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import bcrypt
import msgspec
from msgspec import Struct

from marketd.bus.events import chosen
from marketd.bus.subjects import EVENTS, EVENTS_STREAM, FOR_ALL, REPLAYS, REPLAYS_STREAM
from marketd.whole import inherit_owner, write_whole

NAME: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,62}[A-Za-z0-9])?")
NOT_NAMES: Final = frozenset({"market", "sys", FOR_ALL})
DOMAIN: Final = "market"
ACCOUNT: Final = "INTEG"  # what the name of the account of each begins with; a hub's is just this
INTEGRATORS_MAX: Final = 64
CONNECTIONS_EACH_MAX: Final = 8
SUBSCRIPTIONS_MAX: Final = 512  # of one connection
PASSWORD_BYTES: Final = 24
HASH_ROUNDS_LOG2: Final = 10  # 50 ms of the server's time at each connect; nobody guesses 24 random bytes anyhow
STREAMS: Final = {EVENTS_STREAM: EVENTS, REPLAYS_STREAM: REPLAYS}


class Integrator(Struct, frozen=True, rename="camel"):
    """One of them: which events it may read, as patterns; since when, in ms since the epoch."""

    name: str
    events: tuple[str, ...]
    password_hash: str
    created_at: int

    @property
    def subjects(self) -> list[str]:
        """What it may subscribe to, and what its consumer is filtered by."""
        return subjects_of(self.events)

    @property
    def inbox_prefix(self) -> str:
        """Under which its answers come: nobody else may listen there."""
        return f"_INBOX_{self.name}"


def subjects_of(patterns: Iterable[str]) -> list[str]:
    """Write patterns such as `order.*` as subjects, none within another; raise `ValueError`."""
    given = list(dict.fromkeys(patterns))
    chosen(given)
    if "*" in given:
        return [f"{EVENTS}.>"]
    branches = {pattern.removesuffix(".*") for pattern in given if pattern.endswith(".*")}
    names = [pattern for pattern in given if pattern.endswith(".*") or pattern.partition(".")[0] not in branches]
    return [f"{EVENTS}.{name[:-2]}.>" if name.endswith(".*") else f"{EVENTS}.{name}.*" for name in names]


def hashed(password: str) -> str:
    """Hash a password as nats-server can check it."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(HASH_ROUNDS_LOG2)).decode()


def filters(one: Integrator) -> Mapping[str, Sequence[str]]:
    """What its consumer of each stream lets through: the same events, and those again that are for it or for all."""
    ends = [subject.removeprefix(EVENTS) for subject in one.subjects]
    again = [f"{REPLAYS}.{whom}{end}" for whom in (one.name, FOR_ALL) for end in ends]
    return {EVENTS_STREAM: one.subjects, REPLAYS_STREAM: again}


def accounts(integrators: Sequence[Integrator]) -> dict[str, Any]:
    """Each with an account of its own, for the server's configuration."""
    return {
        f"{ACCOUNT}-{one.name}": {
            "limits": {"max_connections": CONNECTIONS_EACH_MAX, "max_subscriptions": SUBSCRIPTIONS_MAX},
            "imports": [
                imported
                for stream, heard in filters(one).items()
                for imported in imports(stream, heard, consumer=one.name)
            ],
            "users": [{"user": one.name, "password": one.password_hash, "permissions": _permissions(one)}],
        }
        for one in integrators
    }


def exports() -> list[dict[str, Any]]:
    """What our account lets others have. For any of them: those that there are, we have made, and they come and go."""
    return [exported for stream in STREAMS for exported in _exports(stream)]


def _exports(stream: str) -> list[dict[str, Any]]:
    return [
        {"stream": f"{STREAMS[stream]}.>"},
        {"service": f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*", "response_type": "stream"},
        {"service": f"$JS.API.CONSUMER.INFO.{stream}.*"},
        {"service": f"$JS.ACK.{stream}.>"},
    ]


def imports(stream: str, subjects: Iterable[str], consumer: str) -> list[dict[str, Any]]:
    """
    Who may hear these subjects of a stream live, and pull from a consumer of it, `*` being any. Who asks uses the
    domain's name: the plain one would reach the account's own JetStream, which is none.
    """

    def of_ours(subject: str) -> dict[str, str]:
        return {"account": "MARKET", "subject": subject}

    named = "$1" if consumer == "*" else consumer
    verbs = ("MSG.NEXT", "INFO")
    return [
        *({"stream": of_ours(subject)} for subject in subjects),
        *(
            {
                "service": of_ours(f"$JS.API.CONSUMER.{verb}.{stream}.{consumer}"),
                "to": f"$JS.{DOMAIN}.API.CONSUMER.{verb}.{stream}.{named}",
            }
            for verb in verbs
        ),
        {"service": of_ours(f"$JS.ACK.{stream}.{consumer}.>")},
    ]


def _permissions(one: Integrator) -> dict[str, Any]:
    asked = [
        subject.format(stream, one.name)
        for stream in STREAMS
        for subject in (
            f"$JS.{DOMAIN}.API.CONSUMER.MSG.NEXT.{{}}.{{}}",
            f"$JS.{DOMAIN}.API.CONSUMER.INFO.{{}}.{{}}",
            "$JS.ACK.{}.{}.>",
        )
    ]
    heard = [subject for subjects in filters(one).values() for subject in subjects]
    return {"publish": {"allow": asked}, "subscribe": {"allow": [*heard, f"{one.inbox_prefix}.>"]}}


class Register:
    """The file in which they stand."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Integrator]:
        """Read who is in it, in the order in which they came."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=list[Integrator])
        except FileNotFoundError:
            return []

    @contextmanager
    def changing(self) -> Iterator[list[Integrator]]:
        """Give a list to change; it is written when the block ends well. One at a time, of all processes."""
        with open(self._path.with_name(f"{self._path.name}.lock"), "w", opener=_private) as lock:
            inherit_owner(lock.fileno(), self._path.parent)
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = self.read()
            yield found
            write_whole(self._path, msgspec.json.format(msgspec.json.encode(found)))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
