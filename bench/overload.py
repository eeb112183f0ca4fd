"""
More load than can be carried: what is still answered, and how fast.

The load is open: purchases come at their own pace, whether or not those before them have been answered. What comes is a
buyer who orders, waits for the end with `Prefer: wait`, and goes away for good if sent away. The generator shares the
machine's cores with the service, so beyond some pace it takes from what it measures; it is told when it was late.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from bench.figures import Figure
from bench.load import Connection, measure, request
from bench.processes import service
from bench.shop import Person

BUYERS: Final = 64
PRODUCTS: Final = 1_000
CAPACITY_S: Final = 6.0
WARM_UP_S: Final = 2.0
ROUND_S: Final = 8.0
TIMES: Final = (1, 2, 5)
CONNECTIONS_MAX: Final = 1_500
IN_TIME_S: Final = 2.0  # a purchase that takes longer is of no use any more


class Round(NamedTuple):
    """What came of the purchases of a round."""

    asked: int
    completed_s: list[float]
    answered_s: list[float]  # the order alone: from when it was due until it was accepted
    refused_s: list[float]
    unsent_s: list[float]  # for want of connections
    late_s: float


class Crowd:
    """Connections that are free, and those who buy over them."""

    def __init__(self, host: str, port: int, purchases: Iterator[tuple[Person, str]]) -> None:
        self._host, self._port, self._purchases = host, port, purchases
        self._free: list[Connection] = []
        self._open = 0

    async def buy(self, due_s: float, result: Round) -> None:
        """Make one purchase, and note how it went."""
        person, product_id = next(self._purchases)
        connection = self._free.pop() if self._free else await self._connect()
        if connection is None:
            result.unsent_s.append(due_s)
            return
        body = json.dumps({"productId": product_id, "paymentMethodId": "pm_card_visa"}).encode()
        bearer = f"Bearer {person.token}"
        placed = await connection.send(
            request("POST", "/orders", body, Content_Type="application/json", Authorization=bearer)
        )
        if placed.status == 503:
            result.refused_s.append(time.perf_counter() - due_s)
        elif placed.status == 202:
            result.answered_s.append(time.perf_counter() - due_s)
            path = f"/orders/{json.loads(placed.body)['orderId']}"
            shown = await connection.send(request("GET", path, Authorization=bearer, Prefer="wait=30"))
            while shown.status == 503:
                await asyncio.sleep(1)
                shown = await connection.send(request("GET", path, Authorization=bearer, Prefer="wait=30"))
            if json.loads(shown.body).get("status") == "completed":
                result.completed_s.append(time.perf_counter() - due_s)
        self._free.append(connection)

    async def _connect(self) -> Connection | None:
        if self._open >= CONNECTIONS_MAX:
            return None
        self._open += 1
        return await Connection.open(self._host, self._port)


async def overload(folder: Path) -> list[Figure]:
    """Purchases at one, two and five times the pace that can be carried."""
    async with service(folder / "data") as running:
        seller = await Person.join(running.host, running.port, "seller", "seller")
        products = [await seller.list_product(f"Product {number}") for number in range(PRODUCTS)]
        buyers = [await Person.join(running.host, running.port, f"buyer{n}", "buyer") for n in range(BUYERS)]
        purchases = ((buyer, product) for product in products for buyer in buyers)

        async def buy(connection: Connection, number: int) -> None:
            person, product_id = next(purchases)
            assert "completed" == await person.buy(connection, product_id)

        carried = await measure(running.host, running.port, connections=32, seconds=WARM_UP_S, work=buy)
        carried = await measure(running.host, running.port, connections=32, seconds=CAPACITY_S, work=buy)
        crowd = Crowd(running.host, running.port, purchases)
        rounds = {times: await _round(crowd, carried.per_s * times) for times in TIMES}
    figures = [Figure("purchases, as many as can be carried", carried.per_s, "a second", "", "32 buyers, closed", "")]
    at_once = len(rounds[1].completed_s) / ROUND_S
    for times, round_ in rounds.items():
        figures += _figures(times, carried.per_s * times, round_, at_once)
    return figures


async def _round(crowd: Crowd, per_s: float) -> Round:
    """Let purchases come at this pace for a while, then wait for those on the way."""
    result = Round(0, [], [], [], [], 0.0)
    begun, late_s, sent = time.perf_counter(), 0.0, 0
    async with asyncio.TaskGroup() as tasks:
        while (now := time.perf_counter()) < begun + ROUND_S:
            while begun + sent / per_s <= now:
                due_s = begun + sent / per_s
                late_s = max(late_s, now - due_s)
                tasks.create_task(crowd.buy(due_s, result))
                sent += 1
            await asyncio.sleep(0.001)
    return result._replace(asked=sent, late_s=late_s)


def _figures(times: int, per_s: float, round_: Round, at_once: float) -> list[Figure]:
    in_time = [took for took in round_.completed_s if took <= IN_TIME_S]
    goodput = len(in_time) / ROUND_S
    beside = (
        f"{per_s:,.0f} a second come; {len(round_.refused_s) / ROUND_S:,.0f} are sent away, p99 "
        f"{_p99_ms(round_.refused_s):,.0f} ms; the generator was late by {round_.late_s * 1000:,.0f} ms at most"
    )
    name = f"{times}× that"
    wanted = "at least 0.8 of that at 1×" if times > 1 else ""
    return [
        Figure(f"{name}: completed within {IN_TIME_S:g} s", goodput, "a second", "", beside, ""),
        Figure(f"{name}: as a ratio", goodput / at_once if at_once else 0, "of 1×", "", "", wanted),
        Figure(f"{name}: p99 of accepting an order", _p99_ms(round_.answered_s), "ms", "", "", ""),
        Figure(f"{name}: p99 of a purchase", _p99_ms(round_.completed_s), "ms", "", "", ""),
    ]


def _p99_ms(took_s: list[float]) -> float:
    return sorted(took_s)[int(len(took_s) * 0.99)] * 1000 if took_s else 0.0
