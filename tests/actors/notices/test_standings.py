"""What the operator sees of webhooks: where they are, and what is wrong with them, but no secret of their owners."""

from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from marketd.actors.address import Address
from marketd.actors.webhook import Revise
from marketd.storage.enquiries import ReadStandings, Standing, Standings
from tests.actors.notices.dispatch import ERROR, SILENCE, Dispatch, FarLine
from tests.actors.watched import WatchedLog
from tests.clock import TestClock
from tests.storage.open_books import Books

pytestmark = pytest.mark.asyncio

SECRET_URL = "https://books.example:8443/hooks/s3cret?key=s3cret"


@pytest_asyncio.fixture
async def dispatch() -> AsyncIterator[Dispatch]:
    clock, books = TestClock(), Books()
    async with Dispatch(WatchedLog(), clock, FarLine(clock), books) as dispatch:
        yield dispatch
    books.close()


async def seen(dispatch: Dispatch, count_max: int = 10) -> tuple[Standing, ...]:
    found: Standings = await dispatch.ask(ReadStandings(count_max))
    return found.standings


async def test_an_endpoint_that_takes_everything_has_no_trouble(dispatch: Dispatch) -> None:
    await dispatch.register("sue")
    await dispatch.lists("p1")

    assert (Standing("w1", "sue", "books.example", None, 0, None, None),) == await seen(dispatch)


async def test_of_its_address_the_host_alone_is_shown(dispatch: Dispatch) -> None:
    await dispatch.register(url=SECRET_URL)
    dispatch.line.answers[SECRET_URL] = ERROR
    await dispatch.lists("p1")

    assert b"s3cret" not in msgspec.json.encode(await seen(dispatch))


async def test_what_waits_is_counted_and_why_it_does_is_told(dispatch: Dispatch) -> None:
    made = await dispatch.register()
    dispatch.line.answers[made.url] = ERROR
    await dispatch.lists("p1", "p2")

    (one,) = await seen(dispatch)
    assert (2, "status 500", True) == (one.waiting, one.last_failure, one.failing_since is not None)


async def test_who_is_silent_is_told_as_such(dispatch: Dispatch) -> None:
    made = await dispatch.register()
    dispatch.line.answers[made.url] = SILENCE
    await dispatch.lists("p1")

    (one,) = await seen(dispatch)
    assert SILENCE.why == one.last_failure


async def test_one_that_is_switched_off_says_why(dispatch: Dispatch) -> None:
    await dispatch.register()
    await dispatch.tell(Address("webhook", "sue"), Revise("w1", dispatch.clock.now_ms(), disabled=True))

    assert ["by hand"] == [one.disabled for one in await seen(dispatch)]


async def test_those_in_trouble_come_first_and_all_are_counted(dispatch: Dispatch) -> None:
    for number in range(3):
        await dispatch.register(f"s{number}", webhook_id=f"w{number}", url=f"https://{number}.example/", scope="all")
    dispatch.line.answers["https://2.example/"] = ERROR
    await dispatch.lists("p1", seller="bob")

    found: Standings = await dispatch.ask(ReadStandings(2))
    assert (3, ["w2", "w0"]) == (found.total, [one.webhook_id for one in found.standings])
