"""
What every aggregate has: an initial state, a `decide`, an `evolve` and an `answer`. There is no I/O here, nor in the
aggregates.

The one rule: `decide` may refuse but changes nothing, `evolve` changes but refuses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import reduce
from hashlib import sha256
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E")

VERSION_DIGITS: Final = 16

Expected = tuple[str, ...] | None  # the versions that a command is meant for; None for any


class Refused(Exception):
    """A command that the state does not allow. Ordinary business, never a bug."""

    def __init__(self, reason: StrEnum) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class Aggregate(Generic[S, C, E]):
    """
    One kind of aggregate. `commands`, `events` and `states` are the unions that its codecs are made of.
    `answer` makes the answer to a command from the state that the command led to and the events on the way.
    `upcasts` maps the tag of an event or answer that is no longer written to a conversion of its stored fields.
    `questions` are the commands that never lead to an event: each is answered from the current state.
    `at_rest` are the states in which few further events are expected: fewer actors in them are kept awake.
    `founding` are the commands that begin a stream: it is nearly always empty when they arrive.
    `bulk` gives the approximate size of a state in bytes, for a kind whose states keep growing.
    """

    kind: str
    initial: S
    decide: Callable[[S, C], list[E]]
    evolve: Callable[[S, E], S]
    answer: Callable[[S, C, list[E]], Struct | None]
    commands: Any
    events: Any
    states: Any
    reasons: type[StrEnum]
    questions: frozenset[type]
    at_rest: frozenset[type] = frozenset()
    founding: frozenset[type] = frozenset()
    bulk: Callable[[S], int] = lambda state: 0
    upcasts: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)

    def replay(self, events: Iterable[E]) -> S:
        """Fold a whole history into a state."""
        return reduce(self.evolve, events, self.initial)


def version_of(*facts: Any) -> str:
    """Give the version of what an owner may edit: a hash of its values, so equal values have equal versions."""
    return sha256(msgspec.json.encode(facts)).hexdigest()[:VERSION_DIGITS]


def reason_code(kind: str, reason: StrEnum) -> str:
    """Write a reason as it is sent and stored: `product.SOLD_OUT`."""
    return f"{kind}.{reason.name}"
