"""
The wire format of messages: msgpack, decoded strictly into known types.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from marketd.actors.aggregate import Refused, reason_code
from marketd.bus.port import ERRORS, Answer, BusError, Crashed, Envelope, Undecodable

UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)  # the latter for text that is not UTF-8


class _Letter(Struct, frozen=True, array_like=True):
    """An envelope with its message still packed."""

    id: str
    message: Raw
    correlation: str
    deadline: int
    cause: str
    principal: str
    trace: str
    at_least: int
    is_step: bool


class _Done(Struct, frozen=True, array_like=True, tag="done"):
    value: Raw
    position: int


class _Refused(Struct, frozen=True, array_like=True, tag="refused"):
    code: str


class _Failed(Struct, frozen=True, array_like=True, tag="failed"):
    code: str
    detail: str


class Codec:
    """Packs and unpacks envelopes and answers; `messages` and `answers` are tagged unions, `reasons` maps codes."""

    def __init__(self, messages: Any, answers: Any, reasons: Mapping[str, StrEnum]) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._letters = msgspec.msgpack.Decoder(_Letter)
        self._messages = msgspec.msgpack.Decoder(messages)
        self._outcomes = msgspec.msgpack.Decoder(_Done | _Refused | _Failed)
        self._answers = msgspec.msgpack.Decoder(answers | None)
        self._reasons = reasons
        # Keyed by type and name: a StrEnum is a string, so two reasons with the same text compare equal.
        self._codes = {(type(reason), reason.name): code for code, reason in reasons.items()}

    def pack(self, envelope: Envelope) -> bytes:
        """Pack an envelope."""
        e = envelope
        message = Raw(self._encoder.encode(e.message))
        letter = _Letter(e.id, message, e.correlation, e.deadline, e.cause, e.principal, e.trace, e.at_least, e.is_step)
        return self._encoder.encode(letter)

    def unpack(self, packed: bytes) -> Envelope:
        """Unpack an envelope; raise `Undecodable`."""
        try:
            x = self._letters.decode(packed)
            message = self._messages.decode(x.message)
        except UNREADABLE as error:
            raise Undecodable(str(error)) from None
        if "\0" in x.id:  # SQLite's text functions stop at a NUL, so repeats would not be recognized
            raise Undecodable("a command's id has no NUL")
        return Envelope(x.id, message, x.correlation, x.deadline, x.cause, x.principal, x.trace, x.at_least, x.is_step)

    def pack_answer(self, answer: Answer) -> bytes:
        """Pack the answer of a handler; raise `Crashed` if it can't be packed."""
        try:
            value = Raw(self._encoder.encode(answer.value))
        except (TypeError, ValueError, OverflowError) as error:
            raise Crashed(f"the answer can't be packed: {error}") from None
        return self._encoder.encode(_Done(value, answer.position))

    def pack_error(self, error: Refused | BusError) -> bytes:
        """Pack the error that a handler raised."""
        if isinstance(error, Refused):
            if code := self._codes.get((type(error.reason), error.reason.name)):
                return self._encoder.encode(_Refused(code))
            error = Crashed(f"a refusal has no code: {error}")
        return self._encoder.encode(_Failed(error.code, str(error)))

    def unpack_answer(self, packed: bytes) -> Answer:
        """Unpack an answer, or raise the error that was sent instead; raise `Undecodable`."""
        try:
            outcome = self._outcomes.decode(packed)
            if isinstance(outcome, _Done):
                return Answer(self._answers.decode(outcome.value), outcome.position)
        except UNREADABLE as error:
            raise Undecodable(str(error)) from None
        if isinstance(outcome, _Refused):
            if outcome.code not in self._reasons:
                raise Undecodable(f"nobody here knows the refusal {outcome.code}")
            raise Refused(self._reasons[outcome.code])
        raise ERRORS.get(outcome.code, BusError)(outcome.detail)


def reasons_by_code(reasons: Mapping[str, type[StrEnum]]) -> dict[str, StrEnum]:
    """Map codes such as `product.SOLD_OUT` to the reasons of all kinds of aggregate."""
    return {reason_code(kind, reason): reason for kind, enum in reasons.items() for reason in enum}
