"""
People who visit the shop for as long as a soak takes: they search, look at products, buy one and fetch it.

One rule: what is not as it should be is noted as an error by its name, and the visit is over; nobody stops the soak.
"""

import asyncio
import itertools
import json
import random
import time
from collections import Counter, deque
from itertools import accumulate
from typing import Any, Final
from urllib.parse import quote

from bench.load import Answer, Connection, request
from bench.shop import Person
from bench.words import Words

SEED: Final = 7
READS: Final = 10  # products looked at for each that is bought
SEARCHES: Final = 2
WORDS_ASKED: Final = 5_000
LIBRARY_EVERY: Final = 10
REVIEW_EVERY: Final = 20
FAVOURITES: Final = 3.0  # the exponent by which some products are looked at more often
ANSWER_S_MAX: Final = 40.0
SESSION_S: Final = 600.0  # access tokens are good for 900 s
CONNECTIONS_MAX: Final = 1_500


class Wrong(Exception):
    """Something was not as it should be; the message is a name to count it by."""


class Heard:
    """What the visits since the last sample were like, in ms."""

    def __init__(self) -> None:
        self.purchases_ms: list[float] = []
        self.reads_ms: list[float] = []
        self.searches_ms: list[float] = []
        self.errors: Counter[str] = Counter()
        self.late_ms = 0.0


class Visitors:
    """Who may come: buyers, each with a session of their own, over connections that they share."""

    def __init__(self, host: str, port: int, buyers: list["Session"], products: list[str], words: Words) -> None:
        self._host, self._port, self._buyers, self._products = host, port, buyers, products
        self._chance = random.Random(SEED)
        self._asked = words.ranked(0, WORDS_ASKED)
        self._weights = list(accumulate(1 / rank for rank in range(1, WORDS_ASKED + 1)))
        self._numbers = itertools.count()
        self._free: deque[Connection] = deque()  # each in its turn: the server closes what nobody uses
        self._open = 0
        self.heard = Heard()

    def swap(self) -> Heard:
        """Give what was heard until now, and begin anew."""
        heard, self.heard = self.heard, Heard()
        return heard

    async def visit(self) -> None:
        """Make one visit, of a buyer who does not own what they will buy."""
        number = next(self._numbers)
        mine = number % len(self._buyers)
        product_id = self._products[(number // len(self._buyers) + mine * 17) % len(self._products)]
        connection = None
        try:
            connection = self._free.popleft() if self._free else await self._connect()
            await self._walk(connection, self._buyers[mine], product_id, number)
        except (Wrong, OSError, TimeoutError) as error:
            self.heard.errors[str(error) if isinstance(error, Wrong) else type(error).__name__] += 1
            if connection:
                connection.close()
                self._open -= 1
        else:
            self._free.append(connection)

    def close(self) -> None:
        for connection in self._free:
            connection.close()

    async def _walk(self, connection: Connection, buyer: "Session", product_id: str, number: int) -> None:
        for _ in range(SEARCHES):
            words = " ".join(self._chance.choices(self._asked, cum_weights=self._weights, k=self._chance.randint(1, 2)))
            self.heard.searches_ms.append(await _timed(connection, f"/products?q={quote(words)}"))
            for _ in range(READS // SEARCHES):
                seen = self._products[int(len(self._products) * self._chance.random() ** FAVOURITES)]
                self.heard.reads_ms.append(await _timed(connection, f"/products/{seen}"))
        await buyer.renew(connection)
        begun = time.perf_counter()
        order = {"productId": product_id, "paymentMethodId": "pm_card_visa"}
        order_id = (await buyer.ask(connection, "POST", "/orders", 202, order))["orderId"]
        shown = await buyer.ask(connection, "GET", f"/orders/{order_id}", 200, Prefer="wait=30")
        if shown["status"] != "completed":
            raise Wrong(f"an order that is {shown['status']}")
        self.heard.purchases_ms.append((time.perf_counter() - begun) * 1000)
        await buyer.ask(connection, "GET", f"/orders/{order_id}/downloads", 200)
        if number % LIBRARY_EVERY == 0:
            await buyer.ask(connection, "GET", "/library", 200)
        if number % REVIEW_EVERY == 0:
            review = {"rating": self._chance.randint(1, 5), "body": "What one says of such a thing."}
            await buyer.ask(connection, "POST", f"/products/{product_id}/reviews", 201, review)

    async def _connect(self) -> Connection:
        if self._open >= CONNECTIONS_MAX:
            raise Wrong("no connection free")
        self._open += 1
        try:
            return await Connection.open(self._host, self._port)
        except OSError:
            self._open -= 1
            raise


class Session:
    """A person's session, renewed before its access token expires."""

    def __init__(self, pair: dict[str, Any], age_s: float) -> None:
        self._pair, self._renewed_s = pair, time.perf_counter() - age_s

    @classmethod
    async def begin(cls, connection: Connection, email: str, password: str, age_s: float = 0) -> "Session":
        """Sign in, as if it had been so long ago: in a shop they do not all come at once, nor renew at once."""
        account = {"email": email, "password": password}
        return cls(await _json(connection, 200, "POST", "/auth/login", account), age_s)

    @property
    def token(self) -> str:
        return str(self._pair["accessToken"])

    async def renew(self, connection: Connection) -> None:
        """Take new tokens, if it is time."""
        if time.perf_counter() - self._renewed_s > SESSION_S:
            old = {"refreshToken": self._pair["refreshToken"]}
            self._pair = await _json(connection, 200, "POST", "/auth/refresh", old)
            self._renewed_s = time.perf_counter()

    async def ask(
        self, connection: Connection, method: str, path: str, status: int, body: Any = None, **headers: str
    ) -> Any:
        """Send as this person; give the JSON."""
        return await _json(connection, status, method, path, body, Authorization=f"Bearer {self.token}", **headers)


async def revise(seller: Person, products: list[str], pause_s: float) -> None:
    """Give one product after the other another price, for as long as one is let: the index and kept pages follow."""
    for number in itertools.count():
        price = {"price": 5 + number % 500 / 100}
        await seller.call("PATCH", f"/products/{products[number % len(products)]}", price)
        await asyncio.sleep(pause_s)


async def _timed(connection: Connection, path: str) -> float:
    begun = time.perf_counter()
    await _answer(connection, 200, "GET", path)
    return (time.perf_counter() - begun) * 1000


async def _json(connection: Connection, status: int, method: str, path: str, body: Any = None, **headers: str) -> Any:
    content = b"" if body is None else json.dumps(body).encode()
    answer = await _answer(connection, status, method, path, content, Content_Type="application/json", **headers)
    return json.loads(answer.body)


async def _answer(
    connection: Connection, status: int, method: str, path: str, body: bytes = b"", **headers: str
) -> Answer:
    async with asyncio.timeout(ANSWER_S_MAX):
        answer = await connection.send(request(method, path, body, **headers))
    if answer.status != status:
        raise Wrong(f"{method} /{path.split('/')[1].partition('?')[0]}: {answer.status}")
    return answer
