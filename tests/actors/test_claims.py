"""What an order needs is set aside before it is placed: whoever is charged gets it, and nothing stays set aside."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from marketd.actors import buyer, order, product
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.fulfilment import CHECKPOINT
from tests.actors.sale import PRICE
from tests.actors.shop import LIMITS, Shop
from tests.actors.watched import Trouble, WatchedLog
from tests.clock import TestClock, settle

pytestmark = pytest.mark.asyncio

BUYERS = 500
COPIES = 10
ROUNDS = 40  # of the event loop, from an order to its end
SOLD = ("completed", "captured", "delivered")
REFUNDED = ("refunded", "refunded", "revoked")


@pytest_asyncio.fixture
async def shop(log: WatchedLog, clock: TestClock) -> AsyncIterator[Shop]:
    async with Shop(log, clock) as shop:
        yield shop


async def orders_at_once(shop: Shop, *orders: tuple[str, str]) -> Counter[str]:
    """Let each of these buyers order; count how they were answered."""

    async def told(order_id: str, buyer_id: str) -> str:
        try:
            await shop.buy(order_id, buyer_id=buyer_id)
        except Refused as refused:
            return str(refused.reason.name)
        return "accepted"

    return Counter(await asyncio.gather(*(told(*order) for order in orders)))


async def claim_ends(shop: Shop) -> None:
    """Time passes until a claim without an order has gone back."""
    await shop.clock.advance(LIMITS.claim_s * 1.5)
    await shop.rest()


# Nobody is charged for what they can't have.


async def test_of_many_buyers_at_once_as_many_are_charged_as_there_are_copies(shop: Shop) -> None:
    await shop.offer(stock=COPIES)
    told = await orders_at_once(shop, *((f"o{n}", f"b{n}") for n in range(BUYERS)))
    await shop.rest()

    assert {"accepted": COPIES, "SOLD_OUT": BUYERS - COPIES} == told
    assert (COPIES, COPIES, 0) == (len(shop.processor.asked), len(shop.processor.captured), await shop.stock())


@pytest.mark.parametrize("stock", [None, 1, 20])
async def test_of_the_orders_of_one_buyer_at_once_one_is_accepted_and_charged(shop: Shop, stock: int | None) -> None:
    await shop.offer(stock=stock)
    told = await orders_at_once(shop, *((f"o{n}", "ann") for n in range(10)))
    await shop.rest()

    left = None if stock is None else stock - 1
    assert (1, [1], left) == (told["accepted"], list(shop.asked.values()), await shop.stock())


async def test_while_an_order_is_under_way_its_buyer_has_no_second_one(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: True
    await shop.offer()
    await shop.buy("o1")

    assert {"UNDER_WAY": 1} == await orders_at_once(shop, ("o2", "ann"))


async def test_a_copy_is_kept_for_as_long_as_its_order_waits(shop: Shop) -> None:
    """Longer than a claim without an order is."""
    shop.processor.is_down = lambda what, order_id: True
    await shop.offer(stock=1)
    await shop.buy("o1")
    await shop.clock.advance(LIMITS.claim_s * 2)

    assert {"SOLD_OUT": 1} == await orders_at_once(shop, ("o2", "bob"))


async def test_whose_product_is_withdrawn_meanwhile_gets_it(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: True
    await shop.offer(stock=1)
    await shop.buy("o1")
    await shop.ask(Address("product", "p1"), product.Withdraw("sue", 2))
    shop.processor.is_down = lambda what, order_id: False
    await shop.clock.advance(LIMITS.retry_s_max)
    await shop.rest()

    assert SOLD == await shop.statuses("o1")


# What an order does not need any more, others can have.


@pytest.mark.parametrize("next_buyer", ["ann", "bob"])
async def test_after_a_declined_card_the_last_copy_is_sold_to_whoever_comes(shop: Shop, next_buyer: str) -> None:
    await shop.offer(stock=1)
    await shop.buy("o1", pays_with="pm_bad")
    await shop.rest()
    await shop.buy("o2", buyer_id=next_buyer)
    await shop.rest()

    assert [("failed", "declined", "failed"), SOLD] == [await shop.statuses("o1"), await shop.statuses("o2")]


async def test_an_order_is_pending_until_its_copy_is_back(shop: Shop) -> None:
    """Or whoever saw it fail would be told that the product is sold out."""
    await shop.offer(stock=1)
    await shop.buy("o1", pays_with="pm_bad")
    while (await shop.view("o1")).status == "pending":
        await asyncio.sleep(0)

    assert 1 == await shop.stock()


async def test_an_order_that_was_undone_leaves_its_copy(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: what == "charge"
    await shop.offer(stock=1)
    await shop.buy("o1")
    await shop.clock.advance(LIMITS.patience_s + LIMITS.retry_s_max)
    await shop.rest()

    assert 1 == await shop.stock()
    assert {"accepted": 1} == await orders_at_once(shop, ("o2", "ann"))


async def test_an_order_whose_refund_failed_leaves_its_copy(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: True
    await shop.offer(stock=1)
    await shop.buy("o1")
    for _ in range(2):
        await shop.clock.advance(LIMITS.patience_s + LIMITS.retry_s_max)
    await shop.rest()

    assert (True, 1) == ((await shop.view("o1")).has_open_alert, await shop.stock())


async def test_what_was_refunded_is_claimed_again(shop: Shop) -> None:
    await shop.offer(stock=2)
    await shop.buy("o1")
    await shop.rest()
    await shop.refund("o1")
    await shop.rest()

    assert {"accepted": 1} == await orders_at_once(shop, ("o2", "ann"))


@pytest.mark.parametrize("pays_with", ["pm_good", "pm_bad"])
async def test_a_crash_at_any_moment_leaves_nothing_set_aside(pays_with: str) -> None:
    left = []
    for rounds in range(ROUNDS):
        log = WatchedLog()
        async with Shop(log, TestClock()) as first:
            await first.offer(stock=1)
            ordering = asyncio.create_task(first.buy("o1", pays_with=pays_with))
            await settle(rounds)
            ordering.cancel()
        async with Shop(log, TestClock(seed=2), first.processor) as second:
            await second.rest()
            await claim_ends(second)
            left.append((await second.stock() or 0) + await second.owns())

    assert [1] * ROUNDS == left


# Claims of orders that never come.


async def test_a_claim_without_an_order_goes_back(shop: Shop) -> None:
    await shop.offer(stock=1)
    await shop.claim("o1")
    await claim_ends(shop)

    assert ({"accepted": 1}, 0) == (await orders_at_once(shop, ("o2", "ann")), shop.fulfilment.statistics()["claims"])


async def test_until_then_it_is_kept(shop: Shop) -> None:
    await shop.offer(stock=2)
    await shop.claim("o1")
    await shop.clock.advance(LIMITS.claim_s / 2)

    assert {"UNDER_WAY": 1} == await orders_at_once(shop, ("o2", "ann"))


async def test_a_claim_without_an_order_goes_back_after_a_crash(log: WatchedLog) -> None:
    async with Shop(log, TestClock()) as first:
        await first.offer(stock=1)
        await first.claim("o1")
        await first.rest()
    async with Shop(log, TestClock(seed=2)) as second:
        await second.rest()
        await claim_ends(second)

        assert {"accepted": 1} == await orders_at_once(second, ("o2", "bob"))


async def test_the_checkpoint_stays_before_a_claim_without_an_order(shop: Shop) -> None:
    await shop.offer(stock=3)
    before = shop.log.head
    await shop.claim("o1")
    await shop.buy("o2", buyer_id="bob")
    await shop.rest()

    assert before == await shop.log.checkpoint(CHECKPOINT)


async def test_a_claim_that_comes_after_its_order_was_over_goes_back(shop: Shop) -> None:
    """As that of a request that was slow, and repeated."""
    await shop.offer(stock=2)
    await shop.buy("o1", pays_with="pm_bad")
    await shop.rest()
    await shop.claim("o1")
    await claim_ends(shop)

    assert 2 == await shop.stock()


@pytest.mark.parametrize("is_held_first", [True, False])
async def test_a_unit_that_was_held_for_an_order_that_is_not_counted_goes_back(shop: Shop, is_held_first: bool) -> None:
    """Its seller began to count between two tries of one request, of which the first was late."""
    await shop.offer()
    await shop.claim("o1")
    placed = order.Place("ann", "sue", "p1", "Serif", PRICE, "pm_good", 1, is_counted=False)
    late = [
        (Address("product", "p1"), product.Hold("o1")),
        (Address("order", "o1"), placed),
    ]
    await shop.ask(Address("product", "p1"), product.Revise("sue", 2, stock=1))
    for address, message in late if is_held_first else reversed(late):
        await shop.ask(address, message)
    await claim_ends(shop)

    assert (SOLD, 1) == (await shop.statuses("o1"), await shop.stock())
    assert 0 == shop.fulfilment.statistics()["claims"]


async def test_a_claim_of_an_order_that_goes_on_is_kept(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: True
    await shop.offer(stock=2)
    await shop.place("o1")
    await shop.claim("o1")
    await shop.clock.advance(LIMITS.claim_s * 2)

    assert {"UNDER_WAY": 1} == await orders_at_once(shop, ("o2", "ann"))


async def test_a_claim_by_an_order_that_comes_to_be_of_another_product_goes_back(shop: Shop) -> None:
    await shop.offer(stock=1)
    await shop.offer("p2", stock=1)
    await shop.claim("o1", "p2")
    await shop.buy("o1")
    await claim_ends(shop)

    assert (SOLD, 0, 1) == (await shop.statuses("o1"), await shop.stock(), await shop.stock("p2"))
    await shop.claim("o2", "p2")


async def test_a_claim_does_not_wait_for_an_order_of_another_product(shop: Shop) -> None:
    shop.processor.is_down = lambda what, order_id: True
    await shop.offer(stock=2)
    await shop.offer("p2", stock=1)
    await shop.buy("o1")
    await shop.claim("o1", "p2")
    await shop.clock.advance(LIMITS.claim_s * 2)
    await settle()

    assert (1, {"UNDER_WAY": 1}) == (await shop.stock("p2"), await orders_at_once(shop, ("o2", "ann")))


async def test_what_cannot_be_given_up_is_tried_again(shop: Shop) -> None:
    await shop.offer()
    await shop.claim("o1")
    await shop.rest()
    shop.log.trouble_at[len(shop.log.appends) + 1] = Trouble.FULL
    await claim_ends(shop)
    await claim_ends(shop)

    assert 0 == shop.fulfilment.statistics()["claims"]


# Refund and completion at the same time.


@pytest.mark.parametrize("notices_fail", [0, 1])
async def test_a_refund_at_any_moment_of_a_sale_is_refused_or_made_whole(notices_fail: int) -> None:
    """Whoever is refused sees the sale complete; whoever is not, sees it taken back."""
    ends = set[tuple[str, str, str]]()
    for rounds in range(ROUNDS):
        async with Shop(WatchedLog(), TestClock()) as shop:
            shop.notices.failures = notices_fail
            await shop.offer(stock=1)
            await shop.buy("o1")
            await settle(rounds)
            try:
                await shop.refund("o1")
                expected = (REFUNDED, False, set[str]())
            except Refused:
                expected = (SOLD, True, {"o1"})
            await shop.clock.advance(LIMITS.retry_s_max)
            await shop.rest()
            assert expected == (await shop.statuses("o1"), await shop.owns(), shop.processor.captured)
            ends.add(expected[0])

    assert 2 == len(ends)


async def test_two_refunds_at_once_pay_back_once(shop: Shop) -> None:
    await shop.offer()
    await shop.buy("o1")
    await shop.rest()
    await asyncio.gather(*(shop.refund("o1") for _ in range(2)))
    await shop.rest()

    assert (1, ["RefundRequested"]) == (
        shop.asked["refund", "o1"],
        [name for name in await shop.events("o1") if name == "RefundRequested"],
    )


async def test_what_is_refunded_is_bought_again_at_any_moment_or_refused(shop: Shop) -> None:
    """Between the access and the money nobody owns it, so a new order is one of its own."""
    await shop.offer()
    await shop.buy("o0")
    await shop.rest()
    for n in range(1, 20):
        await shop.refund(f"o{n - 1}")
        await settle(n)
        while (await orders_at_once(shop, (f"o{n}", "ann")))["ALREADY_OWNED"]:
            await settle(1)
        await shop.rest()

        assert (SOLD, {f"o{n}"}) == (await shop.statuses(f"o{n}"), shop.processor.captured)


async def test_a_buyer_whose_claims_are_all_over_has_none(shop: Shop) -> None:
    await shop.offer()
    for n, pays_with in enumerate(["pm_bad", "pm_good"]):
        await shop.buy(f"o{n}", pays_with=pays_with)
        await shop.rest()
    events = [event for record in await shop.log.read("buyer/ann") for event in record.commit.events]

    assert {} == buyer.BUYER.replay(events).claims
