"""What a browser is shown where there is nothing to show, and that a program is told the same in its own words."""

import pytest

from tests.http.pages.browsers import Browser
from tests.http.stage import Stage

pytestmark = pytest.mark.asyncio

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
MARKUP = "<script>alert(1)</script>"


async def test_a_browser_is_shown_a_page_where_there_is_nothing(browser: Browser) -> None:
    page = await browser.get("/nothing/here", Accept=CHROMIUM)

    assert (404, "text/html", "no-store") == (page.status, page.media_type, page.headers["Cache-Control"])
    assert b'href="/">To the front page' in page.body


@pytest.mark.parametrize("accepted", ["*/*", "application/json", "application/problem+json"])
async def test_a_program_gets_a_problem_document_there(browser: Browser, accepted: str) -> None:
    answer = await browser.get("/nothing/here", Accept=accepted)

    assert (404, "application/problem+json") == (answer.status, answer.media_type)


async def test_what_a_browser_can_only_send_to_says_so(browser: Browser) -> None:
    page = await browser.get("/auth/sign-out", Accept=CHROMIUM)

    assert (405, "text/html", "OPTIONS, POST") == (page.status, page.media_type, page.headers["Allow"])


async def test_what_is_sent_to_nowhere_is_refused_as_to_a_program(stage: Stage) -> None:
    answer = await stage.call("POST", "/nothing/here", {}, headers={"Accept": CHROMIUM})

    assert (404, "application/problem+json") == (answer.status, answer.media_type)


async def test_the_api_answers_a_browser_as_everybody(stage: Stage) -> None:
    answer = await stage.call("GET", "/auth/me", headers={"Accept": CHROMIUM})

    assert (401, "application/problem+json") == (answer.status, answer.media_type)


@pytest.mark.parametrize("path", [f"/{MARKUP}", f"/?{MARKUP}=1", f"/?sort={MARKUP}", f"/?minPrice={MARKUP}"])
async def test_no_address_writes_markup_into_a_page(browser: Browser, path: str) -> None:
    page = await browser.get(path, Accept=CHROMIUM)

    assert ("text/html", False) == (page.media_type, MARKUP.encode() in page.body)
