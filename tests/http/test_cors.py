"""Pages of other origins may call us where the settings say so, and nowhere else."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from marketd.http.cors import EXPOSED, Cors
from marketd.http.keys import CORS
from marketd.storage.cards import ReadProduct
from tests.http.conformance import document
from tests.http.stage import Reply, Stage, staged
from tests.http.things import ENCODED

pytestmark = pytest.mark.asyncio

LAMP = "/products/lamp"
SHOP = "https://shop.example"
PREFLIGHT = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,if-match"}


@pytest_asyncio.fixture(params=[SHOP, "*"])
async def open_stage(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A front that lets the shop's pages in, by name or as everybody's."""
    async with staged(tmp_path, cors=Cors([request.param], 300)) as made:
        made.bus.answers(ReadProduct, ENCODED)
        yield made


@pytest_asyncio.fixture
async def shop_stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path, cors=Cors([SHOP, "http://localhost:3000"])) as made:
        made.bus.answers(ReadProduct, ENCODED)
        yield made


def cors_headers(answer: Reply) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.lower().startswith("access-control")}


async def test_by_default_nobody_is_let_in(stage: Stage) -> None:
    stage.bus.answers(ReadProduct, ENCODED)
    answers = [
        await stage.call("GET", LAMP, headers={"Origin": SHOP}),
        await stage.call("OPTIONS", LAMP, headers={"Origin": SHOP, **PREFLIGHT}),
    ]

    assert ([{}, {}], CORS) == ([cors_headers(answer) for answer in answers], CORS)


async def test_a_page_may_read_the_answer_and_its_headers(open_stage: Stage) -> None:
    answer = await open_stage.call("GET", LAMP, headers={"Origin": SHOP})

    assert (200, ENCODED.public) == (answer.status, answer.body)
    assert answer.headers["Access-Control-Allow-Origin"] in (SHOP, "*")
    exposed = {name.strip() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
    assert {"ETag", "Link", "Location", "Retry-After", "X-Request-Id", "X-Data-Source", "RateLimit"} <= exposed


async def test_what_a_page_may_read_is_what_is_sent() -> None:
    """Any page may read `Cache-Control` (Fetch, section 2.2.2); `Allow` is OPTIONS', which the document leaves out."""
    sent = {*document()["components"]["headers"], "Allow"} - {"Cache-Control"}

    assert sent == set(EXPOSED.split(", "))


async def test_a_browser_is_told_beforehand_what_a_page_may_do(open_stage: Stage) -> None:
    answer = await open_stage.call("OPTIONS", LAMP, headers={"Origin": SHOP, **PREFLIGHT})

    headers = answer.headers
    assert (204, b"", "300") == (answer.status, answer.body, headers["Access-Control-Max-Age"])
    assert "DELETE, GET, HEAD, OPTIONS, PATCH" == headers["Access-Control-Allow-Methods"]
    taken = {name.strip().lower() for name in headers["Access-Control-Allow-Headers"].split(",")}
    assert {"authorization", "content-type", "idempotency-key", "if-match", "prefer", "traceparent"} <= taken


async def test_no_credentials_of_a_browser_are_ever_asked_for(open_stage: Stage) -> None:
    for method, asked in (("GET", {}), ("OPTIONS", PREFLIGHT)):
        answer = await open_stage.call(method, LAMP, headers={"Origin": SHOP, **asked})
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", LAMP, {"If-None-Match": "*"}, 304),
        ("GET", "/nothing", {}, 404),
        ("PUT", LAMP, {}, 405),
        ("GET", "/orders", {}, 401),
        ("POST", "/auth/login", {}, 415),
    ],
)
async def test_a_page_may_read_every_answer(
    open_stage: Stage, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    answer = await open_stage.call(method, path, headers={"Origin": SHOP, **headers})

    assert (status, True) == (answer.status, "Access-Control-Allow-Origin" in answer.headers)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://shop.example", "https://shop.example:8443", "null", "HTTPS://shop.example"],
)
@pytest.mark.parametrize(("method", "asked"), [("GET", {}), ("OPTIONS", PREFLIGHT)])
async def test_nobody_else_is_let_in(shop_stage: Stage, origin: str, method: str, asked: dict[str, str]) -> None:
    answer = await shop_stage.call(method, LAMP, headers={"Origin": origin, **asked})

    assert ({}, True) == (cors_headers(answer), "Origin" in answer.headers["Vary"])


async def test_a_cache_is_told_that_origins_differ(shop_stage: Stage) -> None:
    answers = [await shop_stage.call("GET", LAMP, headers=h) for h in ({}, {"Origin": SHOP})]

    assert ["Authorization, Origin"] * 2 == [answer.headers["Vary"] for answer in answers]


async def test_each_of_several_is_answered_by_its_own_name(shop_stage: Stage) -> None:
    answer = await shop_stage.call("GET", LAMP, headers={"Origin": "http://localhost:3000"})

    assert ["http://localhost:3000"] == answer.headers.getall("Access-Control-Allow-Origin")


async def test_an_origin_that_asks_for_a_path_that_is_not_there_learns_so(shop_stage: Stage) -> None:
    answer = await shop_stage.call("OPTIONS", "/nothing", headers={"Origin": SHOP, **PREFLIGHT})

    assert (404, SHOP) == (answer.status, answer.headers["Access-Control-Allow-Origin"])
