"""
What anything is done for: the request that began it, and the trace that it belongs to (W3C Trace Context, section 3).

Both travel in every envelope and stay in every record of the log. In between they are here, so that whoever writes a
log line need not be told. The one rule: who works on behalf of a message, in a task that is not its sender's own, does
so inside `doing_for`.
"""

import re
from collections.abc import Iterable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Final

from marketd.clock import Clock

NAMED_MAX: Final = 8  # of how many requests at once a log line says that it concerns them

# Later versions may have more fields after these; version 00 may not, and there is no version ff.
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)
_SAMPLED: Final = 0b01  # flags that nobody has defined are not passed on


class Cause:
    """
    The id of the request, and a traceparent; both are empty for what nobody asked for.

    With a clock, `trace` is what the caller sent as one, which is taken up when it is first asked for: most requests
    are answered without ever naming it.
    """

    __slots__ = ("_clock", "_trace", "request_id")

    def __init__(self, request_id: str, trace: str, clock: Clock | None = None) -> None:
        self.request_id = request_id
        self._trace, self._clock = trace, clock

    @property
    def trace(self) -> str:
        if self._clock is not None:
            self._trace, self._clock = taken_up(self._trace, self._clock), None
        return self._trace

    @property
    def trace_id(self) -> str:
        return self.trace[3:35]


NOBODY: Final = Cause("", "")

_causes: ContextVar[tuple[Cause, ...]] = ContextVar("causes", default=())

# What `doing_for` does, for who counts each microsecond: set the causes; with what that gave back, put back the old.
begin, end = _causes.set, _causes.reset


class doing_for:
    """`with doing_for(cause):` what is done and logged in there is done for it, or for all of several."""

    __slots__ = ("_causes", "_token")

    def __init__(self, *causes: Cause) -> None:
        self._causes = causes

    def __enter__(self) -> None:
        self._token: Token[tuple[Cause, ...]] = _causes.set(self._causes)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _causes.reset(self._token)


def current() -> Cause:
    """Say for whom the work at hand is done: nobody, also where it is done for several."""
    causes = _causes.get()
    return causes[0] if len(causes) == 1 else NOBODY


def described() -> str:
    """Say for whom the work at hand is done as a log line does: `request=… trace=…`, or nothing."""
    return " ".join(f"{name}={ids}" for name, ids in named().items())


def named() -> dict[str, str]:
    """Name the requests and traces that the work at hand is done for: `request` and `trace`, where there are any."""
    causes = _causes.get()[:NAMED_MAX]
    ids = {"request": _joined(c.request_id for c in causes), "trace": _joined(c.trace_id for c in causes)}
    return {name: joined for name, joined in ids.items() if joined}


def is_sound(given: str) -> bool:
    """Say whether this is a traceparent."""
    found = _TRACEPARENT.fullmatch(given)
    return found is not None and not (found[1] == "00" and found[4])


def taken_up(given: str, clock: Clock) -> str:
    """Go on with the trace of a traceparent, as a span of our own; begin a new one where it is none."""
    found = _TRACEPARENT.fullmatch(given)
    if found is None or (found[1] == "00" and found[4]):
        chance = clock.random_bytes(24).hex()
        return f"00-{chance[:32]}-{chance[32:]}-00"
    flags = int(found[3], 16) & _SAMPLED
    return f"00-{found[2]}-{clock.random_bytes(8).hex()}-{flags:02x}"


def _joined(ids: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(i for i in ids if i))
