"""An actor's turn: what waits is decided in order and appended at once, and each sender gets their own answer."""

import asyncio
import logging
from dataclasses import replace

import pytest
from msgspec.structs import replace as replace_struct

from marketd.actors.aggregate import Refused
from marketd.actors.product import (
    PRODUCT,
    Command,
    Describe,
    Event,
    List,
    Listed,
    Quote,
    Reason,
    Reservation,
    Reserve,
    State,
    Withdraw,
)
from marketd.actors.runtime import ActorLimits
from marketd.bus.port import Answer, Busy, Crashed, NoAnswer
from marketd.storage.log import Meta
from marketd.trace import described
from tests.actors.desk import OFFER, P1, Desk, description, listing
from tests.actors.watched import Trouble, WatchedLog
from tests.clock import TestClock, settle

pytestmark = pytest.mark.asyncio


@pytest.fixture
def desk(log: WatchedLog, clock: TestClock) -> Desk:
    return Desk(log, clock, ActorLimits())


def crash_on_withdrawal(state: State, command: Command) -> list[Event]:
    if isinstance(command, Withdraw | Quote):
        raise ZeroDivisionError("a defect")
    return PRODUCT.decide(state, command)


@pytest.fixture
def fragile(log: WatchedLog, clock: TestClock) -> Desk:
    """One whose decisions on withdrawals and quotes crash."""
    return Desk(log, clock, ActorLimits(), replace(PRODUCT, decide=crash_on_withdrawal))


@pytest.fixture
def founding(log: WatchedLog, clock: TestClock) -> Desk:
    """One who takes it that there is no product yet when it is asked to list one."""
    return Desk(log, clock, ActorLimits(), replace(PRODUCT, founding=frozenset({List})))


# Deciding and answering.


async def test_a_command_is_answered(desk: Desk) -> None:
    assert Answer(None, 1) == await desk.ask(listing(), "c1")


async def test_its_events_are_in_the_log(desk: Desk) -> None:
    await desk.ask(listing(), "c1")

    assert [Listed("sue", OFFER, None, (), 1)] == await desk.stored_events()


async def test_a_record_tells_how_it_came_about(desk: Desk) -> None:
    envelope = desk.envelope(listing(), "c1")
    await desk.tell(type(envelope)("c1", listing(), "r7", envelope.deadline, "c0", "sue", "00-1-2-01"))
    (record,) = await desk.log.read(str(P1))

    assert Meta("r7", "c0", "sue", "00-1-2-01") == record.commit.meta


async def test_a_record_has_the_time_of_its_decision(desk: Desk) -> None:
    await desk.ask(listing(), "c1")
    (record,) = await desk.log.read(str(P1))

    assert desk.clock.now_ms() == record.commit.at


async def test_a_refusal_is_raised_by_name(desk: Desk) -> None:
    refusal = await desk.ask(Describe(), "c1")

    assert isinstance(refusal, Refused)
    assert Reason.NO_SUCH_PRODUCT is refusal.reason


async def test_a_refusal_leaves_no_trace(desk: Desk) -> None:
    await desk.ask(Describe(), "c1")

    assert 0 == desk.log.head


async def test_a_question_leaves_no_trace(desk: Desk) -> None:
    await desk.ask(listing(), "c1")
    await desk.ask(Describe(), "c2")

    assert 1 == desk.log.head


async def test_a_question_stands_for_the_position_of_the_state(desk: Desk) -> None:
    await desk.ask(listing(), "c1")

    assert Answer(description(), 1) == await desk.ask(Describe(), "c2")


async def test_versions_count_the_records_of_the_stream(desk: Desk) -> None:
    await desk.ask(listing(5), "c1")
    await desk.tell(desk.reserve(1), desk.reserve(2))

    assert 3 == desk.actor.statistics()["version"]


# Turns.


async def test_what_waits_is_appended_at_once(desk: Desk) -> None:
    await desk.tell(desk.envelope(listing(), "c1"), *(desk.reserve(n) for n in range(9)))

    assert [10] == desk.log.appends


async def test_a_turn_takes_no_more_than_its_limit(log: WatchedLog, clock: TestClock) -> None:
    desk = Desk(log, clock, ActorLimits(turn_messages_max=4))
    await desk.tell(desk.envelope(listing(), "c1"), *(desk.reserve(n) for n in range(9)))

    assert [4, 4, 2] == desk.log.appends


async def test_each_letter_is_decided_on_what_the_one_before_led_to(desk: Desk) -> None:
    _, first, second = await desk.tell(
        desk.envelope(listing(None, ("k1", "k2")), "c1"), desk.reserve(1), desk.reserve(2)
    )

    assert [Answer(Reservation("k1"), 2), Answer(Reservation("k2"), 3)] == [first, second]


async def test_an_answer_stands_for_its_own_position(desk: Desk) -> None:
    answers = await desk.tell(
        desk.envelope(listing(), "c1"), desk.envelope(Describe(), "c2"), desk.reserve(1), desk.reserve(2)
    )

    assert [1, 1, 2, 3] == [answer.position for answer in answers if isinstance(answer, Answer)]


async def test_the_last_unit_is_sold_once(desk: Desk) -> None:
    _, first, second = await desk.tell(desk.envelope(listing(1), "c1"), desk.reserve(1), desk.reserve(2))

    assert Answer(Reservation(None), 2) == first
    assert isinstance(second, Refused)


# Limits.


async def test_a_letter_past_its_deadline_is_dropped(desk: Desk) -> None:
    answers = [desk.actor.post(desk.envelope(listing(), "c1", wait_s=5))]
    await desk.clock.advance(5)
    await desk.actor.run_turns()

    assert isinstance(answers[0].exception(), NoAnswer)


async def test_what_is_dropped_is_not_decided(desk: Desk) -> None:
    await desk.tell(desk.envelope(listing(), "c1", wait_s=0))

    assert [] == desk.log.appends


async def test_a_letter_whose_sender_has_gone_is_not_decided(desk: Desk) -> None:
    desk.actor.post(desk.envelope(listing(), "c1")).cancel()
    await desk.actor.run_turns()

    assert [] == desk.log.appends


async def test_a_full_mailbox_takes_no_more(log: WatchedLog, clock: TestClock) -> None:
    desk = Desk(log, clock, ActorLimits(mailbox_depth_max=2))
    desk.actor.post(desk.reserve(1))
    desk.actor.post(desk.reserve(2))

    with pytest.raises(Busy) as caught:
        desk.actor.post(desk.reserve(3))

    assert "product/p1@0 has 2 messages waiting" == str(caught.value)


async def test_what_waited_in_a_full_mailbox_is_answered(log: WatchedLog, clock: TestClock) -> None:
    desk = Desk(log, clock, ActorLimits(mailbox_depth_max=2))

    assert [Answer, Answer] == [type(a) for a in await desk.tell(desk.envelope(listing(), "c1"), desk.reserve(1))]


async def test_a_full_log_means_busy(desk: Desk) -> None:
    desk.log.troubles.append(Trouble.FULL)

    assert isinstance(await desk.ask(listing(), "c1"), Busy)


async def test_what_a_full_log_did_not_take_did_not_happen(desk: Desk) -> None:
    desk.log.troubles.append(Trouble.FULL)
    await desk.ask(listing(), "c1")

    assert isinstance(await desk.ask(Describe(), "c2"), Refused)


# Defects.


async def test_a_decision_that_crashes_is_answered_so(fragile: Desk) -> None:
    answer = await fragile.ask(Withdraw("sue", 1), "c1")

    assert isinstance(answer, Crashed)
    assert "product/p1@0: ZeroDivisionError" == str(answer)


async def test_a_question_that_crashes_is_counted_also_without_a_turn(fragile: Desk) -> None:
    await fragile.ask(listing(5), "c1")
    with pytest.raises(Crashed, match=r"^product/p1@1: ZeroDivisionError$"):
        fragile.actor.answer_at_once(fragile.envelope(Quote("ann"), "c2"))

    assert 1 == fragile.kind.crashes


async def test_a_crash_costs_nobody_else_anything(fragile: Desk) -> None:
    answers = await fragile.tell(
        fragile.envelope(listing(5), "c1"), fragile.envelope(Withdraw("sue", 1), "c2"), fragile.reserve(1)
    )

    assert [Answer, Crashed, Answer] == [type(answer) for answer in answers]


async def test_a_crash_leaves_the_state_as_it_was(fragile: Desk) -> None:
    await fragile.ask(listing(5), "c1")
    await fragile.ask(Withdraw("sue", 1), "c2")

    assert Answer(description(5), 1) == await fragile.ask(Describe(), "c3")


async def test_a_crash_is_logged_with_the_name_of_the_actor(fragile: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await fragile.ask(Withdraw("sue", 1), "c1")

    assert [("marketd.actors", logging.ERROR, "product/p1@0: deciding Withdraw crashed")] == caplog.record_tuples


async def test_a_crash_is_logged_on_behalf_of_the_request_that_it_meets(
    fragile: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    named: list[str] = []

    def note(record: logging.LogRecord) -> bool:
        named.append(described())
        return True

    caplog.handler.addFilter(note)
    others = [replace_struct(fragile.envelope(Describe(), f"c{n}"), correlation=f"r{n}") for n in (2, 3)]
    await fragile.tell(fragile.envelope(Withdraw("sue", 2), "c1"), *others)

    assert ["request=r1"] == named


async def test_a_turn_that_crashes_is_answered_so_to_all(desk: Desk) -> None:
    desk.log.troubles.append(Trouble.BROKEN)
    answers = await desk.tell(desk.envelope(listing(), "c1"), desk.reserve(1))

    assert [Crashed, Crashed] == [type(answer) for answer in answers]


async def test_after_a_turn_that_crashed_the_actor_knows_what_the_log_knows(desk: Desk) -> None:
    desk.log.troubles.append(Trouble.BROKEN)
    await desk.ask(listing(7), "c1")

    assert Answer(None, 1) == await desk.ask(listing(8), "c2")
    assert Answer(description(8), 1) == await desk.ask(Describe(), "c3")


# Waking and sleeping.


async def test_an_actor_is_not_idle_while_a_letter_waits(desk: Desk) -> None:
    desk.actor.post(desk.reserve(1))

    assert not desk.actor.is_idle


async def test_an_actor_is_not_idle_in_its_turn(desk: Desk) -> None:
    desk.log.gate.clear()
    desk.actor.post(desk.envelope(listing(), "c1"))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(desk.actor.run_turns())
        await settle()
        is_idle = desk.actor.is_idle
        desk.log.gate.set()

    assert not is_idle


async def test_an_actor_wakes_from_its_events(desk: Desk) -> None:
    await desk.ask(listing(5), "c1")
    await desk.ask(Reserve("o1"), "c2")
    desk.sleep()

    assert Answer(description(4), 2) == await desk.ask(Describe(), "c3")


async def test_an_actor_reads_its_stream_once(desk: Desk) -> None:
    await desk.ask(listing(), "c1")
    await desk.ask(Describe(), "c2")

    assert ["product/p1"] == desk.log.woken


async def test_a_state_as_new_as_is_wanted_is_not_read_again(desk: Desk) -> None:
    await desk.ask(listing(), "c1")
    await desk.ask(Describe(), "c2", at_least=1)

    assert ["product/p1"] == desk.log.woken


async def test_a_state_older_than_is_wanted_is_read_again(desk: Desk) -> None:
    await desk.ask(listing(5), "c1")
    await desk.intrude("o9")

    assert Answer(description(4), 2) == await desk.ask(Describe(), "c2", at_least=2)


async def test_who_begins_a_stream_reads_nothing(founding: Desk) -> None:
    answers = [await founding.ask(listing(5), "c1"), await founding.ask(Reserve("o1"), "c2")]

    assert ([1, 2], []) == ([answer.position for answer in answers if isinstance(answer, Answer)], founding.log.woken)


async def test_who_takes_it_wrongly_that_a_stream_begins_learns_what_there_is(founding: Desk) -> None:
    await founding.ask(listing(5), "c1")
    await founding.ask(Reserve("o1"), "c2")
    founding.sleep()

    assert Answer(None, 2) == await founding.ask(listing(5), "c3")
    assert Answer(description(4), 2) == await founding.ask(Describe(), "c4")
    assert ["product/p1"] == founding.log.woken


async def test_to_take_it_wrongly_that_a_stream_begins_is_no_mishap(founding: Desk) -> None:
    await founding.ask(listing(5), "c1")
    founding.limits = ActorLimits(redecide_max=0)
    founding.sleep()

    assert Answer(None, 1) == await founding.ask(listing(5), "c2")


async def test_a_stream_that_is_begun_again_by_a_repeat_gives_the_first_answer(founding: Desk) -> None:
    first = await founding.ask(listing(5), "c1")
    founding.sleep()

    assert first == await founding.ask(listing(5), "c1")
    assert 1 == len(await founding.stored_events())


async def test_what_begins_a_stream_together_with_other_things_is_read_as_usual(founding: Desk) -> None:
    answers = await founding.tell(founding.envelope(listing(5), "c1"), founding.reserve(1))

    assert ([Answer, Answer], ["product/p1"]) == ([type(answer) for answer in answers], founding.log.woken)


@pytest.mark.parametrize("trouble", [Trouble.TAKEN_UNKNOWN, Trouble.LOST_UNKNOWN])
async def test_a_log_that_says_nothing_about_a_beginning_is_asked(founding: Desk, trouble: Trouble) -> None:
    founding.log.troubles.append(trouble)

    assert Answer(None, 1) == await founding.ask(listing(5), "c1")
    assert 1 == len(await founding.stored_events())


async def test_a_snapshot_is_offered_every_so_often(log: WatchedLog, clock: TestClock) -> None:
    desk = Desk(log, clock, ActorLimits(snapshot_every=3))
    await desk.ask(listing(), "c0")
    for n in range(7):
        await desk.tell(desk.reserve(n))

    assert [3, 6] == [snapshot.version for snapshot in log.snapshots]


async def test_an_actor_wakes_from_its_snapshot_and_what_came_after(log: WatchedLog, clock: TestClock) -> None:
    desk = Desk(log, clock, ActorLimits(snapshot_every=2))
    await desk.ask(listing(9), "c0")
    await desk.tell(desk.reserve(1))
    desk.limits = ActorLimits(snapshot_every=100)
    desk.sleep()
    await desk.tell(desk.reserve(2))
    desk.sleep()

    assert Answer(description(7), 3) == await desk.ask(Describe(), "c3")


async def test_who_wakes_from_a_snapshot_does_not_offer_it_again(log: WatchedLog, clock: TestClock) -> None:
    desk = Desk(log, clock, ActorLimits(snapshot_every=2))
    await desk.ask(listing(9), "c0")
    await desk.tell(desk.reserve(1))
    desk.sleep()
    await desk.tell(desk.reserve(2))

    assert [2] == [snapshot.version for snapshot in log.snapshots]


async def test_a_snapshot_spares_reading_the_events_before_it(desk: Desk) -> None:
    state = PRODUCT.replay([Listed("sue", OFFER, 3, (), 1)])
    desk.log.offer_snapshot(desk.snapshot(state, desk.kind.fingerprint))

    assert Answer(description(3), 1) == await desk.ask(Describe(), "c1")


async def test_a_snapshot_of_other_code_is_ignored(desk: Desk) -> None:
    state = PRODUCT.replay([Listed("sue", OFFER, 3, (), 1)])
    desk.log.offer_snapshot(desk.snapshot(state, "of another time"))

    assert isinstance(await desk.ask(Describe(), "c1"), Refused)
