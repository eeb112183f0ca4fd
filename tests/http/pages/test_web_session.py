"""The session of a browser: what opens one, what it opens, and what ends it."""

import asyncio
import hashlib
import re
from pathlib import Path

import pytest

from marketd.actors import account
from marketd.actors.aggregate import Refused
from marketd.http.keys import FrontLimits
from marketd.storage.library import Library, ReadLibrary
from tests.http.pages.browsers import CREDENTIALS, OURS, Browser
from tests.http.stage import Stage, staged

pytestmark = pytest.mark.asyncio

LIBRARY = "/shop/library"


@pytest.fixture(autouse=True)
def shelf(stage: Stage) -> None:
    stage.bus.answers(ReadLibrary, Library(0, []))


async def test_who_is_not_signed_in_gets_the_form_in_place_of_the_page(browser: Browser) -> None:
    page = await browser.get(f"{LIBRARY}?page=2")

    assert (200, True) == (page.status, b'name="password"' in page.body)
    assert b'name="next" value="/shop/library?page=2"' in page.body


@pytest.mark.parametrize(
    ("sent_to", "page"),
    [
        ("/shop/products/lamp/buy", "/shop/products/lamp"),
        ("/shop/products/lamp/reviews", "/shop/products/lamp"),
        ("/dashboard/orders/o1/refund", "/dashboard/orders"),
        ("/dashboard/products/lamp/withdraw", "/dashboard/products/lamp"),
        ("/dashboard/zone", "/dashboard/zone"),
        ("/ops/alerts/o1/resolve", "/ops"),
        ("/auth/sign-out", "/"),
    ],
)
async def test_who_sends_a_form_too_late_comes_back_to_the_page_that_it_is_on(
    browser: Browser, sent_to: str, page: str
) -> None:
    asked = await browser.post(sent_to, {})

    assert f'name="next" value="{page}"' in asked.body.decode()
    assert b"This was not done, as you are signed in no more." in asked.body


@pytest.mark.parametrize(
    ("path", "form", "marked"),
    [
        ("/auth/sign-up", {"name": "Ann", "email": "ann", "password": "short", "role": "buyer"}, ["email", "password"]),
        ("/auth/sign-up", {"name": "", "email": "a@b.example", "password": "Passw0rd", "role": "buyer"}, ["name"]),
        ("/auth/sign-in", CREDENTIALS | {"password": "Wr0ng-one"}, ["email", "password"]),
        ("/auth/forgotten", {"email": "ann"}, ["email"]),
    ],
)
async def test_a_refused_form_marks_the_fields_at_fault_and_begins_at_the_first(
    browser: Browser, path: str, form: dict[str, str], marked: list[str]
) -> None:
    await browser.signs_in()

    page = (await browser.post(path, form)).body.decode()

    fields = {name: tag for tag in re.findall(r"<input[^>]+>", page) for name in re.findall(r'name="(\w+)"', tag)}
    assert {*marked} == {name for name, tag in fields.items() if 'aria-invalid="true"' in tag}
    assert marked[:1] == [name for name, tag in fields.items() if " autofocus" in tag]


async def test_what_was_written_too_late_is_not_lost(browser: Browser) -> None:
    await browser.signs_in()
    browser.cookie = ""

    sent = await browser.post("/shop/products/lamp/reviews", {"rating": "5", "body": "Bright & <b>warm</b>."})
    again = await browser.post("/auth/sign-in", CREDENTIALS | {"password": "Wr0ng-one", "kept": "Bright."})

    assert b"readonly>Bright &amp; &lt;b&gt;warm&lt;/b&gt;.</textarea>" in sent.body
    assert b"readonly>Bright.</textarea>" in again.body


async def test_signing_in_opens_a_session_of_a_browser(browser: Browser) -> None:
    await browser.signs_in()

    (session,) = browser.sessions
    assert "page" == session.kind
    assert session.expires_at == session.opened_at + 168 * 60 * 60 * 1000


async def test_the_cookie_is_for_this_service_alone(browser: Browser) -> None:
    cookie = (await browser.signs_in()).headers["Set-Cookie"]

    name, *attributes = cookie.split("; ")
    assert name.startswith("marketd=")
    assert {"HttpOnly", "Path=/", "SameSite=Lax", "Max-Age=604800"} == set(attributes)


async def test_under_https_the_cookie_is_for_this_very_host(tmp_path: Path) -> None:
    async with staged(tmp_path, FrontLimits(public_url="https://shop.example")) as stage:
        cookie = (await Browser(stage).signs_in()).headers["Set-Cookie"]

    assert cookie.startswith("__Host-marketd=")
    assert "Secure" in cookie.split("; ")


async def test_who_is_signed_in_sees_their_page(browser: Browser) -> None:
    await browser.signs_in()

    page = await browser.get(LIBRARY)

    assert (200, False) == (page.status, b'name="password"' in page.body)


async def test_the_page_one_came_from_is_the_one_one_gets(browser: Browser) -> None:
    entered = await browser.signs_in(next="/shop/library?page=2")

    assert (303, "/shop/library?page=2") == (entered.status, entered.headers["Location"])


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\/evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/ok\r\nSet-Cookie: a=b",
        "evil.example",
        "/%0a\n",
    ],
)
async def test_nobody_is_sent_to_another_place_from_here(browser: Browser, path: str) -> None:
    assert "/" == (await browser.signs_in(next=path)).headers["Location"]


async def test_a_wrong_password_opens_nothing(browser: Browser) -> None:
    await browser.signs_in()
    refused = await browser.post("/auth/sign-in", {"email": "ann@example.org", "password": "Wrong-0ne"})

    assert (401, None, 1) == (refused.status, refused.headers.get("Set-Cookie"), len(browser.sessions))
    assert b"the e-mail address or the password is wrong" in refused.body
    assert b"Wrong-0ne" not in refused.body


async def test_pages_and_the_api_count_the_same_failures(stage: Stage, browser: Browser) -> None:
    await browser.signs_in()
    wrong = {"email": "ann@example.org", "password": "Wrong-0ne"}
    await browser.post("/auth/sign-in", wrong)
    await stage.call("POST", "/auth/login", wrong)
    await browser.post("/auth/sign-in", wrong)

    refused = [
        await browser.post("/auth/sign-in", wrong | {"password": "Passw0rd"}),
        await stage.call("POST", "/auth/login", wrong),
    ]

    assert [(429, True)] * 2 == [(answer.status, "Retry-After" in answer.headers) for answer in refused]


async def test_the_cookie_opens_nothing_of_the_api(stage: Stage, browser: Browser) -> None:
    await browser.signs_in()

    answers = [await browser.get(path) for path in ("/auth/me", "/library", "/orders", "/auth/sessions")]

    assert [401] * 4 == [answer.status for answer in answers]


async def test_a_bearer_token_opens_no_page(stage: Stage) -> None:
    page = await stage.call("GET", LIBRARY, user="ann")

    assert b'name="password"' in page.body


async def test_the_cookies_secret_is_hashed_as_no_refresh_token_is(browser: Browser) -> None:
    """So whoever has the cookie can't exchange it for tokens: its account knows no such refresh token."""
    await browser.signs_in()
    secret = browser.cookie.rpartition(".")[2]

    assert hashlib.sha256(secret.encode()).hexdigest() != browser.sessions[0].token_hash
    assert secret not in browser.sessions[0].token_hash


async def test_a_session_of_the_api_opens_no_page(browser: Browser) -> None:
    await browser.signs_in()
    (session,) = browser.sessions
    browser.sessions = [account.Session(session.session_id, session.token_hash, session.expires_at)]

    assert b'name="password"' in (await browser.get(LIBRARY)).body


async def test_a_session_that_was_ended_elsewhere_is_over(browser: Browser) -> None:
    await browser.signs_in()
    browser.sessions.clear()

    assert b'name="password"' in (await browser.get(LIBRARY)).body


async def test_a_session_expires(stage: Stage, browser: Browser) -> None:
    await browser.signs_in()
    stage.clock.passes(168 * 60 * 60)

    assert b'name="password"' in (await browser.get(LIBRARY)).body


async def test_signing_out_ends_the_session_and_forgets_the_cookie(browser: Browser) -> None:
    await browser.signs_in()

    left = await browser.post("/auth/sign-out", {"csrf": await browser.token()})

    assert (303, "/", []) == (left.status, left.headers["Location"], browser.sessions)
    assert left.headers["Set-Cookie"].startswith('marketd=""; ')


@pytest.mark.parametrize(
    "cookie", ["", "x", "a.b.c", "..", f"{'0' * 40}.s1.short", f"*.>.{'x' * 43}", "é.b.c", "a" * 5000]
)
async def test_a_cookie_that_is_none_of_ours_is_as_good_as_none(browser: Browser, cookie: str) -> None:
    browser.cookie = f"marketd={cookie}"

    assert b'name="password"' in (await browser.get(LIBRARY)).body


async def test_a_cookie_of_an_account_that_there_is_not_is_as_good_as_none(stage: Stage, browser: Browser) -> None:
    stage.bus.answers(account.Describe, Refused(account.Reason.NO_SUCH_ACCOUNT))
    stage.bus.answers(account.ListSessions, Refused(account.Reason.NO_SUCH_ACCOUNT))
    browser.cookie = f"marketd={'0' * 40}.s1.{'x' * 43}"

    assert b'name="password"' in (await browser.get(LIBRARY)).body


async def test_the_secret_of_another_session_opens_nothing(browser: Browser) -> None:
    await browser.signs_in()
    browser.cookie = browser.cookie[:-43] + "x" * 43

    assert b'name="password"' in (await browser.get(LIBRARY)).body


async def test_a_form_is_answered_only_with_its_token(browser: Browser) -> None:
    await browser.signs_in()

    answers = [await browser.post("/auth/sign-out", given) for given in ({}, {"csrf": "x"}, {"csrf": "é"})]

    assert ([403] * 3, 1) == ([answer.status for answer in answers], len(browser.sessions))


async def test_a_token_is_of_one_session(stage: Stage, browser: Browser) -> None:
    other = Browser(stage)
    await other.signs_in()
    token = await other.token()
    await browser.signs_in()

    assert 403 == (await browser.post("/auth/sign-out", {"csrf": token})).status


async def test_each_page_has_another_token(browser: Browser) -> None:
    await browser.signs_in()

    assert await browser.token() != await browser.token()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1"},
    ],
)
async def test_a_form_of_another_site_is_refused(browser: Browser, headers: dict[str, str]) -> None:
    """Also that to sign in with: nobody signs others in as themselves."""
    await browser.signs_in()
    token = await browser.token()

    left = await browser.post("/auth/sign-out", {"csrf": token}, headers)
    entered = await browser.post("/auth/sign-in", {"email": "ann@example.org", "password": "Passw0rd"}, headers)

    assert (403, 403, 1) == (left.status, entered.status, len(browser.sessions))


async def test_a_browser_that_says_no_more_than_its_origin_is_believed(stage: Stage, browser: Browser) -> None:
    await browser.signs_in()
    origin = {"Origin": f"http://{stage.client.host}:{stage.client.port}"}

    assert 303 == (await browser.post("/auth/sign-out", {"csrf": await browser.token()}, origin)).status


async def test_a_page_is_kept_by_nobody_and_framed_by_nobody(browser: Browser) -> None:
    headers = (await browser.get("/auth/sign-in")).headers

    assert ("no-store", "DENY") == (headers["Cache-Control"], headers["X-Frame-Options"])
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert ["same-origin"] == headers.getall("Referrer-Policy")


async def test_a_key_of_idempotency_has_no_meaning_for_a_page(browser: Browser) -> None:
    """Or the answer to one person, with their cookie, would be kept for whoever has the key."""
    key = OURS | {"Idempotency-Key": "k1"}
    await browser.signs_in()
    form = {"email": "ann@example.org", "password": "Passw0rd"}
    cookies = [(await browser.post("/auth/sign-in", form, key)).headers["Set-Cookie"] for _ in range(2)]

    assert cookies[0] != cookies[1]


async def test_what_people_are_called_is_no_markup(browser: Browser) -> None:
    await browser.signs_in()
    page = (await browser.get(LIBRARY)).body

    assert (True, False) == (b"Ann &lt;b&gt;" in page, b"Ann <b>" in page)


async def test_a_form_in_another_encoding_is_refused(stage: Stage) -> None:
    answer = await stage.call("POST", "/auth/sign-in", {"email": "a", "password": "b"}, headers=OURS)

    assert (415, "text/html") == (answer.status, answer.media_type)


async def test_who_has_forgotten_their_password_gets_a_mail(stage: Stage, browser: Browser) -> None:
    """What is answered is the same for an address that has no account, and comes as late."""
    stage.bus.answers(account.IssueTicket, Refused(account.Reason.NO_SUCH_ACCOUNT))
    asking = asyncio.create_task(browser.post("/auth/forgotten", {"email": "ann@example.org"}))
    while not stage.clock.sleepers:
        await asyncio.sleep(0)
    await stage.clock.advance(1)

    page = await asking

    (command,) = [message for _, message in stage.bus.messages if isinstance(message, account.IssueTicket)]
    assert (200, "password-reset", True) == (page.status, command.ticket.purpose, b"a mail is on its way" in page.body)
