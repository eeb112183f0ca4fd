"""What it costs to count: the processor time of `GET /products/{id}` with the metrics and without them."""

from pathlib import Path
from statistics import median
from typing import Final

from bench.figures import Figure, spread
from bench.load import Connection, measure, request
from bench.processes import Running, processor_s, service
from bench.shop import Person

CONNECTIONS: Final = 8
ROUNDS: Final = 9
ROUND_S: Final = 2.0


async def metering(folder: Path) -> list[Figure]:
    """Two services, one of which counts nothing, asked in turns."""
    async with (
        service(folder / "with") as counting,
        service(folder / "without", MARKETD_METRICS__ENABLED="false") as plain,
    ):
        paths = [await _product(running) for running in (counting, plain)]
        rounds = []
        for _ in range(ROUNDS):
            rounds.append((await _cpu_us(counting, paths[0]), await _cpu_us(plain, paths[1])))
    costs = [ours / theirs - 1 for ours, theirs in rounds[1:]]
    with_us, without_us = (median(each) for each in zip(*rounds[1:], strict=True))
    beside = f"without: {without_us:.1f} µs"
    return [
        Figure("GET /products/{id}, processor time", with_us, "µs", spread([a for a, _ in rounds[1:]]), beside, ""),
        Figure("of that, the metrics", median(costs) * 100, "%", spread([c * 100 for c in costs]), "", "under 5"),
    ]


async def _product(running: Running) -> str:
    seller = await Person.join(running.host, running.port, "seller", "seller")
    return f"/products/{await seller.list_product('Something to look at')}"


async def _cpu_us(running: Running, path: str) -> float:
    """Give the processor time of one request."""
    asked, count = request("GET", path), 0

    async def work(connection: Connection, number: int) -> None:
        nonlocal count
        answer = await connection.send(asked)
        assert answer.status == 200, answer
        count += 1

    before_s = processor_s(running.pid)
    await measure(running.host, running.port, connections=CONNECTIONS, seconds=ROUND_S, work=work)
    return (processor_s(running.pid) - before_s) * 1e6 / count
