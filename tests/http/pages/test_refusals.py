"""What a browser is shown where there is nothing to show, and that a program is told the same in its own words."""

import pytest

from marketd.actors import order
from marketd.bus.port import NoAnswer
from marketd.http.tokens import DownloadGrant
from tests.http.pages.browsers import Browser
from tests.http.stage import Stage

pytestmark = pytest.mark.asyncio

CHROMIUM = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
MARKUP = "<script>alert(1)</script>"


async def test_a_browser_is_shown_a_page_where_there_is_nothing(browser: Browser) -> None:
    page = await browser.get("/nothing/here", Accept=CHROMIUM)

    assert (404, "text/html", "no-store") == (page.status, page.media_type, page.headers["Cache-Control"])
    assert b'href="/">To the front page' in page.body


@pytest.mark.parametrize("accepted", ["*/*", "application/json", "application/problem+json", "text/html;q=0"])
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


async def test_a_link_that_has_expired_says_so_to_its_reader(stage: Stage, browser: Browser) -> None:
    token, _ = stage.links.issue(DownloadGrant("o1", "lamp.zip", "application/zip", "upload://0"))
    await stage.clock.advance(16 * 60)

    page = await browser.get(f"/downloads/{token}", Accept=CHROMIUM)

    assert (410, "text/html", True) == (page.status, page.media_type, b"the link has expired" in page.body)
    assert b'href="/shop/library"' in page.body


@pytest.mark.parametrize("path", ["/downloads/x", "/unsubscribe/x"])
async def test_a_link_that_is_none_is_a_page_to_people_and_a_problem_to_programs(browser: Browser, path: str) -> None:
    seen = [(await browser.get(path, Accept=accepted)).media_type for accepted in (CHROMIUM, "*/*")]

    assert ["text/html", "application/problem+json"] == seen


async def test_what_a_part_of_the_service_owes_is_told_to_all_alike(stage: Stage, browser: Browser) -> None:
    """It is for who tries again, by `Retry-After`, and no fault of the link."""
    token, _ = stage.links.issue(DownloadGrant("o1", "lamp.zip", "application/zip", "upload://0"))
    stage.bus.answers(order.Describe, NoAnswer("no answer"))

    answer = await browser.get(f"/downloads/{token}", Accept=CHROMIUM)

    assert (503, "application/problem+json") == (answer.status, answer.media_type)


@pytest.mark.parametrize("path", [f"/{MARKUP}", f"/?{MARKUP}=1", f"/?sort={MARKUP}", f"/?minPrice={MARKUP}"])
async def test_no_address_writes_markup_into_a_page(browser: Browser, path: str) -> None:
    page = await browser.get(path, Accept=CHROMIUM)

    assert ("text/html", False) == (page.media_type, MARKUP.encode() in page.body)
