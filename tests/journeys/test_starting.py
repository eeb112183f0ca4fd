"""How the service starts, and the one line with which it says why it does not."""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.journeys.people import Json, Person, Visitor
from tests.journeys.process import Ended, Service, marketd, running

INDEXED_S_MAX = 15.0
pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


async def serve(data: Path, *arguments: str, settings: dict[str, str] | None = None) -> Ended:
    return await marketd("serve", "--data", str(data), "--port", "0", *arguments, settings=settings)


def is_one_line(ended: Ended, *words: str) -> bool:
    """Say whether this is all that was said: one line, with these words."""
    return ended.out == "" and ended.err.count("\n") == 1 and all(word in ended.err for word in words)


async def test_what_is_in_the_sample_catalogue_can_be_bought(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", "--sample") as service:
        visitor = Visitor(service, session)
        buyer = await visitor.joins("buyer")
        product = (await visitor.get("/products?size=1")).expect(200)["products"][0]
        order = await buyer.buys(product)
        file = await visitor.get(await buyer.link(order))
        assert product["files"][0]["size"] == len(file.body)


async def test_a_second_start_adds_nothing_to_the_sample_catalogue(tmp_path: Path, session: ClientSession) -> None:
    for _ in range(2):
        async with running(tmp_path / "data", "--sample") as service:
            await Visitor(service, session).finds(32)


async def test_two_do_not_share_a_data_directory(service: Service) -> None:
    ended = await serve(service.data)
    assert (1, True) == (ended.code, is_one_line(ended, "another marketd", str(service.data))), ended


async def test_a_port_in_use_is_named(service: Service, tmp_path: Path) -> None:
    port = service.url.rpartition(":")[2]
    ended = await serve(tmp_path / "other", "--port", port)
    assert (1, True) == (ended.code, is_one_line(ended, f":{port}")), ended


async def test_a_directory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("not yours")
    ended = await serve(tmp_path)
    assert (1, True, ["thesis.txt"]) == (ended.code, is_one_line(ended, "thesis.txt"), os.listdir(tmp_path)), ended


async def test_a_setting_that_cannot_be_is_named_with_its_source(tmp_path: Path) -> None:
    ended = await serve(tmp_path / "data", settings={"MARKETD_AUTH__ACCESS_MINUTES": "soon"})
    assert (2, True) == (
        ended.code,
        is_one_line(ended, "auth.access_minutes", '"soon"', "MARKETD_AUTH__ACCESS_MINUTES"),
    ), ended


async def test_a_record_that_was_tampered_with_is_named(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data") as service:
        await Visitor(service, session).joins("seller")
    with closing(sqlite3.connect(tmp_path / "data" / "events.db")) as store, store:
        store.execute("UPDATE commits SET events = replace(events, '@example.org', '@example.net') WHERE position = 1")
    ended = await serve(tmp_path / "data")
    assert (1, True) == (ended.code, is_one_line(ended, "position 1")), ended


async def test_without_the_read_models_nothing_is_missing(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data") as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        await buyer.buys(await seller.offers())
        async with asyncio.timeout(INDEXED_S_MAX):
            while not (await buyer.get("/products")).expect(200)["total"]:
                await asyncio.sleep(0.05)
        before = await shown(buyer)
    for file in (tmp_path / "data").glob("read.db*"):
        file.unlink()
    async with running(tmp_path / "data") as service:
        assert before == await shown(buyer.at(service))


async def shown(buyer: Person) -> list[Json]:
    """Read what comes out of the read models."""
    paths = ("/products", "/library", "/orders")
    return [(await buyer.get(path)).expect(200) for path in paths]
