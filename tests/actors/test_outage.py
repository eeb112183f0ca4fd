"""While the processor is out, orders wait before its breaker; they go on by themselves, or are undone in the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from marketd.actors.fulfilment import Fulfilment
from marketd.actors.order import NO_ANSWER
from marketd.bus.breaker import Breaker
from marketd.clock import new_id
from tests.actors.payments.parties import breaker_of, stripe_at
from tests.actors.payments.stripe_server import SLOW, Mishap, StripeServer
from tests.actors.shop import LIMITS, Shop
from tests.actors.watched import WatchedLog
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio

VISA = "pm_card_visa"
TRIP_S = 0.01  # a trip over loopback, in real time


@dataclass
class Trade:
    """A shop that is paid through Stripe."""

    shop: Shop
    server: StripeServer
    breaker: Breaker

    async def place(self, card: str = VISA) -> str:
        order_id = new_id(self.shop.clock)
        await self.shop.place(order_id, pays_with=card)
        await self.passes(0)
        return order_id

    async def passes(self, seconds: float) -> None:
        """Let the time pass, in steps that leave room for what goes over the wire."""
        for _ in range(max(1, int(seconds))):
            await self.shop.clock.advance(min(seconds, 1))
            await asyncio.sleep(TRIP_S)


@asynccontextmanager
async def trading(log: WatchedLog, clock: TestClock, path: Path, server: StripeServer) -> AsyncIterator[Trade]:
    breaker = breaker_of(clock)
    async with stripe_at(server.url, path / "stripe.db", clock, breaker) as processor:
        shop = Shop(log, clock)
        shop.fulfilment = Fulfilment(shop.bus, log, processor, shop.notices, clock, LIMITS)
        async with shop:
            yield Trade(shop, server, breaker)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[StripeServer]:
    async with StripeServer() as server:
        yield server


@pytest_asyncio.fixture
async def trade(log: WatchedLog, clock: TestClock, tmp_path: Path, server: StripeServer) -> AsyncIterator[Trade]:
    async with trading(log, clock, tmp_path, server) as trade:
        await trade.shop.offer()
        yield trade


async def test_without_stripe_orders_wait(trade: Trade) -> None:
    trade.server.always = Mishap.ERROR
    order_id = await trade.place()
    await trade.passes(20)

    assert ("open", ("pending", "pending", "pending")) == (trade.breaker.state, await trade.shop.statuses(order_id))


async def test_while_nobody_is_let_through_stripe_is_left_alone(trade: Trade) -> None:
    trade.server.always = Mishap.ERROR
    for n in range(5):
        await trade.shop.place(new_id(trade.shop.clock), buyer_id=f"b{n}", pays_with=VISA)
    await trade.passes(25)

    assert 5 == len(trade.server.asked)


async def test_when_stripe_is_back_orders_go_on_by_themselves(trade: Trade) -> None:
    trade.server.always = Mishap.ERROR
    order_id = await trade.place()
    await trade.passes(20)
    trade.server.always = None
    await trade.passes(35)

    assert ("completed", [1999]) == ((await trade.shop.view(order_id)).status, trade.server.captured)


async def test_when_patience_ends_what_was_never_asked_fails_without_an_alert(trade: Trade) -> None:
    trade.server.always = Mishap.ERROR
    order_id = await trade.place()
    await trade.passes(LIMITS.patience_s + LIMITS.retry_s_max)
    view = await trade.shop.view(order_id)

    assert ("failed", NO_ANSWER, False) == (view.status, view.failure_reason, view.has_open_alert)


async def test_when_patience_ends_what_may_have_happened_is_undone_once_stripe_is_back(trade: Trade) -> None:
    trade.server.meets("confirm", Mishap.ERROR_AFTER)
    trade.server.meets("look up", *[Mishap.ERROR] * 4)
    order_id = await trade.place()
    while not trade.server.captured:
        await asyncio.sleep(TRIP_S)
    trade.server.always = Mishap.ERROR
    await trade.passes(LIMITS.patience_s + LIMITS.retry_s_max)
    before = trade.server.kept_money
    trade.server.always = None
    await trade.passes(40)

    assert (1999, 0, "failed") == (before, trade.server.kept_money, (await trade.shop.view(order_id)).status)


async def test_declined_cards_keep_nobody_from_paying(trade: Trade) -> None:
    for _ in range(6):
        await trade.place("pm_card_chargeDeclined")
    order_id = await trade.place()
    await trade.shop.rest()

    assert ("closed", "completed") == (trade.breaker.state, (await trade.shop.view(order_id)).status)


async def test_an_order_that_is_hurried_asks_at_once(trade: Trade) -> None:
    order_id = await trade.place(SLOW)
    while order_id not in trade.shop.fulfilment._resting:
        await asyncio.sleep(TRIP_S)
    trade.server.settle()
    before = trade.shop.clock.now_ms()
    trade.shop.fulfilment.hurry(order_id)
    while trade.server.asked[-1][0] == "confirm":
        await asyncio.sleep(TRIP_S)
    await trade.passes(0)
    await trade.shop.rest()

    assert ("completed", before) == ((await trade.shop.view(order_id)).status, trade.shop.clock.now_ms())


async def test_to_hurry_an_order_changes_nothing_but_when_it_asks(trade: Trade) -> None:
    order_id = await trade.place(SLOW)
    for _ in range(3):
        trade.shop.fulfilment.hurry(order_id)
        await asyncio.sleep(TRIP_S)

    assert ("pending", []) == ((await trade.shop.view(order_id)).status, trade.server.captured)


async def test_an_order_that_does_not_wait_can_not_be_hurried(trade: Trade) -> None:
    order_id = await trade.place()
    await trade.shop.rest()
    trade.shop.fulfilment.hurry(order_id)
    trade.shop.fulfilment.hurry("nobody's")
    await trade.shop.rest()

    assert ("completed", [1999]) == ((await trade.shop.view(order_id)).status, trade.server.captured)


@pytest.mark.parametrize("mishap", [Mishap.SILENCE_AFTER, Mishap.RESET_AFTER, Mishap.HALF_AFTER])
async def test_an_order_whose_charge_was_cut_off_by_the_end_of_the_process_is_charged_once(
    log: WatchedLog, clock: TestClock, tmp_path: Path, server: StripeServer, mishap: Mishap
) -> None:
    server.meets("confirm", mishap)
    async with trading(log, clock, tmp_path, server) as trade:
        await trade.shop.offer()
        order_id = await trade.place()
        while "confirm" not in dict(server.asked):
            await asyncio.sleep(TRIP_S)
    async with trading(log, clock, tmp_path, server) as trade:
        await asyncio.sleep(TRIP_S)
        await trade.shop.rest()
        status = (await trade.shop.view(order_id)).status

    assert ("completed", [1999]) == (status, server.captured)
