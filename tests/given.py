"""`given(ORDER, *history).when(command).then(*events)`: a test as a sentence."""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, TypeVar

import pytest
from msgspec import Struct

from marketd.actors.aggregate import Aggregate, Refused

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E")


class When(Generic[S, C, E]):
    def __init__(self, aggregate: Aggregate[S, C, E], state: S, command: C) -> None:
        self.aggregate, self.state, self.command = aggregate, state, command

    def then(self, *expected: E) -> None:
        assert list(expected) == self.aggregate.decide(self.state, self.command)

    def then_done(self) -> None:
        """Whatever follows from it, something does."""
        assert self.aggregate.decide(self.state, self.command)

    def then_nothing(self) -> None:
        self.then()

    def then_refused(self, reason: StrEnum) -> None:
        with pytest.raises(Refused) as caught:
            self.aggregate.decide(self.state, self.command)

        assert reason is caught.value.reason

    def then_answered(self, expected: Struct | None) -> None:
        events = self.aggregate.decide(self.state, self.command)
        state = self.state
        for event in events:
            state = self.aggregate.evolve(state, event)

        assert expected == self.aggregate.answer(state, self.command, events)


class Given(Generic[S, C, E]):
    def __init__(self, aggregate: Aggregate[S, C, E], history: tuple[E, ...]) -> None:
        self.aggregate, self.state = aggregate, aggregate.replay(history)

    def when(self, command: C) -> When[S, C, E]:
        return When(self.aggregate, self.state, command)


def given(aggregate: Aggregate[S, C, E], *history: E) -> Given[S, C, E]:
    return Given(aggregate, history)
