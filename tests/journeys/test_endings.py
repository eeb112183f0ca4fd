"""Every way in which an order ends, as its buyer sees it."""

from pathlib import Path

import pytest

from tests.journeys.people import Json, Person, Visitor
from tests.journeys.process import Service, marketd

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

DECLINED = (
    "pm_card_chargeDeclined",
    "pm_card_chargeDeclinedInsufficientFunds",
    "pm_card_chargeDeclinedExpiredCard",
    "pm_nobody_knows",
)


def ending(order: Json) -> tuple[str, str, str]:
    return (order["status"], order["paymentStatus"], order["deliveryStatus"])


@pytest.mark.parametrize("method", ["pm_card_visa", "pm_card_mastercard", "pm_card_refundFail"])
async def test_a_card_that_can_be_charged_completes_the_order(method: str, seller: Person, buyer: Person) -> None:
    order = await buyer.buys(await seller.offers(), method)
    assert ("completed", "captured", "delivered") == ending(order)


async def test_a_declined_card_fails_the_order(seller: Person, buyer: Person) -> None:
    product = await seller.offers()
    orders = [await buyer.buys(product, method) for method in DECLINED]
    assert [("failed", "declined", "failed")] * len(DECLINED) == [ending(order) for order in orders]


async def test_each_declined_card_has_its_own_reason(seller: Person, buyer: Person) -> None:
    product = await seller.offers()
    reasons = {(await buyer.buys(product, method))["failureReason"] for method in DECLINED}
    assert len(DECLINED) == len(reasons - {""})


async def test_a_refund_pays_back_and_takes_the_delivery_back(seller: Person, buyer: Person) -> None:
    order = await buyer.buys(await seller.offers())
    (await seller.refunds(order)).expect(202)
    order = await buyer.sees_until(order["id"], lambda order: order["status"] != "completed")
    assert ("refunded", "refunded", "revoked") == ending(order)


async def test_a_refund_ends_the_links(visitor: Visitor, seller: Person, buyer: Person) -> None:
    order = await buyer.buys(await seller.offers())
    link = await buyer.link(order)
    (await seller.refunds(order)).expect(202)
    await buyer.sees_until(order["id"], lambda order: order["status"] == "refunded")
    assert 410 == (await visitor.get(link)).status


async def test_a_refund_that_fails_leaves_an_alert_until_an_admin_ends_it(
    service: Service, visitor: Visitor, seller: Person, buyer: Person
) -> None:
    order = await buyer.buys(await seller.offers(), "pm_card_refundFail")
    (await seller.refunds(order)).expect(202)
    order = await buyer.sees_until(order["id"], lambda order: order["status"] != "completed")
    assert ("failed", "refund_failed", "revoked") == ending(order)

    admin = await made_admin(service.data, visitor)
    (alert,) = await admin.lists("/admin/alerts", "alerts")
    resolved = (await admin.post(f"/admin/alerts/{alert['id']}/resolve")).expect(200)

    assert (order["id"], "open", "resolved") == (alert["orderId"], alert["status"], resolved["status"])


async def made_admin(data: Path, visitor: Visitor) -> Person:
    """Make an administrator as the operator does, while the service runs."""
    email, password = "operator@example.org", "Operat0r-of-it"
    arguments = ("admin", "create", email, "--data", str(data), "--password-stdin")
    ended = await marketd(*arguments, given=f"{password}\n")
    assert ended.code == 0, ended
    return await visitor.signs_in(email, password)
