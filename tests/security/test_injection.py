"""
Ids, words and tokens that mean something to a part behind the front: SQL and FTS5, Whoosh, NATS subjects, paths.
"""

from typing import Final
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from yarl import URL

from tests.journeys.people import Visitor
from tests.security.routes import ROUTES, Route
from tests.security.town import Town

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

HOSTILE_IDS: Final = [
    "*",
    ">",
    "a.b",
    "a.*.>",
    "a b",
    "$SYS.REQ",
    "_INBOX.x",
    "$JS.API.STREAM.LIST",
    "market.query.person",
    "x\r\nPUB a 1\r\nb",
    "\0",
    "..",
    "../../keys",
    "' OR '1'='1",
    "'; DROP TABLE products; --",
    '" OR ""="',
    "%",
    "_",
    "{id}",
    "\N{PILE OF POO}",
    "\ufffd",
    "x" * 64,
    "x" * 65,
    "x" * 4_000,
]
HOSTILE_WORDS: Final = [
    "'",
    '"',
    '"a" OR "b',
    "a' OR 1=1 --",
    "*",
    "a*",
    "^a",
    "-a",
    "NOT a",
    "AND",
    "a AND",
    "NEAR(a b, 3)",
    "title:a",
    "{title}:a",
    "(a",
    "a)",
    "a~2",
    "a^99999999",
    "a?b?*??",
    "/(a+)+$/",
    "[a TO b]",
    "\0",
    "a\0b",
    "\\",
    "%",
    "; DROP TABLE products",
    "<script>alert(1)</script>",
    "\u0301" * 100,
    "*" * 100,
    "(" * 100,
    "a OR " * 20,
]
BODIES: Final[dict[str, dict[str, object]]] = {
    "/hide": {"reason": "x"},
    "/reply": {"body": "x"},
    "/reviews": {"rating": 1, "body": "x"},
    "/replay": {"since": "2026-01-01T00:00:00Z"},
}
OWN: Final = ("/auth/sessions", "/push/subscriptions")  # of what is not there, there is nothing to end
WITH_ID: Final = [route for route in ROUTES if "{id}" in route.path and not route.path.startswith(OWN)]


def path_of(route: Route, hostile: str) -> URL:
    path = route.path.replace("{id}", quote(hostile, safe="")).replace("{reviewId}", quote(hostile, safe=""))
    path = path.replace("{deliveryId}", quote(hostile, safe=""))
    return URL(path, encoded=True)


async def status(town: Town, session: ClientSession, who: Visitor, route: Route, hostile: str) -> int:
    path = URL(town.service.url).join(path_of(route, hostile))
    body = next((body for end, body in BODIES.items() if route.path.endswith(end) and route.method == "POST"), {})
    async with session.request(route.method, path, json=body, headers=who._headers) as answer:
        await answer.read()
        return answer.status


@pytest.mark.parametrize("route", WITH_ID, ids=str)
async def test_an_id_that_is_none_finds_nothing(town: Town, route: Route) -> None:
    roles = route.operation.access.roles if route.operation.access else ()
    who = town.admin if "admin" in roles else town.seller if "seller" in roles else town.buyer
    async with ClientSession() as session:
        found = {hostile: await status(town, session, who, route, hostile) for hostile in HOSTILE_IDS}

    if URL(town.service.url).join(path_of(route, "..")).path == "/":  # which the client has made the front page of it
        del found[".."]
    assert {} == {hostile: code for hostile, code in found.items() if code not in (404, 405)}


@pytest.mark.parametrize("hostile", HOSTILE_IDS)
async def test_a_product_that_is_none_can_not_be_ordered(town: Town, hostile: str) -> None:
    answer = await town.buyer.post("/orders", {"productId": hostile, "paymentMethodId": "pm_card_visa"})

    assert (400 if len(hostile) > 64 else 404) == answer.status


@pytest.mark.parametrize("key", ["*", ">", "a b", "a\r\nPUB x 0", "%", "\0", "'", "ä", ""])
async def test_the_account_of_a_refresh_token_is_no_subject(town: Town, key: str) -> None:
    refused = await town.stranger.post("/auth/refresh", {"refreshToken": f"{key}.session.secret"})

    assert 401 == refused.status


@pytest.mark.parametrize("words", HOSTILE_WORDS)
async def test_words_are_words(town: Town, words: str) -> None:
    """Whoever looks for the syntax of a search engine finds what has these words in it, and mends nothing else."""
    found = await town.stranger.get(f"/products?q={quote(words)}")
    suggested = await town.stranger.get(f"/products/suggest?q={quote(words[:100])}")

    assert [200, 200] == [found.status, suggested.status]


@pytest.mark.parametrize("words", HOSTILE_WORDS)
async def test_a_category_and_a_seller_are_compared_and_no_more(town: Town, words: str) -> None:
    for name in ("category", "seller"):
        found = (await town.stranger.get(f"/products?{name}={quote(words[:60])}")).expect(200)

        assert 0 == found["total"]


@pytest.mark.parametrize("query", ["sort=price;DROP", "sort=score+DESC", "page=1;--", "minPrice=1+OR+1", "size=1e9"])
async def test_an_order_is_one_of_those_that_there_are(town: Town, query: str) -> None:
    assert 400 == (await town.stranger.get(f"/products?{query}")).status


async def test_after_all_of_it_everything_is_still_there(town: Town) -> None:
    assert 200 == (await town.stranger.get(f"/products/{town.lamp['id']}")).status
    assert 200 == (await town.stranger.get("/readyz")).status
