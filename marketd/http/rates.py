"""Rate limits: by user, or by client address for requests without a valid token."""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from marketd.clock import Clock
from marketd.http.buckets import Allowance, Buckets, Quota
from marketd.http.client import client_network
from marketd.http.identity import bearer
from marketd.http.problems import NotSignedIn

UNLIMITED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
AUTH: Final = "/auth/"


class Rates:
    """The quotas of users, of addresses for anonymous requests, and of addresses for POSTs below `/auth/`."""

    def __init__(
        self,
        clock: Clock,
        *,
        window_s: int,
        user_requests_max: int,
        address_requests_max: int,
        auth_requests_max: int,
        clients_max: int,
        is_lifted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_lifted = is_lifted
        self._users = Buckets(Quota("default", user_requests_max, window_s), clock, clients_max)
        self._addresses = Buckets(Quota("default", address_requests_max, window_s), clock, clients_max)
        self._auth = Buckets(Quota("auth", auth_requests_max, window_s), clock, clients_max)

    def take(self, request: web.Request) -> Allowance | None:
        """Count a request; None if it is not limited."""
        path = request.rel_url.raw_path
        if path in UNLIMITED or self._is_lifted():
            return None
        if path.startswith(AUTH) and request.method == "POST":
            return self._auth.take(client_network(request))
        try:
            principal = bearer(request)
        except NotSignedIn:
            principal = None
        if principal is not None:
            return self._users.take(principal.user_id)
        return self._addresses.take(client_network(request))
