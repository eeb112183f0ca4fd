"""
What opens pages opens nothing else, and nothing else opens pages; and the session of a browser ends when any other
would.
"""

from typing import Final

import pytest

from tests.journeys.people import PASSWORD, Person
from tests.security.browsers import BrowserOfTown
from tests.security.town import Town

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

WAY_IN: Final = b'name="password"'
LIBRARY: Final = "/shop/library"


async def somebody(town: Town) -> tuple[Person, BrowserOfTown]:
    """Give somebody with a browser, whose sessions nobody else needs."""
    person = await town.stranger.joins("buyer")
    return person, await BrowserOfTown(town.stranger).signs_in(person.email)


async def test_a_browser_is_among_the_sessions_of_its_account(town: Town) -> None:
    person, _ = await somebody(town)
    sessions = (await person.get("/auth/sessions")).expect(200)["sessions"]

    assert ["api", "page"] == sorted(session["kind"] for session in sessions)


async def test_a_browser_is_signed_out_from_elsewhere(town: Town) -> None:
    person, browser = await somebody(town)
    assert WAY_IN not in (await browser.sends("GET", LIBRARY)).body
    await person.ask("DELETE", "/auth/sessions")

    assert WAY_IN in (await browser.sends("GET", LIBRARY)).body


async def test_a_cookie_is_no_refresh_token(town: Town) -> None:
    _, browser = await somebody(town)
    stolen = browser.cookie.partition("=")[2]

    refused = await town.stranger.post("/auth/refresh", {"refreshToken": stolen})

    assert 401 == refused.status
    assert WAY_IN in (await browser.sends("GET", LIBRARY)).body


async def test_a_cookie_is_no_access_token(town: Town) -> None:
    _, browser = await somebody(town)
    stolen = browser.cookie.partition("=")[2]

    assert 401 == (await town.stranger.get("/auth/me", Authorization=f"Bearer {stolen}")).status
    assert 401 == (await town.stranger.get("/auth/me", Cookie=browser.cookie)).status


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_no_token_is_a_cookie(town: Town, kind: str) -> None:
    browser = BrowserOfTown(town.stranger)
    browser.cookie = f"marketd={getattr(town.buyer, kind)}"

    assert WAY_IN in (await browser.sends("GET", LIBRARY)).body


async def test_no_page_says_who_has_an_account(town: Town) -> None:
    browser = BrowserOfTown(town.stranger)
    forms = [f"email={name}%40example.org&password={PASSWORD}x" for name in ("nobody-at-all", "admin")]
    unknown, known = [await browser.sends("POST", "/auth/sign-in", form) for form in forms]

    assert 401 == unknown.status == known.status
    assert unknown.body.replace(b"nobody-at-all", b"admin") == known.body


async def test_nothing_of_a_session_is_in_the_log(town: Town) -> None:
    _, browser = await somebody(town)
    await browser.sends("GET", LIBRARY)

    assert browser.cookie.rpartition(".")[2] not in town.service.log
    assert browser.csrf not in town.service.log
