"""
Sellers and buyers who use the service all the time, whatever happens to it, and note what they are told.

What each of them does is drawn from the seed of the round; when it happens, and what comes of it, is up to the machine.
"""

import asyncio
import random
from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple

import aiohttp
from aiohttp import ClientSession

from tests.crash.told import Bought, Listing, Repeat, Reviewed, Text, Told
from tests.journeys.people import PASSWORD, Answer, Json, Person, Visitor, together
from tests.journeys.process import Service

SELLERS: Final = 3
BUYERS: Final = 10
PAUSE_S_MAX: Final = 0.05  # between two things that somebody does
ALONE_S: Final = 0.05  # before somebody who got no answer tries something else
CARDS: Final = ("pm_card_visa",) * 5 + ("pm_card_mastercard", "pm_card_chargeDeclined", "pm_card_refundFail")
REPEATED: Final = 20  # requests that were answered are sent again, so many a time
LOST: Final = (aiohttp.ClientError, ConnectionError, TimeoutError)
NO_ANSWER: Final = 0


class Errand(NamedTuple):
    """Something to ask for: what may be answered, and what is to be noted of an answer that is as wanted."""

    who: str
    method: str
    path: str
    body: Json | None
    note: Callable[[Answer], None]
    wanted: int
    refusals: tuple[int, ...] = ()
    key: str | None = None
    data: bytes | None = None


class Town:
    """Everybody, over all lives of one data directory."""

    def __init__(self, session: ClientSession) -> None:
        self.told = Told()
        self.people: dict[str, Person] = {}  # by user id
        self._session = session
        self._sellers: list[str] = []
        self._buyers: list[str] = []
        self._uploads: dict[str, list[Json]] = {}
        self._links: list[tuple[str, str]] = []  # to downloads: the path, and the digest of what is there
        self._keyed: list[tuple[Errand, Answer | None]] = []
        self._count = 0

    # Coming and going.

    async def settle(self, service: Service) -> None:
        """Make the accounts."""
        visitor = Visitor(service, self._session)
        for role, count, ids in (("seller", SELLERS, self._sellers), ("buyer", BUYERS, self._buyers)):
            for person in await together(visitor.joins(role) for _ in range(count)):
                self.people[person.user_id] = person
                self.told.names[person.user_id] = Text([(await person.get("/auth/me")).expect(200)["name"]])
                ids.append(person.user_id)

    async def move(self, service: Service) -> None:
        """Come to the next life of the service, and sign in anew."""
        visitor = Visitor(service, self._session)
        signed_in = await together(visitor.signs_in(person.email, PASSWORD) for person in self.people.values())
        self.people = {person.user_id: person for person in signed_in}

    async def refresh(self, service: Service) -> None:
        """Come to the next life of the service with the sessions of the last one."""
        for user_id, person in self.people.items():
            pair = await person.at(service).refreshes()
            if pair.status == 200:
                self.people[user_id] = Person(service, self._session, pair.json, person.email)
            else:
                self.told.defect(f"a session can't be gone on with: {pair}")

    async def live(self, service: Service, enough: asyncio.Event, chance: random.Random) -> None:
        """Let everybody do what they do, until it is enough or the service is dead."""
        async with asyncio.TaskGroup() as crowd:
            for user_id in self.people:
                crowd.create_task(self._live(user_id, random.Random(chance.random()), service, enough))

    async def _live(self, user_id: str, chance: random.Random, service: Service, enough: asyncio.Event) -> None:
        acts = self._seller_acts if user_id in self._sellers else self._buyer_acts
        while not enough.is_set() and not service.has_ended:
            errand = acts(user_id, chance)
            if errand is None or await self._run(errand) is None:
                await asyncio.sleep(ALONE_S)
            await asyncio.sleep(chance.uniform(0, PAUSE_S_MAX))

    async def repeat(self, chance: random.Random) -> None:
        """Send again what got no answer under its key, and some of what got one."""
        open_ones = [at for at, (_, first) in enumerate(self._keyed) if first is None]
        answered = [at for at, (_, first) in enumerate(self._keyed) if first is not None]
        for at in [*open_ones, *chance.sample(answered, min(REPEATED, len(answered))), *open_ones]:
            errand, first = self._keyed[at]
            answer = await self._ask(errand)
            if answer is None or answer.status >= 500:
                self.told.defect(f"{errand.method} {errand.path} is not answered again: {answer}")
            elif first is None:
                self._keyed[at] = (errand, answer)
                self._weigh(errand, answer)
            else:
                assert errand.key is not None
                told, now = (first.status, first.body), (answer.status, answer.body)
                self.told.repeats.append(Repeat(f"{errand.path} {errand.key}", told, now))

    async def writes(self) -> Answer:
        """Change something, for the sake of the answer."""
        errand = self._rename(self._sellers[0])
        return await self.people[errand.who].ask(errand.method, errand.path, errand.body)

    async def uploads(self) -> Answer:
        """Upload something new, for the sake of the answer."""
        seller, data = self.people[self._sellers[0]], random.Random(self._number()).randbytes(100_000)
        return await seller.ask("POST", "/uploads?name=new.bin", data=data, headers={"Content-Type": "application/zip"})

    async def reads(self) -> list[tuple[str, Answer]]:
        """Read what everybody and what one alone may read, for the sake of the answers."""
        person = self.people[self._sellers[0]]
        paths = ["/products?size=5", "/orders?as=seller&size=5", "/library", "/auth/me"]
        paths += [f"/products/{product_id}" for product_id in list(self.told.listings)[:1]]
        return [(path, await person.get(path)) for path in paths]

    def know(self, names: dict[str, str], descriptions: dict[str, str]) -> None:
        """Note what the texts are, now that somebody has looked and nothing is under way any more."""
        for texts, now in ((self.told.names, names), (self.told.descriptions, descriptions)):
            for name, text in now.items():
                texts[name].hold(text)

    # What sellers do.

    def _seller_acts(self, seller_id: str, chance: random.Random) -> Errand | None:
        own = [listing.product_id for listing in self.told.listings.values() if listing.seller_id == seller_id]
        match chance.choices(("upload", "list", "refund", "revise", "rename"), (2, 3, 4, 2, 1))[0]:
            case "list" if self._uploads.get(seller_id):
                return self._list(seller_id, chance)
            case "refund":
                return self._refund(seller_id, set(own), chance)
            case "revise" if own:
                return self._revise(seller_id, chance.choice(own))
            case "rename":
                return self._rename(seller_id)
            case _:
                return self._upload(seller_id, chance)

    def _upload(self, seller_id: str, chance: random.Random) -> Errand:
        data, key = chance.randbytes(chance.choice([10, 5_000, 300_000])), self._key(chance)

        def note(answer: Answer) -> None:
            self._uploads.setdefault(seller_id, []).append(answer.json)

        path = f"/uploads?name=work-{self._number()}.bin"
        return Errand(seller_id, "POST", path, None, note, 201, key=key, data=data)

    def _list(self, seller_id: str, chance: random.Random) -> Errand:
        number = self._number()
        title = f"Song {number} of wind"
        stock, keys = chance.choice([None, None, 1, 3, 8]), list[str]()
        if chance.random() < 0.3:
            keys = [f"key-{number}-{n}" for n in range(chance.choice([1, 4, 9]))]
            stock = None if stock is None else min(stock, len(keys))
        cents, file = chance.randrange(100, 100_000), chance.choice(self._uploads[seller_id])
        body = {
            "title": title,
            "description": "At first.",
            "price": cents / 100,
            "category": chance.choice(["sound", "fonts", "books"]),
            "files": [file],
            "stock": stock,
            "licenceKeys": keys,
        }
        left, digest = len(keys) if keys and stock is None else stock, file["url"].removeprefix("upload://")

        def note(answer: Answer) -> None:
            listing = Listing(answer.json["id"], seller_id, title, cents, left, frozenset(keys), digest)
            self.told.listings[listing.product_id] = listing
            self.told.descriptions[listing.product_id] = Text(["At first."])

        return Errand(seller_id, "POST", "/products", body, note, 201, key=self._key(chance))

    def _refund(self, seller_id: str, own: set[str], chance: random.Random) -> Errand | None:
        sales = [order.order_id for order in self.told.orders.values() if order.product_id in own]
        sales = [order_id for order_id in sales[-30:] if order_id not in self.told.refunds]
        if not sales:
            return None
        order_id = chance.choice(sales)
        self.told.asked_refunds.add(order_id)

        def note(answer: Answer) -> None:
            self.told.refunds.add(order_id)

        path, body = f"/orders/{order_id}/refund", {"reason": "It was out of tune."}
        return Errand(seller_id, "POST", path, body, note, 202, (409,), self._key(chance))

    def _revise(self, seller_id: str, product_id: str) -> Errand:
        text, told = f"Revised for the {self._number()}th time.", self.told.descriptions[product_id]
        told.try_(text)
        body: Json = {"description": text}
        return Errand(seller_id, "PATCH", f"/products/{product_id}", body, lambda _: told.hold(text), 200)

    # What buyers do.

    def _buyer_acts(self, buyer_id: str, chance: random.Random) -> Errand | None:
        own = [order for order in self.told.orders.values() if order.buyer_id == buyer_id]
        match chance.choices(("buy", "wait", "review", "download", "rename", "search", "join"), (8, 3, 3, 2, 1, 1, 1))[
            0
        ]:
            case "wait" if own:
                path = f"/orders/{chance.choice(own[-5:]).order_id}"
                return Errand(buyer_id, "GET", path, None, _nothing, 200)
            case "review" if own:
                return self._review(buyer_id, chance.choice(own).product_id, chance)
            case "link" if own:
                return self._link(buyer_id, chance.choice(own))
            case "download" if self._links:
                return self._download(buyer_id, *chance.choice(self._links))
            case "rename":
                return self._rename(buyer_id)
            case "search":
                path = f"/products?q=song+{chance.randrange(1, 100)}"
                return Errand(buyer_id, "GET", path, None, _nothing, 200)
            case "join":
                return self._join(buyer_id, chance)
            case _:
                return self._buy(buyer_id, chance)

    def _buy(self, buyer_id: str, chance: random.Random) -> Errand | None:
        if not self.told.listings:
            return None
        product_id, key = chance.choice(list(self.told.listings)[-40:]), self._key(chance)
        body = {"productId": product_id, "paymentMethodId": chance.choice(CARDS)}

        def note(answer: Answer) -> None:
            order_id = answer.json["orderId"]
            self.told.orders[order_id] = Bought(order_id, buyer_id, product_id)

        return Errand(buyer_id, "POST", "/orders", body, note, 202, (409,), key)

    def _link(self, buyer_id: str, order: Bought) -> Errand:
        def note(answer: Answer) -> None:
            url = self.people[buyer_id].service.url
            path = answer.json["downloads"][0]["url"].removeprefix(url)
            self._links.append((path, self.told.listings[order.product_id].digest))

        return Errand(buyer_id, "GET", f"/orders/{order.order_id}/downloads", None, note, 200, (403, 409))

    def _download(self, buyer_id: str, path: str, digest: str) -> Errand:
        def note(answer: Answer) -> None:
            if (found := sha256(answer.body).hexdigest()) != digest:
                self.told.defect(f"{path} has {len(answer.body)} bytes of {found}, not those of {digest}")

        return Errand(buyer_id, "GET", path, None, note, 200, (410,))

    def _review(self, buyer_id: str, product_id: str, chance: random.Random) -> Errand:
        rating, text = chance.randrange(1, 6), f"Heard {self._number()} times."

        def note(answer: Answer) -> None:
            review_id = answer.json["id"]
            self.told.reviews[review_id] = Reviewed(review_id, product_id, rating, text)

        path, body = f"/products/{product_id}/reviews", {"rating": rating, "body": text}
        return Errand(buyer_id, "POST", path, body, note, 201, (403, 409), self._key(chance))

    def _join(self, who: str, chance: random.Random) -> Errand:
        email = f"new-{self._number()}@example.org"
        body = {"email": email, "password": PASSWORD, "name": "New", "role": "buyer"}

        def note(answer: Answer) -> None:
            self.told.accounts[email] = answer.json["userId"]

        return Errand(who, "POST", "/auth/register", body, note, 201, key=self._key(chance))

    def _rename(self, user_id: str) -> Errand:
        name, told = f"Number {self._number()}", self.told.names[user_id]
        told.try_(name)
        body: Json = {"name": name}
        return Errand(user_id, "PATCH", "/auth/me", body, lambda _: told.hold(name), 200)

    # How anything is asked for.

    async def _run(self, errand: Errand) -> Answer | None:
        """Do it once, and note what came of it."""
        at = len(self._keyed)
        is_order = errand.path == "/orders" and errand.key is None
        if errand.key is not None:
            self._keyed.append((errand, None))
        self.told.unanswered[errand.who] += is_order
        answer = await self._ask(errand)
        if answer is None or answer.status >= 500 or b"/problems/in-hand-already" in answer.body:
            self._weigh_trouble(errand, answer)
            return answer
        self.told.unanswered[errand.who] -= is_order
        if errand.key is not None:
            self._keyed[at] = (errand, answer)
        self._weigh(errand, answer)
        return answer

    async def _ask(self, errand: Errand) -> Answer | None:
        headers = {"Idempotency-Key": errand.key} if errand.key else {}
        headers |= {"Content-Type": "application/zip"} if errand.data else {}
        person = self.people[errand.who]
        try:
            answer = await person.ask(errand.method, errand.path, errand.body, data=errand.data, headers=headers)
        except LOST:
            self.told.answers[NO_ANSWER] += 1
            return None
        self.told.answers[answer.status] += 1
        return answer

    def _weigh(self, errand: Errand, answer: Answer) -> None:
        if answer.status == errand.wanted:
            errand.note(answer)
        elif answer.status not in errand.refusals:
            self.told.defect(f"{errand.method} {errand.path} {errand.body}: {answer}")

    def _weigh_trouble(self, errand: Errand, answer: Answer | None) -> None:
        """Trouble may be, but it has a name and says when to come again; a 500 never may."""
        if (
            answer is not None
            and answer.status >= 500
            and not (answer.status == 503 and "Retry-After" in answer.headers)
        ):
            self.told.defect(f"{errand.method} {errand.path}: {answer} {answer.headers.get('Retry-After')}")

    def _key(self, chance: random.Random) -> str | None:
        return f"k-{self._number()}" if chance.random() < 0.5 else None

    def _number(self) -> int:
        self._count += 1
        return self._count


def _nothing(answer: Answer) -> None:
    pass
