"""Figures of the search: how long questions take that nobody has asked before, how fast it indexes, how fresh it is."""

import asyncio
import json
import time
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import quote

from bench.figures import ROUND_S, ROUNDS, Figure, Work, get, in_turns, made, spread
from bench.history import write_products
from bench.load import Connection, paced, request
from bench.processes import Running, bare, children_mib, service
from bench.shop import Person
from bench.words import CATEGORIES, Words
from marketd.config.folder import LOCK

SMALL: Final = 10_000
LARGE: Final = 100_000
ASKED: Final = 300
FRESHNESS_S: Final = 10.0
LISTED_PER_S: Final = 50
PROBED_PER_S: Final = 500
SEARCHED_PER_S: Final = 150
READ_PER_S: Final = 1_000  # keeps the service's own thread as busy as those searches do
FILTERS: Final = {
    "": "",
    " in a category": f"&category={CATEGORIES[3]}",
    " in a price range": "&minPrice=20&maxPrice=60",
    " by both": f"&category={CATEGORIES[3]}&minPrice=20&maxPrice=60",
}
RANKS: Final = {"common": (0, 40), "middling": (300, 600), "rare": (5_000, 12_000)}
WANTED_MS: Final = {SMALL: 25, LARGE: 60}


async def small_search(folder: Path) -> list[Figure]:
    """The search on 10,000 products, with warm pages and freshness."""
    return await _search(folder, SMALL, is_whole=True)


async def large_search(folder: Path) -> list[Figure]:
    """The search on 100,000 products."""
    return await _search(folder, LARGE, is_whole=False)


async def _search(folder: Path, count: int, *, is_whole: bool) -> list[Figure]:
    data = made(folder / "data")
    (data / LOCK).touch()
    words = await write_products(data, count)
    figures: list[Figure] = []
    async with service(data, MARKETD_SEARCH__PAGES_MAX="0") as running:
        indexed_s = await wait_indexed(running, count)
        name = f"{count:,} products"
        figures.append(Figure("indexing", count / indexed_s, "products/s", "", f"from an empty index, {name}", ""))
        figures += await _uncached(running, words, count)
        index_mib = children_mib(running.pid, "marketd index")
        figures.append(Figure("resident, index process", index_mib, "MiB", "", f"{name}, after those questions", ""))
    if is_whole:
        figures += await _warm(folder, data, words)
        figures += await _fresh(data, words)
    return figures


async def _uncached(running: Running, words: Words, count: int) -> list[Figure]:
    """Each question once, one after the other: its time as a client sees it."""
    connection = await Connection.open(running.host, running.port)
    figures, all_ms = [], []
    for kind, (first, last) in RANKS.items():
        known = words.ranked(first, last)
        for filters, parameters in FILTERS.items():
            took_ms = []
            for number in range(ASKED):
                q = known[number % len(known)]
                if number % 2:
                    q += f" {known[(number * 7 + 1) % len(known)]}"
                took_ms.append(await _timed(connection, f"/products?q={quote(q)}{parameters}&page={1 + number % 3}"))
            all_ms += took_ms
            p99 = sorted(took_ms)[int(ASKED * 0.99)]
            title = f"{kind} words{filters}, p50 / p99"
            figures.append(Figure(title, median(took_ms), f"/ {p99:.3g} ms", "", f"{count:,} products", ""))
    p99 = sorted(all_ms)[int(len(all_ms) * 0.99)]
    figures.append(Figure("all of these, p99", p99, "ms", "", f"{count:,} products", f"at most {WANTED_MS[count]}"))
    return figures


async def _warm(folder: Path, data: Path, words: Words) -> list[Figure]:
    """A page that was asked for before, beside a bare aiohttp handler that gives the same body."""
    path = f"/products?q={words.ranked(10, 11)[0]}"
    async with service(data) as running:
        await wait_indexed(running, SMALL)
        connection = await Connection.open(running.host, running.port)
        body = (await connection.send(request("GET", path))).body
        (folder / "page").write_bytes(body)
        async with bare(folder / "page") as reference:
            ours, theirs = await in_turns(running, path, reference, "/page")
    ratios = [a.per_s / b.per_s for a, b in zip(ours, theirs, strict=True)]
    rates = [a.per_s for a in ours]
    against = f"bare aiohttp, the same {len(body):,} bytes: {median(b.per_s for b in theirs):,.0f}/s"
    return [
        Figure("GET /products?q=, warm", median(rates), "requests/s", spread(rates), against, ""),
        Figure("the same, as a ratio", median(ratios), "of bare aiohttp", spread(ratios), against, "at least 0.4"),
    ]


async def _fresh(data: Path, words: Words) -> list[Figure]:
    """How soon a product is found while 50 a second come in; and what reading a product costs beside a search load."""
    async with service(data) as running:
        await wait_indexed(running, SMALL)
        seller = await Person.join(running.host, running.port, "seller", "seller")
        looking = await Connection.open(running.host, running.port)
        product_id = await seller.list_product("Something to look at")
        fresh_s: list[float] = []
        async with asyncio.TaskGroup() as tasks:
            listing = tasks.create_task(_list_many(seller))
            end = time.perf_counter() + FRESHNESS_S
            number = 0
            while time.perf_counter() < end:
                number += 1
                fresh_s.append(await _until_found(seller, looking, f"freshling{number}x"))
            listing.cancel()
        others = {
            "nothing else": None,
            f"{READ_PER_S} a second read another": (READ_PER_S, _read_something_else(product_id)),
            f"{SEARCHED_PER_S} new searches a second": (SEARCHED_PER_S, _search_something(words)),
        }
        beside = {
            name: [await _beside(running, product_id, other) for _ in range(ROUNDS)] for name, other in others.items()
        }
    return [
        Figure("found after listing", median(fresh_s), "s", spread(fresh_s), f"{LISTED_PER_S} a second", "within 2"),
        *(
            Figure(
                f"GET /products/{{id}}, p99 of {PROBED_PER_S} a second", median(p99_ms), "ms", spread(p99_ms), name, ""
            )
            for name, p99_ms in beside.items()
        ),
    ]


async def _beside(running: Running, product_id: str, other: tuple[int, Work] | None) -> float:
    """Read a product so many times a second, while something else is asked for at its own pace; give the p99 in ms."""
    where = running.host, running.port
    async with asyncio.TaskGroup() as tasks:
        if other:
            per_s, work = other
            tasks.create_task(paced(*where, connections=8, per_s=per_s, seconds=ROUND_S, work=work))
        reading = get(f"/products/{product_id}")
        rate = await paced(*where, connections=4, per_s=PROBED_PER_S, seconds=ROUND_S, work=reading)
    return rate.p99_ms


def _read_something_else(product_id: str) -> Work:
    return get(f"/products/{product_id}?")


def _search_something(words: Words) -> Work:
    asked = cycle(words.ranked(0, 2_000))

    async def search(connection: Connection, number: int) -> None:
        await connection.send(request("GET", f"/products?q={next(asked)}&minPrice={number + 1}"))

    return search


async def _list_many(seller: Person) -> None:
    number = 0
    while True:
        begun = time.perf_counter()
        await seller.list_product(f"One of many {number}")
        number += 1
        await asyncio.sleep(max(0.0, 1 / LISTED_PER_S - (time.perf_counter() - begun)))


async def _until_found(seller: Person, looking: Connection, word: str) -> float:
    other = Person(looking, seller.token)
    await other.list_product(f"A {word} thing")
    begun = time.perf_counter()
    while not json.loads((await looking.send(request("GET", f"/products?q={word}"))).body)["total"]:
        await asyncio.sleep(0.02)
    return time.perf_counter() - begun


async def wait_indexed(running: Running, count: int) -> float:
    """Wait until the index has everything; say how long that took since the ready line."""
    begun = time.perf_counter()
    connection = await Connection.open(running.host, running.port)
    while True:
        answer = await connection.send(request("GET", "/products?size=1&sort=price"))
        if b"X-Data-Source: index" in answer.head and json.loads(answer.body)["total"] >= count:
            return time.perf_counter() - begun
        await asyncio.sleep(0.1)


async def _timed(connection: Connection, path: str) -> float:
    begun = time.perf_counter()
    answer = await connection.send(request("GET", path))
    took_ms = (time.perf_counter() - begun) * 1000
    assert answer.status == 200, answer
    assert b"X-Data-Source: index" in answer.head, answer.head
    return took_ms
