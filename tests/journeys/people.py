"""Those who use the service over HTTP: anybody, and who has an account. They follow it when it starts anew."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, Final, Self

from aiohttp import ClientSession
from multidict import CIMultiDictProxy

from tests.journeys.process import Service

PASSWORD: Final = "Passw0rd-of-all"
WAIT_S: Final = 20
CHANGE_S_MAX: Final = 10.0
FOUND_S_MAX: Final = 10.0

Json = dict[str, Any]

_numbers = itertools.count(1)


class Answer:
    """A whole answer."""

    def __init__(self, status: int, headers: CIMultiDictProxy[str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:500]!r}"

    @property
    def json(self) -> Json:
        value: Json = json.loads(self.body)
        return value

    def expect(self, status: int) -> Json:
        """Give the JSON of an answer that has this status."""
        assert self.status == status, self
        return self.json if self.body else {}


class Visitor:
    """Anybody, with a way to reach the service."""

    def __init__(self, service: Service, session: ClientSession, token: str = "") -> None:
        self.service = service
        self._session = session
        self.token = token
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def ask(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        data: bytes | AsyncIterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
        expect100: bool = False,
    ) -> Answer:
        """Send a request, and follow nothing."""
        async with self._session.request(
            method,
            self.service.url + path,
            json=body,
            data=data,
            headers=self._headers | (headers or {}),
            expect100=expect100,
            allow_redirects=False,
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, body: Json | None = None, **headers: str) -> Answer:
        return await self.ask("POST", path, body, headers=headers)

    async def lists(self, path: str, member: str) -> list[Json]:
        """Read a list to its end."""
        found: list[Json] = []
        for page in itertools.count(1):
            joint = "&" if "?" in path else "?"
            answer = (await self.get(f"{path}{joint}size=100&page={page}")).expect(200)
            found += answer[member]
            if len(found) >= answer["total"]:
                break
        return found

    async def finds(self, total: int) -> None:
        """Look for products until there are so many: the index may be two seconds behind."""
        async with asyncio.timeout(FOUND_S_MAX):
            while (found := (await self.get("/products")).expect(200)["total"]) != total:
                assert found < total
                await asyncio.sleep(0.05)

    async def joins(self, role: str) -> "Person":
        """Make an account and sign in."""
        number = next(_numbers)
        email = f"{role}-{number}@example.org"
        name = f"{role.capitalize()} {number}"
        account = {"email": email, "password": PASSWORD, "name": name, "role": role}
        (await self.post("/auth/register", account)).expect(201)
        return await self.signs_in(email, PASSWORD)

    async def signs_in(self, email: str, password: str) -> "Person":
        session = (await self.post("/auth/login", {"email": email, "password": password})).expect(200)
        return Person(self.service, self._session, session, email)


class Person(Visitor):
    """Somebody with an account, signed in."""

    def __init__(self, service: Service, session: ClientSession, pair: Json, email: str) -> None:
        super().__init__(service, session, pair["accessToken"])
        self.user_id, self.email = str(pair["userId"]), email
        self._pair = pair
        self.access_token, self.refresh_token = str(pair["accessToken"]), str(pair["refreshToken"])

    def at(self, service: Service) -> Self:
        """Be the same person, at the next life of the service."""
        return type(self)(service, self._session, self._pair, self.email)

    async def refreshes(self) -> Answer:
        """Exchange the refresh token, and leave the new pair unused."""
        return await self.post("/auth/refresh", {"refreshToken": self.refresh_token})

    async def uploads(self, content: bytes, name: str = "work.bin", media_type: str = "application/zip") -> Json:
        """Upload bytes; give them as a product's file."""
        uploaded = await self.ask("POST", f"/uploads?name={name}", data=content, headers={"Content-Type": media_type})
        return uploaded.expect(201)

    async def offers(self, content: bytes = b"the work", **changes: object) -> Json:
        """List a product with one file."""
        offer = {
            "title": "Field recordings",
            "description": "An hour of rain on a tin roof.",
            "price": 19.99,
            "category": "sound",
            "files": [await self.uploads(content)],
        }
        return (await self.post("/products", offer | changes)).expect(201)

    async def orders(self, product: Json, method: str = "pm_card_visa") -> Answer:
        return await self.post("/orders", {"productId": product["id"], "paymentMethodId": method})

    async def buys(self, product: Json, method: str = "pm_card_visa") -> Json:
        """Order, and give the order as it ended."""
        return await self.sees_end((await self.orders(product, method)).expect(202)["orderId"])

    async def sees(self, order_id: str) -> Json:
        return (await self.get(f"/orders/{order_id}")).expect(200)

    async def sees_end(self, order_id: str) -> Json:
        """Give an order that is pending no longer."""
        order = (await self.get(f"/orders/{order_id}", Prefer=f"wait={WAIT_S}")).expect(200)
        assert order["status"] != "pending", order
        return order

    async def sees_until(self, order_id: str, is_so: Callable[[Json], bool]) -> Json:
        """Look at an order until it is so."""
        async with asyncio.timeout(CHANGE_S_MAX):
            while not is_so(order := await self.sees(order_id)):
                pass
        return order

    async def refunds(self, order: Json) -> Answer:
        return await self.post(f"/orders/{order['id']}/refund", {"reason": "it was not what was promised"})

    async def link(self, order: Json) -> str:
        """Give the path of the link to an order's first file."""
        (first, *_) = (await self.get(f"/orders/{order['id']}/downloads")).expect(200)["downloads"]
        return str(first["url"]).removeprefix(self.service.url)

    async def library(self) -> list[Json]:
        return await self.lists("/library", "products")


async def together(asking: Iterable[Any]) -> list[Any]:
    """Do all of these at once."""
    return list(await asyncio.gather(*asking))
