"""Silence proves nothing: whoever does not answer is asked again under the same key, and undone under it in the end."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from marketd.actors.fulfilment import FulfilmentLimits
from marketd.actors.money import Money
from marketd.actors.order import NO_ANSWER
from marketd.actors.payments.processor import Captured, Declined
from tests.actors.shop import LIMITS, FakeProcessor, Shop
from tests.actors.watched import Trouble, WatchedLog
from tests.clock import TestClock, settle

pytestmark = pytest.mark.asyncio

SOLD = ["Placed", "Paid", "StockReserved", "Delivered", "BuyerNotified", "Completed"]
UNDONE = ["Placed", "PaymentUnanswered", "PaymentRefunded", "ClaimsEnded", "Failed"]


class HangingProcessor(FakeProcessor):
    """It does not come back from the first charge."""

    def __init__(self) -> None:
        super().__init__()
        self.gave_up = asyncio.Event()

    async def charge(self, order_id: str, price: Money, payment_method_id: str) -> Captured | Declined:
        if not self.gave_up.is_set():
            try:
                await asyncio.Event().wait()
            finally:
                self.gave_up.set()
        return await super().charge(order_id, price, payment_method_id)


@pytest_asyncio.fixture
async def shop(log: WatchedLog, clock: TestClock) -> AsyncIterator[Shop]:
    """Its processor is down when it opens."""
    async with Shop(log, clock) as shop:
        shop.processor.is_down = lambda what, order_id: True
        await shop.offer(stock=3)
        await shop.rest()
        yield shop


async def comes_back(shop: Shop, after_s: float) -> None:
    """The processor is there again after a while."""
    await shop.clock.advance(after_s)
    shop.processor.is_down = lambda what, order_id: False
    await shop.clock.advance(LIMITS.retry_s_max)


async def patience_ends(shop: Shop) -> None:
    await shop.clock.advance(LIMITS.patience_s + LIMITS.retry_s_max)


async def test_without_the_processor_an_order_is_pending(shop: Shop) -> None:
    await shop.place("o1")
    await shop.clock.advance(20)

    assert ("pending", "pending", "pending") == await shop.statuses("o1")


async def test_when_the_processor_is_back_the_sale_goes_on(shop: Shop) -> None:
    await shop.place("o1")
    await comes_back(shop, 20)
    await shop.rest()

    assert SOLD == await shop.events("o1")


async def test_all_is_asked_under_one_key(shop: Shop) -> None:
    await shop.place("o1")
    await comes_back(shop, 20)
    await shop.rest()

    assert {("charge", "o1")} == set(shop.asked)


async def test_pauses_grow(shop: Shop) -> None:
    await shop.place("o1")
    times = []
    for _ in range(40):
        before = len(shop.processor.asked)
        await shop.clock.advance(1)
        times.append(len(shop.processor.asked) - before)

    assert sum(times[:5]) > sum(times[5:10]) >= sum(times[35:])


async def test_pauses_differ(shop: Shop) -> None:
    """Or all who wait would come back at the same moment."""
    for n in range(8):
        await shop.place(f"o{n}", buyer_id=f"b{n}")
    await shop.clock.advance(LIMITS.retry_s * 0.8)

    assert 0 < sum(count > 1 for count in shop.asked.values()) < 8


async def test_pauses_have_a_limit(shop: Shop) -> None:
    await shop.place("o1")
    await shop.clock.advance(30)
    before = len(shop.processor.asked)
    await shop.clock.advance(LIMITS.retry_s_max)

    assert len(shop.processor.asked) > before


async def test_a_charge_whose_answer_was_lost_is_charged_once(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: False
    shop.processor.loses_answers = lambda what, order_id: len(shop.processor.asked) < 4
    await shop.place("o1")
    await shop.clock.advance(20)
    await shop.rest()

    assert {"o1": Captured()} == shop.processor.charges
    assert SOLD == await shop.events("o1")


async def test_when_patience_ends_the_charge_is_undone(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: what == "charge"
    await shop.place("o1")
    await patience_ends(shop)
    await shop.rest()

    assert UNDONE == await shop.events("o1")


@pytest.mark.parametrize("what", ["charge", "refund"])
async def test_while_we_are_not_there_nobody_is_silent(log: WatchedLog, clock: TestClock, what: str) -> None:
    """After an hour the processor is there again, a little later than we."""
    async with Shop(log, clock) as first:
        await first.offer()
        first.processor.is_down = lambda asked, order_id: asked == what
        await first.place("o1")
        await settle(200)
        if what == "refund":
            await first.refund("o1")
        await clock.advance(20)
        processor = first.processor
    clock.passes(3600)
    async with Shop(log, clock, processor) as shop:
        await comes_back(shop, 20)
        await shop.rest()

        assert ("completed" if what == "charge" else "refunded") == (await shop.view("o1")).status


async def test_an_order_that_was_undone_says_why(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: what == "charge"
    await shop.place("o1")
    await patience_ends(shop)
    await shop.rest()

    assert NO_ANSWER == (await shop.view("o1")).failure_reason


async def test_a_charge_is_undone_under_its_key(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: what == "charge"
    await shop.place("o1")
    await patience_ends(shop)
    await shop.rest()

    assert ("refund", "o1") == shop.processor.asked[-1]


async def test_money_that_was_taken_without_a_word_goes_back(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: False
    shop.processor.loses_answers = lambda what, order_id: what == "charge"
    await shop.place("o1")
    await patience_ends(shop)
    await shop.rest()

    assert (True, set()) == ("o1" in shop.processor.charges, shop.processor.captured)


async def test_what_was_delivered_with_a_payment_of_which_nobody_knows_is_taken_back(
    log: WatchedLog, clock: TestClock
) -> None:
    """The first process dies when the buyer has it and before that is on the order's record."""
    async with Shop(log, clock) as first:
        await first.offer()
        after_delivery = len(log.appends) + 4  # the claim, the order and the delivery come first
        log.trouble_at |= dict.fromkeys(range(after_delivery, after_delivery + 10), Trouble.LOST_UNKNOWN)
        await first.place("o1")
        await settle(400)
        processor, seen = first.processor, (await first.owns(), await first.events("o1"))
    log.trouble_at.clear()
    processor.is_down = lambda what, order_id: what == "charge"
    async with Shop(log, clock, processor) as shop:
        await patience_ends(shop)
        await shop.rest()

        undone = ["Placed", "PaymentUnanswered", "DeliveryRevoked", "PaymentRefunded", "ClaimsEnded", "Failed"]
        assert ((True, ["Placed"]), undone) == (seen, await shop.events("o1"))
        assert (False, set()) == (await shop.owns(), processor.captured)


async def test_a_charge_that_comes_after_its_undoing_is_declined(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: what == "charge"
    await shop.place("o1")
    await patience_ends(shop)
    await shop.rest()
    shop.processor.is_down = lambda what, order_id: False
    view = await shop.view("o1")

    assert Declined("cancelled") == await shop.processor.charge("o1", view.price, "pm_good")


async def test_when_nobody_answers_at_all_an_alert_is_left(shop: Shop) -> None:
    await shop.place("o1")
    await patience_ends(shop)
    await patience_ends(shop)
    await shop.rest()

    assert (await shop.view("o1")).has_open_alert


async def test_a_refund_waits_for_the_processor(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: what == "refund"
    await shop.place("o1")
    await shop.rest()
    await shop.refund("o1")
    await comes_back(shop, 20)
    await shop.rest()

    assert ("refunded", "refunded", "revoked") == await shop.statuses("o1")


async def test_a_processor_that_hangs_is_a_silent_one(log: WatchedLog, clock: TestClock) -> None:
    """The wait for an answer is the event loop's own, so this takes real milliseconds."""
    limits = FulfilmentLimits(retry_s=1, retry_s_max=8, patience_s=60, processor_wait_s_max=0.05)
    processor = HangingProcessor()
    async with Shop(log, clock, processor, limits=limits) as shop:
        await shop.offer()
        await shop.place("o1")
        await processor.gave_up.wait()
        await shop.clock.advance(LIMITS.retry_s)
        await shop.rest()

        assert SOLD == await shop.events("o1")


@pytest.mark.parametrize("trouble", [Trouble.TAKEN_UNKNOWN, Trouble.LOST_UNKNOWN, Trouble.FULL, Trouble.BROKEN])
@pytest.mark.parametrize("append", range(2, 8))
async def test_a_log_in_trouble_does_not_change_a_sale(
    log: WatchedLog, clock: TestClock, trouble: Trouble, append: int
) -> None:
    """A sale is seven appends; the first is its buyer's."""
    async with Shop(log, clock) as shop:
        await shop.offer(stock=3)
        log.trouble_at[len(log.appends) + append] = trouble
        await shop.place("o1")
        await settle(400)
        await shop.clock.advance(LIMITS.retry_s_max)
        await shop.rest()

        assert (SOLD, 2, {"o1"}) == (await shop.events("o1"), await shop.stock(), shop.processor.captured)
