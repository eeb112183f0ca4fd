"""
Fills an empty store with the sample catalogue, by the HTTP requests that users would send.

The one rule: nothing reaches the store except by its public API, so a store that holds the sample has accepted every
request of it. The people and products are in `catalogue.toml`. Loading may be killed and repeated: a user whose account
exists looks up what they have listed, bought and reviewed, and does the rest.
"""

from asyncio import TaskGroup
from collections.abc import Coroutine
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from aiohttp import ClientSession, ClientTimeout, TCPConnector

from marketd.config.sample.catalogue import (
    Catalogue,
    Person,
    Product,
    Review,
    media_type,
    read_catalogue,
    read_file,
)

TAKEN: Final = 409
PAYMENT_METHOD: Final = "pm_card_visa"
ORDER_WAIT_S_MAX: Final = 10
ORDER_WAITS_MAX: Final = 6
ANSWER_WAIT_S_MAX: Final = 30.0
SHOWN_BODY_CHARS_MAX: Final = 500
ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
T = TypeVar("T")


class Counts(NamedTuple):
    """What was put into the store."""

    sellers: int
    buyers: int
    products: int
    purchases: int
    reviews: int
    replies: int


class SampleFailed(Exception):
    """The store gave another response than the sample needs; the message shows the beginning of the body."""

    def __init__(self, method: str, path: str, status: int, body: str, expected: str) -> None:
        said = body[:SHOWN_BODY_CHARS_MAX]
        super().__init__(f"sample: {method} {path} was to answer {expected}, but answered {status}: {said}")
        self.method, self.path, self.status, self.body, self.expected = method, path, status, body, expected


class Upload(msgspec.Struct, frozen=True):
    """What the store says of a file that it has stored."""

    url: str
    name: str
    type: str
    size: int


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """The few fields, of all responses, that the sample needs."""

    id: str = ""
    order_id: str = ""
    user_id: str = ""
    access_token: str = ""
    status: str = ""


class Entry(msgspec.Struct, frozen=True, rename="camel"):
    """The few fields of an entry of a list: of a product, an order or a review."""

    id: str
    title: str = ""
    product_id: str = ""
    author_id: str = ""
    status: str = ""


class Entries(msgspec.Struct, frozen=True):
    """A list; no sample account fills a page of it."""

    products: list[Entry] = []
    orders: list[Entry] = []
    reviews: list[Entry] = []


class Visitor(NamedTuple):
    """A client of the store; signed in if there is a token, known if the account existed before."""

    http: ClientSession
    token: str = ""
    user_id: str = ""
    is_known: bool = False

    async def call(self, method: str, path: str, expected: int, body: bytes | None = None, **headers: str) -> bytes:
        """Send one request and give the response's body; raise SampleFailed at any status but the expected one."""
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.http.request(method, path, data=body, headers=named) as answer:
            said = await answer.read()
            if answer.status != expected:
                raise SampleFailed(method, path, answer.status, said.decode(errors="replace"), str(expected))
            return said

    async def post(self, path: str, body: dict[str, Any], expected: int = 201, **headers: str) -> Answer:
        headers["Content_Type"] = "application/json"
        said = await self.call("POST", path, expected, ENCODER.encode(body), **headers)
        return msgspec.json.decode(said, type=Answer)

    async def lists(self, path: str) -> Entries:
        return msgspec.json.decode(await self.call("GET", path, 200), type=Entries)

    async def upload(self, name: str) -> Upload:
        # The names of sample files need no quoting, which a test checks.
        path = f"/uploads?name={name}"
        said = await self.call("POST", path, 201, read_file(name), Content_Type=media_type(name))
        return msgspec.json.decode(said, type=Upload)


async def load_sample(base_url: str, password: str, *, requests_open_max: int = 8) -> Counts:
    """
    Fill the store at `base_url` with the sample catalogue, and count what was put into it.

    All sample accounts get the one password, which has to satisfy the store's own rule. Raises SampleFailed at the
    first unexpected response, and aiohttp.ClientError where there is none; what the store has accepted stays in it.
    """
    catalogue = read_catalogue()
    timeout = ClientTimeout(total=None, sock_connect=ANSWER_WAIT_S_MAX, sock_read=ANSWER_WAIT_S_MAX)
    # A request that finds no free connection waits for one. The server is this process, whatever name its certificate
    # has.
    connector = TCPConnector(limit=requests_open_max, ssl=False)
    async with ClientSession(base_url, connector=connector, timeout=timeout) as http:
        visitors = await sign_in_all(Visitor(http), catalogue, password)
        shelves = await together(*(offer(visitors[s.handle], catalogue.offered_by(s)) for s in catalogue.sellers))
        ids = {key: product_id for shelf in shelves for key, product_id in shelf.items()}
        await together(*(shop(visitors, b, catalogue, ids) for b in catalogue.buyers))
    return count(catalogue)


async def sign_in_all(door: Visitor, catalogue: Catalogue, password: str) -> dict[str, Visitor]:
    """Register and sign in all users; give them by their handles."""
    sellers = [sign_in(door, person, "seller", password) for person in catalogue.sellers]
    buyers = [sign_in(door, person, "buyer", password) for person in catalogue.buyers]
    people = [*catalogue.sellers, *catalogue.buyers]
    signed_in = await together(*sellers, *buyers)
    return {person.handle: visitor for person, visitor in zip(people, signed_in, strict=True)}


async def sign_in(door: Visitor, person: Person, role: str, password: str) -> Visitor:
    account = {"email": person.email, "password": password}
    try:
        await door.post("/auth/register", {**account, "name": person.name, "role": role})
        is_known = False
    except SampleFailed as failed:
        if failed.status != TAKEN:
            raise
        is_known = True
    answer = await door.post("/auth/login", account, 200)
    return Visitor(door.http, answer.access_token, answer.user_id, is_known)


async def offer(seller: Visitor, products: list[Product]) -> dict[str, str]:
    """List the products one after another, except those that exist, and give their ids by their keys."""
    there = (await seller.lists(f"/products?seller={seller.user_id}&size=100")).products if seller.is_known else []
    ids = {entry.title: entry.id for entry in there}
    return {product.key: ids.get(product.title) or await list_product(seller, product) for product in products}


async def list_product(seller: Visitor, product: Product) -> str:
    """Upload the product's files, list it, and give its id."""
    sold = [await seller.upload(name) for name in product.files]
    shown = [await seller.upload(name) for name in product.previews]
    body: dict[str, Any] = {
        "title": product.title,
        "description": product.description,
        "price": product.price,
        "currency": product.currency,
        "category": product.category,
        "files": [{"name": f.name, "type": f.type, "size": f.size, "url": f.url} for f in sold],
        "previews": [{"name": p.name, "type": p.type, "url": p.url} for p in shown],
    }
    if product.stock is not None:
        body["stock"] = product.stock
    if product.licence_keys:
        body["licenceKeys"] = product.licence_keys
    return (await seller.post("/products", body)).id


async def shop(visitors: dict[str, Visitor], person: Person, catalogue: Catalogue, ids: dict[str, str]) -> None:
    """Make one buyer's purchases in their order, each reviewed before the next."""
    buyer, seller_of = visitors[person.handle], {p.key: visitors[p.seller] for p in catalogue.products}
    there = (await buyer.lists("/orders?size=100")).orders if buyer.is_known else []
    orders = {entry.product_id: entry.id for entry in there if entry.status != "failed"}
    for purchase in catalogue.bought_by(person):
        product_id = ids[purchase.product]
        await complete(buyer, orders.get(product_id) or await buy(buyer, product_id))
        if purchase.review is not None:
            await review(buyer, seller_of[purchase.product], ids[purchase.product], purchase.review)


async def buy(buyer: Visitor, product_id: str) -> str:
    """Place the order, or the same one again if an earlier filling was interrupted; give its id."""
    wanted = {"productId": product_id, "paymentMethodId": PAYMENT_METHOD}
    return (await buyer.post("/orders", wanted, 202, Idempotency_Key=f"sample-{product_id}")).order_id


async def complete(buyer: Visitor, order_id: str) -> None:
    """Wait until the order is completed."""
    path = f"/orders/{order_id}"
    for _ in range(ORDER_WAITS_MAX):  # a disk that is busy for others may stand still for longer than one wait
        said = await buyer.call("GET", path, 200, Prefer=f"wait={ORDER_WAIT_S_MAX}")
        status = msgspec.json.decode(said, type=Answer).status
        if status != "pending":
            break
    if status != "completed":
        raise SampleFailed("GET", path, 200, said.decode(), "with a completed order")


async def review(buyer: Visitor, seller: Visitor, product_id: str, said: Review) -> None:
    """Write the buyer's review, and the seller's reply if there is one."""
    path = f"/products/{product_id}/reviews"
    try:
        review_id = (await buyer.post(path, {"rating": said.rating, "title": said.title, "body": said.body})).id
    except SampleFailed as failed:
        if not (failed.status == TAKEN and buyer.is_known):
            raise
        there = (await buyer.lists(f"{path}?size=100")).reviews
        review_id = next(entry.id for entry in there if entry.author_id == buyer.user_id)
    if said.reply is not None:
        await seller.post(f"{path}/{review_id}/reply", {"body": said.reply})


async def together(*errands: Coroutine[Any, Any, T]) -> list[T]:
    """Run coroutines concurrently and give their results in order; raise the first failure, not a group of them."""
    try:
        async with TaskGroup() as group:
            tasks = [group.create_task(errand) for errand in errands]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


def count(catalogue: Catalogue) -> Counts:
    reviews = [p.review for p in catalogue.purchases if p.review is not None]
    made = len(catalogue.products), len(catalogue.purchases), len(reviews)
    replies = sum(said.reply is not None for said in reviews)
    return Counts(len(catalogue.sellers), len(catalogue.buyers), *made, replies)
