"""
What every aggregate is: an initial state, a `decide`, an `evolve` and an `answer`. No I/O here, nor in those who use
it.

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
    One kind of aggregate. `commands`, `events` and `states` are the unions that its codecs are made of; `answer` says
    what the sender of a decided command learns, from the state that the command led to and the events on the way.
    `upcasts` says, by the tag of an event or answer that is written no more, what its stored fields are called today.
    `questions` are those of the commands that nothing ever follows from: each is answered from the state as it is.
    `at_rest` are those of the states that little is expected to follow from: fewer of those stay awake.
    `founding` are those of the commands that begin a stream: nearly always there is none yet.
    `bulk` says about how many bytes a state has collected, for a kind whose states grow for as long as they live.
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
        """Fold a whole history, from nothing."""
        return reduce(self.evolve, events, self.initial)


def version_of(*facts: Any) -> str:
    """Name the state of a thing by what its owner may change of it: the same facts have the same name everywhere."""
    return sha256(msgspec.json.encode(facts)).hexdigest()[:VERSION_DIGITS]


def reason_code(kind: str, reason: StrEnum) -> str:
    """Write a reason as it travels and is stored: `product.SOLD_OUT`."""
    return f"{kind}.{reason.name}"
