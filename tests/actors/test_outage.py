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
ENDS_S_MAX = 20


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

    async def ends(self, order_id: str) -> str:
        """Wait until the order is pending no longer, and no time passes but the real one."""
        async with asyncio.timeout(ENDS_S_MAX):
            while (status := (await self.shop.view(order_id)).status) == "pending":
                await asyncio.sleep(TRIP_S)
        return status


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
    while trade.breaker.state == "closed":
        await trade.passes(0.1)
    await asyncio.sleep(TRIP_S * 10)  # for those that were on their way
    before = len(trade.server.asked)
    await trade.passes(20)

    assert (before, "open") == (len(trade.server.asked), trade.breaker.state)


async def test_when_stripe_is_back_orders_go_on_by_themselves(trade: Trade) -> None:
    trade.server.always = Mishap.ERROR
    order_id = await trade.place()
    await trade.passes(20)
    trade.server.always = None
    await trade.passes(35)

    assert ("completed", [1999]) == (await trade.ends(order_id), trade.server.captured)


async def test_when_patience_ends_what_was_never_asked_fails_without_an_alert(trade: Trade) -> None:
    trade.server.always = Mishap.ERROR
    order_id = await trade.place()
    await trade.passes(LIMITS.patience_s + LIMITS.retry_s_max)
    await trade.ends(order_id)
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

    assert (1999, "failed", 0) == (before, await trade.ends(order_id), trade.server.kept_money)


async def test_declined_cards_keep_nobody_from_paying(trade: Trade) -> None:
    ended = [await trade.ends(await trade.place("pm_card_chargeDeclined")) for _ in range(6)]
    ended.append(await trade.ends(await trade.place()))

    assert (["failed"] * 6 + ["completed"], "closed") == (ended, trade.breaker.state)


async def test_an_order_that_is_hurried_asks_at_once(trade: Trade) -> None:
    order_id = await trade.place(SLOW)
    while order_id not in trade.shop.fulfilment._resting:
        await asyncio.sleep(TRIP_S)
    trade.server.settle()
    before = trade.shop.clock.now_ms()
    trade.shop.fulfilment.hurry(order_id)

    assert ("completed", before) == (await trade.ends(order_id), trade.shop.clock.now_ms())


async def test_to_hurry_an_order_changes_nothing_but_when_it_asks(trade: Trade) -> None:
    order_id = await trade.place(SLOW)
    for _ in range(3):
        trade.shop.fulfilment.hurry(order_id)
        await asyncio.sleep(TRIP_S)

    assert ("pending", []) == ((await trade.shop.view(order_id)).status, trade.server.captured)


async def test_an_order_that_does_not_wait_can_not_be_hurried(trade: Trade) -> None:
    order_id = await trade.place()
    await trade.ends(order_id)
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
        status = await trade.ends(order_id)

    assert ("completed", [1999]) == (status, server.captured)
