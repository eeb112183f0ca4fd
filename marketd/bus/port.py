"""
The port to whoever carries messages: `ask` somebody by subject, `serve` a subject.

The one rule: an ask ends by its deadline, in an answer or in one of these errors.

    Refused (actors.aggregate)  the decision was no, by name
    BusError
    ├── NobodyServes    nobody listens there: it did not happen
    ├── Busy            too many wait already: it did not happen
    ├── Crashed         whoever was asked has a defect: it did not happen
    ├── Undecodable     the message is not one that is understood there: it did not happen
    ├── AnswerTooLarge  the answer is larger than the carrier takes: asking again will not help
    ├── Unsure          the log did not say whether it took it: ask again under the same id
    └── NoAnswer        silence until the deadline: ask again under the same id
"""

from collections.abc import Awaitable, Callable
from typing import ClassVar, Protocol

from msgspec import Struct


class Envelope(Struct, frozen=True):
    """
    One message on its way.

    `id` is what a repeat is recognised by; `cause` the id of the message that led to it, `correlation` that of the
    first one; `principal` who is behind it; `trace` a W3C traceparent; `deadline` ms since the epoch, after which it
    is dropped unread; `at_least` the log position that the answering state must have reached. The refusal of a saga's
    step (`is_step`) is put on record, so that a repeat gets the same answer.
    """

    id: str
    message: Struct
    correlation: str
    deadline: int
    cause: str = ""
    principal: str = ""
    trace: str = ""
    at_least: int = 0
    is_step: bool = False


class Answer(Struct, frozen=True):
    """What came back, and the log position that it stands for."""

    value: Struct | None
    position: int


class BusError(Exception):
    """An ask that did not end in an answer; `code` is its name on the wire."""

    code: ClassVar[str] = "failed"


class NobodyServes(BusError):
    code = "nobody-serves"


class Busy(BusError):
    code = "busy"


class Crashed(BusError):
    code = "crashed"


class Undecodable(BusError):
    code = "undecodable"


class AnswerTooLarge(BusError):
    code = "too-large"


class Unsure(BusError):
    code = "unsure"


class NoAnswer(BusError):
    code = "no-answer"


ERRORS = {
    error.code: error
    for error in (BusError, NobodyServes, Busy, Crashed, Undecodable, AnswerTooLarge, Unsure, NoAnswer)
}

Handler = Callable[[str, Envelope], Awaitable[Answer]]


class Bus(Protocol):
    """Carries messages between those who ask and those who serve."""

    async def ask(self, subject: str, envelope: Envelope) -> Answer:
        """Deliver it and wait for the answer; raise `Refused` or a `BusError`."""
        ...

    async def serve(self, subject: str, handler: Handler) -> None:
        """
        Let the handler answer what comes to the subject; one that ends in `.>` takes all below it. Subjects that are
        served must not overlap.
        """
        ...
