"""Every path answers OPTIONS, and HEAD wherever it answers GET, with what GET would say of itself."""

import re

import pytest

from marketd.actors import account, buyer, order, product
from marketd.actors.account import Role
from marketd.clock import SystemClock
from marketd.http.app import make_app
from marketd.storage.cards import ReadProduct
from marketd.storage.catalog import BrowseProducts
from marketd.storage.finding import FindRelated, Related, Suggest, Suggestions
from marketd.storage.history import History, ReadHistory
from marketd.storage.library import Library, ReadLibrary
from marketd.storage.orders import ListAlerts, ListOrders, OrderPage
from marketd.storage.people import FindPerson, FindSeller
from marketd.storage.reviews import FindReview, ListReviews, Reviews
from tests.http.stage import Stage
from tests.http.test_mobile import encode
from tests.http.things import CARD, DESCRIBED, FOUND, PERSON, PROFILE, REVIEW, SELLER, VIEW

pytestmark = pytest.mark.asyncio

ROUTES = [
    (route.method, route.resource.canonical)
    for route in make_app(SystemClock(), body_bytes_max=1).router.routes()
    if route.resource
]
PATHS = sorted({path for _, path in ROUTES})
ANSWERS = {
    ReadProduct: encode(CARD),
    BrowseProducts: FOUND,
    FindRelated: Related([]),
    Suggest: Suggestions([], None),
    ReadHistory: History([]),
    ReadLibrary: Library(0, []),
    ListAlerts: OrderPage(0, []),
    ListOrders: OrderPage(0, []),
    FindPerson: PERSON,
    FindSeller: SELLER,
    FindReview: REVIEW,
    ListReviews: Reviews(0, 0.0, {}, []),
    account.Describe: PROFILE,
    order.Describe: VIEW,
    product.Describe: DESCRIBED,
    buyer.CheckAccess: buyer.Access(True),
}
# Made anew each time: the links to what was bought hold the time.
VARYING = {"Date", "X-Request-ID"}
COUNTED = "/metrics"  # where there is more to say after each request


def filled(path: str) -> str:
    """Put a thing's name wherever the path has a place for one."""
    path = path.replace("{slug}", "gone").replace("{reviewId}", "r1")
    return re.sub(r"\{\w+\}", lambda place: "lamp", path).replace("/products/suggest", "/products/suggest?q=l")


@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "GET"])
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_head_says_what_get_says_without_a_body(stage: Stage, path: str, coding: str) -> None:
    stage.bus.script.update(ANSWERS)  # type: ignore[arg-type]
    role: Role = "admin" if path.startswith("/admin") else "buyer"
    got, told = [
        await stage.call(method, filled(path), user="ann", role=role, headers={"Accept-Encoding": coding})
        for method in ("GET", "HEAD")
    ]

    assert (got.status, b"") == (told.status, told.body)
    varying = VARYING | {"Content-Length"} if path == COUNTED else VARYING
    said, said_again = ({n: v for n, v in a.headers.items() if n not in varying} for a in (got, told))
    assert said == said_again


@pytest.mark.parametrize("path", PATHS)
async def test_options_names_the_methods_of_a_path(stage: Stage, path: str) -> None:
    answer = await stage.call("OPTIONS", filled(path))

    methods = {method for method, of in ROUTES if of == path} | {"OPTIONS"}
    assert (204, b"", []) == (answer.status, answer.body, stage.bus.asked)
    assert methods <= set(answer.headers["Allow"].split(", ")), answer.headers["Allow"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_method_that_a_path_has_not_is_refused_with_those_that_it_has(stage: Stage, path: str) -> None:
    refused = await stage.call("PURGE", filled(path))
    named = await stage.call("OPTIONS", filled(path))

    assert (405, "/problems/method-not-allowed") == (refused.status, refused.json()["type"])
    assert named.headers["Allow"] == refused.headers["Allow"]


async def test_nobody_has_options_for_what_is_not_there(stage: Stage) -> None:
    assert 404 == (await stage.call("OPTIONS", "/nothing")).status


async def test_the_service_as_a_whole_has_options(stage: Stage) -> None:
    answer = await stage.raw(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert b"HTTP/1.1 204" == answer[:12]
