"""The verdict about a soak: what is flat passes, and whatever grows, slows down or fails does not."""

from xml.etree import ElementTree

import pytest

from bench.soaked import Sample, graph, growth, verdict

QUIET = Sample(
    minute=1,
    memory_mib={"service": 100.0, "search index": 50.0, "nats-server": 50.0},
    cores={"service": 0.5},
    purchases_per_s=100,
    purchase_p50_ms=20,
    purchase_p99_ms=60,
    read_p50_ms=1,
    read_p99_ms=4,
    search_p99_ms=9,
    late_ms=1,
    position=1000,
    behind=0,
    errors={},
)
FLAT = [QUIET] * 20


def bad(samples: list[Sample]) -> list[str]:
    return [finding.what for finding in verdict(samples) if not finding.is_good]


def test_what_is_flat_is_good() -> None:
    assert [] == bad(FLAT)


def test_one_error_is_bad() -> None:
    assert ["errors"] == bad([*FLAT[1:], QUIET._replace(errors={"POST /orders: 500": 1})])


def test_memory_that_grows_in_the_first_half_only_is_good() -> None:
    growing = [QUIET._replace(memory_mib={"service": 50.0 + 5 * number}) for number in range(10)]

    assert [] == bad([*growing, *[QUIET._replace(memory_mib={"service": 100.0})] * 10])


def test_memory_that_grows_to_the_end_is_bad() -> None:
    assert ["memory in the second half"] == bad(
        [QUIET._replace(memory_mib={"service": 100.0 + number}) for number in range(20)]
    )


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("purchase_p50_ms", "p50 of a purchase, second half beside first"),
        ("read_p50_ms", "p50 of a read, second half beside first"),
        ("read_p99_ms", "p99 of a read, second half beside first"),
    ],
)
def test_a_latency_that_doubles_is_bad(field: str, what: str) -> None:
    slower = QUIET._replace(**{field: getattr(QUIET, field) * 2})

    assert [what] == bad(FLAT[:10] + [slower] * 10)


def test_a_run_without_a_purchase_is_bad() -> None:
    assert "p99 of a purchase" in bad([QUIET._replace(purchase_p50_ms=0, purchase_p99_ms=0)] * 20)


def test_a_run_without_a_sample_is_bad() -> None:
    assert [] != bad([])


def test_growth_is_a_share_of_the_mean() -> None:
    assert 0.2 == pytest.approx(growth([90, 95, 100, 105, 110]))


@pytest.mark.parametrize("samples", [FLAT, [QUIET], []])
def test_the_graph_is_sound_xml(samples: list[Sample]) -> None:
    assert "{http://www.w3.org/2000/svg}svg" == ElementTree.fromstring(graph(samples)).tag
