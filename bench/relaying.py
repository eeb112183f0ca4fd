"""Public events: how late an integrator hears of a sale, and how fast the relay catches up."""

import asyncio
import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Final

import nats
from nats.js.api import StreamConfig

from bench.figures import CONNECTIONS, ROUNDS, Figure, spread
from bench.history import write_sales
from bench.load import Connection, paced
from bench.processes import service
from bench.shop import Person
from marketd.bus.jetstream import JetStream
from marketd.bus.relay import Relay, RelayLimits
from marketd.bus.server import NatsServer
from marketd.bus.stream import StreamLimits
from marketd.bus.subjects import EVENTS, EVENTS_STREAM
from marketd.clock import SystemClock
from marketd.config.codecs import log_codec
from marketd.storage.sqlite import SqliteLog

SALES_PER_S: Final = 100.0
ROUND_S: Final = 5.0
SALES_STORED: Final = 33_334  # each is three public events
BARE_EVENTS: Final = 5_000
ROOM_BYTES: Final = 512 * 1024 * 1024  # so that none of them goes before it is counted


async def event_delay(folder: Path) -> list[Figure]:
    """From the moment that an order was decided to be complete until an integrator has its event, at a steady load."""
    async with service(folder / "data") as running:
        made = await _output("-m", "marketd", "integrator", "add", "bench", "--events", "order.completed", "--json",
                             "--data", str(folder / "data"))  # fmt: skip
        (folder / "bench.json").write_text(made)
        seller = await Person.join(running.host, running.port, "seller", "seller")
        products = [await seller.list_product(f"Product {n}") for n in range(int(SALES_PER_S * ROUND_S * (ROUNDS + 1)))]
        buyers = [await Person.join(running.host, running.port, f"buyer{n}", "buyer") for n in range(CONNECTIONS)]
        wanted = iter(products)

        async def buy(connection: Connection, number: int) -> None:
            assert "completed" == await buyers[number].buy(connection, next(wanted))

        p50s, p99s, rates = list[float](), list[float](), list[float]()
        for number in range(ROUNDS + 1):
            listening = await _listener(folder / "bench.json")
            rate = await paced(
                running.host,
                running.port,
                connections=CONNECTIONS,
                per_s=SALES_PER_S,
                seconds=ROUND_S,
                work=buy,
            )
            out, _ = await listening.communicate(b"")
            delays = sorted(json.loads(out))
            if number:  # the first is the warm-up
                rates.append(rate.per_s)
                p50s.append(median(delays))
                p99s.append(delays[int(len(delays) * 0.99)])
    load = f"{median(rates):.0f} purchases a second"
    return [
        Figure("event delay, p50", median(p50s), "ms", spread(p50s), load, ""),
        Figure("event delay, p99", median(p99s), "ms", spread(p99s), "from decided to heard", ""),
    ]


async def catching_up(folder: Path) -> list[Figure]:
    """The relay from an empty stream to the end of a log, beside a bare loop that publishes the same bytes."""
    (folder / "data").mkdir()
    await write_sales(folder / "data", SALES_STORED)
    rates, bares = list[float](), list[float]()
    for number in range(ROUNDS):
        async with NatsServer(store=folder / f"nats-{number}", clock=SystemClock()) as server:
            rates.append(await _relay(folder / "data", server))
            bares.append(await _bare(server))
    ratios = [ours / theirs for ours, theirs in zip(rates, bares, strict=True)]
    against = f"a bare nats-py loop of the same bytes: {median(bares):,.0f}/s"
    return [
        Figure("relay catching up", median(rates), "events/s", spread(rates), f"{3 * SALES_STORED:,} events", ""),
        Figure("the same, as a ratio", median(ratios), "of one by one", spread(ratios), against, ""),
    ]


async def _relay(data: Path, server: NatsServer) -> float:
    clock = SystemClock()
    limits = StreamLimits(keep_bytes_max=ROOM_BYTES)
    async with (
        SqliteLog(data / "events.db", log_codec(), check_commits=0) as log,
        JetStream(server.url, EVENTS_STREAM, EVENTS, limits, user=server.user, password=server.password) as stream,
    ):

        async def prepare() -> None:
            await stream.prepare({})

        relay = Relay(log, stream, "/bench", prepare, clock, RelayLimits())
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(relay.run())
            while relay.statistics()["behind"]:
                await asyncio.sleep(0.01)
            passed_s = time.perf_counter() - begun
            running.cancel()
    return relay.statistics()["published"] / passed_s


async def _bare(server: NatsServer) -> float:
    """Publish some of what the relay has published, each when the one before was acknowledged."""
    client = await nats.connect(server.url, user=server.user, password=server.password)
    api = client.jetstream()
    messages = [await api.get_msg(EVENTS_STREAM, seq=number) for number in range(1, BARE_EVENTS + 1)]
    await api.add_stream(StreamConfig(name="BARE", subjects=["bare.>"]))
    begun = time.perf_counter()
    for message in messages:
        await api.publish(f"bare.{message.subject}", message.data or b"", headers=message.headers and {
            "Nats-Msg-Id": message.headers["Nats-Msg-Id"]
        })  # fmt: skip
    passed_s = time.perf_counter() - begun
    await client.close()
    return len(messages) / passed_s


async def _listener(credentials: Path) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.listener", str(credentials)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    return process


async def _output(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode()
