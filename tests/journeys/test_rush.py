"""Many at once for a few copies: whoever is accepted gets one, and nobody else is ever charged."""

import asyncio
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession

from tests.journeys.people import Answer, Json, Person, Visitor, together
from tests.journeys.process import ledger_of, marketd, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

BUYERS: Final = 500
COPIES: Final = 10
JOINING: Final = 50  # at once
OVER_NATS: Final = {"MARKETD_NATS__IN_PROCESS": "false"}
SLOW_CHARGES: Final = {"MARKETD_PAYMENTS__SANDBOX_DELAY_MS": "2000"}


async def crowd(visitor: Visitor, count: int) -> list[Person]:
    joined: list[Person] = []
    while len(joined) < count:
        joined += await together(visitor.joins("buyer") for _ in range(min(JOINING, count - len(joined))))
    return joined


async def wants(buyer: Person, product: Json, method: str = "pm_card_visa") -> Answer:
    """Order, and come again where the service is overloaded."""
    while (answer := await buyer.orders(product, method)).status == 503:
        await asyncio.sleep(0.1)
    return answer


def told(answers: list[Answer]) -> Counter[str]:
    """How often which answer was given: accepted, or what stood in the way."""
    return Counter("accepted" if answer.status == 202 else answer.json["type"] for answer in answers)


def charged(data: Path) -> int:
    """How many charges the processor was ever asked for."""
    with closing(sqlite3.connect(f"file:{data}/sandbox.db?mode=ro", uri=True)) as books:
        (count,) = books.execute("SELECT count(*) FROM charges").fetchone()
    return int(count)


@pytest.mark.parametrize("settings", [{}, OVER_NATS], ids=["in the process", "over NATS"])
async def test_of_500_buyers_of_10_copies_10_are_charged(
    tmp_path: Path, session: ClientSession, settings: dict[str, str]
) -> None:
    data = tmp_path / "data"
    async with running(data, settings=settings) as service:
        visitor = Visitor(service, session)
        seller = await visitor.joins("seller")
        buyers = await crowd(visitor, BUYERS)
        product = await seller.offers(stock=COPIES)
        answers = await together(wants(buyer, product) for buyer in buyers)
        accepted = [(b, a.json["orderId"]) for b, a in zip(buyers, answers, strict=True) if a.status == 202]
        orders = await together(buyer.sees_end(order_id) for buyer, order_id in accepted)
        left = (await visitor.get(f"/products/{product['id']}")).expect(200)["stock"]

    assert {"accepted": COPIES, "/problems/sold-out": BUYERS - COPIES} == told(answers)
    assert (["completed"] * COPIES, 0) == ([order["status"] for order in orders], left)
    assert (COPIES, {order["id"] for order in orders}) == (charged(data), ledger_of(data).kept)
    assert 0 == (await marketd("verify", "--data", str(data))).code


@pytest.mark.parametrize("stock", [None, 1, 20])
async def test_of_the_orders_of_one_buyer_at_once_one_is_accepted_and_charged(
    tmp_path: Path, session: ClientSession, stock: int | None
) -> None:
    data = tmp_path / "data"
    async with running(data) as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        product = await seller.offers(stock=stock)
        answers = await together(wants(buyer, product) for _ in range(10))
        (order_id,) = (answer.json["orderId"] for answer in answers if answer.status == 202)
        order = await buyer.sees_end(order_id)

    assert (1, 9) == (told(answers)["accepted"], sum(answer.status == 409 for answer in answers))
    assert ("completed", 1, {order_id}) == (order["status"], charged(data), ledger_of(data).captured)


async def test_an_order_under_way_is_named_as_what_stands_in_the_way(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings=SLOW_CHARGES) as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        product = await seller.offers()
        answers = [await buyer.orders(product) for _ in range(2)]
        await buyer.sees_end(answers[0].json["orderId"])
        answers.append(await buyer.orders(product))

    assert [202, 409, 409] == [answer.status for answer in answers]
    assert ["/problems/under-way", "/problems/already-owned"] == [answer.json["type"] for answer in answers[1:]]


async def test_after_a_declined_card_another_one_buys_the_last_copy(seller: Person, buyer: Person) -> None:
    product = await seller.offers(stock=1)
    orders = [await buyer.buys(product, method) for method in ("pm_card_chargeDeclined", "pm_card_visa")]

    assert ["failed", "completed"] == [order["status"] for order in orders]


async def test_after_a_declined_card_somebody_else_buys_the_last_copy(
    visitor: Visitor, seller: Person, buyer: Person
) -> None:
    product = await seller.offers(stock=1)
    await buyer.buys(product, "pm_card_chargeDeclined")

    assert "completed" == (await (await visitor.joins("buyer")).buys(product))["status"]


async def test_whose_product_is_withdrawn_meanwhile_gets_it(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings=SLOW_CHARGES) as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        products = [await seller.offers(stock=stock) for stock in (1, None)]
        order_ids = [(await buyer.orders(product)).expect(202)["orderId"] for product in products]
        for product in products:
            assert 204 == (await seller.ask("DELETE", f"/products/{product['id']}")).status
        orders = [await buyer.sees_end(order_id) for order_id in order_ids]
        links = [await buyer.link(order) for order in orders]
        late = [(await (await visitor.joins("buyer")).orders(product)).status for product in products]

    assert (["completed"] * 2, 2, [409] * 2) == ([order["status"] for order in orders], len(links), late)


async def test_an_order_that_waited_while_the_service_was_dead_has_its_copy(
    tmp_path: Path, session: ClientSession
) -> None:
    data = tmp_path / "data"
    async with running(data, settings=SLOW_CHARGES) as service:
        visitor = Visitor(service, session)
        seller, buyer, other = await visitor.joins("seller"), await visitor.joins("buyer"), await visitor.joins("buyer")
        product = await seller.offers(stock=1)
        order_id = (await buyer.orders(product)).expect(202)["orderId"]
        service.kill()
        await service.wait_ended()
    async with running(data, settings=SLOW_CHARGES) as service:
        refused = await other.at(service).orders(product)
        order = await buyer.at(service).sees_end(order_id)

    assert ("/problems/sold-out", "completed", 1) == (refused.json["type"], order["status"], charged(data))


# What is told of it.


async def told_of(buyer: Person, order: Json) -> list[tuple[str, Json]]:
    events = (await buyer.get(f"/orders/{order['id']}/events")).expect(200)["events"]
    assert sorted(event["position"] for event in events) == [event["position"] for event in events]
    return [(event["type"], event["data"]) for event in events]


async def test_the_history_of_a_sale_shows_each_step_with_its_data(seller: Person, buyer: Person) -> None:
    product = await seller.offers()
    (placed, facts), *steps = await told_of(buyer, await buyer.buys(product))

    names = ["paid", "stock-reserved", "delivered", "buyer-notified", "completed"]
    assert ("order.placed", [(f"order.{name}", {}) for name in names]) == (placed, steps)
    assert (product["id"], product["title"]) == (facts["productId"], facts["productTitle"])
    assert (19.99, "USD") == (facts["price"], facts["currency"])


async def test_the_history_of_a_declined_order_shows_why(seller: Person, buyer: Person) -> None:
    _, *steps = await told_of(buyer, await buyer.buys(await seller.offers(), "pm_card_chargeDeclinedExpiredCard"))

    why = {"why": "the card has expired"}
    assert [("order.payment-declined", why), ("order.claims-ended", {}), ("order.failed", why)] == steps


async def test_the_history_of_a_refund_shows_who_asked_and_why(seller: Person, buyer: Person) -> None:
    order = await buyer.buys(await seller.offers())
    (await seller.refunds(order)).expect(202)
    await buyer.sees_until(order["id"], lambda order: order["status"] == "refunded")
    *_, asked, revoked, paid_back, refunded = await told_of(buyer, order)

    assert ("order.refund-requested", {"by": seller.user_id, "why": "it was not what was promised"}) == asked
    assert [("order.delivery-revoked", {}), ("order.payment-refunded", {}), ("order.refunded", {})] == [
        revoked,
        paid_back,
        refunded,
    ]


# What stays until somebody has seen to it.


async def test_an_alert_stays_over_restarts_until_it_is_resolved(tmp_path: Path, session: ClientSession) -> None:
    data, seen = tmp_path / "data", list[str]()
    async with running(data) as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        order = await buyer.buys(await seller.offers(), "pm_card_refundFail")
        (await seller.refunds(order)).expect(202)
        await buyer.sees_until(order["id"], lambda order: order["status"] == "failed")
        made = ("admin", "create", "operator@example.org", "--data", str(data), "--password-stdin")
        assert 0 == (await marketd(*made, given="Operat0r-of-it\n")).code
        admin = await visitor.signs_in("operator@example.org", "Operat0r-of-it")
        service.kill()
        await service.wait_ended()
    for resolves in (True, False):
        async with running(data) as service:
            (alert,) = await admin.at(service).lists("/admin/alerts", "alerts")
            seen.append(alert["status"])
            if resolves:
                (await admin.at(service).post(f"/admin/alerts/{alert['id']}/resolve")).expect(200)

    assert ["open", "resolved"] == seen
