"""
API10:2023 Unsafe Consumption of APIs: what comes over NATS is no better for having come so far. Whoever holds the
service's own password may ask anything; nonsense of theirs, or of a newer version, must not hurt.
"""

import json
from collections.abc import AsyncIterator
from typing import Final

import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client

from tests.journeys.people import PASSWORD
from tests.security.town import Town

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

SUBJECTS: Final = [
    "market.cmd.0.order.x",
    "market.cmd.0.order",
    "market.cmd.0.order.x.y.z",
    "market.cmd.0.nobody.x",
    "market.cmd.63.account.*x",
    "market.query.reached",
]
MESSAGES: Final = [b"", b"\0\xff", b"[]", b"{}", b"null", b"\x93" * 1_000, b"[" * 10_000, b'{"type":"order.place"}']


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def line(town: Town) -> AsyncIterator[Client]:
    endpoint = json.loads((town.service.data / "nats" / "endpoint.json").read_text())
    line = await nats.connect(endpoint["url"], user=endpoint["user"], password=endpoint["password"])
    yield line
    await line.close()


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_nonsense_is_answered_or_dropped_and_nothing_else(town: Town, line: Client, subject: str) -> None:
    for message in MESSAGES:
        await line.publish(subject, message, reply="nobody.listens")
        await line.publish(subject, message)
    await line.flush()

    assert 200 == (await town.stranger.get("/healthz")).status
    assert await town.stranger.signs_in(town.buyer.email, PASSWORD)
    assert "completed" == (await town.buyer.sees(town.order["id"]))["status"]
