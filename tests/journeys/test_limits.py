"""The service with its limits as they are, and under more load than it carries."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.journeys.people import Visitor, together
from tests.journeys.process import running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

LIMITED = {"MARKETD_LIMITS__ENABLED": "true"}


async def test_the_sample_gets_through_the_limits(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", "--sample", settings=LIMITED) as service:
        await Visitor(service, session).finds(32)


async def test_a_shop_page_gets_through_the_limits(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings=LIMITED) as service:
        answers = await together(Visitor(service, session).get("/products") for _ in range(100))

    assert {200} == {answer.status for answer in answers}


async def test_who_guesses_passwords_is_slowed_down(tmp_path: Path, session: ClientSession) -> None:
    strict = {**LIMITED, "MARKETD_LIMITS__AUTH_REQUESTS_MAX": "60"}
    async with running(tmp_path / "data", settings=strict) as service:
        visitor = Visitor(service, session)
        guesses = [{"email": f"a{number}@example.org", "password": "Passw0rd"} for number in range(70)]
        answers = [await visitor.post("/auth/login", guess) for guess in guesses]

    refused = [answer for answer in answers if answer.status == 429]
    assert (True, True) == (len(refused) > 5, all(int(a.headers["Retry-After"]) >= 1 for a in refused))


async def test_a_crowd_of_slow_lines_leaves_room_for_others(tmp_path: Path, session: ClientSession) -> None:
    few = {"MARKETD_LIMITS__ENABLED": "true", "MARKETD_LIMITS__ADDRESS_CONNECTIONS_MAX": "20"}
    async with running(tmp_path / "data", settings=few | {"MARKETD_HTTP__HEAD_READ_S_MAX": "0.5"}) as service:
        host, _, port = service.url.removeprefix("http://").rpartition(":")
        slow = [await asyncio.open_connection(host, int(port)) for _ in range(20)]
        for _, writer in slow:
            writer.write(b"GET / HTTP/1.1\r\nHost: ")
        ends = await together(asyncio.wait_for(reader.read(), 10) for reader, _ in slow)
        for _, writer in slow:
            writer.close()
        answer = await Visitor(service, session).get("/healthz")

    assert ({b"HTTP/1.1 408"}, 200) == ({end[:12] for end in ends}, answer.status)
