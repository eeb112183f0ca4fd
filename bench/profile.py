"""
Take profiles of the three hottest paths: `python -m bench.profile`, as `make profile` does.

Each is a flame graph by py-spy (https://github.com/benfred/py-spy) of who holds Python's lock, in docs/profiles: the
service while a product is read, the service while 32 buyers buy, and the search index while new searches come.
"""

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from itertools import cycle
from pathlib import Path
from typing import Final

import uvloop

from bench.figures import CONNECTIONS, Work, get, load
from bench.history import write_products
from bench.load import Connection, request
from bench.processes import Running, children_of, service
from bench.searching import wait_indexed
from bench.shop import Person
from marketd.config.folder import LOCK

FOLDER: Final = Path(__file__).parent.parent / "docs" / "profiles"
SECONDS: Final = 10
SAMPLES_PER_S: Final = 500
PRODUCTS: Final = 2_000
INDEXED: Final = 10_000


async def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, path in {"read": read, "purchase": purchase, "search": search}.items():
        print(f"{name} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="marketd-profile-") as folder:
            async with path(Path(folder)) as (running, work, pid):
                await load(running, work, 1.0)
                await asyncio.gather(load(running, work, SECONDS + 1.0), record(pid, FOLDER / f"{name}.svg"))


@contextlib.asynccontextmanager
async def read(folder: Path) -> AsyncIterator[tuple[Running, Work, int]]:
    """`GET /products/{id}`."""
    async with service(folder / "data") as running:
        seller = await Person.join(running.host, running.port, "seller", "seller")
        yield running, get(f"/products/{await seller.list_product('Something to look at')}"), running.pid


@contextlib.asynccontextmanager
async def purchase(folder: Path) -> AsyncIterator[tuple[Running, Work, int]]:
    """Whole purchases."""
    async with service(folder / "data") as running:
        seller = await Person.join(running.host, running.port, "seller", "seller")
        products = [await seller.list_product(f"Product {number}") for number in range(PRODUCTS)]
        buyers = [await Person.join(running.host, running.port, f"buyer{n}", "buyer") for n in range(CONNECTIONS)]
        shelves = [iter(products) for _ in buyers]

        async def buy(connection: Connection, number: int) -> None:
            await buyers[number].buy(connection, next(shelves[number]))

        yield running, buy, running.pid


@contextlib.asynccontextmanager
async def search(folder: Path) -> AsyncIterator[tuple[Running, Work, int]]:
    """Searches, none of which is answered by a page that was kept."""
    data = folder / "data"
    data.mkdir()
    (data / LOCK).touch()
    words = await write_products(data, INDEXED)
    asked = cycle(words.ranked(0, 2_000))

    async def look(connection: Connection, number: int) -> None:
        answer = await connection.send(request("GET", f"/products?q={next(asked)}&minPrice={number + 1}"))
        assert answer.status == 200, answer

    async with service(data, MARKETD_SEARCH__PAGES_MAX="0") as running:
        await wait_indexed(running, INDEXED)
        yield running, look, children_of(running.pid, "marketd index")[0]


async def record(pid: int, target: Path) -> None:
    """Have a process watched."""
    rate, seconds = str(SAMPLES_PER_S), str(SECONDS)
    options = ["--gil", "--rate", rate, "--duration", seconds, "--pid", str(pid), "--output", target.name]
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    process = await asyncio.create_subprocess_exec(  # by names alone, because it writes them into the picture
        "py-spy", "record", "--format", "flamegraph", *options, cwd=target.parent, env={**os.environ, "PATH": path}
    )
    if await process.wait():
        raise RuntimeError(f"py-spy ended with {process.returncode}")


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
