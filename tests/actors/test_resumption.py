"""An order survives the death of the process before, during and after each step, and ends as it would have."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import NamedTuple

import pytest

from marketd.actors.fulfilment import CHECKPOINT
from marketd.actors.order import View
from marketd.storage.log import Recorded
from tests.actors.shop import FakeProcessor, Shop
from tests.actors.watched import WatchedLog
from tests.clock import TestClock, settle

pytestmark = pytest.mark.asyncio


class Story(NamedTuple):
    """What happens, with so many units of the product."""

    happens: Callable[[Shop], Awaitable[None]]
    stock: int | None = 1

    async def __call__(self, shop: Shop) -> None:
        await shop.offer(stock=self.stock)
        await self.happens(shop)


async def sell(shop: Shop) -> None:
    await shop.place("o1")


async def sell_on_bad_credit(shop: Shop) -> None:
    await shop.place("o1", pays_with="pm_bad")


async def sell_to_an_owner(shop: Shop) -> None:
    await shop.give()
    await shop.place("o1")


async def sell_too_much(shop: Shop) -> None:
    await shop.place("o0", buyer_id="bob")
    await shop.rest()
    await shop.place("o1")


async def sell_and_take_back(shop: Shop) -> None:
    await shop.place("o1")
    await shop.rest()
    await shop.refund("o1")


async def fail_to_pay_back(shop: Shop) -> None:
    shop.processor.refunds_fail = True
    await sell_to_an_owner(shop)


UNLIMITED = [sell, sell_on_bad_credit, sell_to_an_owner, sell_and_take_back, fail_to_pay_back]
STORIES = [*map(Story, [*UNLIMITED, sell_too_much]), *(Story(happens, None) for happens in UNLIMITED)]


ROUNDS_OF_A_STORY = 32  # of the event loop, from its last request to its end; the longest has 29


class End(NamedTuple):
    """What is true when a story is over."""

    view: View
    events: list[str]
    stock: int | None
    is_owned: bool
    captured: set[str]


class Told(NamedTuple):
    """A story from its beginning to its end, without a crash."""

    records: Sequence[Recorded]
    processor: FakeProcessor
    end: End


def restarted() -> TestClock:
    """The clock of the next process: the ids that it makes are other ones."""
    return TestClock(seed=2)


async def end_of(shop: Shop) -> End:
    await shop.rest()
    return End(
        await shop.view("o1"),
        await shop.events("o1"),
        await shop.stock(),
        await shop.owns(),
        shop.processor.captured,
    )


async def told(story: Story) -> Told:
    log = WatchedLog()
    async with Shop(log, TestClock()) as shop:
        await story(shop)
        end = await end_of(shop)
    async with aclosing(log.tail(0)) as batches:
        return Told(await anext(batches), shop.processor, end)


async def log_until(records: Sequence[Recorded], position: int) -> WatchedLog:
    """The log as it was when it had come to a position."""
    log = WatchedLog()
    for record in records[:position]:
        await log.append(record.stream, record.version - 1, [record.commit])
    return log


def crashes(records: Sequence[Recorded]) -> range:
    """The positions at which there was nothing more to be asked from outside."""
    last_asked = max(record.position for record in records if record.commit.meta.principal != "fulfilment")
    return range(last_asked, len(records) + 1)


@pytest.mark.parametrize("story", STORIES)
async def test_a_crash_after_any_record_changes_nothing(story: Story) -> None:
    """
    The records of a step and of the order itself lie one after the other in the log, so a crash between any two is one
    before a step, one after it was done but not noted, or one after both. The processor has done everything already.
    """
    whole = await told(story)
    ends = []
    for position in crashes(whole.records):
        log = await log_until(whole.records, position)
        async with Shop(log, restarted(), whole.processor) as shop:
            ends.append(await end_of(shop))

    assert [whole.end] * len(ends) == ends


@pytest.mark.parametrize("story", STORIES)
async def test_a_crash_at_any_moment_changes_nothing(story: Story) -> None:
    """The first process dies after so many rounds of the event loop; a second one finishes."""
    whole = await told(story)
    ends = []
    for rounds in range(ROUNDS_OF_A_STORY):
        log, processor = WatchedLog(), FakeProcessor()
        async with Shop(log, TestClock(), processor) as first:
            await story(first)
            await settle(rounds)
        async with Shop(log, restarted(), processor) as second:
            ends.append(await end_of(second))

    assert [whole.end] * len(ends) == ends


@pytest.mark.parametrize("story", STORIES)
async def test_two_who_lead_the_same_order_change_nothing(story: Story) -> None:
    """Each takes every step; the second time is harmless."""
    whole = await told(story)
    async with Shop(WatchedLog(), TestClock()) as shop, shop.second_leader():
        await story(shop)

        assert whole.end == await end_of(shop)


async def test_the_key_of_a_step_is_the_same_after_a_crash() -> None:
    whole = await told(Story(sell))
    steps = {record.commit.command_id for record in whole.records if record.stream != "order/o1"}

    assert {"o1:UpdateInventory", "o1:PrepareDelivery"} <= steps


async def test_who_starts_again_follows_the_log_from_the_checkpoint() -> None:
    whole = await told(Story(sell))
    log = await log_until(whole.records, len(whole.records))
    log.offer_checkpoint(CHECKPOINT, len(whole.records))
    async with Shop(log, restarted(), FakeProcessor()) as shop:
        await shop.rest()

        assert [] == log.woken


@pytest.mark.parametrize("story", STORIES)
async def test_no_step_is_taken_again_of_an_order_whose_end_is_further_on_in_the_log(story: Story) -> None:
    """What is far behind the checkpoint is read page by page, and steps are taken meanwhile."""
    whole = await told(story)
    log = await log_until(whole.records, len(whole.records))
    log.page_records_max = 1
    async with Shop(log, restarted(), FakeProcessor()) as shop:
        await shop.rest()

        assert ([], []) == (shop.processor.asked, shop.notices.sent)


async def test_an_open_order_is_taken_up_from_the_checkpoint() -> None:
    log, processor = WatchedLog(), FakeProcessor()
    async with Shop(log, TestClock(), processor) as first:
        first.processor.is_down = lambda what, order_id: order_id == "o1"
        await first.offer()
        await first.place("o1")
        await first.place("o2", buyer_id="bob")
        await first.rest(open_orders=1)
    processor.is_down = lambda what, order_id: False
    async with Shop(log, restarted(), processor) as second:
        await second.rest()

        assert ("completed", "captured", "delivered") == await second.statuses("o1")


async def test_an_order_whose_walk_crashed_is_taken_up_by_the_next_process() -> None:
    log, processor = WatchedLog(), FakeProcessor()
    async with Shop(log, TestClock(), processor) as first:
        first.processor.is_broken = lambda what, order_id: True
        await first.offer()
        await first.place("o1")
        await first.rest(open_orders=1)
    processor.is_broken = lambda what, order_id: False
    async with Shop(log, restarted(), processor) as second:
        await second.rest()

        assert ("completed", "captured", "delivered") == await second.statuses("o1")
