"""The relay: every public event once and in order in the stream, whatever dies, and nobody waits for it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import msgspec
import pytest

from marketd.bus.events import PublicEvents
from marketd.bus.relay import CHECKPOINT, Relay, RelayLimits
from marketd.bus.stream import Last, MemoryStream, Message, StreamAway, StreamRefused
from marketd.storage.log import Recorded
from tests.actors.watched import WatchedLog
from tests.clock import TestClock, settle
from tests.storage.history import Writer

pytestmark = pytest.mark.asyncio

SHOP: Final = "the shop"
LIMITS: Final = RelayLimits(window_events_max=2, retry_s=1, retry_s_max=4, checkpoint_every=1)


class TroubledStream(MemoryStream):
    """One that is away when the test says so, or takes a window, or a part of it, and does not say so."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = self.is_refusing = False
        self.windows: list[int] = []
        self.lost_answers: list[int] = []  # of the next windows, how many messages are taken before the line breaks
        self.prepared = 0

    async def make(self) -> None:
        self.prepared += 1
        if self.is_away:
            raise StreamAway("it is away")

    async def publish(self, messages: Sequence[Message], after: int) -> None:
        await asyncio.sleep(0)
        self.windows.append(len(messages))
        if self.is_away:
            raise StreamAway("it is away")
        if self.is_refusing:
            raise StreamRefused("there is no room")
        if self.lost_answers:
            await super().publish(messages[: self.lost_answers.pop(0)], after)
            raise StreamAway("the line broke")
        await super().publish(messages, after)

    @property
    def ids(self) -> list[str]:
        return [message.id for message in self.messages]


class Shop:
    """A log, its writer, and a stream; relays come and go."""

    def __init__(self) -> None:
        self.log, self.stream, self.clock = WatchedLog(), TroubledStream(), TestClock()
        self.writer = Writer(self.log)

    async def told(self) -> list[str]:
        """The ids of all public events, in the order of the log."""
        teller, ids = PublicEvents(self.log, SHOP), []
        for position in range(self.log.head):
            ids += [event.body.id for event in await teller.of(await self.record(position + 1))]
        return ids

    async def record(self, position: int) -> Recorded:
        return self.log._records[position - 1]

    async def sells(self, count: int = 1) -> None:
        if not self.writer.states:
            await self.writer.list_product("lamp")
        for _ in range(count):
            await self.writer.sell("lamp", buyer=f"buyer-{self.log.head}")

    @asynccontextmanager
    async def relayed(self, limits: RelayLimits = LIMITS) -> AsyncIterator[Relay]:
        relay = Relay(self.log, self.stream, SHOP, self.stream.make, self.clock, limits)
        running = asyncio.create_task(relay.run())
        try:
            await settle(200)
            yield relay
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def come_to_rest(self, relay: Relay) -> None:
        await self.clock.advance(60)
        await wait_until(lambda: relay.statistics()["behind"] == 0)


async def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to be so")


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def test_all_that_is_public_goes_out_in_the_order_of_the_log(shop: Shop) -> None:
    await shop.sells(3)
    async with shop.relayed():
        assert (await shop.told(), 10) == (shop.stream.ids, len(shop.stream.ids))


async def test_what_happens_later_goes_out_too(shop: Shop) -> None:
    async with shop.relayed():
        await shop.sells(2)
        await settle(200)

        assert await shop.told() == shop.stream.ids


async def test_every_message_is_told_under_its_events_subject(shop: Shop) -> None:
    await shop.writer.list_product("lamp")
    async with shop.relayed():
        assert ["market.events.product.listed.lamp"] == [message.subject for message in shop.stream.messages]


async def test_not_more_than_a_window_waits_for_its_receipt(shop: Shop) -> None:
    await shop.sells(10)
    async with shop.relayed():
        assert 2 == max(shop.stream.windows)


async def test_a_crash_at_any_moment_leaves_nothing_out_and_puts_nothing_in_twice(shop: Shop) -> None:
    await shop.sells(4)
    told = await shop.told()
    for rounds in range(40):
        shop.stream = TroubledStream()
        relay = Relay(shop.log, shop.stream, SHOP, shop.stream.make, shop.clock, LIMITS)
        running = asyncio.create_task(relay.run())
        await settle(rounds)
        running.cancel()
        async with shop.relayed() as second:
            await shop.come_to_rest(second)
            assert told == shop.stream.ids


@pytest.mark.parametrize("taken", [0, 1, 2])
async def test_a_lost_answer_repeats_nothing(shop: Shop, taken: int) -> None:
    await shop.sells(3)
    shop.stream.lost_answers = [taken, 2 - taken, taken]
    async with shop.relayed() as relay:
        await shop.come_to_rest(relay)

        assert await shop.told() == shop.stream.ids


async def test_while_the_stream_is_away_everything_waits_in_the_log(shop: Shop) -> None:
    shop.stream.is_away = True
    async with shop.relayed() as relay:
        await shop.sells(2)
        await shop.clock.advance(600)
        waiting = (relay.trouble, len(shop.stream.messages), relay.statistics()["behind"])
        shop.stream.is_away = False
        await shop.come_to_rest(relay)

        assert ("it is away", 0, shop.log.head) == waiting
        assert (await shop.told(), None) == (shop.stream.ids, relay.trouble)


async def test_the_pauses_grow_to_a_limit(shop: Shop) -> None:
    shop.stream.is_away = True
    async with shop.relayed():
        await shop.clock.advance(100)

        assert 25 <= shop.stream.prepared <= 60  # each pause is 2 to 4 s, the first few are less


async def test_one_is_told_once_that_events_wait(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "marketd.events")
    shop.stream.is_away = True
    async with shop.relayed() as relay:
        await shop.sells()
        await shop.clock.advance(100)
        shop.stream.is_away = False
        await shop.come_to_rest(relay)

        assert [
            "public events wait in the log: it is away",
            "public events go out again, up to position 2 of the log",
        ] == caplog.messages


async def test_what_the_stream_refuses_is_tried_again(shop: Shop) -> None:
    shop.stream.is_refusing = True
    await shop.sells()
    async with shop.relayed() as relay:
        refused = relay.trouble
        shop.stream.is_refusing = False
        await shop.come_to_rest(relay)

        assert ("there is no room", await shop.told()) == (refused, shop.stream.ids)


async def test_one_knows_for_how_long_a_stream_that_answers_has_taken_nothing(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "marketd.events")
    shop.stream.is_refusing = True
    await shop.sells()
    async with shop.relayed() as relay:
        await shop.clock.advance(100)
        refused_s = relay.refused_s
        shop.stream.is_away = True
        await shop.clock.advance(10)
        away_s = relay.refused_s
        shop.stream.is_away = shop.stream.is_refusing = False
        await shop.come_to_rest(relay)

        assert (True, 0.0, 0.0) == (95 <= refused_s <= 100, away_s, relay.refused_s)
        assert 2 == len(caplog.messages)  # it is not said to go out again before it does


async def test_two_relays_put_nothing_in_twice(shop: Shop) -> None:
    await shop.sells(5)
    async with shop.relayed() as one, shop.relayed() as other:
        await shop.sells(5)
        await shop.come_to_rest(one)
        await shop.come_to_rest(other)

        assert await shop.told() == shop.stream.ids


async def test_a_stream_that_lost_its_newest_messages_gets_them_again(shop: Shop) -> None:
    await shop.sells(3)
    async with shop.relayed():
        pass
    shop.stream.lose(len(shop.stream.messages) - 4)
    async with shop.relayed():
        assert await shop.told() == shop.stream.ids


class ForgetfulStream(TroubledStream):
    """All of its messages are too old by now, but it remembers their count."""

    async def last(self) -> Last:
        return Last(len(self.messages), None)


@pytest.mark.parametrize("count", [1, 3, 100])
async def test_what_was_lost_while_nothing_happens_is_there_again_when_the_server_is(shop: Shop, count: int) -> None:
    await shop.sells(3)
    async with shop.relayed() as relay:
        await shop.come_to_rest(relay)
        shop.stream.lose(count)
        await settle(200)
        await shop.come_to_rest(relay)

    assert await shop.told() == shop.stream.ids


async def test_what_its_operator_has_removed_does_not_hold_it_up_nor_comes_again(shop: Shop) -> None:
    """The checkpoint is a little old, and the server knows every event by its id."""
    await shop.sells(3)
    told = await shop.told()
    async with shop.relayed(msgspec.structs.replace(LIMITS, checkpoint_every=1_000)) as relay:
        await shop.come_to_rest(relay)
        shop.stream.purge()
        await shop.sells(1)
        await shop.come_to_rest(relay)

    assert (await shop.told())[len(told) :] == shop.stream.ids


async def test_a_server_that_is_back_before_anybody_looked_stops_nobody(shop: Shop) -> None:
    await shop.sells(3)
    shop.stream.is_away = True
    async with shop.relayed() as relay:
        for _ in range(3):
            shop.stream.lose(0)
        shop.stream.is_away = False
        await shop.come_to_rest(relay)

    assert await shop.told() == shop.stream.ids


async def test_where_all_messages_are_too_old_the_checkpoint_says_where_to_go_on(shop: Shop) -> None:
    await shop.sells(3)
    async with shop.relayed():
        count = len(shop.stream.messages)
    forgetful = ForgetfulStream()
    forgetful.messages = shop.stream.messages
    shop.stream = forgetful
    async with shop.relayed():
        await shop.sells()
        await settle(200)

        assert (await shop.told())[count:] == shop.stream.ids[count:]


async def test_a_new_store_beside_an_old_stream_goes_on_from_its_checkpoint(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """After a restore of an older backup the stream's last event is of a history that this log does not know."""
    shop.stream.messages = [
        Message("market.events.order.paid.o1", f"{position}-0-feedcafe", b"") for position in (7, 9)
    ]
    await shop.sells(2)
    async with shop.relayed():
        assert await shop.told() == shop.stream.ids[2:]
        assert "the last public event, 9-0-feedcafe, is of another history: going on after 0" in caplog.messages


async def test_a_stream_ahead_of_the_log_is_of_another_history(shop: Shop) -> None:
    shop.stream.messages = [Message("market.events.order.paid.o1", "900-0-feedcafe", b"")]
    await shop.sells()
    async with shop.relayed():
        assert await shop.told() == shop.stream.ids[1:]


async def test_a_message_of_somebody_else_does_not_hold_it_up(shop: Shop) -> None:
    shop.stream.messages = [Message("market.events.order.paid.o1", "something", b"")]
    await shop.sells()
    async with shop.relayed():
        assert await shop.told() == shop.stream.ids[1:]


async def test_a_new_stream_gets_what_it_would_still_keep(shop: Shop) -> None:
    """The server's store was lost, or there was no relay before: the checkpoint says nothing of what is in there."""
    shop.writer.now_ms = shop.clock.now_ms() - 100_000
    await shop.sells(2)
    before = len(await shop.told())
    shop.writer.now_ms = shop.clock.now_ms()
    await shop.sells(2)
    shop.log.offer_checkpoint(CHECKPOINT, shop.log.head)
    async with shop.relayed(msgspec.structs.replace(LIMITS, keep_s=50)):
        assert (await shop.told())[before:] == shop.stream.ids


async def test_the_checkpoint_follows_what_was_published(shop: Shop) -> None:
    await shop.sells(3)
    async with shop.relayed():
        assert shop.log.head == await shop.log.checkpoint(CHECKPOINT)


async def test_a_defect_stops_nobody_and_is_told(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    await shop.sells()
    read, shop.log.read = shop.log.read, broken  # type: ignore[method-assign]
    shop.stream.messages = [Message("market.events.x", "3-0-cafe", b"")]
    async with shop.relayed() as relay:
        trouble = relay.trouble
        shop.log.read = read  # type: ignore[method-assign]
        await shop.come_to_rest(relay)

        assert ("RuntimeError: a defect", None) == (trouble, relay.trouble)
        assert "public events wait in the log, after position 0" in caplog.messages


async def broken(stream: str, after_version: int = 0, until_version: int | None = None) -> list[Recorded]:
    raise RuntimeError("a defect")


async def test_how_far_it_is_can_be_seen(shop: Shop) -> None:
    await shop.sells(2)
    async with shop.relayed() as relay:
        assert {"position": shop.log.head, "behind": 0, "published": 7} == relay.statistics()
