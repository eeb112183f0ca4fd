"""A sale as a collector of traces sees it: one tree, from the request to the last step, whichever way messages go."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import ClientSession, web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from marketd.clock import SystemClock
from marketd.config.fronting import front
from marketd.config.settings import Data, Limits, Nats, Search, Settings, Storage, Traces
from marketd.config.tracing import ExtraMissing, traced
from marketd.config.wiring import running
from marketd.otel import END_S_MAX, OtelRecorder, Sending
from tests.config.test_measuring import Shop

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

TRACE_ID: Final = "0af7651916cd43dd8448eb211c80319c"
CALLER: Final = "b7ad6b7169203331"
SAMPLED: Final = f"00-{TRACE_ID}-{CALLER}-01"


class Collector:
    """Takes spans in as an OpenTelemetry collector does."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()

    async def take(self, request: web.Request) -> web.Response:
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for resource in sent.resource_spans:
            self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")

    def of_trace(self, trace_id: str) -> dict[str, Span]:
        """The spans of a trace, by their ids."""
        return {span.span_id.hex(): span for span in self.spans if span.trace_id.hex() == trace_id}

    def says(self, text: str) -> bool:
        """Whether any span has this in it, wherever."""
        return any(text in str(span) for span in self.spans)


@asynccontextmanager
async def collecting() -> AsyncIterator[tuple[Collector, str]]:
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield collector, f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
    finally:
        await runner.cleanup()


async def sold(data: Path, traceparent: str, *, share: float = 1.0, in_process: bool = True) -> Collector:
    """Have something sold, the order under a trace of its caller's; give what a collector took in."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with collecting() as (collector, endpoint):
        settings = Settings(
            data=Data(str(data)),
            storage=Storage(free_bytes_min=0),
            search=Search(enabled=False),
            limits=Limits(enabled=False),
            nats=Nats(in_process=in_process),
            traces=Traces(endpoint=endpoint, share=share),
        )
        headers = {"traceparent": traceparent} if traceparent else {}
        async with (
            running(settings, SystemClock()) as service,
            front(service, listener),
            ClientSession(headers=headers) as session,
        ):
            await Shop(service, session, url).sells()
    return collector


async def searched(data: Path) -> Collector:
    """Have something looked for in the index, under a trace of its caller's; give what a collector took in."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with collecting() as (collector, endpoint):
        settings = Settings(
            data=Data(str(data)),
            storage=Storage(free_bytes_min=0),
            limits=Limits(enabled=False),
            traces=Traces(endpoint=endpoint),
        )
        async with running(settings, SystemClock()) as service, front(service, listener), ClientSession() as session:
            async with asyncio.timeout(20):
                source = ""
                while source != "index":  # which the index process needs a moment for
                    async with session.get(f"{url}/products?q=rain") as answer:
                        source = answer.headers["X-Data-Source"]
                    await asyncio.sleep(0.05)
            headers = {"traceparent": SAMPLED}
            async with session.get(f"{url}/products?q=another", headers=headers) as answer:
                assert "index" == answer.headers["X-Data-Source"]
    return collector


@pytest.mark.parametrize("in_process", [True, False], ids=["in the process", "over the wire"])
async def test_a_sale_is_one_tree(tmp_path: Path, in_process: bool) -> None:
    collector = await sold(tmp_path / "data", SAMPLED, in_process=in_process)
    spans = collector.of_trace(TRACE_ID)

    names = {span.name for span in spans.values()}
    steps = {f"step {step}" for step in ("ProcessPayment", "UpdateInventory", "PrepareDelivery", "NotifyBuyer")}
    assert steps | {"POST /orders", "ask order.place", "turn order", "append order", "ask buyer.grant"} <= names
    assert set() == {span.parent_span_id.hex() for span in spans.values()} - spans.keys() - {CALLER}
    assert {"marketd"} == collector.services


async def test_a_span_is_within_the_one_that_led_to_it(tmp_path: Path) -> None:
    spans = (await sold(tmp_path / "data", SAMPLED)).of_trace(TRACE_ID)

    def above(span: Span) -> list[str]:
        found = spans.get(span.parent_span_id.hex())
        return [found.name, *above(found)] if found else []

    (placing,) = (span for span in spans.values() if span.name == "ask order.place")
    (granting,) = (span for span in spans.values() if span.name == "ask buyer.grant")
    assert ["POST /orders"] == above(placing)
    assert "step PrepareDelivery" == above(granting)[0]
    assert {"turn order"} == {above(span)[0] for span in spans.values() if span.name == "append order"}


async def test_who_does_not_want_to_be_recorded_is_not(tmp_path: Path) -> None:
    collector = await sold(tmp_path / "data", SAMPLED[:-2] + "00")

    assert {} == collector.of_trace(TRACE_ID)


@pytest.mark.parametrize(("share", "expected"), [(0.0, False), (1.0, True)])
async def test_of_what_begins_here_a_share_is_recorded(tmp_path: Path, share: float, expected: bool) -> None:
    collector = await sold(tmp_path / "data", "", share=share)

    assert expected == any(span.name == "POST /orders" for span in collector.spans)


async def test_nothing_private_is_in_a_span(tmp_path: Path) -> None:
    collector = await sold(tmp_path / "data", SAMPLED)

    private = ("@example.org", "pm_card_visa", "https://files.example", "Bearer")
    assert [] == [text for text in private if collector.says(text)]


async def test_the_trace_of_a_search_goes_on_in_the_index_process(tmp_path: Path) -> None:
    collector = await searched(tmp_path / "data")
    spans = collector.of_trace(TRACE_ID)

    (looking,) = (span for span in spans.values() if span.name == "look up search")
    above = spans[looking.parent_span_id.hex()]
    assert ("ask search", {"marketd", "marketd-index"}) == (above.name, collector.services)


async def test_a_collector_that_is_not_there_is_in_nobodys_way(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}/v1/traces"
    async with asyncio.timeout(20), traced(nobody, share=1):
        pass


async def test_what_can_not_be_sent_holds_up_no_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    recorder = OtelRecorder(Sending(nobody), 1, "marketd")
    for _ in range(2_000):  # some batches
        with recorder.begin("turn", "internal", []):
            pass

    async with asyncio.timeout(END_S_MAX + 2):
        await asyncio.to_thread(recorder.close)


async def test_without_the_extra_a_start_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "marketd.otel", None)
    with pytest.raises(ExtraMissing, match=r"marketd\[otel\]"):
        async with traced("http://127.0.0.1:1", share=1):
            pass


async def test_who_sends_no_traces_loads_nothing_for_them() -> None:
    loads: Any = "import sys, marketd.command_line, marketd.config.fronting; print('opentelemetry' in sys.modules)"
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", loads], capture_output=True, text=True)

    assert ("False\n", "") == (done.stdout, done.stderr)
