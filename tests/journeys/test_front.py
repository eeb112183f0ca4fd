"""The front as its operator has set it: who may call it, whose word it takes, and what it compresses."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from tests.journeys.people import Person, Visitor
from tests.journeys.process import Service, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

SHOP = "https://shop.example"
FORWARDED = {"Forwarded": 'for=198.51.100.1;proto=https;host="shop.example"'}
SETTINGS = {
    "MARKETD_HTTP__CORS_ORIGINS": f"{SHOP},http://localhost:3000",
    "MARKETD_HTTP__TRUSTED_PROXIES": "127.0.0.0/8",
    "MARKETD_HTTP__FORWARDED_BY": "forwarded",
    "MARKETD_HTTP__COMPRESSED_BYTES_MIN": "10",
}


@pytest_asyncio.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with running(tmp_path / "data", settings=SETTINGS) as service:
        yield service


async def test_the_settings_of_the_front_are_kept(seller: Person, buyer: Person) -> None:
    order = await buyer.buys(await seller.offers())
    found = await buyer.get(f"/orders/{order['id']}/downloads", Origin=SHOP, **FORWARDED)

    headers = found.headers
    assert (SHOP, "max-age=31536000") == (
        headers["Access-Control-Allow-Origin"],
        headers["Strict-Transport-Security"],
    )
    assert found.json["downloads"][0]["url"].startswith(f"{SHOP}/downloads/")


async def test_even_a_short_answer_is_compressed_where_that_is_wanted(service: Service, visitor: Visitor) -> None:
    async with (
        ClientSession(auto_decompress=False) as session,
        session.get(f"{service.url}/healthz", headers={"Accept-Encoding": "zstd;q=0.5, gzip;q=0.6"}) as answer,
    ):
        assert ("gzip", b"\x1f\x8b") == (answer.headers["Content-Encoding"], (await answer.read())[:2])
