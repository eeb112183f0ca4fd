"""
Metrics for a scraper, in Prometheus' text format, or in OpenMetrics if it is asked for.

A client in one of the networks in the settings, such as a scraper on the same machine, needs no token; any other needs
the scraper's token. A request forwarded by a trusted proxy comes from the address that the proxy names; one forwarded
by another proxy counts as from no network.
"""

import hmac
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address, ip_network
from typing import Final

from aiohttp import web

from marketd.http.client import client_address
from marketd.http.encodings import WITHOUT_SECRET
from marketd.http.keys import METRICS, PROXIES
from marketd.http.operation import Answer, Bytes, operation
from marketd.http.problems import Forbidden, NotFound, NotSignedIn
from marketd.measures import Measure

TEXT: Final = "text/plain"
OPEN_METRICS: Final = "application/openmetrics-text"
FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "Via")

routes = web.RouteTableDef()


class Metrics:
    """The metrics, and who may read them; `look` gathers them."""

    def __init__(
        self, look: Callable[[], Awaitable[Iterable[Measure]]], networks: Iterable[str], token: str | None
    ) -> None:
        self._look = look
        self._networks = tuple(ip_network(network, strict=False) for network in networks)
        self._token = token.encode() if token else None

    def check(self, request: web.Request) -> None:
        """Accept a request; raise `NotSignedIn`, or `Forbidden` if no token would help."""
        if self._is_near(request) or self._knows_token(request):
            return
        if self._token is None:
            raise Forbidden("the metrics are for the networks of the setting metrics.networks")
        raise NotSignedIn("the metrics need the token of the setting metrics.token")

    async def look(self) -> Iterable[Measure]:
        """Gather the current metrics."""
        return await self._look()

    def _is_near(self, request: web.Request) -> bool:
        is_trusted = request.app[PROXIES].trusts(request.remote or "")
        if not is_trusted and any(name in request.headers for name in FORWARDED):
            return False
        address = client_address(request)
        return bool(address) and any(ip_address(address) in network for network in self._networks)

    def _knows_token(self, request: web.Request) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if self._token is None or scheme.lower() != "bearer":
            return False
        return hmac.compare_digest(given.strip().encode(errors="surrogateescape"), self._token)


@routes.get("/metrics")
@operation(
    answers={200: Answer(Bytes, TEXT, headers=("Cache-Control",), others=(OPEN_METRICS,))},
    problems=(Forbidden, NotFound, NotSignedIn),
    load="vital",
)
async def show(request: web.Request) -> web.Response:
    """
    Show the service's metrics.

    In the text format of Prometheus, or in OpenMetrics if the client accepts it. For clients in `metrics.networks`, and
    those that send `metrics.token` as a bearer token.
    """
    metrics = request.app.get(METRICS)
    if metrics is None:
        raise NotFound("there is nothing at this path")
    metrics.check(request)

    measures = await metrics.look()

    from marketd.http.exposition import written  # imported here: its library takes 1.4 MB

    body, media_type = written(measures, ",".join(request.headers.getall("Accept", ())))
    response = web.Response(body=body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})
    response[WITHOUT_SECRET] = True
    return response
