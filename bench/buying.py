"""Figures of buying: whole purchases, orders as they are accepted, and one product that everybody wants."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from bench.figures import CONNECTIONS, ROUNDS, WARM_UP_S, Figure, Work, load, made, spread
from bench.group_commit import head_of, raw_purchases, shape_of
from bench.history import Cost, write_accounts
from bench.load import Connection, measure, paced, request
from bench.processes import Running, bare, resident_mib, service
from bench.shop import PASSWORD, Person
from bench.visiting import Session
from marketd.config.folder import LOCK

ROUND_S: Final = 2.0
HALF: Final = 0.5
HALF_S: Final = 5.0
PRODUCTS: Final = 1_200
ACCEPTED_PRODUCTS: Final = 2_000
HOT_BUYERS: Final = 16_000
COUNTED: Final = 100_000  # units of the other hot product
SIGNING_IN: Final = 8
PAUSE_S: Final = 0.01  # of a client that was sent away
DRAINED_S_MAX: Final = 60.0
CHEAP: Final = Cost(memory_kib=64, time_cost=1)  # passwords; thousands sign in, and that is not what is measured
CHEAPLY: Final = {f"MARKETD_AUTH__ARGON2_{name.upper()}": str(cost) for name, cost in CHEAP._asdict().items()}


async def purchases(folder: Path) -> list[Figure]:
    """Whole purchases, from POST /orders to completed, by 32 buyers at once, everything durable; and at half load."""
    log = folder / "data" / "events.db"
    async with service(folder / "data") as running:
        seller = await Person.join(running.host, running.port, "seller", "seller")
        products = [await seller.list_product(f"Product {number}") for number in range(PRODUCTS)]
        buyers = [await Person.join(running.host, running.port, f"buyer{n}", "buyer") for n in range(CONNECTIONS)]
        shelves = [iter(products) for _ in buyers]
        bought = 0

        async def buy(connection: Connection, number: int) -> None:
            nonlocal bought
            status = await buyers[number].buy(connection, next(shelves[number]))
            assert status == "completed", status
            bought += 1

        before, position = log.stat().st_size, head_of(log)
        await load(running, buy, WARM_UP_S)
        shape = shape_of(log, position, bought)
        rates, raw = [], []
        for _ in range(ROUNDS):
            rates.append(await load(running, buy, ROUND_S))
            raw.append(await raw_purchases(folder / "raw.db", shape, writers=CONNECTIONS, seconds=ROUND_S))
        growth_kib, counted = (log.stat().st_size - before) / bought / 1024, bought
        loaded_mib = resident_mib(running.pid)
        per_s = [rate.per_s for rate in rates]
        pace = median(per_s) * HALF
        where = running.host, running.port
        halves = [
            await paced(*where, connections=CONNECTIONS, per_s=pace, seconds=HALF_S, work=buy) for _ in range(ROUNDS)
        ]
    against = f"raw SQLite group commit of the same {shape.records} × {shape.record_bytes} bytes: {median(raw):,.0f}/s"
    ratios = [ours / theirs for ours, theirs in zip(per_s, raw, strict=True)]
    half = f"{pace:,.0f} a second come, however long they take"
    return [
        Figure("purchases completed", median(per_s), "a second", spread(per_s), against, "at least 500"),
        Figure("purchases, as a ratio", median(ratios), "of raw SQLite", spread(ratios), against, ""),
        Figure("a purchase, p50", *_ms([rate.p50_ms for rate in rates]), "32 buyers", ""),
        Figure("a purchase, p99", *_ms([rate.p99_ms for rate in rates]), "32 buyers", ""),
        Figure("a purchase at half load, p50", *_ms([rate.p50_ms for rate in halves]), half, ""),
        Figure("a purchase at half load, p99", *_ms([rate.p99_ms for rate in halves]), half, "under 100"),
        Figure("log growth a purchase", growth_kib, "KiB", "", f"{counted} purchases", "at most 4"),
        Figure("resident after that load", loaded_mib, "MiB", "", "all processes together", ""),
    ]


async def orders(folder: Path) -> list[Figure]:
    """`POST /orders` until it is accepted, beside a bare aiohttp handler that reads and writes as much JSON."""
    async with service(folder / "data") as running:
        seller = await Person.join(running.host, running.port, "seller", "seller")
        products = [await seller.list_product(f"Product {number}") for number in range(ACCEPTED_PRODUCTS)]
        buyers = [await Person.join(running.host, running.port, f"buyer{n}", "buyer") for n in range(CONNECTIONS)]
        wanted = ((buyer.token, product_id) for product_id in products for buyer in buyers)
        (folder / "body").touch()
        async with bare(folder / "body") as reference:
            await _accepted(running, wanted, WARM_UP_S)
            ours, theirs = [], []
            for _ in range(ROUNDS):
                ours.append(await _accepted(running, wanted, ROUND_S))
                posted = await measure(
                    reference.host,
                    reference.port,
                    connections=CONNECTIONS,
                    seconds=ROUND_S,
                    work=_post(buyers[0].token, products[0]),
                )
                theirs.append(posted.per_s)
    accepted, ratios = [r.per_s for r in ours], [r.per_s / bare_s for r, bare_s in zip(ours, theirs, strict=True)]
    against = f"bare aiohttp that reads and writes such JSON: {median(theirs):,.0f}/s"
    sent = f"{median(r.sent_away_per_s for r in ours):,.0f} a second are sent away and come again"
    return [
        Figure("POST /orders accepted", median(accepted), "a second", spread(accepted), sent, ""),
        Figure("POST /orders, as a ratio", median(ratios), "of bare aiohttp", spread(ratios), against, "at least 0.25"),
        Figure("POST /orders, p99", *_ms([r.p99_ms for r in ours]), "until it is accepted", ""),
    ]


async def hot(folder: Path) -> list[Figure]:
    """One product that everybody wants: orders accepted and completed, each of another buyer; and one of many units."""
    data = made(folder / "data")
    (data / LOCK).touch()
    await write_accounts(data, HOT_BUYERS, cost=CHEAP)
    async with service(data, **CHEAPLY) as running:
        seller = await Person.join(running.host, running.port, "seller", "seller")
        product_id = await seller.list_product("What everybody wants")
        counted_id = await seller.list_product("What everybody wants, and has an end", stock=COUNTED)
        tokens = await _tokens(running)
        wanted = ((token, product_id) for token in tokens)
        await _accepted(running, wanted, WARM_UP_S)
        rounds = [await _accepted(running, wanted, ROUND_S / 2) for _ in range(ROUNDS)]
        wanted = ((token, counted_id) for token in tokens)
        counted = [(await _accepted(running, wanted, ROUND_S / 2)).completed_per_s for _ in range(ROUNDS)]
    accepted, completed = [r.per_s for r in rounds], [r.completed_per_s for r in rounds]
    each, units = "each of another buyer", f"{COUNTED:,} units, each held and then sold"
    return [
        Figure("one hot product, accepted", median(accepted), "a second", spread(accepted), each, ""),
        Figure("one hot product, completed", median(completed), "a second", spread(completed), each, "at least 1,000"),
        Figure("one hot product of counted units", median(counted), "a second", spread(counted), units, ""),
    ]


class Round(NamedTuple):
    """Orders of a while: accepted, sent away, and completed, to the last of them."""

    per_s: float
    sent_away_per_s: float
    completed_per_s: float
    p99_ms: float


async def _accepted(running: Running, wanted: Iterator[tuple[str, str]], seconds: float) -> Round:
    """Let 32 order one thing after the other without waiting for its end; who is sent away comes again."""
    sent_away = accepted = 0

    async def order(connection: Connection, number: int) -> None:
        nonlocal sent_away, accepted
        asked = _ordering(*next(wanted))
        while (answer := await connection.send(asked)).status == 503:
            sent_away += 1
            await asyncio.sleep(PAUSE_S)
        assert answer.status == 202, answer
        accepted += 1

    begun = time.perf_counter()
    rate = await measure(running.host, running.port, connections=CONNECTIONS, seconds=seconds, work=order)
    await _drained(running)
    return Round(rate.per_s, sent_away / seconds, accepted / (time.perf_counter() - begun), rate.p99_ms)


async def _drained(running: Running) -> None:
    """Wait until no order is under way."""
    connection = await Connection.open(running.host, running.port)
    async with asyncio.timeout(DRAINED_S_MAX):
        while json.loads((await connection.send(request("GET", "/readyz"))).body)["parts"]["fulfilment"]["open_orders"]:
            await asyncio.sleep(PAUSE_S)
    connection.close()


async def _tokens(running: Running) -> list[str]:
    """Sign all of them in."""
    waiting, tokens = iter(range(HOT_BUYERS)), list[str]()

    async def sign_in() -> None:
        connection = await Connection.open(running.host, running.port)
        for number in waiting:
            tokens.append((await Session.begin(connection, f"buyer{number}@bench.example", PASSWORD)).token)
        connection.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(SIGNING_IN):
            tasks.create_task(sign_in())
    return tokens


def _post(token: str, product_id: str) -> Work:
    asked = _ordering(token, product_id)

    async def post(connection: Connection, number: int) -> None:
        answer = await connection.send(asked)
        assert answer.status == 202, answer

    return post


def _ordering(token: str, product_id: str) -> bytes:
    body = json.dumps({"productId": product_id, "paymentMethodId": "pm_card_visa"}).encode()
    return request("POST", "/orders", body, Content_Type="application/json", Authorization=f"Bearer {token}")


def _ms(values: list[float]) -> tuple[float, str, str]:
    return median(values), "ms", spread(values)
