"""
Which pages of other origins may call us (Fetch, section 3.2): those that the settings name.

The one rule: no credentials of a browser's own are ever asked for. Who is signed in says so with a bearer token, which
a page has to have been given; so `*` gives away nothing that is not public.
"""

from collections.abc import Iterable
from typing import Final

from aiohttp import web

ANY: Final = "*"
TAKEN: Final = (
    "Accept, Accept-Language, Authorization, Content-Language, Content-Type, Idempotency-Key, If-Match, If-None-Match, "
    "Last-Event-ID, Prefer, Range, If-Range, X-Request-Id, traceparent, tracestate"
)
EXPOSED: Final = (
    "Accept-Ranges, Allow, Content-Disposition, Content-Range, ETag, Link, Location, "
    "Preference-Applied, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Data-Source, X-Request-Id"
)


class Cors:
    """Lets these origins in; `max_age_s` is how long a browser may remember what it was told of a path."""

    def __init__(self, origins: Iterable[str] = (), max_age_s: int = 600) -> None:
        self.origins, self._max_age_s = frozenset(origins), max_age_s

    def allow(self, request: web.Request, response: web.StreamResponse) -> None:
        """Say in the answer's headers whether the page that asked may read it."""
        headers, origin = response.headers, request.headers.get("Origin")
        if ANY in self.origins:
            headers["Access-Control-Allow-Origin"] = ANY
        else:
            headers["Vary"] = f"{headers['Vary']}, Origin" if "Vary" in headers else "Origin"
            if origin not in self.origins or origin is None:
                return
            headers["Access-Control-Allow-Origin"] = origin
        if _is_preflight(request):
            headers["Access-Control-Allow-Methods"] = headers.get("Allow", "")
            headers["Access-Control-Allow-Headers"] = TAKEN
            headers["Access-Control-Max-Age"] = str(self._max_age_s)
        else:
            headers["Access-Control-Expose-Headers"] = EXPOSED


def _is_preflight(request: web.Request) -> bool:
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
