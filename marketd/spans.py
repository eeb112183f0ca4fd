"""
Spans: the operations of a trace, with their times. They are kept only if a recorder is installed (otel.py).

    with span("ask", "order.place", kind="client", parents=[envelope.trace]) as asking:
        asking.traceparent      # to pass on to what is called in there; empty without a recorder

The one rule: a span tells what kind of operation it was and how it ended, never its content.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Literal, Protocol, Self

Kind = Literal["server", "client", "internal"]


class Span(Protocol):
    """An operation in progress; leaving the block ends it, leaving it by an error says that it failed."""

    @property
    def traceparent(self) -> str:
        """Its W3C traceparent."""
        ...

    def say(self, name: str, value: str | int) -> None:
        """Set an attribute."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Recorder(Protocol):
    """Keeps spans."""

    def begin(self, name: str, kind: Kind, parents: Sequence[str]) -> Span:
        """Begin a span, within the first of these traceparents and linked to the others."""
        ...


class _Nobodys:
    traceparent = ""

    def say(self, name: str, value: str | int) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


NOBODYS: Final[Span] = _Nobodys()
_recorders: Final[list[Recorder]] = []


def record_with(recorder: Recorder | None) -> None:
    """Install a recorder for this process, or remove it."""
    _recorders[:] = [] if recorder is None else [recorder]


def is_recording() -> bool:
    """Say whether a recorder is installed."""
    return bool(_recorders)


def within(trace: str) -> str:
    """Give the trace to pass on to the asked: the same if each will have its own span in it, else none."""
    return trace if _recorders else ""


def span(what: str, of: str = "", *, kind: Kind = "internal", parents: Sequence[str] = ()) -> Span:
    """Begin a span; without a recorder it is kept nowhere."""
    return _recorders[0].begin(f"{what} {of}" if of else what, kind, parents) if _recorders else NOBODYS
