"""
The cause of any work: the request that began it, and the trace that it belongs to (W3C Trace Context, section 3).

Both are in every envelope and in every record of the log. In between they are here, so that a log line can name them.
The one rule: a task that works on a message of another task does so inside `doing_for`.
"""

import re
from collections.abc import Iterable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Final

from marketd.clock import Clock

NAMED_MAX: Final = 8  # how many requests a log line names at most

# Later versions may have more fields after these; version 00 may not, and there is no version ff.
_TRACEPARENT: Final = re.compile(
    r"(?!ff)([0-9a-f]{2})-((?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)
_SAMPLED: Final = 0b01  # undefined flags are not passed on


class Cause:
    """
    The id of the request, and a traceparent; both are empty for work that no request has caused.

    With a clock, `trace` is the header that the client sent, which is validated and continued on first use: most
    requests are answered without it.
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

# The same as `doing_for` for hot paths: `begin` sets the causes, and `end` restores the old ones with what that gave.
begin, end = _causes.set, _causes.reset


class doing_for:
    """`with doing_for(cause):` the work and the log lines in the block belong to this cause, or to several."""

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
    """Give the cause of the current work; `NOBODY` if there is none, or more than one."""
    causes = _causes.get()
    return causes[0] if len(causes) == 1 else NOBODY


def described() -> str:
    """Name the causes of the current work as in a log line: `request=… trace=…`, or nothing."""
    return " ".join(f"{name}={ids}" for name, ids in named().items())


def named() -> dict[str, str]:
    """Name the requests and traces of the current work: `request` and `trace`, where there are any."""
    causes = _causes.get()[:NAMED_MAX]
    ids = {"request": _joined(c.request_id for c in causes), "trace": _joined(c.trace_id for c in causes)}
    return {name: joined for name, joined in ids.items() if joined}


def is_sound(given: str) -> bool:
    """Say whether this is a valid traceparent."""
    found = _TRACEPARENT.fullmatch(given)
    return found is not None and not (found[1] == "00" and found[4])


def taken_up(given: str, clock: Clock) -> str:
    """Continue the trace of a traceparent, as a span of our own; begin a new one if it is invalid."""
    found = _TRACEPARENT.fullmatch(given)
    if found is None or (found[1] == "00" and found[4]):
        chance = clock.random_bytes(24).hex()
        return f"00-{chance[:32]}-{chance[32:]}-00"
    flags = int(found[3], 16) & _SAMPLED
    return f"00-{found[2]}-{clock.random_bytes(8).hex()}-{flags:02x}"


def _joined(ids: Iterable[str]) -> str:
    return ",".join(dict.fromkeys(i for i in ids if i))
