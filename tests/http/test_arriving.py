"""Uploads as they arrive: slowly is good enough, not at all is not."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from tests.http.stage import LIMITS_HERE, Stage, staged

pytestmark = pytest.mark.asyncio

WINDOW_S = 0.2
HEAD = (
    "POST /uploads?name=a HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n"
)


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    limits = replace(LIMITS_HERE, upload_window_s=WINDOW_S, upload_window_bytes_min=100)
    async with staged(tmp_path, limits) as made:
        yield made


async def trickle(stage: Stage, piece: bytes, pieces: int, pause_s: float) -> bytes:
    """Send an upload piece by piece; give the answer."""
    reader, writer = await asyncio.open_connection(stage.client.host, stage.client.port)
    writer.write(HEAD.format(stage.bearer("sam", "seller")["Authorization"]).encode())
    try:
        for _ in range(pieces):
            writer.write(piece)
            await asyncio.sleep(pause_s)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        return head + await asyncio.wait_for(reader.readuntil(b"}"), 5)
    finally:
        writer.close()


async def test_an_upload_that_stops_is_given_up(stage: Stage) -> None:
    head, _, body = (await trickle(stage, b"x" * 500, 1, 0)).partition(b"\r\n\r\n")

    assert (True, "/problems/too-slow") == (head.startswith(b"HTTP/1.1 408 "), json.loads(body)["type"])


async def test_a_byte_now_and_then_is_not_enough(stage: Stage) -> None:
    assert (await trickle(stage, b"x", 10, WINDOW_S / 4)).startswith(b"HTTP/1.1 408 ")


async def test_a_slow_upload_is_taken(stage: Stage) -> None:
    assert (await trickle(stage, b"x" * 100, 10, WINDOW_S / 3)).startswith(b"HTTP/1.1 201 ")


async def test_of_what_is_given_up_nothing_stays(stage: Stage, tmp_path: Path) -> None:
    await trickle(stage, b"x" * 500, 1, 0)

    assert [] == [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
