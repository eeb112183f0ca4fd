"""
Metrics: what the parts count, and how it is reported.

The one rule: counting costs next to nothing. Each part counts for itself, in plain numbers; names and formats are added
when the metrics are read, which is seldom.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Histogram:
    """How many values fell into each bucket, up to and including its bound, and the sum of all values."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def note(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def __len__(self) -> int:
        return sum(self.counts)


class Outcomes:
    """How often each operation ended in which way, and how long it took. Names and ends must be few: never ids."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.times: dict[str, Histogram] = {}

    def note(self, name: str, end: str, seconds: float) -> None:
        """Count one operation."""
        self.counts[name, end] += 1
        times = self.times.get(name)
        if times is None:
            times = self.times[name] = Histogram()
        times.note(seconds)


class Sample(NamedTuple):
    """One value of a measure, under the values of its labels."""

    labels: tuple[str, ...]
    value: float | Histogram


class Measure(NamedTuple):
    """A metric family, as Prometheus calls it. A counter's name ends in `_total`."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    help: str
    labels: tuple[str, ...]
    samples: Sequence[Sample]


Source = Callable[[], Iterable[Measure]]


class Measures:
    """All sources of metrics; parts made later add theirs."""

    def __init__(self, sources: Iterable[Source] = ()) -> None:
        self._sources = [*sources]

    def add(self, source: Source) -> None:
        """Add a source, to be read with the others."""
        self._sources.append(source)

    def read(self) -> Iterator[Measure]:
        """Read all sources."""
        for source in self._sources:
            yield from source()
