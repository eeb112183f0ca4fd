"""Rate limits over HTTP: who is counted as whom, and what the headers say."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from marketd.actors import account
from marketd.actors.aggregate import Refused
from marketd.http.keys import RATES
from marketd.storage.cards import ReadProduct
from tests.http.stage import Reply, Stage, staged
from tests.http.things import ENCODED

pytestmark = pytest.mark.asyncio


@pytest_asyncio.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, is_counting=True) as made:
        made.bus.answers(ReadProduct, ENCODED)
        made.bus.answers(account.ReadCredentials, Refused(account.Reason.NO_SUCH_ACCOUNT))
        yield made


async def look(stage: Stage, user: str = "") -> Reply:
    return await stage.call("GET", "/products/lamp", user=user)


async def login(stage: Stage, number: int = 1) -> Reply:
    return await stage.call("POST", "/auth/login", {"email": f"a{number}@example.org", "password": "x"})


async def test_every_answer_says_what_is_left(stage: Stage) -> None:
    answer = await look(stage)

    shown = answer.headers["RateLimit-Policy"], answer.headers["RateLimit"]
    assert ('"default";q=5;w=60', '"default";r=4;t=12') == shown


async def test_a_problem_says_so_too(stage: Stage) -> None:
    answer = await stage.call("GET", "/nothing")

    assert (404, '"default";r=4;t=12') == (answer.status, answer.headers["RateLimit"])


async def test_one_too_many_is_told_how_long_to_wait(stage: Stage) -> None:
    answers = [await look(stage) for _ in range(6)]
    last = answers[-1]

    said = (last.status, last.json()["type"], last.headers["Retry-After"], last.headers["RateLimit"])
    assert (429, "/problems/too-many-requests", "12", '"default";r=0;t=60') == said


async def test_whoever_has_waited_is_let_through(stage: Stage) -> None:
    waits = [int((await look(stage)).headers.get("Retry-After", 0)) for _ in range(6)]
    await stage.clock.advance(waits[-1])

    assert 200 == (await look(stage)).status


async def test_one_too_many_asks_nobody(stage: Stage) -> None:
    for _ in range(8):
        await look(stage)

    assert 5 == len(stage.bus.asked)


async def test_users_are_counted_by_themselves(stage: Stage) -> None:
    for _ in range(6):
        await look(stage)
    for _ in range(10):
        await look(stage, "bob")

    answer = await look(stage, "ann")
    assert (200, '"default";q=10;w=60', '"default";r=9;t=6') == (
        answer.status,
        answer.headers["RateLimit-Policy"],
        answer.headers["RateLimit"],
    )


async def test_a_token_that_is_no_good_makes_nobody_a_user(stage: Stage) -> None:
    answers = [
        await stage.call("GET", "/products/lamp", headers={"Authorization": f"Bearer {number}"}) for number in range(6)
    ]

    assert [401] * 5 + [429] == [answer.status for answer in answers]


async def test_the_door_to_accounts_is_narrower(stage: Stage) -> None:
    answers = [await login(stage, number) for number in range(4)]

    assert ([401] * 3 + [429], '"auth";q=3;w=60') == (
        [answer.status for answer in answers],
        answers[0].headers["RateLimit-Policy"],
    )


async def test_being_signed_in_makes_the_door_no_wider(stage: Stage) -> None:
    body = {"email": "a@example.org", "password": "x"}
    answers = [await stage.call("POST", "/auth/login", body, user=f"u{number}") for number in range(4)]

    assert 429 == answers[-1].status


async def test_a_crowd_at_the_door_keeps_nobody_from_looking(stage: Stage) -> None:
    for number in range(5):
        await login(stage, number)

    assert 200 == (await look(stage)).status


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_operators_are_not_counted(stage: Stage, path: str) -> None:
    answers = [await stage.call("GET", path) for _ in range(10)]

    assert ({200}, False) == ({answer.status for answer in answers}, "RateLimit" in answers[-1].headers)


async def test_lifted_limits_count_nothing(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        stage.bus.answers(ReadProduct, ENCODED)
        answers = [await look(stage) for _ in range(100)]
        assert stage.client.app is not None

        shown = ({answer.status for answer in answers}, "RateLimit" in answers[-1].headers, RATES in stage.client.app)
    assert ({200}, False, False) == shown
