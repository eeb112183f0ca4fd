"""Every request is counted by its route, and nobody outside can make the counts grow."""

import logging

import pytest

from marketd.actors import order
from marketd.http.keys import IN_HAND
from marketd.http.traffic import STRAY
from marketd.measures import Histogram
from tests.http.stage import SLOW_S, Stage

pytestmark = pytest.mark.asyncio


def counted(stage: Stage) -> dict[tuple[str, ...], float]:
    """How many requests there were, by method, route and status."""
    requests, _ = stage.traffic.measures()
    return {sample.labels: sample.value for sample in requests.samples if not isinstance(sample.value, Histogram)}


async def test_a_request_is_counted_by_the_template_of_its_route(stage: Stage) -> None:
    for product_id in ("p1", "p2"):
        await stage.call("GET", f"/problems/{product_id}")

    assert {("GET", "/problems/{slug}", "404"): 2} == counted(stage)


async def test_a_method_that_a_route_brings_with_it_is_its_own(stage: Stage) -> None:
    await stage.call("HEAD", "/healthz")

    assert {("HEAD", "/healthz", "200"): 1} == counted(stage)


async def test_what_has_no_route_is_counted_under_one_name(stage: Stage) -> None:
    for path in ("/a", "/b/c", "/%00", "/products/1/2/3/4"):
        await stage.call("GET", path)

    assert {("GET", STRAY, "404"): 4} == counted(stage)


async def test_a_method_that_nobody_knows_is_counted_under_one_name(stage: Stage) -> None:
    stage.client.is_strict = False
    for method in ("PROPFIND", "PURGE"):
        await stage.call(method, "/healthz")

    assert {("other", STRAY, "405"): 2} == counted(stage)


async def test_an_error_is_counted_as_it_is_answered(stage: Stage) -> None:
    stage.bus.answers(order.Describe, RuntimeError("a defect"))
    stage.client.is_strict = False
    await stage.call("GET", "/orders/o1", user="ann")

    assert {("GET", "/orders/{id}", "500"): 1} == counted(stage)


async def test_what_is_sent_away_is_counted(stage: Stage) -> None:
    stage.client.app[IN_HAND].is_closing = True
    await stage.call("GET", "/healthz")

    assert {("GET", "/healthz", "503"): 1} == counted(stage)


async def test_a_request_is_timed(stage: Stage) -> None:
    stage.bus.answers(order.Describe, lambda _: stage.clock.passes(0.3))
    stage.client.is_strict = False
    await stage.call("GET", "/orders/o1", user="ann")

    _, times = stage.traffic.measures()
    (sample,) = times.samples
    assert isinstance(sample.value, Histogram)
    assert ("GET", "/orders/{id}") == sample.labels
    assert 0.3 == pytest.approx(sample.value.total)


async def test_a_slow_request_leaves_a_line_that_names_it(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.bus.answers(order.Describe, lambda _: stage.clock.passes(SLOW_S + 0.5))
    stage.client.is_strict = False
    with caplog.at_level(logging.WARNING, "marketd.http"):
        await stage.call("GET", "/orders/o1", user="ann", headers={"X-Request-Id": "r1"})

    assert "slow: GET /orders/{id} answered 500 after 2.500 s" in caplog.messages


async def test_a_request_that_is_not_slow_leaves_none(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "marketd.http"):
        await stage.call("GET", "/healthz")

    assert [] == caplog.messages
