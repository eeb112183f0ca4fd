"""The figures: each function takes one, beside its reference, in an empty folder of its own."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.history import write_products, write_reservations
from bench.load import Connection, Rate, measure, request
from bench.processes import Running, bare, held_mib, index_rests, resident_mib, service
from bench.shop import Person
from marketd.actors.address import Address
from marketd.actors.product import PRODUCT, Describe
from marketd.actors.runtime import Actor, ActorLimits, Kind
from marketd.bus.port import Envelope
from marketd.clock import SystemClock, new_id
from marketd.config.codecs import log_codec
from marketd.config.folder import LOCK
from marketd.config.settings import Search as SearchSettings
from marketd.storage.sqlite import SqliteLog

CONNECTIONS: Final = 32
ROUNDS: Final = 5
ROUND_S: Final = 3.0
WARM_UP_S: Final = 1.0
PRODUCTS_STORED: Final = 10_000
EVENTS_MANY: Final = 10_000
EVENTS_FEW: Final = 100
WAKINGS: Final = 200
SETTLE_S: Final = 5.0  # what a service needs until all its processes are up and idle


Work = Callable[[Connection, int], Awaitable[None]]


class Figure(NamedTuple):
    """One row of the table: the median of several rounds, their spread, and what it is held against."""

    name: str
    value: float
    unit: str
    spread: str
    reference: str
    wanted: str


async def product_reads(folder: Path) -> list[Figure]:
    """`GET /products/{id}` beside a bare aiohttp handler that gives the same body."""
    async with service(folder / "data") as running:
        seller = await Person.join(running.host, running.port, "seller", "seller")
        path = f"/products/{await seller.list_product('Something to look at')}"
        shown = await seller.connection.send(request("GET", path))
        (folder / "body").write_bytes(shown.body)
        async with bare(folder / "body") as reference:
            ours, theirs = await in_turns(running, path, reference, "/body")
    ratios = [a.per_s / b.per_s for a, b in zip(ours, theirs, strict=True)]
    against = f"bare aiohttp, the same {len(shown.body)} bytes: {median(b.per_s for b in theirs):,.0f}/s"
    rates = [a.per_s for a in ours]
    return [
        Figure("GET /products/{id}", median(rates), "requests/s", spread(rates), against, ""),
        Figure("the same, as a ratio", median(ratios), "of bare aiohttp", spread(ratios), against, "at least 0.6"),
        Figure("the same, p99", median(a.p99_ms for a in ours), "ms", spread([a.p99_ms for a in ours]), "", ""),
    ]


async def starting(folder: Path) -> list[Figure]:
    """From the command to the ready line, with 10,000 products in the log; and what lies in memory then."""
    data = made(folder / "data")
    (data / LOCK).touch()
    await write_products(data, PRODUCTS_STORED)
    async with service(data) as rebuilding:
        rebuilt_s = rebuilding.start_s
    starts_s = []
    for _ in range(ROUNDS):
        async with service(data) as running:
            starts_s.append(running.start_s)
    woken_ms = await _searches_after_a_rest(data)
    async with service(folder / "empty") as running:
        await asyncio.sleep(SETTLE_S)
        empty_s, fresh_mib = running.start_s, resident_mib(running.pid)
        await index_rests(running.pid)
        idle_mib, held = resident_mib(running.pid), held_mib(running.pid)
    log = f"{PRODUCTS_STORED:,} products in the log"
    rest = f"nobody has searched for {SearchSettings().rest_s:g} s"
    return [
        Figure("start", median(starts_s), "s", spread(starts_s), log, "at most 2"),
        Figure("start, read models made again", rebuilt_s, "s", "", log, ""),
        Figure("start, empty", empty_s, "s", "", "", ""),
        Figure("resident after the start", fresh_mib, "MiB", "", "all processes together, nats-server too", ""),
        Figure("resident when idle", idle_mib, "MiB", "", f"the same, when {rest}", "at most 110"),
        Figure("the same, what they share counted once", held, "MiB", "", "libraries above all", ""),
        Figure("the first search after a rest", median(woken_ms), "ms", spread(woken_ms), "10,000 products", ""),
    ]


async def _searches_after_a_rest(data: Path) -> list[float]:
    """Wait until the index rests, and search: how long that takes, in ms."""
    took_ms = []
    async with service(data, MARKETD_SEARCH__REST_S="0.5") as running:
        connection = await Connection.open(running.host, running.port)
        for number in range(ROUNDS):
            await index_rests(running.pid)
            begun = time.perf_counter()
            found = await connection.send(request("GET", f"/products?q=design&page={number + 1}"))
            took_ms.append((time.perf_counter() - begun) * 1000)
            assert b"X-Data-Source: index" in found.head, found.head
        connection.close()
    return took_ms


async def waking(folder: Path) -> list[Figure]:
    """Waking an actor with 10,000 events in its stream beside one with 100, each from its own log, in turns."""
    lengths = (EVENTS_MANY, EVENTS_FEW)
    addresses = {events: await _sleeping_actor(made(folder / str(events)), events) for events in lengths}
    took_ms: dict[int, list[float]] = {events: [] for events in lengths}
    clock, kind = SystemClock(), Kind(PRODUCT)
    async with AsyncExitStack() as stack:
        logs = {
            events: await stack.enter_async_context(SqliteLog(folder / str(events) / "events.db", log_codec()))
            for events in lengths
        }
        for _ in range(WAKINGS):
            for events in lengths:
                actor = Actor(addresses[events], kind, logs[events], clock, ActorLimits())
                begun = time.perf_counter()
                await _describe(actor, clock)
                took_ms[events].append((time.perf_counter() - begun) * 1000)
    many, few = took_ms[EVENTS_MANY], took_ms[EVENTS_FEW]
    return [
        Figure(f"waking an actor with {EVENTS_MANY:,} events", median(many), "ms", spread(many), "", ""),
        Figure(f"the same with {EVENTS_FEW}", median(few), "ms", spread(few), "", ""),
        Figure("as a ratio", median(many) / median(few), "", "", "", "about 1"),
    ]


async def _sleeping_actor(data: Path, events: int) -> Address:
    """Give an actor that wrote its snapshot, as every actor has, and fell asleep."""
    clock = SystemClock()
    address = Address("product", await write_reservations(data, events))
    async with SqliteLog(data / "events.db", log_codec()) as log:
        await _describe(Actor(address, Kind(PRODUCT), log, clock, ActorLimits()), clock, is_writing=True)
    return address


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def _describe(actor: Actor, clock: SystemClock, *, is_writing: bool = False) -> None:
    """Ask something harmless; `is_writing` puts it on record, so that the actor offers its snapshot."""
    command_id = new_id(clock)
    deadline = clock.now_ms() + 60_000
    answered = actor.post(Envelope(command_id, Describe(), command_id, deadline, is_step=is_writing))
    await actor.run_turns()
    await answered


async def in_turns(ours: Running, our_path: str, theirs: Running, their_path: str) -> tuple[list[Rate], list[Rate]]:
    """Measure one, then the other, round by round, so that both meet the same machine."""
    rates: tuple[list[Rate], list[Rate]] = ([], [])
    for _ in range(ROUNDS):
        for side, running, path in ((0, ours, our_path), (1, theirs, their_path)):
            rates[side].append(await load(running, get(path), ROUND_S))
    return rates


def get(path: str) -> Work:
    written = request("GET", path)

    async def get(connection: Connection, number: int) -> None:
        answer = await connection.send(written)
        assert answer.status == 200, answer

    return get


async def load(running: Running, work: Work, seconds: float) -> Rate:
    """Let all connections repeat the work for so long."""
    return await measure(running.host, running.port, connections=CONNECTIONS, seconds=seconds, work=work)


def spread(values: list[float]) -> str:
    return f"{_short(min(values))} to {_short(max(values))}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
