"""
CORS (Fetch, section 3.2): pages of the origins in the settings may call the service.

The one rule: a browser's own credentials are never allowed. A user signs in with a bearer token, which the page must
have been given; so `*` exposes nothing that is not public.
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
    """Allows these origins; `max_age_s` is how long a browser may cache the result of a preflight request."""

    def __init__(self, origins: Iterable[str] = (), max_age_s: int = 600) -> None:
        self.origins, self._max_age_s = frozenset(origins), max_age_s

    def allow(self, request: web.Request, response: web.StreamResponse) -> None:
        """Set the headers that say whether the requesting page may read the response."""
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
