"""Paid through Stripe: the real service, a Stripe that does as the test says, and localstripe."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from marketd.clock import SystemClock
from tests.actors.payments.parties import local_stripe
from tests.actors.payments.stripe_server import KEY, SLOW, Mishap, StripeServer
from tests.journeys.people import PASSWORD, Json, Person, Visitor
from tests.journeys.process import Service, marketd, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

SECRET = "whsec_4711"
STRIPE = {
    "MARKETD_PAYMENTS__PROCESSOR": "stripe",
    "MARKETD_PAYMENTS__STRIPE_SECRET_KEY": KEY,
    "MARKETD_PAYMENTS__STRIPE_WEBHOOK_SECRET": SECRET,
    "MARKETD_BREAKERS__FAILURES_MAX": "3",
    "MARKETD_BREAKERS__OPEN_S": "1",
    "MARKETD_SAGA__RETRY_S_MAX": "0.5",
}


@pytest_asyncio.fixture
async def stripe() -> AsyncIterator[StripeServer]:
    async with StripeServer() as server:
        yield server


@pytest.fixture
def settings(stripe: StripeServer) -> dict[str, str]:
    return STRIPE | {"MARKETD_PAYMENTS__STRIPE_URL": stripe.url}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


async def both(visitor: Visitor) -> tuple[Person, Person]:
    return await visitor.joins("seller"), await visitor.joins("buyer")


async def circuit(service: Service, session: ClientSession) -> Json:
    """Look at the breaker before Stripe, as an admin."""
    made = ("admin", "create", "root@example.org", "--data", str(service.data), "--password-stdin")
    await marketd(*made, given=PASSWORD)
    admin = await Visitor(service, session).signs_in("root@example.org", PASSWORD)
    circuits = (await admin.get("/admin/circuits")).expect(200)["circuits"]
    (found,) = (circuit for circuit in circuits if circuit["name"] == "payments")
    return dict(found)


async def test_a_sale_is_charged_and_taken_back(
    data: Path, session: ClientSession, stripe: StripeServer, settings: dict[str, str]
) -> None:
    async with running(data, settings=settings) as service:
        seller, buyer = await both(Visitor(service, session))
        order = await buyer.buys(await seller.offers())
        charged = stripe.captured
        (await seller.refunds(order)).expect(202)
        await buyer.sees_until(order["id"], lambda order: order["status"] == "refunded")

    assert ([1999], 1, 0) == (charged, len(stripe.refunds), stripe.kept_money)


async def test_a_declined_card_fails_the_order_in_our_words(
    data: Path, session: ClientSession, settings: dict[str, str]
) -> None:
    async with running(data, settings=settings) as service:
        seller, buyer = await both(Visitor(service, session))
        order = await buyer.buys(await seller.offers(), "pm_card_chargeDeclinedInsufficientFunds")

    assert ("failed", "the card has insufficient funds") == (order["status"], order["failureReason"])


async def test_a_kill_while_stripe_is_charging_charges_once(
    data: Path, session: ClientSession, stripe: StripeServer, settings: dict[str, str]
) -> None:
    stripe.meets("confirm", Mishap.SILENCE_AFTER)
    async with running(data, settings=settings) as service:
        seller, buyer = await both(Visitor(service, session))
        order_id = (await buyer.orders(await seller.offers())).expect(202)["orderId"]
        async with asyncio.timeout(10):
            while not stripe.captured:
                await asyncio.sleep(0.01)
        service.kill()
        await service.wait_ended()

    async with running(data, settings=settings) as service:
        order = await buyer.at(service).sees_end(order_id)

    assert ("completed", [1999]) == (order["status"], stripe.captured)


async def test_while_stripe_is_out_orders_wait_and_then_go_on(
    data: Path, session: ClientSession, stripe: StripeServer, settings: dict[str, str]
) -> None:
    stripe.always = Mishap.ERROR
    async with running(data, settings=settings) as service:
        seller, buyer = await both(Visitor(service, session))
        order_id = (await buyer.orders(await seller.offers())).expect(202)["orderId"]
        await service.wait_said("nobody is let through")
        while_out = await circuit(service, session), await buyer.sees(order_id)
        stripe.always = None
        order = await buyer.sees_end(order_id)
        state = (await circuit(service, session))["state"]

    assert while_out[0]["opened"] > 0
    assert ("pending", "completed", "closed", [1999]) == (
        while_out[1]["status"],
        order["status"],
        state,
        stripe.captured,
    )


async def test_news_of_stripe_makes_an_order_ask_at_once(
    data: Path, session: ClientSession, stripe: StripeServer, settings: dict[str, str]
) -> None:
    patient = {"MARKETD_SAGA__RETRY_S": "60", "MARKETD_SAGA__RETRY_S_MAX": "60"}
    async with running(data, settings=settings | patient) as service:
        visitor = Visitor(service, session)
        seller, buyer = await both(visitor)
        order_id = (await buyer.orders(await seller.offers(), SLOW)).expect(202)["orderId"]
        await service.wait_said("the payment is processing")
        (intent,) = stripe.intents.values()
        early = await posts(visitor, intent)
        still = (await buyer.sees(order_id))["status"]
        stripe.settle()
        late = [await posts(visitor, intent) for _ in range(2)]
        order = await buyer.sees_end(order_id)

    assert ([204] * 3, "pending", "completed") == ([early, *late], still, order["status"])


async def test_news_that_stripe_has_not_signed_is_refused(
    data: Path, session: ClientSession, settings: dict[str, str]
) -> None:
    async with running(data, settings=settings) as service:
        assert 400 == await posts(Visitor(service, session), {}, secret="whsec_other")


async def test_a_sale_goes_through_localstripe(data: Path, session: ClientSession) -> None:
    async with local_stripe() as url, running(data, settings=STRIPE | {"MARKETD_PAYMENTS__STRIPE_URL": url}) as service:
        endpoint = {"url": f"{service.url}/webhooks/stripe", "secret": SECRET}
        async with session.post(f"{url}/_config/webhooks/ours", json=endpoint) as answer:
            assert 200 == answer.status
        seller, buyer = await both(Visitor(service, session))
        bought = await buyer.buys(await seller.offers())
        failed = await buyer.buys(await seller.offers(), "pm_card_chargeCustomerFail")
        (await seller.refunds(bought)).expect(202)
        back = await buyer.sees_until(bought["id"], lambda order: order["status"] != "completed")

    assert ["completed", "failed", "refunded"] == [order["status"] for order in (bought, failed, back)]


async def test_what_was_charged_since_a_backup_is_charged_once(
    tmp_path: Path, data: Path, session: ClientSession, stripe: StripeServer, settings: dict[str, str]
) -> None:
    stripe.always = Mishap.ERROR
    async with running(data, settings=settings) as service:
        seller, buyer = await both(Visitor(service, session))
        order_id = (await buyer.orders(await seller.offers())).expect(202)["orderId"]
        await service.wait_said("nobody is let through")
        await marketd("backup", str(tmp_path / "store.tar"), "--data", str(data))
        stripe.always = None
        charged = await buyer.sees_end(order_id)
    stripe.forget_keys()

    again = tmp_path / "again"
    assert 0 == (await marketd("restore", str(tmp_path / "store.tar"), "--data", str(again))).code
    async with running(again, settings=settings) as service:
        order = await buyer.at(service).sees_end(order_id)

    assert (["completed"] * 2, [1999]) == ([charged["status"], order["status"]], stripe.captured)
    assert 0 == (await marketd("verify", "--data", str(again))).code


async def test_what_was_charged_at_localstripe_since_a_backup_is_charged_once(
    tmp_path: Path, data: Path, session: ClientSession, stripe: StripeServer, settings: dict[str, str]
) -> None:
    stripe.always = Mishap.ERROR
    async with running(data, settings=settings) as service:
        seller, buyer = await both(Visitor(service, session))
        order_id = (await buyer.orders(await seller.offers())).expect(202)["orderId"]
        await service.wait_said("nobody is let through")
    await marketd("backup", str(tmp_path / "store.tar"), "--data", str(data))
    await marketd("restore", str(tmp_path / "store.tar"), "--data", str(tmp_path / "again"))

    async with local_stripe() as url:
        ended: list[Json] = []
        for life in (data, tmp_path / "again"):
            async with running(life, settings=STRIPE | {"MARKETD_PAYMENTS__STRIPE_URL": url}) as service:
                ended.append(await buyer.at(service).sees_end(order_id))
        async with session.get(f"{url}/v1/charges", headers={"Authorization": f"Bearer {KEY}"}) as answer:
            charges = (await answer.json())["data"]

    assert (["completed"] * 2, [1999]) == ([o["status"] for o in ended], [charge["amount"] for charge in charges])


async def test_without_its_key_stripe_stops_the_start_in_one_line(data: Path) -> None:
    ended = await marketd("serve", "--data", str(data), settings={"MARKETD_PAYMENTS__PROCESSOR": "stripe"})

    assert (2, 1) == (ended.code, len(ended.err.splitlines()))
    assert "payments.stripe_secret_key" in ended.err


async def posts(visitor: Visitor, about: Json, *, secret: str = SECRET) -> int:
    """Post an event as Stripe does; give the status of the answer."""
    body = json.dumps({"type": "payment_intent.succeeded", "data": {"object": about}}).encode()
    at = SystemClock().now_ms() // 1000
    digest = hmac.digest(secret.encode(), f"{at}.".encode() + body, "sha256").hex()
    answer = await visitor.ask(
        "POST", "/webhooks/stripe", data=body, headers={"Stripe-Signature": f"t={at},v1={digest}"}
    )
    return answer.status
