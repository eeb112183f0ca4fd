"""What holds for every decider, asked of one history and one command."""

from collections.abc import Sequence
from enum import StrEnum
from typing import TypeVar

from marketd.actors.aggregate import Aggregate, Refused

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E")


def decided(aggregate: Aggregate[S, C, E], history: Sequence[E], command: C) -> list[E] | StrEnum:
    """What a command leads to: events, or the reason of its refusal."""
    try:
        return aggregate.decide(aggregate.replay(history), command)
    except Refused as refused:
        return refused.reason


def assert_decided(aggregate: Aggregate[S, C, E], history: Sequence[E], command: C) -> None:
    """
    The command is answered, or refused for one of the aggregate's own reasons; its events are taken in. Nothing follows
    from a question.
    """
    outcome = decided(aggregate, history, command)
    if isinstance(outcome, StrEnum):
        assert isinstance(outcome, aggregate.reasons)
    else:
        assert not (outcome and type(command) in aggregate.questions)
        aggregate.answer(aggregate.replay([*history, *outcome]), command, outcome)


def assert_silent_when_repeated(aggregate: Aggregate[S, C, E], history: Sequence[E], command: C) -> None:
    """Once answered, the command leads to nothing more."""
    outcome = decided(aggregate, history, command)
    if not isinstance(outcome, StrEnum):
        assert [] == decided(aggregate, [*history, *outcome], command)
