"""Requests that come again under their Idempotency-Key: at once, after a death, and after one that lost the answer."""

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from aiohttp import ClientSession

from tests.journeys.people import PASSWORD, Answer, Json, Person, Visitor, together
from tests.journeys.process import Service, ledger_of, marketd, running
from tests.security.browsers import BrowserOfTown

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

SLOW_CHARGES: Final = {"MARKETD_PAYMENTS__SANDBOX_DELAY_MS": "30"}
WORK: Final = b"an hour of rain on a tin roof"
ACCOUNT: Final = {"email": "kay@example.org", "password": PASSWORD, "name": "Kay", "role": "buyer"}
ONCE: Final = re.compile(r'name="once" value="([^"]+)"')
OWN: Final = {"x-request-id", "date"}


async def post(who: Visitor, path: str, key: str, body: Json | None = None, **more: Any) -> Answer:
    return await who.ask("POST", path, body, headers={"Idempotency-Key": key}, **more)


async def order(buyer: Person, product: Json, key: str) -> Answer:
    return await post(buyer, "/orders", key, {"productId": product["id"], "paymentMethodId": "pm_card_visa"})


def shown(answer: Answer) -> Any:
    """All of an answer that is not each request's own."""
    headers = sorted(item for item in answer.headers.items() if item[0].lower() not in OWN)
    return answer.status, headers, answer.body


class Day:
    """A seller and a buyer, and every sort of POST that they send; once more, and it is the same day again."""

    def __init__(self, visitor: Visitor, seller: Person, buyer: Person) -> None:
        self._visitor, self._seller, self._buyer = visitor, seller, buyer

    def at(self, service: Service, session: ClientSession) -> "Day":
        return Day(Visitor(service, session), self._seller.at(service), self._buyer.at(service))

    async def passes(self) -> dict[str, Answer]:
        visitor, seller, buyer = self._visitor, self._seller, self._buyer
        day = {"register": await post(visitor, "/auth/register", "register", ACCOUNT)}
        known = {"email": ACCOUNT["email"], "password": PASSWORD}
        day["login"] = await post(visitor, "/auth/login", "login", known)
        given = {"refreshToken": day["login"].expect(200)["refreshToken"]}
        day["refresh"] = await post(visitor, "/auth/refresh", "refresh", given)
        day["upload"] = await post(seller, "/uploads?name=rain.bin", "upload", data=WORK)
        offer = {
            "title": "Rain",
            "description": "An hour of it.",
            "price": 19.99,
            "category": "sound",
            "files": [day["upload"].expect(201)],
            "stock": 1,
        }
        day["product"] = await post(seller, "/products", "product", offer)
        product = day["product"].expect(201)
        day["order"] = await order(buyer, product, "order")
        order_id = day["order"].expect(202)["orderId"]
        await buyer.sees_end(order_id)
        path = f"/products/{product['id']}/reviews"
        day["review"] = await post(buyer, path, "review", {"rating": 5, "body": "Wet."})
        review = f"{path}/{day['review'].expect(201)['id']}"
        day["reply"] = await post(seller, f"{review}/reply", "reply", {"body": "Thank you."})
        day["refund"] = await post(seller, f"/orders/{order_id}/refund", "refund", {"reason": "it stopped raining"})
        await buyer.sees_until(order_id, lambda order: order["status"] == "refunded")
        return day


def ids(day: dict[str, Answer]) -> dict[str, tuple[int, Any]]:
    """What each answer tells its sender to go on with."""
    names = ("userId", "refreshToken", "url", "id", "orderId")
    return {name: (answer.status, [answer.json.get(field) for field in names]) for name, answer in day.items()}


def lose_answers(data: Path) -> None:
    """Leave what a death between the work and the answer leaves behind: that it was begun."""
    with closing(sqlite3.connect(data / "answers.db")) as answers, answers:
        answers.execute("UPDATE answers SET answer = NULL")


async def test_every_answer_comes_again_byte_for_byte_after_a_kill(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data") as service:
        visitor = Visitor(service, session)
        day = Day(visitor, await visitor.joins("seller"), await visitor.joins("buyer"))
        first = await day.passes()
        service.kill()
        await service.wait_ended()
    async with running(tmp_path / "data") as service:
        second = await day.at(service, session).passes()

    assert {name: shown(answer) for name, answer in first.items()} == {
        name: shown(answer) for name, answer in second.items()
    }


async def test_what_was_done_before_a_death_lost_the_answer_is_not_done_again(
    tmp_path: Path, session: ClientSession
) -> None:
    data = tmp_path / "data"
    async with running(data) as service:
        visitor = Visitor(service, session)
        day = Day(visitor, await visitor.joins("seller"), await visitor.joins("buyer"))
        first = await day.passes()
        service.kill()
        await service.wait_ended()
    lose_answers(data)
    async with running(data) as service:
        second = await day.at(service, session).passes()
        products = await Visitor(service, session).lists("/products?q=rain", "products")
        orders = await day.at(service, session)._buyer.lists("/orders", "orders")

    charged = ledger_of(data).captured
    assert (ids(first), 1, 1, 1) == (ids(second), len(products), len(orders), len(charged))


async def test_the_session_of_a_login_whose_answer_was_lost_is_good(tmp_path: Path, session: ClientSession) -> None:
    data, known = tmp_path / "data", {"email": ACCOUNT["email"], "password": PASSWORD}
    async with running(data) as service:
        await post(Visitor(service, session), "/auth/register", "register", ACCOUNT)
        await post(Visitor(service, session), "/auth/login", "login", known)
        service.kill()
        await service.wait_ended()
    lose_answers(data)
    async with running(data) as service:
        visitor = Visitor(service, session)
        pair = (await post(visitor, "/auth/login", "login", known)).expect(200)

        assert 200 == (await visitor.post("/auth/refresh", {"refreshToken": pair["refreshToken"]})).status


async def test_twenty_at_once_make_one_order(service: Service, seller: Person, buyer: Person) -> None:
    product = await seller.offers()
    answers = await together(order(buyer, product, "k") for _ in range(20))
    await buyer.sees_end(answers[0].expect(202)["orderId"])

    orders = await buyer.lists("/orders", "orders")
    captured = ledger_of(service.data).captured
    assert ([shown(answers[0])] * 20, 1, 1) == ([shown(answer) for answer in answers], len(orders), len(captured))


async def test_a_form_of_the_shop_that_is_sent_twice_at_once_is_one_order(
    tmp_path: Path, session: ClientSession
) -> None:
    """As a double click does where no script keeps it from it."""
    data = tmp_path / "data"
    async with running(data, settings={"MARKETD_PAYMENTS__SANDBOX_DELAY_MS": "500"}) as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        browser = await BrowserOfTown(visitor).signs_in(buyer.email)
        paths = [f"/shop/products/{(await seller.offers(stock=stock))['id']}" for stock in (2, 2, 1, 1)]

        async def buys(path: str) -> list[tuple[int, str]]:
            found = ONCE.search((await browser.sends("GET", path)).body.decode())
            assert found is not None
            form = f"card=pm_card_visa&minor=1999&currency=USD&once={found[1]}"
            answers = await together(browser.sends("POST", f"{path}/buy", form) for _ in range(2))
            return [(answer.status, answer.headers.get("Location", "")) for answer in answers]

        places = [await buys(path) for path in paths]
        orders = [await buyer.sees_end(one[1].rpartition("/")[2]) for one, _ in places]
        left = [(await visitor.get(path.removeprefix("/shop"))).expect(200)["stock"] for path in paths]

    assert [[(303, one[1])] * 2 for one, _ in places] == places
    assert (["completed"] * 4, [1, 1, 0, 0]) == ([order["status"] for order in orders], left)
    assert ledger_of(data).captured == {order["id"] for order in orders}
    assert 0 == (await marketd("verify", "--data", str(data))).code


async def test_after_a_kill_under_load_every_key_stands_for_one_order(tmp_path: Path, session: ClientSession) -> None:
    data, told = tmp_path / "data", dict[int, bytes]()
    async with running(data, settings=SLOW_CHARGES) as service:
        visitor = Visitor(service, session)
        seller = await visitor.joins("seller")
        product = await seller.offers()
        buyers = await together(visitor.joins("buyer") for _ in range(60))

        async def buys(number: int) -> None:
            try:
                told[number] = (await order(buyers[number], product, f"k{number}")).body
            except (aiohttp.ClientError, ConnectionError):
                return
            if len(told) == 20:
                service.kill()

        await asyncio.gather(*(buys(number) for number in range(60)))
        await service.wait_ended()
    async with running(data) as service:
        again = await together(order(buyer.at(service), product, f"k{n}") for n, buyer in enumerate(buyers))
        ends = await together(
            buyer.at(service).sees_end(answer.expect(202)["orderId"])
            for buyer, answer in zip(buyers, again, strict=True)
        )

    assert told == {number: again[number].body for number in told}
    assert (["completed"] * 60, 60) == ([end["status"] for end in ends], len(ledger_of(data).captured))
