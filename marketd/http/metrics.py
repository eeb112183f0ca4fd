"""
What the service counts, for whoever scrapes it: Prometheus' text format, or OpenMetrics where it is asked for.

Nobody has to sign in who asks from a network of the settings, as a scraper on the same machine does; everybody else
needs the scraper's token. A request that a proxy has forwarded comes from wherever the proxy says, if its word is
taken, and else from nowhere.
"""

import hmac
from collections.abc import Awaitable, Callable, Iterable, Iterator
from ipaddress import ip_address, ip_network
from math import inf
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from marketd.http.client import client_address
from marketd.http.keys import METRICS, PROXIES
from marketd.http.operation import Answer, Bytes, operation
from marketd.http.problems import Forbidden, NotFound, NotSignedIn
from marketd.measures import Histogram, Measure

TEXT: Final = "text/plain"
OPEN_METRICS: Final = "application/openmetrics-text"
FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "Via")

routes = web.RouteTableDef()


class Metrics:
    """What there is to see, and who may see it; `look` gathers it."""

    def __init__(
        self, look: Callable[[], Awaitable[Iterable[Measure]]], networks: Iterable[str], token: str | None
    ) -> None:
        self._look = look
        self._networks = tuple(ip_network(network, strict=False) for network in networks)
        self._token = token.encode() if token else None

    def check(self, request: web.Request) -> None:
        """Let a request pass; raise `NotSignedIn`, or `Forbidden` where no token would help."""
        if self._is_near(request) or self._knows_token(request):
            return
        if self._token is None:
            raise Forbidden("the metrics are for the networks of the setting metrics.networks")
        raise NotSignedIn("the metrics need the token of the setting metrics.token")

    async def look(self) -> Iterable[Measure]:
        """Gather what is counted now."""
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
)
async def show(request: web.Request) -> web.Response:
    """
    Show what the service counts.

    In the text format of Prometheus, or in OpenMetrics for who accepts it. For the networks of `metrics.networks`, and
    for who sends `metrics.token` as a bearer token.
    """
    metrics = request.app.get(METRICS)
    if metrics is None:
        raise NotFound("there is nothing at this path")
    metrics.check(request)

    measures = await metrics.look()

    body, media_type = written(measures, ",".join(request.headers.getall("Accept", ())))
    return web.Response(body=body, headers={"Content-Type": media_type, "Cache-Control": "no-store"})


def written(measures: Iterable[Measure], accepted: str) -> tuple[bytes, str]:
    """Write measures, and what Prometheus' library knows of the process, as the scraper likes it; say how."""
    encode, media_type = choose_encoder(accepted)
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_Taken(measures))
    return encode(registry), media_type


class _Taken(Collector):
    """Measures as the library has them."""

    def __init__(self, measures: Iterable[Measure]) -> None:
        self._measures = measures

    def describe(self) -> Iterable[Metric]:
        """Nothing: nobody asks before the values are there."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give each as a family."""
        for measure in self._measures:
            yield _family(measure)


def _family(measure: Measure) -> Metric:
    _, name, told, labels, samples = measure
    if measure.kind == "histogram":
        histograms = HistogramMetricFamily(name, told, labels=labels)
        for given, value in samples:
            assert isinstance(value, Histogram)
            histograms.add_metric(given, _cumulated(value), value.total)
        return histograms
    kind = CounterMetricFamily if measure.kind == "counter" else GaugeMetricFamily
    family = kind(name, told, labels=labels)
    for given, value in samples:
        assert not isinstance(value, Histogram)
        family.add_metric(given, value)
    return family


def _cumulated(histogram: Histogram) -> list[tuple[str, float]]:
    """Give for each bound how many were no larger."""
    buckets: list[tuple[str, float]] = []
    so_far = 0
    for bound, count in zip((*histogram.bounds, inf), histogram.counts, strict=True):
        so_far += count
        buckets.append(("+Inf" if bound == inf else str(float(bound)), so_far))
    return buckets
