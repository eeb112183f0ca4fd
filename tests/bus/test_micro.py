"""What is asked here shows in the tools of NATS: ping, info and stats, as nats-py reads them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

from marketd import __version__
from marketd.actors import product
from marketd.actors.aggregate import Refused
from marketd.bus.micro import MicroServices
from marketd.bus.nats import NatsBus
from marketd.bus.port import Answer, Envelope
from marketd.clock import SystemClock
from marketd.config.codecs import micro_services
from tests.bus.post import QUOTED, SUBJECT, bus_at, envelope, outcome, quote, raising, server_at

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

NAMES = ["market-account", "market-buyer", "market-order", "market-product", "market-query", "market-webhook"]
SOON_S = 0.3


class Desk:
    """A service at a server, and an operator with the tools of NATS."""

    def __init__(self, bus: NatsBus, operator: Client) -> None:
        self.bus, self.operator = bus, operator

    async def asks(self, subject: str, count: int = len(NAMES)) -> list[Any]:
        """Ask all who answer, as `nats micro` does; give what they say, by name."""
        inbox = self.operator.new_inbox()
        heard = await self.operator.subscribe(inbox)
        await self.operator.publish(subject, b"", reply=inbox)
        answers = [json.loads((await heard.next_msg(5)).data) for _ in range(count)]
        with pytest.raises(nats.errors.TimeoutError):
            await heard.next_msg(SOON_S)
        return sorted(answers, key=lambda answer: str(answer["name"]))

    async def counts(self, name: str) -> dict[str, int]:
        (stats,) = await self.asks("$SRV.STATS.market-product", 1)
        (found,) = [endpoint for endpoint in stats["endpoints"] if endpoint["name"] == name]
        return {key: found[key] for key in ("num_requests", "num_errors")}


@asynccontextmanager
async def desk(folder: Path, *, in_process: bool = True) -> AsyncIterator[Desk]:
    async with server_at(folder) as server, bus_at(server, in_process=in_process) as bus:
        await MicroServices(micro_services(), __version__, bus.tally, SystemClock()).open(bus)
        operator = await nats.connect(server.url, user=server.user, password=server.password)
        yield Desk(bus, operator)
        await operator.close()


async def test_every_service_answers_a_ping(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        pings = [ServicePing.from_dict(answer) for answer in await it.asks("$SRV.PING")]

        assert [(name, __version__) for name in NAMES] == [(ping.name, ping.version) for ping in pings]


@pytest.mark.parametrize("verb", ["PING", "INFO", "STATS"])
async def test_one_can_be_asked_by_its_name_and_by_its_id(tmp_path: Path, verb: str) -> None:
    async with desk(tmp_path) as it:
        (named,) = await it.asks(f"$SRV.{verb}.market-order", 1)
        (known,) = await it.asks(f"$SRV.{verb}.market-order.{named['id']}", 1)

        assert (f"io.nats.micro.v1.{verb.lower()}_response", named["id"]) == (known["type"], known["id"])


async def test_the_endpoints_of_an_actor_are_its_commands(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        info = ServiceInfo.from_dict((await it.asks("$SRV.INFO.market-product", 1))[0])

        assert {
            ("product-list", "market.cmd.*.product.*", "marketd"),
            ("product-describe", "market.cmd.*.product.*", "marketd"),
        } <= {(endpoint.name, endpoint.subject, endpoint.queue_group) for endpoint in info.endpoints}


async def test_the_endpoints_of_the_queries_are_where_they_are_asked(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        info = ServiceInfo.from_dict((await it.asks("$SRV.INFO.market-query", 1))[0])

        assert ("products", "market.query.products") in {(e.name, e.subject) for e in info.endpoints}


async def test_every_endpoint_has_the_schema_of_what_it_takes(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        for info in await it.asks("$SRV.INFO"):
            for endpoint in info["endpoints"]:
                schema = json.loads(endpoint["metadata"]["request"])
                assert schema["$ref"].removeprefix("#/$defs/") in schema["$defs"]


@pytest.mark.parametrize("in_process", [True, False])
async def test_what_is_asked_is_counted(tmp_path: Path, in_process: bool) -> None:
    async with desk(tmp_path, in_process=in_process) as it:
        await it.bus.serve(SUBJECT, quote)
        for _ in range(3):
            assert Answer(QUOTED, 42) == await it.bus.ask(SUBJECT, envelope())

        assert {"num_requests": 3, "num_errors": 0} == await it.counts("product-describe")


async def test_a_refusal_is_no_error(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.bus.serve(SUBJECT, raising(Refused(product.Reason.SOLD_OUT)))
        await outcome(it.bus.ask(SUBJECT, envelope()))

        assert {"num_requests": 1, "num_errors": 0} == await it.counts("product-describe")


async def test_a_defect_is_an_error_and_is_named(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        await it.bus.serve(SUBJECT, raising(KeyError("x")))
        await outcome(it.bus.ask(SUBJECT, envelope()))
        (stats,) = await it.asks("$SRV.STATS.market-product", 1)
        (found,) = [endpoint for endpoint in stats["endpoints"] if endpoint["num_errors"]]

        assert f"who serves {SUBJECT} has a defect: KeyError" == found["last_error"]


async def test_the_time_that_answers_took_is_told(tmp_path: Path) -> None:
    async def slowly(subject: str, envelope: Envelope) -> Answer:
        await asyncio.sleep(0.02)
        return Answer(QUOTED, 1)

    async with desk(tmp_path) as it:
        await it.bus.serve(SUBJECT, slowly)
        for _ in range(2):
            await it.bus.ask(SUBJECT, envelope())
        stats = ServiceStats.from_dict((await it.asks("$SRV.STATS.market-product", 1))[0])
        (found,) = [endpoint for endpoint in stats.endpoints if endpoint.num_requests]

        assert found.processing_time // 2 == found.average_processing_time >= 15_000_000
