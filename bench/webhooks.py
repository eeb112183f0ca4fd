"""
How fast webhooks are posted, one of twenty being dead, beside a bare loop over aiohttp's client that posts as much.

All events come from the log at once, by a replay to each endpoint, so what is measured is the courier: its books, the
signatures, the requests.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final

import aiohttp

from bench.figures import Figure, made, spread
from bench.history import write_products
from bench.load import Connection, request
from bench.processes import Running, receiver, service
from bench.shop import PASSWORD, Person
from marketd.config.folder import LOCK

ENDPOINTS: Final = 20
EVENTS: Final = 250
ROUNDS: Final = 5
AT_ONCE: Final = 64
ADMIN: Final = "admin@bench.example"
SETTINGS: Final = {
    "MARKETD_WEBHOOKS__ALLOW_HTTP": "true",
    "MARKETD_WEBHOOKS__ALLOW_PRIVATE": "true",
    "MARKETD_WEBHOOKS__ENDPOINTS_MAX": "1000",
}
DEAD: Final = "http://127.0.0.1:1024/"  # where nobody listens


async def webhooks(folder: Path) -> list[Figure]:
    """Deliveries a second, with one dead endpoint among twenty and with none."""
    data = made(folder / "data")
    (data / LOCK).touch()
    await write_products(data, EVENTS)
    async with service(data, **SETTINGS) as running, receiver() as receiving:
        admin = await _admin(running, data)
        numbers = count()
        await _replayed(admin, receiving, numbers, dead=1)  # a warm-up
        one_dead, none_dead, bare = [], [], []
        for _ in range(ROUNDS):
            one_dead.append(await _replayed(admin, receiving, numbers, dead=1))
            none_dead.append(await _replayed(admin, receiving, numbers, dead=0))
            bare.append(await _posted(receiving, numbers))
    against = f"a bare aiohttp client, {AT_ONCE} at once: {median(bare):,.0f}/s"
    ratios = [ours / theirs for ours, theirs in zip(one_dead, bare, strict=True)]
    hurt = [with_dead / without for with_dead, without in zip(one_dead, none_dead, strict=True)]
    named = f"webhook deliveries, 1 of {ENDPOINTS} endpoints dead"
    return [
        Figure(named, median(one_dead), "a second", spread(one_dead), against, ""),
        Figure("the same, as a ratio", median(ratios), "of a bare client", spread(ratios), against, ""),
        Figure("the same, beside none dead", median(hurt), "", spread(hurt), f"{median(none_dead):,.0f}/s", "about 1"),
    ]


async def _admin(running: Running, data: Path) -> Person:
    command = ("-m", "marketd", "admin", "create", ADMIN, "--password-stdin", "--data", str(data))
    process = await asyncio.create_subprocess_exec(sys.executable, *command, stdin=asyncio.subprocess.PIPE)
    await process.communicate(PASSWORD.encode())
    person = Person(await Connection.open(running.host, running.port), "")
    person.token = (await person.call("POST", "/auth/login", {"email": ADMIN, "password": PASSWORD}))["accessToken"]
    return person


async def _replayed(admin: Person, receiving: Running, numbers: Iterator[int], *, dead: int) -> float:
    """Send all events to new endpoints; give how many arrive a second."""
    urls = [DEAD] * dead + [_url(receiving, numbers) for _ in range(ENDPOINTS - dead)]
    wanted = [{"url": url, "events": ["*"]} for url in urls]
    hooks = [(await admin.call("POST", "/webhooks", body))["id"] for body in wanted]
    expected = await _came(receiving) + EVENTS * (ENDPOINTS - dead)
    begun = time.perf_counter()
    for hook in hooks:
        replay = {"since": "2020-01-01T00:00:00Z", "events": ["product.listed"]}
        assert EVENTS == (await admin.call("POST", f"/webhooks/{hook}/replay", replay))["events"]
    while await _came(receiving) < expected:
        await asyncio.sleep(0.01)
    passed_s = time.perf_counter() - begun
    for hook in hooks:
        await admin.call("DELETE", f"/webhooks/{hook}")
    return EVENTS * (ENDPOINTS - dead) / passed_s


async def _posted(receiving: Running, numbers: Iterator[int]) -> float:
    """Post as many bodies of the same size by a bare client."""
    body, total = b"x" * 900, EVENTS * (ENDPOINTS - 1)
    url, ids = _url(receiving, numbers), iter(range(total))

    async def post() -> None:
        for number in ids:
            async with session.post(url, data=body, headers={"webhook-id": str(number)}) as answer:
                await answer.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(post())
        return total / (time.perf_counter() - begun)


def _url(receiving: Running, numbers: Iterator[int]) -> str:
    return f"http://{receiving.host}:{receiving.port}/{next(numbers)}"


async def _came(receiving: Running) -> int:
    connection = await Connection.open(receiving.host, receiving.port)
    try:
        return int((await connection.send(request("GET", "/"))).body)
    finally:
        connection.close()
