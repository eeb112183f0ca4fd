"""Every order is led to its end, one step after the other, whatever it meets on the way."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from marketd.actors import order, product
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.fulfilment import CHECKPOINT, Fulfilment
from marketd.actors.notices.port import Receipt
from marketd.actors.order import BuyerNotified, Completed, Delivered, StockReserved
from marketd.storage.follower import Work
from marketd.trace import described
from tests.actors.shop import LIMITS, Shop
from tests.actors.watched import WatchedLog
from tests.clock import TestClock, settle

pytestmark = pytest.mark.asyncio

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SOLD = ["Placed", "Paid", "StockReserved", "Delivered", "BuyerNotified", "Completed"]


@pytest_asyncio.fixture
async def shop(log: WatchedLog, clock: TestClock) -> AsyncIterator[Shop]:
    """It sells three units."""
    async with Shop(log, clock) as shop:
        await shop.offer(stock=3)
        await shop.rest()
        yield shop


# Forwards.


async def test_an_order_goes_through_every_step(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()

    assert SOLD == await shop.events("o1")


async def test_a_sale_is_complete(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()

    assert ("completed", "captured", "delivered") == await shop.statuses("o1")


async def test_a_sale_is_charged_once(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()

    assert [("charge", "o1")] == shop.processor.asked


async def test_a_sale_takes_a_unit(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()

    assert 2 == await shop.stock()


async def test_a_sale_gives_the_buyer_access(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()

    assert await shop.owns()


async def test_what_the_house_does_for_a_sale_is_one_record_of_the_order(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()

    newest = (await shop.log.read("order/o1"))[-1]
    assert [StockReserved, Delivered, BuyerNotified, Completed] == [type(event) for event in newest.commit.events]


async def test_where_nothing_is_counted_all_that_is_done_for_a_sale_is_one_record_of_the_order(
    log: WatchedLog, clock: TestClock
) -> None:
    async with Shop(log, clock) as shop:
        await shop.offer()
        await shop.place("o1")
        await shop.rest()

        assert SOLD == await shop.events("o1")
        assert [1, 5] == [len(record.commit.events) for record in await log.read("order/o1")]


async def test_where_nothing_is_counted_a_sale_is_no_record_of_the_product(log: WatchedLog, clock: TestClock) -> None:
    async with Shop(log, clock) as shop:
        await shop.offer()
        await shop.place("o1")
        await shop.rest()

        assert 1 == len(await log.read("product/p1"))


async def test_what_was_sold_before_units_were_counted_takes_none(log: WatchedLog, clock: TestClock) -> None:
    async with Shop(log, clock) as shop:
        await shop.offer()
        shop.processor.is_down = lambda what, order_id: True
        await shop.place("o1")
        await shop.rest(open_orders=1)
        await shop.ask(Address("product", "p1"), product.Revise("sue", 2, stock=0))
        shop.processor.is_down = lambda what, order_id: False
        await shop.clock.advance(LIMITS.retry_s_max)
        await shop.rest()

        assert (("completed", "captured", "delivered"), 0) == (await shop.statuses("o1"), await shop.stock())


async def test_the_buyer_is_told_once(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()

    assert [Receipt("o1", "ann", "Serif")] == shop.notices.sent


async def test_the_buyer_gets_the_licence_key(log: WatchedLog, clock: TestClock) -> None:
    async with Shop(log, clock) as shop:
        await shop.offer(keys=("k1", "k2"))
        await shop.place("o1")
        await shop.rest()

        assert "k1" == (await shop.view("o1")).licence_key


async def test_the_records_of_a_sale_have_one_correlation(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()
    records = await shop.log.read("product/p1") + await shop.log.read("order/o1") + await shop.log.read("buyer/ann")

    assert {"r1"} == {record.commit.meta.correlation for record in records}


async def test_the_records_of_a_sale_have_one_trace(shop: Shop) -> None:
    await shop.place("o1", trace=TRACE)
    await shop.rest()
    records = await shop.log.read("order/o1") + await shop.log.read("product/p1", 1) + await shop.log.read("buyer/ann")
    traces = [record.commit.meta.trace for record in records]

    assert (TRACE, {TRACE[:35]}) == (traces[0], {trace[:35] for trace in traces})


async def test_the_trace_of_a_sale_outlives_a_crash(log: WatchedLog, clock: TestClock) -> None:
    async with Shop(log, clock) as shop:
        await shop.offer(stock=3)
        shop.processor.is_down = lambda what, order_id: True
        await shop.place("o1", trace=TRACE)
        await shop.rest(open_orders=1)
    async with Shop(log, clock) as shop:
        await shop.rest()

    records = await log.read("order/o1") + await log.read("buyer/ann")
    assert {TRACE[:35]} == {record.commit.meta.trace[:35] for record in records}


async def test_what_a_step_logs_names_the_request_that_began_the_sale(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    named: list[str] = []

    def note(record: logging.LogRecord) -> bool:
        named.append(described())
        return True

    caplog.handler.addFilter(note)
    shop.processor.is_down = lambda what, order_id: True
    await shop.place("o1", trace=TRACE)
    await shop.rest(open_orders=1)

    assert [f"request=r1 trace={TRACE[3:35]}"] == named


async def test_many_orders_are_led_at_once(shop: Shop) -> None:
    for n in range(3):
        await shop.place(f"o{n}", buyer_id=f"b{n}")
    await shop.rest()

    assert [SOLD] * 3 == [await shop.events(f"o{n}") for n in range(3)]


# Backwards.


async def test_a_declined_payment_fails_the_order(shop: Shop) -> None:
    await shop.place("o1", pays_with="pm_bad")
    await shop.rest()

    assert ("failed", "declined", "failed") == await shop.statuses("o1")


async def test_a_declined_payment_takes_no_unit(shop: Shop) -> None:
    await shop.place("o1", pays_with="pm_bad")
    await shop.rest()

    assert 3 == await shop.stock()


async def test_who_comes_too_late_gets_the_money_back(shop: Shop) -> None:
    for n in range(4):
        await shop.place(f"o{n}", buyer_id=f"b{n}")
    await shop.rest()
    statuses = [await shop.statuses(f"o{n}") for n in range(4)]

    assert [3, 1] == [
        statuses.count(("completed", "captured", "delivered")),
        statuses.count(("failed", "refunded", "failed")),
    ]


async def test_an_order_that_was_sold_out_says_so(shop: Shop) -> None:
    for n in range(4):
        await shop.place(f"o{n}", buyer_id=f"b{n}")
        await shop.rest()

    assert "the product is sold out" == (await shop.view("o3")).failure_reason


async def test_who_owns_it_already_gets_the_money_back(shop: Shop) -> None:
    await shop.give()
    await shop.place("o1")
    await shop.rest()

    undone = ["DeliveryRefused", "StockReleased", "PaymentRefunded", "ClaimsEnded", "Failed"]
    assert undone == (await shop.events("o1"))[-5:]


async def test_who_owns_it_already_takes_no_unit(shop: Shop) -> None:
    await shop.give()
    await shop.place("o1")
    await shop.rest()

    assert 3 == await shop.stock()


async def test_a_failed_order_has_no_captured_payment(shop: Shop) -> None:
    await shop.give()
    await shop.place("o1")
    await shop.rest()

    assert set() == shop.processor.captured


async def test_a_refund_that_fails_leaves_an_alert(shop: Shop) -> None:
    shop.processor.refunds_fail = True
    await shop.give()
    await shop.place("o1")
    await shop.rest()

    assert (await shop.view("o1")).has_open_alert


async def test_a_refund_that_fails_fails_the_order(shop: Shop) -> None:
    shop.processor.refunds_fail = True
    await shop.give()
    await shop.place("o1")
    await shop.rest()

    assert ("failed", "refund_failed", "failed") == await shop.statuses("o1")


# A complete sale, taken back.


async def test_the_seller_gives_the_money_back(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()
    await shop.refund("o1")
    await shop.rest()

    assert ["RefundRequested", "DeliveryRevoked", "PaymentRefunded", "Refunded"] == (await shop.events("o1"))[-4:]


async def test_a_refunded_order_is_refunded(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()
    await shop.refund("o1")
    await shop.rest()

    assert ("refunded", "refunded", "revoked") == await shop.statuses("o1")


async def test_with_the_money_the_access_goes(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()
    await shop.refund("o1")
    await shop.rest()

    assert not await shop.owns()


async def test_what_was_refunded_can_be_bought_again(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()
    await shop.refund("o1")
    await shop.rest()
    await shop.place("o2")
    await shop.rest()

    assert SOLD == await shop.events("o2")


# Notices.


async def test_a_sale_is_complete_without_its_notice(shop: Shop) -> None:
    shop.notices.failures = 3
    await shop.place("o1")
    await shop.rest(open_orders=1)

    assert ("completed", "captured", "delivered") == await shop.statuses("o1")


async def test_the_notice_goes_out_later(shop: Shop) -> None:
    shop.notices.failures = 3
    await shop.place("o1")
    await shop.rest(open_orders=1)
    await shop.clock.advance(10)
    await shop.rest()

    assert [Receipt("o1", "ann", "Serif")] == shop.notices.sent


async def test_a_notice_that_never_goes_out_is_given_up(shop: Shop) -> None:
    shop.notices.failures = 1000
    await shop.place("o1")
    await shop.rest(open_orders=1)
    await shop.clock.advance(LIMITS.patience_s + LIMITS.retry_s_max)
    await shop.rest()

    assert ["NoticeFailed", "Completed", "NoticeAbandoned"] == (await shop.events("o1"))[-3:]


async def test_a_refund_does_not_wait_for_a_notice(shop: Shop) -> None:
    shop.notices.failures = 1000
    await shop.place("o1")
    await shop.rest(open_orders=1)
    await shop.refund("o1")
    await shop.clock.advance(LIMITS.retry_s_max)
    await shop.rest()

    assert ("refunded", "refunded", "revoked") == await shop.statuses("o1")


# One order is not the others' business.


async def test_a_defect_in_one_walk_does_not_stop_the_others(shop: Shop) -> None:
    shop.processor.is_broken = lambda what, order_id: order_id == "o1"
    await shop.place("o1", buyer_id="bob")
    await shop.place("o2")
    await shop.rest(open_orders=1)

    assert SOLD == await shop.events("o2")


async def test_a_defect_is_logged_with_the_name_of_the_order(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.processor.is_broken = lambda what, order_id: True
    await shop.place("o1")
    await settle(100)
    await shop.clock.advance(2 * LIMITS.retry_s)

    said = "order/o1: ProcessPayment crashed: ZeroDivisionError('a defect')"
    assert [("marketd.fulfilment", logging.ERROR, said)] * 2 == caplog.record_tuples[:2]
    assert [True, False] == [record.exc_info is not None for record in caplog.records[:2]]  # whole once is enough


async def test_an_order_whose_step_crashed_goes_on_by_itself(shop: Shop) -> None:
    shop.processor.is_broken = lambda what, order_id: len(shop.processor.asked) < 3
    await shop.place("o1")
    await settle(100)
    in_between = shop.fulfilment.trouble
    await shop.clock.advance(10 * LIMITS.retry_s)
    await shop.rest()

    assert ("the walks of 1 orders crash", None) == (in_between, shop.fulfilment.trouble)
    assert SOLD == await shop.events("o1")


async def test_a_step_that_crashes_for_longer_than_patience_lasts_is_undone(shop: Shop) -> None:
    shop.processor.is_broken = lambda what, order_id: what == "charge"
    await shop.place("o1")
    await shop.clock.advance(2 * LIMITS.patience_s)
    await shop.rest()

    assert ("failed", "refunded", "failed") == await shop.statuses("o1")


async def test_an_order_whose_walk_crashed_goes_on_by_itself(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    sound, crashes = Fulfilment._awaited, [ZeroDivisionError("a defect")] * 2

    async def awaited(self: Fulfilment, order_id: str, walk: Work) -> order.Awaited:
        if crashes:
            raise crashes.pop()
        return await sound(self, order_id, walk)

    monkeypatch.setattr(Fulfilment, "_awaited", awaited)
    await shop.place("o1")
    await settle(100)
    in_between = shop.fulfilment.trouble
    await shop.clock.advance(10 * LIMITS.retry_s)
    await shop.rest()

    assert ("the walks of 1 orders crash", None) == (in_between, shop.fulfilment.trouble)
    assert SOLD == await shop.events("o1")


async def test_an_order_that_waits_does_not_hold_up_the_others(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: order_id == "o1"
    await shop.place("o1", buyer_id="bob")
    await shop.place("o2")
    await shop.rest(open_orders=1)

    assert SOLD == await shop.events("o2")


async def test_the_checkpoint_stays_before_the_oldest_open_order(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: order_id == "o1"
    before = shop.log.head
    await shop.place("o1", buyer_id="bob")
    for n in (2, 3):
        await shop.place(f"o{n}", buyer_id=f"b{n}")
        await shop.rest(open_orders=1)

    assert before == max(shop.log.checkpoints)


async def test_the_checkpoint_stays_before_the_beginning_of_an_order(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: what == "refund"
    await shop.give()
    before = shop.log.head
    await shop.place("o1")
    await shop.rest(open_orders=1)
    await shop.place("o2", buyer_id="bob")
    await shop.rest(open_orders=1)

    assert before == max(shop.log.checkpoints)


async def test_an_order_is_read_as_new_as_the_record_that_was_heard(shop: Shop, clock: TestClock) -> None:
    """Another process places it, while an actor that knows nothing of that is awake here."""
    with pytest.raises(Refused):
        await shop.view("o1")
    async with Shop(shop.log, TestClock(seed=2), shop.processor) as other:
        await other.place("o1")
    await shop.rest()

    assert SOLD == await shop.events("o1")


async def test_the_checkpoint_moves_on_with_the_orders(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()
    done = shop.log.head
    await shop.offer("p2")
    await shop.rest()

    assert done <= await shop.log.checkpoint(CHECKPOINT)


# What admission goes by.


async def test_an_order_at_its_end_waits_for_nothing_and_is_counted(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()

    assert (0, 1) == (shop.fulfilment.waiting, shop.fulfilment.done)


async def test_an_order_that_rests_before_it_asks_again_is_no_work(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: True
    await shop.place("o1")
    await settle()

    assert (0, 0, 1) == (shop.fulfilment.waiting, shop.fulfilment.done, shop.fulfilment.statistics()["open_orders"])


async def test_an_order_on_its_way_waits_until_it_is_led_on(shop: Shop) -> None:
    await shop.place("o1")
    seen = set[int]()
    for _ in range(200):
        seen.add(shop.fulfilment.waiting)
        await asyncio.sleep(0)

    assert {0, 1} == seen
