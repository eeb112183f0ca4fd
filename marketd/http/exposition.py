"""Encodes measures for a scraper, with Prometheus' own library."""

from collections.abc import Iterable, Iterator
from math import inf

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from marketd.measures import Histogram, Measure


def written(measures: Iterable[Measure], accepted: str) -> tuple[bytes, str]:
    """Encode measures, and the library's own of the process, as the scraper accepts; give bytes and media type."""
    encode, media_type = choose_encoder(accepted)
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_Taken(measures))
    return encode(registry), media_type


class _Taken(Collector):
    """Presents measures to the library."""

    def __init__(self, measures: Iterable[Measure]) -> None:
        self._measures = measures

    def describe(self) -> Iterable[Metric]:
        """Give nothing: there is nothing to describe before the values are collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Give each measure as a metric family."""
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
    """Give for each bound how many values were no larger."""
    buckets: list[tuple[str, float]] = []
    so_far = 0
    for bound, count in zip((*histogram.bounds, inf), histogram.counts, strict=True):
        so_far += count
        buckets.append(("+Inf" if bound == inf else str(float(bound)), so_far))
    return buckets
