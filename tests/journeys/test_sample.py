"""The sample catalogue, loaded by a service that is killed while it does so."""

import asyncio
import socket
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientConnectionError, ClientSession

from marketd.config.sample.catalogue import read_catalogue
from tests.journeys.people import Visitor
from tests.journeys.process import START_S_MAX, running, starting

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

CATALOGUE: Final = read_catalogue()


@pytest.mark.parametrize("commits", [1, 15, 40, 90, 180, 270])
async def test_a_catalogue_that_was_cut_off_is_completed(tmp_path: Path, session: ClientSession, commits: int) -> None:
    data = tmp_path / "data"
    async with starting(data, "--sample") as service:
        await wait_committed(data, commits)
        service.kill()
    assert (data / "sample-unfinished").exists()
    async with running(data, "--sample", settings={"MARKETD_SEARCH__ENABLED": "false"}) as service:
        visitor = Visitor(service, session)
        password = (data / "sample-password.txt").read_text().strip()

        listed = Counter(str(product["title"]) for product in await visitor.lists("/products", "products"))
        assert Counter(product.title for product in CATALOGUE.products) == listed

        titles = {product.key: product.title for product in CATALOGUE.products}
        for person in CATALOGUE.buyers:
            buyer = await visitor.signs_in(person.email, password)
            bought = Counter((o["productTitle"], o["status"]) for o in await buyer.lists("/orders", "orders"))
            assert Counter((titles[p.product], "completed") for p in CATALOGUE.bought_by(person)) == bought

        ids = {product["title"]: product["id"] for product in await visitor.lists("/products", "products")}
        reviews = [r for id in ids.values() for r in await visitor.lists(f"/products/{id}/reviews", "reviews")]
        said = [purchase.review for purchase in CATALOGUE.purchases if purchase.review]
        assert Counter((r.body, r.reply) for r in said) == Counter((r["body"], r["reply"]) for r in reviews)
    assert not (data / "sample-unfinished").exists()


async def test_the_catalogue_is_put_in_whatever_clients_may_do(tmp_path: Path, session: ClientSession) -> None:
    limits = {
        "MARKETD_LIMITS__ENABLED": "true",
        "MARKETD_LIMITS__AUTH_REQUESTS_MAX": "2",
        "MARKETD_LIMITS__ADDRESS_REQUESTS_MAX": "3",
        "MARKETD_LIMITS__USER_REQUESTS_MAX": "2",
        "MARKETD_UPLOADS__BYTES_MAX": "1024",
    }
    async with running(tmp_path / "data", "--sample", settings=limits) as service:
        statuses, total = [], 0
        for _ in range(4):
            async with session.get(f"{service.url}/products") as answer:
                statuses.append(answer.status)
                total = (await answer.json()).get("total", 0) or total

    assert (len(CATALOGUE.products), [200, 200, 200, 429]) == (total, statuses)


async def test_while_the_catalogue_is_put_in_the_service_is_not_ready(tmp_path: Path, session: ClientSession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    seen: list[tuple[int, str]] = []
    async with starting(tmp_path / "data", "--sample", "--port", str(port)) as service:
        async with asyncio.timeout(START_S_MAX):
            while not seen or seen[-1][0] != 200:
                with suppress(ClientConnectionError):
                    async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                        parts = (await answer.json())["parts"]
                        seen.append((answer.status, parts.get("sample", {}).get("state", "")))
                await asyncio.sleep(0.01)
        async with session.get(f"http://127.0.0.1:{port}/products") as answer:
            total = (await answer.json())["total"]
        await service.wait_ready()

    assert ({(503, "filling"), (200, "")}, len(CATALOGUE.products)) == ({*seen}, total)


async def wait_committed(data: Path, commits: int) -> None:
    """Wait until the log has so many records."""
    async with asyncio.timeout(START_S_MAX):
        while await asyncio.to_thread(committed, data) < commits:
            pass


def committed(data: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{data}/events.db?mode=ro", uri=True)) as log:
            return int(log.execute("SELECT count(*) FROM commits").fetchone()[0])
    except sqlite3.OperationalError:  # there is none yet
        return 0
