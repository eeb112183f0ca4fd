"""The sample catalogue: that it holds together, and that it is loaded by the requests that users would send."""

import hashlib
import io
import json
import re
import wave
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from marketd.config.sample import ORDER_WAITS_MAX, Counts, SampleFailed, load_sample
from marketd.config.sample.catalogue import Product, media_type, read_catalogue, read_file

CATALOGUE = read_catalogue()
PEOPLE = (*CATALOGUE.sellers, *CATALOGUE.buyers)
PRODUCTS = {product.key: product for product in CATALOGUE.products}
NAMES = sorted({name for product in CATALOGUE.products for name in (*product.files, *product.previews)})
PASSWORD = "Sample-password-1"
SIZE_MAX = 400 * 1024


def named(*suffixes: str) -> list[str]:
    return [name for name in NAMES if name.endswith(suffixes)]


def repeated(things: Sequence[object]) -> list[object]:
    return [thing for thing, times in Counter(things).items() if times > 1]


# What the catalogue says


def test_every_seller_in_it_has_something_to_sell() -> None:
    assert {person.handle for person in CATALOGUE.sellers} == {product.seller for product in CATALOGUE.products}


def test_there_are_about_thirty_products_in_eight_categories() -> None:
    assert 30 <= len(CATALOGUE.products) <= 35
    assert len({product.category for product in CATALOGUE.products}) == 8


def test_nothing_that_has_to_be_unique_is_there_twice() -> None:
    assert repeated([person.handle for person in PEOPLE]) == []
    assert repeated([person.email.lower() for person in PEOPLE]) == []
    assert repeated([product.key for product in CATALOGUE.products]) == []
    assert repeated([product.title for product in CATALOGUE.products]) == []
    assert repeated([product.description for product in CATALOGUE.products]) == []
    assert repeated([key for product in CATALOGUE.products for key in product.licence_keys]) == []


def test_no_address_can_receive_mail() -> None:
    assert [person.email for person in PEOPLE if not re.fullmatch(r"[a-z.]+@sample\.example", person.email)] == []


@pytest.mark.parametrize("product", CATALOGUE.products, ids=lambda product: product.key)
class TestProduct:
    def test_its_price_is_in_whole_cents(self, product: Product) -> None:
        assert product.price == product.price.quantize(Decimal("0.01"))
        assert Decimal("1.99") <= product.price <= Decimal("249.00")
        assert product.currency in {"USD", "EUR", "GBP"}

    def test_its_category_is_a_slug(self, product: Product) -> None:
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", product.category)

    def test_its_description_is_a_paragraph_of_readable_length(self, product: Product) -> None:
        assert 40 <= len(product.description.split()) <= 90
        assert product.description == " ".join(product.description.split())

    def test_it_has_a_file_and_only_pictures_as_previews(self, product: Product) -> None:
        assert len(product.files) >= 1
        assert {media_type(name) for name in product.previews} <= {"image/png"}

    def test_there_are_enough_units_for_its_purchases(self, product: Product) -> None:
        units = product.stock if product.stock is not None else len(product.licence_keys) or None
        sold = sum(purchase.product == product.key for purchase in CATALOGUE.purchases)
        assert units is None or sold < units


def test_two_products_have_licence_keys_and_some_have_limited_stock() -> None:
    assert sum(bool(product.licence_keys) for product in CATALOGUE.products) == 2
    assert sum(product.stock is not None for product in CATALOGUE.products) >= 2


def test_every_purchase_names_a_known_buyer_and_a_known_product() -> None:
    assert {purchase.buyer for purchase in CATALOGUE.purchases} <= {person.handle for person in CATALOGUE.buyers}
    assert {purchase.product for purchase in CATALOGUE.purchases} <= PRODUCTS.keys()


def test_nobody_buys_a_product_twice() -> None:
    assert repeated([(purchase.buyer, purchase.product) for purchase in CATALOGUE.purchases]) == []


def test_every_review_has_a_rating_from_one_to_five_and_words() -> None:
    reviews = [purchase.review for purchase in CATALOGUE.purchases if purchase.review]
    assert {review.rating for review in reviews} <= {1, 2, 3, 4, 5}
    assert [review for review in reviews if not (review.title and review.body)] == []
    assert sum(review.reply is not None for review in reviews) == 1


# What lies beside it


def test_the_files_are_those_that_the_catalogue_names() -> None:
    assert sorted(entry.name for entry in (files("marketd.config.sample") / "files").iterdir()) == NAMES


def test_the_names_of_files_need_no_quoting_in_an_address() -> None:
    assert [name for name in NAMES if not re.fullmatch(r"[a-z0-9.-]+", name)] == []


def test_all_the_package_data_is_small() -> None:
    folder = Path(str(files("marketd.config.sample")))
    data = [path for path in folder.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}]
    assert sum(path.stat().st_size for path in data) < SIZE_MAX


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_bytes_and_a_known_type(name: str) -> None:
    assert len(read_file(name)) > 100
    assert "/" in media_type(name)


@pytest.mark.parametrize("name", named(".pdf"))
def test_a_pdf_has_its_beginning_its_end_and_a_true_cross_reference(name: str) -> None:
    data = read_file(name)
    found = re.search(rb"startxref\n(\d+)\n%%EOF\n$", data)
    assert data.startswith(b"%PDF-")
    assert found and data[int(found[1]) :].startswith(b"xref")


@pytest.mark.parametrize("name", named(".zip", ".epub", ".ods"))
def test_an_archive_opens_and_every_entry_is_whole(name: str) -> None:
    with zipfile.ZipFile(io.BytesIO(read_file(name))) as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) >= 2


@pytest.mark.parametrize("name", named(".epub", ".ods"))
def test_a_document_in_an_archive_says_its_type_first_and_its_xml_parses(name: str) -> None:
    with zipfile.ZipFile(io.BytesIO(read_file(name))) as archive:
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        assert archive.read(first).decode() == media_type(name)
        for entry in archive.namelist():
            if entry.endswith(("xml", "opf", "xhtml")):
                ElementTree.fromstring(archive.read(entry))


@pytest.mark.parametrize("name", named(".zip"))
def test_what_is_in_an_archive_opens_as_well(name: str) -> None:
    with zipfile.ZipFile(io.BytesIO(read_file(name))) as archive:
        for entry in archive.namelist():
            data = archive.read(entry)
            match entry.rsplit(".", 1)[-1]:
                case "py":
                    compile(data, entry, "exec")
                case "svg":
                    ElementTree.fromstring(data)
                case "wav":
                    wave.open(io.BytesIO(data)).close()
                case "mid":
                    assert data.startswith(b"MThd")
                case "ttf":
                    assert data.startswith(b"\0\1\0\0")
                case "ods":
                    assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
                case _:
                    assert data.decode().strip()


@pytest.mark.parametrize("name", named(".png"))
def test_a_preview_is_a_png_of_640_by_400(name: str) -> None:
    data = read_file(name)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) == (640, 400)


@pytest.mark.parametrize("name", named(".svg"))
def test_a_drawing_is_svg(name: str) -> None:
    assert ElementTree.fromstring(read_file(name)).tag == "{http://www.w3.org/2000/svg}svg"


@pytest.mark.parametrize("name", named(".wav"))
def test_a_sound_is_some_seconds_of_wave(name: str) -> None:
    with wave.open(io.BytesIO(read_file(name))) as sound:
        assert 1 < sound.getnframes() / sound.getframerate() < 10


@pytest.mark.parametrize("name", named(".csv"))
def test_a_table_has_as_many_cells_in_every_row(name: str) -> None:
    assert len({line.count(",") for line in read_file(name).decode().splitlines()}) == 1


@pytest.mark.parametrize("name", named(".ttf"))
def test_a_font_is_truetype(name: str) -> None:
    assert read_file(name).startswith(b"\0\1\0\0")


# How it is loaded


class Request(NamedTuple):
    """One request as the store got it; `who` is the e-mail address of who sent it, or nothing."""

    who: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        parsed: dict[str, object] = json.loads(self.body, parse_float=Decimal)
        return parsed


class FakeStore:
    """Answers as the contract says, and remembers every request; `answers` replaces an answer by path pattern."""

    def __init__(self, answers: dict[str, tuple[int, str]]) -> None:
        self.answers = answers
        self.requests: list[Request] = []
        self.peers: set[object] = set()

    async def answer(self, got: web.Request) -> web.Response:
        self.peers.add(got.transport and got.transport.get_extra_info("peername"))
        who = got.headers.get("Authorization", "Bearer ").removeprefix("Bearer ")
        request = Request(who, got.method, got.path_qs, dict(got.headers), await got.read())
        self.requests.append(request)
        for pattern, (status, text) in self.answers.items():
            if re.fullmatch(pattern, f"{request.method} {request.path}"):
                return web.Response(status=status, text=text)
        status, body = self.contract(request, got.query.get("name", ""))
        return web.json_response(body, status=status)

    def contract(self, request: Request, name: str) -> tuple[int, dict[str, object]]:
        identifier = str(len(self.requests))
        match request.method, request.path.split("?")[0].strip("/").split("/"):
            case "POST", ["auth", "register"]:
                return 201, {"message": "welcome", "userId": identifier}
            case "POST", ["auth", "login"]:
                return 200, {"accessToken": request.json()["email"], "tokenType": "Bearer", "userId": identifier}
            case "POST", ["uploads"]:
                digest, kind = hashlib.sha256(request.body).hexdigest(), request.headers["Content-Type"]
                return 201, {"url": f"upload://{digest}", "name": name, "type": kind, "size": len(request.body)}
            case "POST", ["products"]:
                return 201, {"id": f"p{identifier}", "status": "active", "rating": {"average": None, "count": 0}}
            case "POST", ["orders"]:
                return 202, {"message": "accepted", "orderId": f"o{identifier}", "status": "pending"}
            case "GET", ["orders", order_id]:
                return 200, {"id": order_id, "status": "completed"}
            case "POST", ["products", _, "reviews"]:
                return 201, {"id": f"r{identifier}"}
            case "POST", ["products", _, "reviews", _, "reply"]:
                return 201, {}
            case _:
                return 404, {"title": "no such thing"}

    def to(self, method: str, pattern: str) -> list[Request]:
        return [r for r in self.requests if r.method == method and re.fullmatch(pattern, r.path)]


@asynccontextmanager
async def opened(answers: dict[str, tuple[int, str]] | None = None) -> AsyncIterator[tuple[FakeStore, str]]:
    """A store that is open, and its address."""
    store = FakeStore(answers or {})
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", store.answer)
    async with TestServer(app) as server:
        yield store, str(server.make_url("/"))


async def loaded() -> FakeStore:
    """A store that has been given the sample."""
    async with opened() as (store, address):
        await load_sample(address, PASSWORD)
    return store


@pytest.mark.asyncio
async def test_it_says_what_the_store_was_given() -> None:
    async with opened() as (_, address):
        counts = await load_sample(address, PASSWORD)
    assert counts == Counts(sellers=6, buyers=10, products=32, purchases=40, reviews=26, replies=1)


@pytest.mark.asyncio
async def test_an_address_without_a_slash_at_its_end_will_do() -> None:
    async with opened() as (store, address):
        await load_sample(address.rstrip("/"), PASSWORD)
    assert len(store.to("POST", "/products")) == len(CATALOGUE.products)


@pytest.mark.asyncio
async def test_everybody_registers_in_their_role_with_the_given_password() -> None:
    bodies = [request.json() for request in (await loaded()).to("POST", "/auth/register")]
    assert {body["email"]: body["role"] for body in bodies} == {
        **{person.email: "seller" for person in CATALOGUE.sellers},
        **{person.email: "buyer" for person in CATALOGUE.buyers},
    }
    assert {body["password"] for body in bodies} == {PASSWORD}


@pytest.mark.asyncio
async def test_nobody_signs_in_before_they_have_registered() -> None:
    store = await loaded()
    for person in PEOPLE:
        mine = [r.path for r in store.to("POST", "/auth/.*") if r.json()["email"] == person.email]
        assert mine == ["/auth/register", "/auth/login"]


@pytest.mark.asyncio
async def test_the_bytes_that_arrive_are_those_of_the_file_under_its_name_and_type() -> None:
    uploads = (await loaded()).to("POST", "/uploads.*")
    assert sorted(r.path for r in uploads) == [f"/uploads?name={name}" for name in NAMES]
    for request in uploads:
        name = request.path.removeprefix("/uploads?name=")
        assert (request.body, request.headers["Content-Type"]) == (read_file(name), media_type(name))


@pytest.mark.asyncio
async def test_a_seller_uploads_the_files_of_a_product_and_then_lists_it() -> None:
    store = await loaded()
    for seller in CATALOGUE.sellers:
        paths = [r.path for r in store.to("POST", "/uploads.*|/products") if r.who == seller.email]
        expected = []
        for product in CATALOGUE.offered_by(seller):
            expected += [f"/uploads?name={name}" for name in (*product.files, *product.previews)]
            expected.append("/products")
        assert paths == expected


@pytest.mark.asyncio
async def test_a_product_is_listed_as_the_catalogue_has_it() -> None:
    bodies = {request.json()["title"]: request for request in (await loaded()).to("POST", "/products")}
    sent, product = bodies["Market Day Posters"], PRODUCTS["market-day"]
    archive, picture = read_file("market-day-posters.zip"), read_file("market-day-posters.png")
    assert sent.headers["Content-Type"] == "application/json"
    assert sent.json() == {
        "title": "Market Day Posters",
        "description": product.description,
        "price": Decimal("18.00"),
        "currency": "USD",
        "category": "design-templates",
        "files": [
            {
                "name": "market-day-posters.zip",
                "type": "application/zip",
                "size": len(archive),
                "url": f"upload://{hashlib.sha256(archive).hexdigest()}",
            }
        ],
        "previews": [
            {
                "name": "market-day-posters.png",
                "type": "image/png",
                "url": f"upload://{hashlib.sha256(picture).hexdigest()}",
            }
        ],
        "stock": 40,
    }


@pytest.mark.asyncio
async def test_stock_and_licence_keys_are_only_sent_where_there_are_any() -> None:
    for request in (await loaded()).to("POST", "/products"):
        body = request.json()
        product = next(p for p in CATALOGUE.products if p.title == body["title"])
        assert body.get("stock") == product.stock
        assert body.get("licenceKeys") == (list(product.licence_keys) or None)


@pytest.mark.asyncio
async def test_a_buyer_waits_for_each_order_before_the_next() -> None:
    store = await loaded()
    for buyer in CATALOGUE.buyers:
        methods = [r.method for r in store.requests if r.who == buyer.email and r.path.startswith("/orders")]
        assert methods == ["POST", "GET"] * len(CATALOGUE.bought_by(buyer))


@pytest.mark.asyncio
async def test_an_order_is_paid_with_the_sandbox_visa_and_waited_for() -> None:
    store = await loaded()
    assert {r.json()["paymentMethodId"] for r in store.to("POST", "/orders")} == {"pm_card_visa"}
    assert {r.headers["Prefer"] for r in store.to("GET", "/orders/.*")} == {"wait=10"}


@pytest.mark.asyncio
async def test_a_review_is_written_by_its_buyer_in_the_words_of_the_catalogue() -> None:
    sent = [(r.who, r.json()) for r in (await loaded()).to("POST", "/products/[^/]+/reviews")]
    for buyer in CATALOGUE.buyers:
        reviews = [purchase.review for purchase in CATALOGUE.bought_by(buyer) if purchase.review]
        expected = [{"rating": r.rating, "title": r.title, "body": r.body} for r in reviews]
        assert [body for who, body in sent if who == buyer.email] == expected


@pytest.mark.asyncio
async def test_a_reply_is_written_by_the_seller_of_the_product() -> None:
    (reply,) = (await loaded()).to("POST", "/products/[^/]+/reviews/[^/]+/reply")
    assert reply.who == "quarry.tools@sample.example"
    assert str(reply.json()["body"]).startswith("Fair point")


@pytest.mark.asyncio
async def test_it_opens_as_many_connections_as_it_may_and_no_more() -> None:
    async with opened() as (store, address):
        await load_sample(address, PASSWORD, requests_open_max=3)
    assert len(store.peers) == 3


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/auth/register", 429),
        ("POST", "/auth/login", 401),
        ("POST", "/uploads?name=pond-edges.pdf", 413),
        ("POST", "/products", 400),
        ("POST", "/orders", 503),
    ],
)
async def test_an_unexpected_status_is_told_with_method_path_status_and_body(
    method: str, path: str, status: int
) -> None:
    async with opened({re.escape(f"{method} {path}"): (status, "not today")}) as (_, address):
        with pytest.raises(SampleFailed) as failed:
            await load_sample(address, PASSWORD)
    error = failed.value
    assert (error.method, error.path, error.status, error.body) == (method, path, status, "not today")
    assert f"{method} {path}" in str(error) and f"{status}: not today" in str(error)


@pytest.mark.asyncio
async def test_a_success_of_another_kind_is_unexpected_too() -> None:
    async with opened({"POST /orders": (200, "{}")}) as (_, address):
        with pytest.raises(SampleFailed) as failed:
            await load_sample(address, PASSWORD)
    assert "was to answer 202, but answered 200" in str(failed.value)


@pytest.mark.asyncio
async def test_an_order_that_is_not_completed_stops_it() -> None:
    async with opened({"GET /orders/.*": (200, '{"status": "failed", "failureReason": "declined"}')}) as (_, address):
        with pytest.raises(SampleFailed) as failed:
            await load_sample(address, PASSWORD)
    assert "completed order" in str(failed.value) and "declined" in str(failed.value)


@pytest.mark.asyncio
async def test_an_order_that_stays_pending_is_waited_for_and_then_stops_it() -> None:
    async with opened({"GET /orders/.*": (200, '{"status": "pending"}')}) as (store, address):
        with pytest.raises(SampleFailed) as failed:
            await load_sample(address, PASSWORD)
    assert len(store.to("GET", re.escape(failed.value.path))) == ORDER_WAITS_MAX


@pytest.mark.asyncio
async def test_a_long_answer_is_cut_in_the_message_and_whole_in_the_error() -> None:
    async with opened({"POST /auth/register": (500, "x" * 10_000)}) as (_, address):
        with pytest.raises(SampleFailed) as failed:
            await load_sample(address, PASSWORD)
    assert len(str(failed.value)) < 600
    assert len(failed.value.body) == 10_000


@pytest.mark.asyncio
async def test_after_a_failed_upload_nothing_is_bought() -> None:
    async with opened({"POST /uploads.*": (503, "full")}) as (store, address):
        with pytest.raises(SampleFailed):
            await load_sample(address, PASSWORD)
    assert store.to("POST", "/orders") == []


# How it goes on


KNOWN: dict[str, tuple[int, str]] = {
    "POST /auth/register": (409, "taken"),
    "POST /auth/login": (200, '{"accessToken": "token", "userId": "u1"}'),
}
LISTED = json.dumps({"products": [{"id": f"p{n}", "title": p.title} for n, p in enumerate(CATALOGUE.products)]})


def ordered(status: str) -> str:
    orders = [{"id": f"o{n}", "productId": f"p{n}", "status": status} for n in range(len(CATALOGUE.products))]
    return json.dumps({"orders": orders})


@pytest.mark.asyncio
async def test_what_is_there_already_is_not_made_again() -> None:
    there = {
        r"GET /products\?.*": (200, LISTED),
        r"GET /orders\?.*": (200, ordered("completed")),
        "POST /products/[^/]+/reviews": (409, "reviewed"),
        r"GET /products/[^/]+/reviews\?.*": (200, '{"reviews": [{"id": "r1", "authorId": "u1"}]}'),
    }
    async with opened(KNOWN | there) as (store, address):
        await load_sample(address, PASSWORD)

    assert [] == store.to("POST", r"/products|/uploads.*|/orders")
    assert ["r1"] == [r.path.split("/")[4] for r in store.to("POST", ".*/reply")]


@pytest.mark.asyncio
async def test_an_order_that_failed_is_placed_again() -> None:
    there = {r"GET /products\?.*": (200, LISTED), r"GET /orders\?.*": (200, ordered("failed"))}
    async with opened(KNOWN | there) as (store, address):
        await load_sample(address, PASSWORD)

    assert len(CATALOGUE.purchases) == len(store.to("POST", "/orders"))


@pytest.mark.asyncio
async def test_of_who_is_new_nothing_is_looked_for() -> None:
    assert [] == [request.path for request in (await loaded()).to("GET", ".*") if "?" in request.path]
