"""A command takes effect once, and its repeat gets the first answer, whatever happens between the actor and its log."""

import logging

import pytest
import pytest_asyncio

from marketd.actors.aggregate import Refused
from marketd.actors.buyer import BUYER, DeleteReview, Granted, Review, Reviewed
from marketd.actors.product import (
    PRODUCT,
    Describe,
    Listed,
    Quote,
    Reason,
    Release,
    Released,
    Reservation,
    Reserve,
    Reserved,
    Revise,
    Withdraw,
)
from marketd.actors.runtime import ActorLimits
from marketd.bus.port import Answer, Busy, Unsure
from marketd.storage.log import Commit, Done, Meta, Refusal
from tests.actors.desk import OFFER, P1, Desk, description
from tests.actors.watched import Trouble, WatchedLog
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio

LISTED = Listed("sue", OFFER, 2, ("k1", "k2"), 1)
STEP = "o1:UpdateInventory"


@pytest_asyncio.fixture
async def desk(log: WatchedLog, clock: TestClock) -> Desk:
    """Two units with a licence key each are on sale."""
    await log.append(str(P1), 0, [Commit("c0", 1, (LISTED,), Done(), Meta())])
    log.appends.clear()
    return Desk(log, clock, ActorLimits(redecide_max=2))


def refusal_of(answer: object) -> object:
    return answer.reason if isinstance(answer, Refused) else answer


# Repeats.


async def test_a_repeat_gets_the_first_answer(desk: Desk) -> None:
    await desk.ask(Reserve("o1"), STEP)

    assert Answer(Reservation("k1"), 2) == await desk.ask(Reserve("o1"), STEP)


async def test_a_repeat_takes_no_effect(desk: Desk) -> None:
    await desk.ask(Reserve("o1"), STEP)
    await desk.ask(Reserve("o1"), STEP)

    assert [LISTED, Reserved("o1", "k1")] == await desk.stored_events()


async def test_a_repeat_gets_the_first_answer_after_a_sleep(desk: Desk) -> None:
    await desk.ask(Reserve("o1"), STEP)
    desk.sleep()

    assert Answer(Reservation("k1"), 2) == await desk.ask(Reserve("o1"), STEP)


async def test_a_repeat_of_the_last_sale_is_not_sold_out(desk: Desk) -> None:
    await desk.ask(Reserve("o0"), "o0:UpdateInventory", is_step=True)
    await desk.ask(Reserve("o1"), STEP, is_step=True)

    assert Answer(Reservation("k2"), 3) == await desk.ask(Reserve("o1"), STEP, is_step=True)


async def test_a_repeated_release_gives_one_unit_back(desk: Desk) -> None:
    await desk.ask(Reserve("o1"), STEP)
    await desk.ask(Release("o1", "k1"), "o1:RollbackInventory", is_step=True)
    await desk.ask(Release("o1", "k1"), "o1:RollbackInventory", is_step=True)

    assert [LISTED, Reserved("o1", "k1"), Released("o1", "k1")] == await desk.stored_events()


async def test_the_same_twice_in_one_turn_is_answered_the_same(desk: Desk) -> None:
    assert [Answer(Reservation("k1"), 2)] * 2 == await desk.tell(desk.reserve(1), desk.reserve(1))


async def test_the_same_three_times_in_one_turn_takes_effect_once(desk: Desk) -> None:
    await desk.tell(desk.reserve(1), desk.reserve(1), desk.reserve(1))

    assert [LISTED, Reserved("o1", "k1")] == await desk.stored_events()


async def test_a_repeat_does_not_hold_up_the_others_of_its_turn(desk: Desk) -> None:
    await desk.tell(desk.reserve(1))

    assert [Answer(Reservation("k1"), 2), Answer(Reservation("k2"), 3)] == await desk.tell(
        desk.reserve(1), desk.reserve(2)
    )


async def test_a_repeat_that_would_be_refused_by_now_gets_the_first_answer(desk: Desk) -> None:
    await desk.tell(desk.reserve(1, is_step=False), desk.reserve(2, is_step=False))

    assert [Answer(Reservation("k1"), 2)] == await desk.tell(desk.reserve(1, is_step=False))


async def test_a_repeat_that_already_holds_by_now_gets_the_first_answer(desk: Desk) -> None:
    renamed = Revise("sue", 2, title="Grotesque")
    first = await desk.ask(renamed, "c1")
    await desk.ask(Reserve("o1"), STEP)

    assert first == await desk.ask(renamed, "c1")


async def test_an_owner_that_never_heard_of_a_repeat_finds_its_first_answer(desk: Desk) -> None:
    """Of two that believe they own the address, this one has seen nothing yet."""
    late = Desk(desk.log, desk.clock, desk.limits)
    late.actor._state, late.actor._version = PRODUCT.initial, 0
    await desk.ask(Withdraw("sue", 2), "c2")

    assert Answer(None, 2) == await late.ask(Withdraw("sue", 2), "c2")


async def test_a_question_is_not_looked_up(desk: Desk) -> None:
    await desk.tell(desk.reserve(1), desk.reserve(2))
    await desk.ask(Describe(), "c1")
    await desk.ask(Quote("bob"), "c2")

    assert [] == desk.log.found


# Refusals of a saga's step.


async def test_the_refusal_of_a_step_is_on_record(desk: Desk) -> None:
    await desk.tell(desk.reserve(1), desk.reserve(2), desk.reserve(3))

    assert Refusal("product.SOLD_OUT") == (await desk.log.read(str(P1)))[-1].commit.reply


async def test_a_step_that_was_refused_is_refused_again_whatever_has_changed(desk: Desk) -> None:
    await desk.tell(desk.reserve(1), desk.reserve(2), desk.reserve(3))
    await desk.ask(Release("o1", "k1"), "o1:RollbackInventory", is_step=True)
    (again,) = await desk.tell(desk.reserve(3))

    assert Reason.SOLD_OUT is refusal_of(again)


async def test_a_step_that_was_refused_is_refused_again_after_a_sleep(desk: Desk) -> None:
    await desk.tell(desk.reserve(1), desk.reserve(2), desk.reserve(3))
    await desk.ask(Release("o1", "k1"), "o1:RollbackInventory", is_step=True)
    desk.sleep()
    (again,) = await desk.tell(desk.reserve(3))

    assert Reason.SOLD_OUT is refusal_of(again)


async def test_another_command_is_decided_anew(desk: Desk) -> None:
    await desk.tell(desk.reserve(1), desk.reserve(2))
    await desk.ask(Reserve("o3"), "c3")
    await desk.ask(Release("o1", "k1"), "o1:RollbackInventory", is_step=True)

    assert Answer(Reservation("k1"), 5) == await desk.ask(Reserve("o3"), "c3")


# Conflicts.


async def test_an_actor_that_was_overtaken_decides_on_what_it_did_not_know(desk: Desk) -> None:
    await desk.ask(Describe(), "c1")
    await desk.intrude("o8")
    await desk.intrude("o9")

    assert Reason.SOLD_OUT is refusal_of(await desk.ask(Reserve("o1"), STEP))


async def test_an_actor_that_was_overtaken_answers_all_that_wait(desk: Desk) -> None:
    await desk.ask(Describe(), "c1")
    await desk.intrude("o9")

    assert [Answer, Refused] == [type(a) for a in await desk.tell(desk.reserve(1), desk.reserve(2))]


async def test_an_actor_that_was_overtaken_by_the_same_command_gives_its_answer(desk: Desk) -> None:
    other = Desk(desk.log, desk.clock, desk.limits)
    await desk.ask(Describe(), "c1")
    await other.ask(Reserve("o1"), STEP)

    assert Answer(Reservation("k1"), 2) == await desk.ask(Reserve("o1"), STEP)


# Unknown outcomes.


@pytest.mark.parametrize("trouble", [Trouble.TAKEN_UNKNOWN, Trouble.LOST_UNKNOWN])
async def test_after_an_unknown_outcome_the_sender_gets_their_answer(desk: Desk, trouble: Trouble) -> None:
    desk.log.troubles.append(trouble)

    assert Answer(Reservation("k1"), 2) == await desk.ask(Reserve("o1"), STEP)


@pytest.mark.parametrize("trouble", [Trouble.TAKEN_UNKNOWN, Trouble.LOST_UNKNOWN])
async def test_after_an_unknown_outcome_the_effect_is_there_once(desk: Desk, trouble: Trouble) -> None:
    desk.log.troubles.append(trouble)
    await desk.ask(Reserve("o1"), STEP)

    assert [LISTED, Reserved("o1", "k1")] == await desk.stored_events()


@pytest.mark.parametrize("trouble", [Trouble.TAKEN_UNKNOWN, Trouble.LOST_UNKNOWN])
async def test_after_an_unknown_outcome_everyone_of_the_turn_is_answered(desk: Desk, trouble: Trouble) -> None:
    desk.log.troubles.append(trouble)

    assert [Answer(Reservation("k1"), 2), Answer(Reservation("k2"), 3)] == await desk.tell(
        desk.reserve(1), desk.reserve(2)
    )


async def test_an_unknown_outcome_of_the_last_sale_is_not_sold_out(desk: Desk) -> None:
    desk.log.troubles.append(Trouble.TAKEN_UNKNOWN)
    answers = await desk.tell(desk.reserve(1), desk.reserve(2), desk.reserve(3))

    assert [Answer, Answer, Refused] == [type(answer) for answer in answers]


async def test_a_sale_that_was_no_step_is_not_sold_out_either(desk: Desk) -> None:
    desk.log.troubles.append(Trouble.TAKEN_UNKNOWN)
    answers = await desk.tell(desk.reserve(1, is_step=False), desk.reserve(2, is_step=False))

    assert [Answer(Reservation("k1"), 2), Answer(Reservation("k2"), 3)] == answers


async def test_a_deletion_of_unknown_outcome_was_done(log: WatchedLog, clock: TestClock) -> None:
    history = (Granted("o1", "p1", "sue"), Reviewed("p1", "sue", Review("r1", 5, "Bright", "…"), 1))
    await log.append(str(P1), 0, [Commit("c0", 1, history, Done(), Meta())])
    log.troubles.append(Trouble.TAKEN_UNKNOWN)
    desk = Desk(log, clock, ActorLimits(), BUYER)

    assert Answer(None, 2) == await desk.ask(DeleteReview("p1", "r1"), "c1")


async def test_what_the_log_never_takes_is_given_up(desk: Desk) -> None:
    desk.log.troubles.extend([Trouble.LOST_UNKNOWN] * 3)

    assert isinstance(await desk.ask(Reserve("o1"), STEP), Unsure)


async def test_who_only_asked_is_answered_although_the_log_takes_nothing(desk: Desk) -> None:
    desk.log.troubles.extend([Trouble.LOST_UNKNOWN] * 3)
    answers = await desk.tell(desk.reserve(1), desk.envelope(Describe(), "c1"), desk.reserve(2))

    assert [Unsure, Answer(description(2), 1), Unsure] == [
        answer if isinstance(answer, Answer) else type(answer) for answer in answers
    ]


async def test_who_only_asked_is_answered_although_the_log_is_full(desk: Desk) -> None:
    """And learns nothing of what it did not take; what is known stays known."""
    await desk.ask(Describe(), "c0")
    desk.log.woken.clear()
    desk.log.troubles.append(Trouble.FULL)
    answers = await desk.tell(desk.reserve(1), desk.envelope(Describe(), "c1"), desk.reserve(2))

    told = [answer if isinstance(answer, Answer) else type(answer) for answer in answers]
    assert ([Busy, Answer(description(2), 1), Busy], []) == (told, desk.log.woken)


async def test_what_the_log_takes_at_last_is_answered(desk: Desk) -> None:
    desk.log.troubles.extend([Trouble.LOST_UNKNOWN] * 2)

    assert Answer(Reservation("k1"), 2) == await desk.ask(Reserve("o1"), STEP)


async def test_it_is_tried_as_often_as_the_limit_says(desk: Desk) -> None:
    desk.log.troubles.extend([Trouble.LOST_UNKNOWN] * 9)
    await desk.ask(Reserve("o1"), STEP)

    assert [1, 1, 1] == desk.log.appends


async def test_giving_up_is_logged_with_the_name_of_the_actor(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.log.troubles.extend([Trouble.LOST_UNKNOWN] * 3)
    await desk.ask(Reserve("o1"), STEP)
    given_up = "product/p1@1: given up after 3 tries: Unknown(why='the disk was away')"

    assert [("marketd.actors", logging.ERROR, given_up)] == caplog.record_tuples


async def test_who_was_left_unsure_gets_the_answer_when_they_ask_again(desk: Desk) -> None:
    desk.log.troubles.extend([Trouble.LOST_UNKNOWN, Trouble.LOST_UNKNOWN, Trouble.TAKEN_UNKNOWN])
    await desk.ask(Reserve("o1"), STEP)

    assert Answer(Reservation("k1"), 2) == await desk.ask(Reserve("o1"), STEP)


@pytest.mark.parametrize("then", [Trouble.FULL, Trouble.BROKEN])
async def test_what_may_have_happened_is_never_said_not_to_have(desk: Desk, then: Trouble) -> None:
    desk.log.troubles.extend([Trouble.LOST_UNKNOWN, then])

    assert isinstance(await desk.ask(Reserve("o1"), STEP), Unsure)


async def test_a_revision_of_unknown_outcome_adds_its_keys_once(desk: Desk) -> None:
    desk.log.troubles.append(Trouble.TAKEN_UNKNOWN)

    assert Answer(None, 2) == await desk.ask(Revise("sue", 5, licence_keys=("k3",)), "c1")
    assert Answer(description(3, updated_at=5), 2) == await desk.ask(Describe(), "c2")


async def test_a_full_log_takes_it_later(desk: Desk) -> None:
    desk.log.troubles.append(Trouble.FULL)
    first = await desk.ask(Reserve("o1"), STEP)
    second = await desk.ask(Reserve("o1"), STEP)

    assert [Busy, Answer] == [type(first), type(second)]
