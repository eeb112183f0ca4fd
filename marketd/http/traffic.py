"""
Traffic: how many requests each route had, how they ended, and how long they took; and a log line for each slow one.

The one rule: labels come from the routes. Requests without a route are counted under one name, so that no client can
add labels. Each route's row is made in advance; counting a request is a lookup, a bisection and three additions.

The time is that from the request's head to the response's: what is sent after it (a file, a stream) is not included.
"""

import logging
from collections.abc import Iterable
from math import inf
from typing import Final

from aiohttp import web
from aiohttp.web_urldispatcher import AbstractRoute

from marketd.clock import Clock
from marketd.measures import Histogram, Measure, Sample
from marketd.spans import Span, span
from marketd.trace import Cause, doing_for, is_sound

STRAY: Final = "unmatched"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"

log = logging.getLogger("marketd.http")


class _Row:
    """The counts of one route and method."""

    __slots__ = ("method", "path", "statuses", "times")

    def __init__(self, method: str, path: str) -> None:
        self.method, self.path = method, path
        self.times = Histogram()
        self.statuses: dict[int, int] = {}


class Traffic:
    """The counts of one application; a request slower than `slow_s` leaves a line in the log, 0 leaves none."""

    def __init__(self, routes: Iterable[AbstractRoute], clock: Clock, *, slow_s: float = 0) -> None:
        self.now_s = clock.monotonic_s
        self._slow_s = slow_s or inf
        rows = {route: _Row(route.method, route.resource.canonical) for route in routes if route.resource}
        self._rows: dict[AbstractRoute, _Row] = rows
        self._strays = {method: _Row(method, STRAY) for method in (*sorted(METHODS), OTHER)}

    def note(self, request: web.Request, response: web.StreamResponse, began_s: float, cause: Cause) -> None:
        """Count a request that began at `began_s` and has its response now."""
        seconds, status = self.now_s() - began_s, response.status
        row = self._rows.get(request.match_info.route)
        if row is None:
            row = self._strays[request.method if request.method in METHODS else OTHER]
        row.times.note(seconds)
        row.statuses[status] = row.statuses.get(status, 0) + 1
        if seconds > self._slow_s:
            with doing_for(cause):
                log.warning("slow: %s %s answered %d after %.3f s", row.method, row.path, status, seconds)

    def measures(self) -> list[Measure]:
        """Give the measures of all routes that were requested."""
        rows = [row for row in (*self._rows.values(), *self._strays.values()) if row.statuses]
        counts = [
            Sample((row.method, row.path, str(status)), count) for row in rows for status, count in row.statuses.items()
        ]
        times = [Sample((row.method, row.path), row.times) for row in rows]
        by = ("method", "route")
        return [
            Measure("counter", "marketd_http_requests_total", "Requests answered", (*by, "status"), counts),
            Measure(
                "histogram",
                "marketd_http_request_duration_seconds",
                "From the head of a request to the head of its answer",
                by,
                times,
            ),
        ]


def arrived(request: web.Request, trace: str) -> Span:
    """Begin the span of a request, within the trace that it came with; it is named by method and route."""
    resource = request.match_info.route.resource
    path = resource.canonical if resource else STRAY
    method = request.method if request.method in METHODS else OTHER
    begun = span(method, path, kind="server", parents=(trace,) if is_sound(trace) else ())
    begun.say("http.request.method", method)
    begun.say("http.route", path)
    return begun


def left(spent: Span, response: web.StreamResponse) -> None:
    """End the span of a request."""
    with spent:
        spent.say("http.response.status_code", response.status)
