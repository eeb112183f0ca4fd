"""
Spans: what was done within a trace, from when to when. Nobody keeps them unless a recorder was put up (otel.py).

    with span("ask", "order.place", kind="client", parents=[envelope.trace]) as asking:
        asking.traceparent      # what goes on in there belongs to it; empty where nobody records

The one rule: a span tells what kind of thing was done and how it ended, never what was in it.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Literal, Protocol, Self

Kind = Literal["server", "client", "internal"]


class Span(Protocol):
    """Something that is being done; leave it to end it, by an error to say that it failed."""

    @property
    def traceparent(self) -> str:
        """Its W3C traceparent."""
        ...

    def say(self, name: str, value: str | int) -> None:
        """Note a fact about it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Recorder(Protocol):
    """Who keeps spans."""

    def begin(self, name: str, kind: Kind, parents: Sequence[str]) -> Span:
        """Begin one, within the first of these traceparents and because of the others too."""
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
    """Put a recorder up for this process, or take it down."""
    _recorders[:] = [] if recorder is None else [recorder]


def is_recording() -> bool:
    """Say whether there is one."""
    return bool(_recorders)


def within(trace: str) -> str:
    """Give the trace that asks go on with: the same where each will have a span of its own in it, else none yet."""
    return trace if _recorders else ""


def span(what: str, of: str = "", *, kind: Kind = "internal", parents: Sequence[str] = ()) -> Span:
    """Begin a span; it is nobody's where nobody records."""
    return _recorders[0].begin(f"{what} {of}" if of else what, kind, parents) if _recorders else NOBODYS
