"""Every event reaches every webhook that may be told of it, whatever dies in between, and no other."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio

from marketd.actors import account, product
from marketd.actors.address import Address
from marketd.actors.notices.courier import Backlog, CourierLimits, Telling
from marketd.actors.notices.posting import Answered
from marketd.actors.webhook import Disabled, Remove, Revise
from marketd.bus.port import NoAnswer
from marketd.storage.database import DiskTrouble
from marketd.storage.deliveries import Heard, Tried
from marketd.storage.enquiries import Replay, Replayed, Resend, SendTest
from marketd.storage.log import Recorded
from tests.actors.desk import OFFER
from tests.actors.notices.dispatch import DAY_S, ERROR, HOOK, LIMITS, ROUNDS, SHOP, SILENCE, Dispatch, FarLine
from tests.actors.watched import WatchedLog
from tests.clock import TestClock
from tests.storage.open_books import Books

pytestmark = pytest.mark.asyncio

URL = HOOK.url
SUE = Address("webhook", "sue")


class World:
    """What outlives a process."""

    def __init__(self) -> None:
        self.log, self.clock, self.books = WatchedLog(), TestClock(), Books()
        self.line = FarLine(self.clock)

    def process(self, limits: CourierLimits = LIMITS) -> Dispatch:
        return Dispatch(self.log, self.clock, self.line, self.books, limits)


@pytest_asyncio.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    world.books.close()


@pytest_asyncio.fixture
async def dispatch(world: World) -> AsyncIterator[Dispatch]:
    async with world.process() as dispatch:
        yield dispatch


# Who is told of what.


async def test_what_happens_is_posted(dispatch: Dispatch) -> None:
    await dispatch.register()
    await dispatch.lists("p1")
    (sent,) = dispatch.line.sent

    assert (URL, "market.product.listed", "p1", SHOP, sent.event["id"]) == (
        sent.url,
        sent.event["type"],
        sent.about,
        sent.event["source"],
        sent.id,
    )


async def test_a_seller_is_not_told_of_others(dispatch: Dispatch) -> None:
    await dispatch.register("sue")
    await dispatch.lists("p1", seller="bob")

    assert [] == dispatch.line.sent


async def test_an_admin_is_told_of_everything(dispatch: Dispatch) -> None:
    await dispatch.register("ann", scope="all")
    await dispatch.lists("p1", seller="bob")
    await dispatch.tell(Address("account", "a1"), account.Register("u1", "a@b.c", "A", "buyer", "argon2", 1))
    await dispatch.settled()

    assert ["market.product.listed", "market.buyer.registered"] == [sent.event["type"] for sent in dispatch.line.sent]


async def test_a_seller_is_told_of_no_accounts_not_even_their_own(dispatch: Dispatch) -> None:
    await dispatch.register("sue")
    await dispatch.tell(Address("account", "a1"), account.Register("sue", "a@b.c", "Sue", "seller", "argon2", 1))
    await dispatch.settled()

    assert [] == dispatch.line.sent


async def test_only_what_is_wanted_is_posted(dispatch: Dispatch) -> None:
    await dispatch.register(events=("order.*", "product.withdrawn"))
    await dispatch.lists("p1")

    assert [] == dispatch.line.sent


async def test_all_webhooks_of_a_seller_are_told(dispatch: Dispatch) -> None:
    for webhook_id in ("w1", "w2"):
        await dispatch.register(webhook_id=webhook_id, url=f"https://{webhook_id}.example/")
    await dispatch.lists("p1")

    assert ["https://w1.example/", "https://w2.example/"] == sorted(sent.url for sent in dispatch.line.sent)
    assert 1 == len({sent.id for sent in dispatch.line.sent})


async def test_nobody_is_told_of_what_was_before_they_came(dispatch: Dispatch) -> None:
    await dispatch.lists("p1")
    await dispatch.register()
    await dispatch.lists("p2")

    assert ["p2"] == dispatch.line.abouts


async def test_after_a_change_it_is_told_where_it_is_now(dispatch: Dispatch) -> None:
    await dispatch.register()
    await dispatch.tell(SUE, Revise("w1", 2, url="https://new.example/", events=("product.*",)))
    await dispatch.lists("p1")

    assert ["https://new.example/"] == [sent.url for sent in dispatch.line.sent]


async def test_who_is_gone_is_not_told(dispatch: Dispatch) -> None:
    await dispatch.register()
    await dispatch.tell(SUE, Remove("w1", 2))
    await dispatch.lists("p1")

    assert ([], {"endpoints": 0}) == (dispatch.line.sent, {"endpoints": dispatch.courier.statistics()["endpoints"]})


async def test_with_a_webhook_what_waits_for_it_goes(dispatch: Dispatch) -> None:
    dispatch.line.answers[URL] = ERROR
    await dispatch.register()
    await dispatch.lists("p1")
    await dispatch.tell(SUE, Remove("w1", 2))
    await dispatch.passes(DAY_S)

    assert (1, []) == (len(dispatch.line.sent), await dispatch.all())


# Whatever dies.


async def test_what_was_not_sent_is_sent_after_the_next_start(world: World) -> None:
    world.line.answers[URL] = SILENCE
    async with world.process() as dispatch:
        await dispatch.register()
        await dispatch.lists("p1", "p2")
    del world.line.answers[URL]
    world.line.sent.clear()
    async with world.process() as dispatch:
        await dispatch.passes(10)

    assert ["p1", "p2"] == sorted(world.line.abouts)


async def test_what_arrived_is_not_sent_again_by_the_next_start(world: World) -> None:
    async with world.process() as dispatch:
        await dispatch.register()
        await dispatch.lists("p1")
    async with world.process() as dispatch:
        await dispatch.passes(DAY_S)

    assert ["p1"] == world.line.abouts


async def test_what_was_under_way_is_sent_again_under_the_same_id(world: World) -> None:
    world.line.took_s[URL] = 10
    async with world.process() as dispatch:
        await dispatch.register()
        await dispatch.lists("p1")
    async with world.process() as dispatch:
        await dispatch.passes(20)
    first, second = world.line.sent

    assert (first.id, first.event) == (second.id, second.event)


async def test_what_happened_while_there_was_no_courier_is_sent(world: World) -> None:
    async with world.process() as dispatch:
        await dispatch.register()
        dispatch._run.cancel()
        await dispatch.settled()
        await dispatch.lists("p1")
    assert [] == world.line.sent
    async with world.process() as dispatch:
        await dispatch.settled()

    assert ["p1"] == world.line.abouts


async def test_what_was_read_twice_is_queued_once(world: World) -> None:
    """The service dies at each point between the log and the books."""
    async with world.process() as dispatch:
        await dispatch.register()
    for number in range(5):
        async with world.process() as dispatch:
            task = asyncio.create_task(dispatch.lists(f"p{number}"))
            for _ in range(number * 7):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
    async with world.process() as dispatch:
        await dispatch.passes(60)
        deliveries = await dispatch.all()

    listed = [record.stream for record in await _products(world.log)]
    assert listed == [f"product/{delivery}" for delivery in sorted(_about(world, d.message_id) for d in deliveries)]


async def _products(log: WatchedLog) -> list[Recorded]:
    return [record for n in range(5) for record in await log.read(f"product/p{n}")]


def _about(world: World, message_id: str) -> str:
    return next(sent.about for sent in world.line.sent if sent.id == message_id)


async def test_when_the_books_are_lost_nothing_is_sent_that_was_before(world: World) -> None:
    async with world.process() as dispatch:
        await dispatch.register()
        await dispatch.lists("p1")
    world.books.close()
    world.books = Books()
    async with world.process() as dispatch:
        await dispatch.lists("p2")

    assert ["p1", "p2"] == world.line.abouts


async def test_while_the_disk_is_full_nothing_is_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.process() as dispatch:
        await dispatch.register()
        take = dispatch.deliveries.take

        async def fails(heard: Heard) -> None:
            raise DiskTrouble("the disk is full")

        monkeypatch.setattr(dispatch.deliveries, "take", fails)
        await dispatch.lists("p1")
        trouble = dispatch.courier.trouble
        monkeypatch.setattr(dispatch.deliveries, "take", take)
        await dispatch.passes(10)

        assert ("the disk is full", None) == (trouble, dispatch.courier.trouble)
    assert ["p1"] == world.line.abouts


async def test_while_it_can_not_be_found_out_what_to_tell_everything_waits_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever is told and whoever sells must not end with it."""
    async with world.process() as dispatch:
        tell = dispatch.courier._tell

        async def fails(record: Recorded) -> Sequence[Telling]:
            raise ZeroDivisionError("a defect")

        await dispatch.register()
        dispatch.courier._tell = fails
        await dispatch.lists("p1", "p2")
        waiting, trouble = list(world.line.abouts), dispatch.courier.trouble
        dispatch.courier._tell = tell
        await dispatch.passes(10)

        assert ("ZeroDivisionError: a defect", None) == (trouble, dispatch.courier.trouble)
    assert ([], ["p1", "p2"]) == (waiting, world.line.abouts)
    assert "deliveries wait in the log, after position 1" in caplog.text


async def test_where_it_can_not_be_counted_how_many_wait_things_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(webhook_id: str) -> int:
        raise DiskTrouble("the disk is broken")

    async with world.process() as dispatch:
        await dispatch.register()
        monkeypatch.setattr(dispatch.deliveries, "waiting", fails)
        await dispatch.lists(*(f"p{number}" for number in range(20)))

    assert 20 == len(world.line.sent)


async def test_nothing_is_kept_in_memory_of_an_endpoint_that_is_gone(dispatch: Dispatch) -> None:
    """Also where it goes with the very batch of records that has something for it."""
    await dispatch.register()
    rounds, queued = dispatch.courier.rounds._rounds, dispatch.courier._queued
    await dispatch.lists("p1")
    before = (len(rounds), len(queued))
    await asyncio.gather(
        dispatch.tell(Address("product", "p2"), product.List("sue", OFFER, None, (), 1)),
        dispatch.tell(SUE, Remove("w1", 3)),
    )
    await dispatch.settled()

    assert ((1, 1), (0, 0)) == (before, (len(rounds), len(queued)))


async def test_what_can_not_be_noted_is_sent_again_under_its_id(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.process() as dispatch:
        await dispatch.register()
        note = dispatch.deliveries.note

        async def fails(tried: Tried) -> None:
            raise DiskTrouble("the disk is full")

        monkeypatch.setattr(dispatch.deliveries, "note", fails)
        await dispatch.lists("p1")
        monkeypatch.setattr(dispatch.deliveries, "note", note)
        await dispatch.passes(10)
        state = (await dispatch.only()).state

    assert ("delivered", 2, 1) == (state, len(world.line.sent), len({sent.id for sent in world.line.sent}))
    assert [] == [record for record in caplog.records if record.exc_info]


async def test_on_a_full_disk_what_is_asked_for_by_hand_is_not_answered(
    dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*asked: object) -> None:
        raise DiskTrouble("the disk is full")

    await dispatch.register()
    monkeypatch.setattr(dispatch.deliveries, "resend", fails)

    with pytest.raises(NoAnswer):
        await dispatch.ask(Resend("w1", "d1"))


async def test_on_a_full_disk_a_replay_fails_at_once(dispatch: Dispatch, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(heard: Heard) -> None:
        raise DiskTrouble("the disk is full")

    await dispatch.register()
    await dispatch.lists("p1")
    dispatch.courier._unnoted[0] = (1, 2)
    monkeypatch.setattr(dispatch.deliveries, "take", fails)
    began_ms = dispatch.clock.now_ms()

    with pytest.raises(NoAnswer):
        await dispatch.ask(replaying())
    assert began_ms == dispatch.clock.now_ms()


async def test_a_defect_at_one_delivery_ends_nothing(dispatch: Dispatch) -> None:
    dispatch.line.is_broken = True
    await dispatch.register()
    await dispatch.lists("p1")
    dispatch.line.is_broken = False
    await dispatch.passes(10)

    assert "delivered" == (await dispatch.only()).state


# When it goes wrong.


async def test_what_fails_is_tried_again_for_three_days(dispatch: Dispatch) -> None:
    dispatch.line.answers[URL] = SILENCE
    await dispatch.register()
    await dispatch.lists("p1")
    await dispatch.passes(4 * DAY_S)
    began = dispatch.line.sent[0].at_s
    pauses = [round((sent.at_s - began) / 60) for sent in dispatch.line.sent]

    assert 10 == len(pauses) and 3 * 24 * 60 <= pauses[-1] <= 3.5 * 24 * 60
    assert 1 == len({sent.id for sent in dispatch.line.sent})


async def test_after_three_days_it_is_given_up_and_the_webhook_disabled(dispatch: Dispatch) -> None:
    dispatch.line.answers[URL] = SILENCE
    await dispatch.register()
    await dispatch.lists("p1")
    await dispatch.passes(4 * DAY_S)
    delivery = await dispatch.only()

    assert ("failed", 10, SILENCE.why) == (delivery.state, delivery.attempt_count, delivery.attempts[-1].error)
    assert "failing" == (await dispatch.board())["w1"].disabled


async def test_that_it_was_disabled_is_on_record_for_whoever_tells_its_owner(dispatch: Dispatch) -> None:
    dispatch.line.answers[URL] = SILENCE
    await dispatch.register()
    await dispatch.lists("p1")
    await dispatch.passes(4 * DAY_S)
    events = [event for record in await dispatch.log.read("webhook/sue") for event in record.commit.events]

    assert isinstance(events[-1], Disabled) and "failing" == events[-1].why


async def test_one_that_takes_something_now_and_then_is_not_disabled(dispatch: Dispatch) -> None:
    def now_and_then(sent: object) -> None:
        dispatch.line.answers[URL] = ERROR if len(dispatch.line.sent) % 4 else Answered(200)

    dispatch.line.on_post = now_and_then
    await dispatch.register()
    for number in range(40):
        await dispatch.lists(f"p{number}")
        await dispatch.passes(DAY_S / 4)

    assert None is (await dispatch.board())["w1"].disabled


async def test_one_that_is_gone_is_disabled_at_once(dispatch: Dispatch) -> None:
    dispatch.line.answers[URL] = Answered(410)
    await dispatch.register()
    await dispatch.lists("p1")

    assert ("gone", "failed") == ((await dispatch.board())["w1"].disabled, (await dispatch.only()).state)


async def test_what_is_disabled_is_sent_nothing(dispatch: Dispatch) -> None:
    await dispatch.register()
    await dispatch.tell(SUE, Revise("w1", 2, disabled=True))
    await dispatch.lists("p1")
    await dispatch.passes(DAY_S)

    assert ([], []) == (dispatch.line.sent, await dispatch.all())


async def test_what_waited_goes_on_when_it_is_enabled_again(dispatch: Dispatch) -> None:
    dispatch.line.answers[URL] = ERROR
    await dispatch.register()
    await dispatch.lists("p1")
    await dispatch.tell(SUE, Revise("w1", 2, disabled=True))
    await dispatch.passes(DAY_S)
    del dispatch.line.answers[URL]
    await dispatch.tell(SUE, Revise("w1", 3, disabled=False))
    await dispatch.settled()

    assert "delivered" == (await dispatch.only()).state


async def test_at_a_new_address_what_waits_is_tried_at_once(dispatch: Dispatch) -> None:
    dispatch.line.answers[URL] = SILENCE
    await dispatch.register()
    await dispatch.lists(*(f"p{number}" for number in range(8)))
    await dispatch.passes(1_000)
    await dispatch.tell(SUE, Revise("w1", 3, url="https://new.example/"))
    await dispatch.settled()

    assert 8 == len(dispatch.line.to("https://new.example/"))


async def test_who_says_when_to_come_again_is_not_asked_before(dispatch: Dispatch) -> None:
    dispatch.line.answers[URL] = Answered(429, b"", 60)
    await dispatch.register()
    await dispatch.lists("p1")
    await dispatch.passes(59)
    before = len(dispatch.line.sent)
    await dispatch.passes(5)

    assert (1, 2) == (before, len(dispatch.line.sent))


async def test_one_for_which_too_many_wait_is_disabled(dispatch: Dispatch) -> None:
    dispatch.line.answers[URL] = SILENCE
    await dispatch.register()
    for number in range(LIMITS.waiting_max + 10):
        await dispatch.lists(f"p{number}")

    assert "too many waiting" == (await dispatch.board())["w1"].disabled


# Nobody waits for others.


async def test_a_dead_receiver_delays_nobody(dispatch: Dispatch) -> None:
    hanging = [f"https://dead-{number}.example/" for number in range(6)]
    for number, url in enumerate(hanging):
        dispatch.line.answers[url], dispatch.line.took_s[url] = SILENCE, 15
        await dispatch.register(webhook_id=f"d{number}", url=url)
    await dispatch.register()
    await dispatch.lists("p0")
    await dispatch.passes(60)
    await dispatch.lists("p1", "p2", "p3")

    assert ["p0", "p1", "p2", "p3"] == [sent.about for sent in dispatch.line.to(URL)]


async def test_receivers_that_have_not_answered_have_only_so_many_requests_together(dispatch: Dispatch) -> None:
    for number in range(6):
        url = f"https://dead-{number}.example/"
        dispatch.line.answers[url], dispatch.line.took_s[url] = SILENCE, 15
        await dispatch.register(webhook_id=f"d{number}", url=url)
    await dispatch.lists("p1", "p2", "p3")
    await dispatch.passes(100)

    assert ROUNDS.unproven_at_once_max == dispatch.line.most_under_way


async def test_after_a_start_who_answered_before_does_not_wait_for_who_did_not(world: World) -> None:
    async with world.process() as dispatch:
        await dispatch.register()
        await dispatch.lists("p0")
        for number in range(6):
            url = f"https://dead-{number}.example/"
            world.line.answers[url], world.line.took_s[url] = SILENCE, 15
            await dispatch.register(webhook_id=f"d{number}", url=url)
        await dispatch.lists("p1")
        await dispatch.passes(100)
        dispatch._run.cancel()
        await dispatch.lists("p2")
    async with world.process() as dispatch:
        await dispatch.settled()

    assert ["p0", "p1", "p2"] == [sent.about for sent in world.line.to(URL)]


async def test_what_is_disabled_while_it_waits_for_its_turn_is_sent_nothing(dispatch: Dispatch) -> None:
    for number in range(ROUNDS.unproven_at_once_max):
        url = f"https://dead-{number}.example/"
        dispatch.line.answers[url], dispatch.line.took_s[url] = SILENCE, 15
        await dispatch.register(webhook_id=f"d{number}", url=url)
    await dispatch.register()
    await dispatch.lists("p1")
    await dispatch.tell(SUE, Revise("w1", 2, disabled=True))
    await dispatch.passes(60)

    assert [] == dispatch.line.to(URL)


async def test_one_receiver_has_only_so_many_requests_at_once(dispatch: Dispatch) -> None:
    dispatch.line.took_s[URL] = 1
    await dispatch.register()
    await dispatch.lists(*(f"p{number}" for number in range(20)))
    await dispatch.passes(30)

    assert (20, ROUNDS.endpoint_at_once_max) == (len(dispatch.line.sent), dispatch.line.most_under_way)


async def test_a_dead_receiver_is_not_tried_over_and_over(dispatch: Dispatch) -> None:
    """Its breaker opens after three failures, and then lets one through every thirty seconds."""
    dispatch.line.answers[URL] = SILENCE
    await dispatch.register()
    await dispatch.lists(*(f"p{number}" for number in range(20)))
    await dispatch.passes(3_600)

    assert 3_600 / 60 <= len(dispatch.line.sent) <= 3 + 3_600 / ROUNDS.open_s


async def test_the_breakers_are_shown_as_one_that_names_nobody(dispatch: Dispatch) -> None:
    dispatch.line.answers[URL] = SILENCE
    await dispatch.register()
    await dispatch.lists(*(f"p{number}" for number in range(5)))
    circuit = dispatch.courier.rounds.circuit()

    assert ("webhooks", "open", 3, f"NotDelivered: {SILENCE.why}") == (
        circuit.name,
        circuit.state,
        circuit.failures,
        circuit.last_error,
    )


# By hand.


async def test_a_delivery_is_sent_again_by_hand(dispatch: Dispatch) -> None:
    await dispatch.register()
    await dispatch.lists("p1")
    await dispatch.ask(Resend("w1", (await dispatch.only()).delivery_id))
    await dispatch.settled()
    first, second = dispatch.line.sent

    assert (first.id, 2) == (second.id, (await dispatch.only()).attempt_count)


async def test_by_hand_it_is_sent_at_once_though_the_breaker_is_open(dispatch: Dispatch) -> None:
    dispatch.line.answers[URL] = SILENCE
    await dispatch.register()
    await dispatch.lists(*(f"p{number}" for number in range(6)))
    del dispatch.line.answers[URL]
    dispatch.line.sent.clear()
    last = (await dispatch.all())[-1]
    await dispatch.ask(Resend("w1", last.delivery_id))
    await dispatch.settled()

    assert last.message_id == dispatch.line.sent[0].id


async def test_a_test_is_sent_once(dispatch: Dispatch) -> None:
    dispatch.line.answers[URL] = ERROR
    await dispatch.register()
    await dispatch.ask(SendTest("sue", "w1", "018bcfe5-6800-7000-8000-000000000001"))
    await dispatch.passes(DAY_S)
    (sent,) = dispatch.line.sent

    assert ("market.webhook.test", "failed") == (sent.event["type"], (await dispatch.only()).state)


async def test_a_test_is_sent_while_it_is_disabled(dispatch: Dispatch) -> None:
    await dispatch.register()
    await dispatch.tell(SUE, Revise("w1", 2, disabled=True))
    await dispatch.ask(SendTest("sue", "w1", "018bcfe5-6800-7000-8000-000000000001"))
    await dispatch.settled()

    assert ["market.webhook.test"] == [sent.event["type"] for sent in dispatch.line.sent]


async def test_a_webhook_of_somebody_else_is_not_tested(dispatch: Dispatch) -> None:
    await dispatch.register("sue")

    assert (None, []) == (await dispatch.ask(SendTest("bob", "w1", "d1")), dispatch.line.sent)


# From the log.


def replaying(
    since: int = 0, until: int = 2**53, events: tuple[str, ...] = ("*",), key: str = "1", owner: str = "sue"
) -> Replay:
    return Replay(owner, "w1", f"018bcfe5-6800-7000-8000-00000000000{key}", since, until, events)


async def test_what_was_before_is_sent_from_the_log(dispatch: Dispatch) -> None:
    await dispatch.lists("p1", "p2")
    await dispatch.register()
    replayed = await dispatch.ask(replaying())
    await dispatch.settled()

    assert (Replayed(2), ["p1", "p2"]) == (replayed, sorted(dispatch.line.abouts))


async def test_what_is_sent_from_the_log_is_what_would_have_been_sent_then(dispatch: Dispatch) -> None:
    await dispatch.register()
    await dispatch.lists("p1")
    await dispatch.ask(replaying())
    await dispatch.settled()
    first, second = dispatch.line.sent

    assert (first.id, first.event) == (second.id, second.event)


async def test_only_the_time_that_is_asked_for_is_sent(dispatch: Dispatch) -> None:
    times = []
    for number in range(4):
        times.append(dispatch.clock.now_ms())
        await dispatch.lists(f"p{number}")
        await dispatch.passes(60)
    await dispatch.register()
    await dispatch.ask(replaying(times[1], times[3]))
    await dispatch.settled()

    assert ["p1", "p2"] == sorted(dispatch.line.abouts)


async def test_only_what_is_named_is_sent(dispatch: Dispatch) -> None:
    await dispatch.lists("p1")
    await dispatch.register()

    assert Replayed(0) == await dispatch.ask(replaying(events=("order.*",)))


async def test_of_others_nothing_is_sent_from_the_log_either(dispatch: Dispatch) -> None:
    await dispatch.lists("p1", seller="bob")
    await dispatch.register("sue")

    assert Replayed(0) == await dispatch.ask(replaying())


async def test_a_webhook_of_somebody_else_is_not_replayed_to(dispatch: Dispatch) -> None:
    await dispatch.lists("p1", seller="bob")
    await dispatch.register("sue")

    assert None is await dispatch.ask(replaying(owner="bob"))


async def test_asked_again_under_the_same_id_nothing_is_sent_twice(dispatch: Dispatch) -> None:
    await dispatch.lists("p1")
    await dispatch.register()
    for key in ("1", "1", "2"):
        await dispatch.ask(replaying(key=key))
    await dispatch.settled()

    assert ["p1", "p1"] == dispatch.line.abouts


async def test_what_is_too_much_is_not_sent_at_all(dispatch: Dispatch) -> None:
    await dispatch.lists(*(f"p{number}" for number in range(21)))
    await dispatch.register()

    assert (Replayed(0, True), []) == (await dispatch.ask(replaying()), dispatch.line.sent)


async def test_no_more_is_sent_from_the_log_than_may_wait(dispatch: Dispatch) -> None:
    dispatch.line.answers[URL] = SILENCE
    await dispatch.lists(*(f"p{number}" for number in range(20)))
    await dispatch.register()
    told = [await dispatch.ask(replaying(key=str(number))) for number in range(4)]

    assert [Replayed(20), Replayed(20), Replayed(0, True), Replayed(0, True)] == told
    assert 40 == len(await dispatch.all())


async def test_old_deliveries_are_swept_away(dispatch: Dispatch) -> None:
    await dispatch.register()
    await dispatch.lists("p1")
    await dispatch.passes((LIMITS.keep_days + 1) * DAY_S)

    assert [] == await dispatch.all()


async def test_webhooks_are_counted(dispatch: Dispatch) -> None:
    await dispatch.register()
    await dispatch.register("bob", webhook_id="w2", disabled="gone")
    await dispatch.lists("p1")
    counts = dispatch.courier.statistics()

    assert (2, 1, 1, 0) == (counts["endpoints"], counts["disabled"], counts["delivered"], counts["in_hand"])


# What waits.


async def test_how_much_waits_and_how_late_it_is_can_be_asked(world: World) -> None:
    """It is late while it is due and nobody tries: here because the breaker is open."""
    async with world.process() as dispatch:
        world.line.answers[URL] = ERROR
        await dispatch.register()
        backlogs = [await dispatch.courier.backlog()]
        for number in range(4):
            await dispatch.lists(f"p{number}")
        await world.clock.advance(29)
        backlogs.append(await dispatch.courier.backlog())

    (first, then) = backlogs
    assert ((0, 0, 0), (4, 0)) == (first, (then.waiting, then.disabled))
    assert 20 < then.late_s < 30


async def test_what_waits_for_a_disabled_endpoint_is_counted_apart_and_is_never_late(world: World) -> None:
    async with world.process() as dispatch:
        world.line.answers[URL] = ERROR
        await dispatch.register()
        await dispatch.lists("p1")
        await dispatch.tell(SUE, Revise(HOOK.webhook_id, 1, disabled=True))
        await dispatch.settled()
        await world.clock.advance(DAY_S)

        assert Backlog(0, 1, 0) == await dispatch.courier.backlog()
