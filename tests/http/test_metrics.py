"""`GET /metrics`: for whom, in which format, and that a scraper can read it."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

from marketd.http.exposition import written
from marketd.http.metrics import OPEN_METRICS, TEXT
from marketd.http.proxies import Proxies
from marketd.measures import Histogram, Measure, Sample
from tests.http.stage import SCRAPER, Reply, Stage, staged

pytestmark = pytest.mark.asyncio

ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}
OUR_PROXY = Proxies(["127.0.0.0/8"])


def families(found: Iterable[Metric]) -> dict[str, Metric]:
    return {family.name: family for family in found}


async def scraped(stage: Stage, **headers: str) -> Reply:
    return await stage.call("GET", "/metrics", headers=headers)


# Who may look.


async def test_who_is_on_the_same_machine_may_look(stage: Stage) -> None:
    assert 200 == (await scraped(stage)).status


async def test_who_is_elsewhere_needs_the_token(tmp_path: Path) -> None:
    async with staged(tmp_path, proxies=OUR_PROXY) as stage:
        found = await scraped(stage, **ELSEWHERE)

    assert (401, True) == (found.status, found.headers["WWW-Authenticate"].startswith("Bearer"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (f"Bearer {SCRAPER}", 200),
        (f"bearer {SCRAPER}", 200),
        (f"Bearer {SCRAPER}x", 401),
        ("Bearer ", 401),
        (f"Basic {SCRAPER}", 401),
        ("Bearer \xff", 401),
    ],
)
async def test_the_token_has_to_be_the_right_one(tmp_path: Path, given: str, expected: int) -> None:
    async with staged(tmp_path, proxies=OUR_PROXY) as stage:
        found = await scraped(stage, Authorization=given, **ELSEWHERE)

    assert expected == found.status


async def test_where_there_is_no_token_nobody_from_elsewhere_may_look(tmp_path: Path) -> None:
    async with staged(tmp_path, proxies=OUR_PROXY, scraper_token=None) as stage:
        found = await scraped(stage, Authorization="Bearer None", **ELSEWHERE)

    assert 403 == found.status


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
async def test_what_a_proxy_forwards_that_nobody_trusts_comes_from_nowhere(stage: Stage, header: str) -> None:
    """Behind a proxy on the same machine that the settings do not name, all the world would be on this machine."""
    assert 401 == (await scraped(stage, **{header: "127.0.0.1"})).status


async def test_a_scraper_on_the_machine_of_a_proxy_of_ours_may_look(tmp_path: Path) -> None:
    async with staged(tmp_path, proxies=OUR_PROXY) as stage:
        assert 200 == (await scraped(stage)).status


async def test_a_scraper_is_not_counted_against_a_limit(tmp_path: Path) -> None:
    async with staged(tmp_path, is_counting=True) as stage:
        assert {200} == {(await scraped(stage)).status for _ in range(8)}


# What is said.


async def test_it_is_said_in_the_text_format(stage: Stage) -> None:
    found = await scraped(stage)

    assert (TEXT, "no-store") == (found.media_type, found.headers["Cache-Control"])
    assert "process_open_fds" in families(prometheus_text(found.body.decode()))


async def test_it_is_said_in_open_metrics_to_who_prefers_it(stage: Stage) -> None:
    await stage.call("GET", "/healthz")
    found = await scraped(stage, Accept=f"{OPEN_METRICS};version=1.0.0,text/plain;version=0.0.4;q=0.5")

    assert OPEN_METRICS == found.media_type
    assert "marketd_http_requests" in families(open_metrics(found.body.decode()))  # type: ignore[no-untyped-call]


async def test_the_requests_are_in_it(stage: Stage) -> None:
    await stage.call("GET", "/healthz")
    found = families(prometheus_text((await scraped(stage)).body.decode()))

    (sample,) = found["marketd_http_requests"].samples
    assert ({"method": "GET", "route": "/healthz", "status": "200"}, 1) == (sample.labels, sample.value)


async def test_the_process_is_in_it(stage: Stage) -> None:
    found = families(prometheus_text((await scraped(stage)).body.decode()))

    assert {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds"} <= found.keys()


async def test_a_histogram_adds_up() -> None:
    histogram = Histogram((0.5, 1))
    for value in (0.25, 0.25, 0.75, 5):
        histogram.note(value)
    body, _ = written([Measure("histogram", "took_seconds", "told", ("of",), [Sample(("it",), histogram)])], "")

    found = families(prometheus_text(body.decode()))["took_seconds"].samples
    buckets = {s.labels["le"]: s.value for s in found if s.name.endswith("_bucket")}
    others = {s.name: s.value for s in found if "le" not in s.labels}
    assert {"0.5": 2, "1.0": 3, "+Inf": 4} == buckets
    assert {"took_seconds_count": 4, "took_seconds_sum": 6.25} == others
