"""What is there when all has come to rest: as people see it, as the processor's ledger has it, and as `verify` says."""

import asyncio
import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from tests.crash.told import Told
from tests.journeys.people import Json, Person, Visitor
from tests.journeys.process import marketd

REST_S_MAX: Final = 90.0  # an order may wait for a breaker to close
FOUND_S_MAX: Final = 30.0  # the index may have to be made again
SAMPLED: Final = 40


class Charge(NamedTuple):
    """A line of the ledger: what was asked for an order, and what became of it."""

    order_id: str
    minor: int
    currency: str
    outcome: str


class PaidBack(NamedTuple):
    order_id: str
    outcome: str


@dataclass
class Seen:
    """All of it, at one moment at which nothing happens."""

    bought: dict[str, list[Json]] = field(default_factory=dict)  # orders, by buyer
    sold: dict[str, list[Json]] = field(default_factory=dict)  # orders, by seller
    libraries: dict[str, list[Json]] = field(default_factory=dict)
    actors: dict[str, Json] = field(default_factory=dict)  # orders as they say themselves, some of them
    histories: dict[str, list[Json]] = field(default_factory=dict)  # their events
    products: dict[str, Json] = field(default_factory=dict)
    found: set[str] = field(default_factory=set)  # products that the index knows
    reviews: dict[str, Json] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=dict)  # user ids of those who can sign in, by e-mail
    alerts: dict[str, str] = field(default_factory=dict)  # their state, by order
    charges: list[Charge] = field(default_factory=list)
    paid_back: list[PaidBack] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)  # the faults that `marketd verify` finds
    unready: list[str] = field(default_factory=list)  # what keeps the service from being ready

    @property
    def orders(self) -> dict[str, Json]:
        """Every order, as its buyer sees it."""
        return {order["id"]: order for orders in self.bought.values() for order in orders}


async def wait_rest(visitor: Visitor) -> list[str]:
    """Wait until no order is open, nothing set aside, and the read models are there; say what is not so at last."""
    try:
        async with asyncio.timeout(REST_S_MAX):
            while unready := await _unready(visitor):
                await asyncio.sleep(0.05)
    except TimeoutError:
        return unready
    return []


async def _unready(visitor: Visitor) -> list[str]:
    answer = await visitor.get("/readyz")
    parts = answer.json["parts"]
    unready = [] if answer.status == 200 else [f"/readyz: {answer}"]
    if parts["fulfilment"]["open_orders"]:
        unready.append(f"open orders: {parts['fulfilment']['open_orders']}")
    if parts["fulfilment"]["claims"]:
        unready.append(f"set aside for nobody: {parts['fulfilment']['claims']}")
    if parts["readModels"]["behind"]:
        unready.append(f"the read models are behind: {parts['readModels']['behind']}")
    return unready


async def look(visitor: Visitor, people: list[Person], admin: Person, told: Told, data: Path, passwords: str) -> Seen:
    """Look at everything, once nothing happens any more."""
    seen = Seen(unready=await wait_rest(visitor))
    for person in people:
        seen.names[person.user_id] = (await person.get("/auth/me")).expect(200)["name"]
        seen.bought[person.user_id] = await person.lists("/orders", "orders")
        seen.sold[person.user_id] = await person.lists("/orders?as=seller", "orders")
        seen.libraries[person.user_id] = await person.lists("/library", "products")
    for alert in await admin.lists("/admin/alerts", "alerts"):
        seen.alerts[alert["orderId"]] = alert["status"]
    for product_id in told.listings:
        seen.products[product_id] = (await visitor.get(f"/products/{product_id}")).expect(200)
    by_id = {person.user_id: person for person in people}
    for order in list(seen.orders.values())[-SAMPLED:]:
        buyer = by_id[order["buyerId"]]
        seen.actors[order["id"]] = await buyer.sees(order["id"])
        seen.histories[order["id"]] = (await buyer.get(f"/orders/{order['id']}/events")).expect(200)["events"]
    await _look_at_reviews(visitor, told, seen)
    await _sign_in(visitor, told, seen, passwords)
    seen.found = await _find(visitor, told)
    seen.charges, seen.paid_back = read_ledger(data)
    seen.verified = await verify(data)
    return seen


async def _look_at_reviews(visitor: Visitor, told: Told, seen: Seen) -> None:
    for product_id in dict.fromkeys(review.product_id for review in told.reviews.values()):
        for review in await visitor.lists(f"/products/{product_id}/reviews", "reviews"):
            seen.reviews[review["id"]] = review


async def _sign_in(visitor: Visitor, told: Told, seen: Seen, password: str) -> None:
    """Let those sign in who were told last that they have an account."""
    for email in list(told.accounts)[-SAMPLED:]:
        answer = await visitor.post("/auth/login", {"email": email, "password": password})
        seen.accounts[email] = answer.json.get("userId", f"{answer}")


async def _find(visitor: Visitor, told: Told) -> set[str]:
    """Ask the index for all that it has, until it has what people were told of; or what it has at last."""
    found = set[str]()
    try:
        async with asyncio.timeout(FOUND_S_MAX):
            while not found >= told.listings.keys():
                await asyncio.sleep(0.05)
                source = (await visitor.get("/products?size=1")).headers["X-Data-Source"]
                listed = await visitor.lists("/products?sort=newest", "products")
                found = {product["id"] for product in listed} if source == "index" else set()
    except TimeoutError:
        pass
    return found


def read_ledger(data: Path) -> tuple[list[Charge], list[PaidBack]]:
    """Read the sandbox processor's books."""
    with closing(sqlite3.connect(f"file:{data}/sandbox.db?mode=ro", uri=True)) as books:
        charges = books.execute("SELECT order_id, minor, currency, outcome FROM charges ORDER BY at").fetchall()
        paid_back = books.execute("SELECT order_id, outcome FROM refunds ORDER BY at").fetchall()
    return [Charge(*row) for row in charges], [PaidBack(*row) for row in paid_back]


async def verify(data: Path) -> list[str]:
    """Give the faults that `marketd verify` finds."""
    done = await marketd("verify", "--files", "--models", "--json", "--data", str(data))
    if done.err or not done.out:
        return [f"verify ended with {done.code}: {done.err}"]
    report = json.loads(done.out)
    faults = [str(fault) for fault in report["faults"]]
    return faults if done.code == (1 if faults else 0) else [*faults, f"verify ended with {done.code}"]
