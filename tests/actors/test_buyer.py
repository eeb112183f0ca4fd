"""A buyer owns what they were granted, and only an owner reviews, once."""

from itertools import product

import pytest
from msgspec.structs import replace

from marketd.actors.buyer import (
    BUYER,
    Access,
    CheckAccess,
    Claim,
    Claimed,
    Command,
    DeleteReview,
    EditReview,
    Event,
    Grant,
    Granted,
    HideReview,
    Reason,
    ReplyToReview,
    Review,
    ReviewDeleted,
    Reviewed,
    ReviewHidden,
    ReviewShown,
    ReviewState,
    Revoke,
    Revoked,
    ShowReview,
    Unclaim,
    Unclaimed,
    WriteReview,
)
from tests.actors.totality import assert_decided, assert_silent_when_repeated
from tests.given import given

GRANTED = Granted("o1", "p1", "seller")
REVOKED = Revoked("o1", "p1")
CLAIMED = Claimed("o1", "p1")
UNCLAIMED = Unclaimed("o1", "p1")
REVIEW = Review("r1", 5, "Bright", "It lights the room.")
REVIEWED = Reviewed("p1", "seller", REVIEW, 7)
DELETED = ReviewDeleted("p1", "r1")
DULL = Review("r1", 2, "Bright", "It broke.")
REPLIED = replace(REVIEW, reply="Thanks!")
HIDE = HideReview("p1", "r1", "admin", "an insult", 8)
HIDDEN = ReviewHidden("p1", "r1", "admin", "an insult", 8)
SHOW = ShowReview("p1", "r1", "admin", 9)
SHOWN = ReviewShown("p1", "r1", "admin", 9)


def test_what_is_granted_is_owned() -> None:
    given(BUYER).when(Grant("o1", "p1", "seller")).then(GRANTED)


def test_granting_again_for_the_same_order_is_silent() -> None:
    given(BUYER, GRANTED).when(Grant("o1", "p1", "seller")).then_nothing()


def test_a_grant_teaches_nothing() -> None:
    given(BUYER).when(Grant("o1", "p1", "seller")).then_answered(None)


def test_an_owner_has_access() -> None:
    given(BUYER, GRANTED).when(CheckAccess("p1")).then_answered(Access(True))


def test_nobody_has_access_to_what_they_have_not_bought() -> None:
    given(BUYER, GRANTED).when(CheckAccess("p2")).then_answered(Access(False))


def test_access_ends_when_it_is_revoked() -> None:
    given(BUYER, GRANTED, REVOKED).when(CheckAccess("p1")).then_answered(Access(False))


def test_what_is_not_owned_is_claimed() -> None:
    given(BUYER).when(Claim("o1", "p1")).then(CLAIMED)


def test_what_was_revoked_is_claimed_again() -> None:
    given(BUYER, GRANTED, REVOKED).when(Claim("o2", "p1")).then(Claimed("o2", "p1"))


def test_orders_for_two_products_are_under_way_at_once() -> None:
    given(BUYER, CLAIMED).when(Claim("o2", "p2")).then(Claimed("o2", "p2"))


def test_what_its_order_has_brought_is_not_claimed_again() -> None:
    given(BUYER, CLAIMED, GRANTED).when(Claim("o1", "p1")).then_nothing()


def test_a_claim_that_is_given_up_stands_in_nobodys_way() -> None:
    given(BUYER, CLAIMED, UNCLAIMED).when(Claim("o2", "p1")).then(Claimed("o2", "p1"))


def test_an_order_gives_up_its_claim() -> None:
    given(BUYER, CLAIMED).when(Unclaim("o1", "p1")).then(UNCLAIMED)


def test_an_order_does_not_give_up_the_claim_of_another() -> None:
    given(BUYER, CLAIMED).when(Unclaim("o2", "p1")).then_nothing()


def test_what_is_granted_is_claimed_no_longer() -> None:
    given(BUYER, CLAIMED, GRANTED).when(Unclaim("o1", "p1")).then_nothing()


def test_what_is_claimed_is_not_owned_yet() -> None:
    given(BUYER, CLAIMED).when(CheckAccess("p1")).then_answered(Access(False))


def test_an_order_takes_back_what_it_gave() -> None:
    given(BUYER, GRANTED).when(Revoke("o1", "p1")).then(REVOKED)


def test_an_order_does_not_take_back_what_another_gave() -> None:
    given(BUYER, GRANTED).when(Revoke("o2", "p1")).then_nothing()


def test_to_revoke_what_has_not_come_yet_gives_up_its_place() -> None:
    given(BUYER, CLAIMED).when(Revoke("o1", "p1")).then(UNCLAIMED)


def test_what_is_claimed_comes() -> None:
    given(BUYER, CLAIMED).when(Grant("o1", "p1", "seller", needs_claim=True)).then(GRANTED)


def test_an_owner_writes_a_review() -> None:
    given(BUYER, GRANTED).when(WriteReview("p1", REVIEW, 7)).then(REVIEWED)


def test_who_writes_a_review_sees_it() -> None:
    given(BUYER, GRANTED).when(WriteReview("p1", REVIEW, 7)).then_answered(ReviewState(REVIEW))


def test_writing_the_same_review_again_is_silent() -> None:
    given(BUYER, GRANTED, REVIEWED).when(WriteReview("p1", REVIEW, 8)).then_nothing()


def test_an_author_edits_what_they_name_and_nothing_else() -> None:
    given(BUYER, GRANTED, REVIEWED).when(EditReview("p1", "r1", 8, rating=2, body="It broke.")).then(
        Reviewed("p1", "seller", DULL, 8)
    )


def test_an_edit_without_a_change_is_silent() -> None:
    given(BUYER, GRANTED, REVIEWED).when(EditReview("p1", "r1", 8, rating=5)).then_nothing()


def test_a_review_outlives_the_refund() -> None:
    given(BUYER, GRANTED, REVIEWED, REVOKED).when(EditReview("p1", "r1", 8, rating=2, body="It broke.")).then(
        Reviewed("p1", "seller", DULL, 8)
    )


def test_an_edit_keeps_the_reply() -> None:
    replied = Reviewed("p1", "seller", REPLIED, 8)
    given(BUYER, GRANTED, REVIEWED, replied).when(EditReview("p1", "r1", 9, rating=4)).then_answered(
        ReviewState(replace(REPLIED, rating=4))
    )


def test_an_author_deletes_their_review() -> None:
    given(BUYER, GRANTED, REVIEWED).when(DeleteReview("p1", "r1")).then(DELETED)


def test_after_deleting_it_another_review_may_be_written() -> None:
    again = Review("r2", 4, "Again", "On second thought.")
    given(BUYER, GRANTED, REVIEWED, DELETED).when(WriteReview("p1", again, 9)).then(Reviewed("p1", "seller", again, 9))


def test_the_seller_replies() -> None:
    given(BUYER, GRANTED, REVIEWED).when(ReplyToReview("p1", "r1", "seller", "Thanks!", 8)).then(
        Reviewed("p1", "seller", REPLIED, 8)
    )


def test_a_later_reply_takes_the_place_of_the_first() -> None:
    replied = Reviewed("p1", "seller", REPLIED, 8)
    given(BUYER, GRANTED, REVIEWED, replied).when(ReplyToReview("p1", "r1", "seller", "Thank you!", 9)).then_answered(
        ReviewState(replace(REVIEW, reply="Thank you!"))
    )


def test_writing_the_same_review_again_is_silent_after_a_reply() -> None:
    replied = Reviewed("p1", "seller", REPLIED, 8)
    given(BUYER, GRANTED, REVIEWED, replied).when(WriteReview("p1", REVIEW, 7)).then_nothing()


def test_an_admin_hides_a_review() -> None:
    given(BUYER, GRANTED, REVIEWED).when(HIDE).then(HIDDEN)


def test_hiding_it_again_for_the_same_reason_is_silent() -> None:
    given(BUYER, GRANTED, REVIEWED, HIDDEN).when(HIDE).then_nothing()


def test_a_later_reason_takes_the_place_of_the_first() -> None:
    given(BUYER, GRANTED, REVIEWED, HIDDEN).when(HideReview("p1", "r1", "other", "spam", 9)).then(
        ReviewHidden("p1", "r1", "other", "spam", 9)
    )


def test_a_hidden_review_is_shown_again() -> None:
    given(BUYER, GRANTED, REVIEWED, HIDDEN).when(SHOW).then(SHOWN)


def test_showing_what_is_not_hidden_is_silent() -> None:
    given(BUYER, GRANTED, REVIEWED).when(SHOW).then_nothing()


def test_a_review_that_was_shown_again_may_be_hidden_again() -> None:
    given(BUYER, GRANTED, REVIEWED, HIDDEN, SHOWN).when(HIDE).then(HIDDEN)


def test_a_hidden_review_may_be_edited() -> None:
    given(BUYER, GRANTED, REVIEWED, HIDDEN).when(EditReview("p1", "r1", 9, rating=2, body="It broke.")).then(
        Reviewed("p1", "seller", DULL, 9)
    )


def test_an_edited_review_stays_hidden() -> None:
    given(BUYER, GRANTED, REVIEWED, HIDDEN, Reviewed("p1", "seller", DULL, 9)).when(HIDE).then_nothing()


def test_what_is_written_after_a_hidden_review_was_deleted_is_not_hidden() -> None:
    again = Reviewed("p1", "seller", replace(REVIEW, review_id="r2"), 9)
    given(BUYER, GRANTED, REVIEWED, HIDDEN, DELETED, again).when(ShowReview("p1", "r2", "admin", 9)).then_nothing()


def test_who_hides_a_review_learns_nothing_of_it() -> None:
    given(BUYER, GRANTED, REVIEWED).when(HIDE).then_answered(None)


REFUSALS: list[tuple[list[Event], Command, Reason]] = [
    ([GRANTED], Claim("o2", "p1"), Reason.ALREADY_OWNED),
    ([GRANTED], Grant("o2", "p1", "seller"), Reason.ALREADY_OWNED),
    ([CLAIMED], Claim("o2", "p1"), Reason.UNDER_WAY),
    ([CLAIMED], Grant("o2", "p1", "seller"), Reason.UNDER_WAY),
    ([CLAIMED, UNCLAIMED], Grant("o1", "p1", "seller", needs_claim=True), Reason.UNCLAIMED),
    ([], WriteReview("p1", REVIEW, 7), Reason.NOT_OWNED),
    ([GRANTED, REVOKED], WriteReview("p1", REVIEW, 7), Reason.NOT_OWNED),
    ([GRANTED, REVIEWED], WriteReview("p1", DULL, 8), Reason.ALREADY_REVIEWED),
    ([GRANTED], EditReview("p1", "r1", 8), Reason.NO_SUCH_REVIEW),
    ([GRANTED, REVIEWED], DeleteReview("p1", "r2"), Reason.NO_SUCH_REVIEW),
    ([GRANTED, REVIEWED], ReplyToReview("p1", "r2", "seller", "Thanks!", 8), Reason.NO_SUCH_REVIEW),
    ([GRANTED, REVIEWED, DELETED], HIDE, Reason.NO_SUCH_REVIEW),
    ([GRANTED, REVIEWED, HIDDEN, DELETED], SHOW, Reason.NO_SUCH_REVIEW),
    ([GRANTED, REVIEWED], ReplyToReview("p1", "r1", "rival", "Buy mine!", 8), Reason.NOT_YOUR_SALE),
    ([GRANTED, REVIEWED], EditReview("p1", "r1", 8, rating=1, expected=()), Reason.CHANGED),
    ([GRANTED, REVIEWED], EditReview("p1", "r1", 8, expected=("another",)), Reason.CHANGED),
    ([GRANTED, REVIEWED], DeleteReview("p1", "r1", ("another",)), Reason.CHANGED),
]


def test_a_change_that_is_meant_for_this_version_is_made() -> None:
    command = DeleteReview("p1", "r1", ("another", REVIEW.version))
    given(BUYER, GRANTED, REVIEWED).when(command).then(ReviewDeleted("p1", "r1"))


def test_of_two_changes_meant_for_the_same_version_the_second_is_refused() -> None:
    command = EditReview("p1", "r1", 8, rating=1, expected=(REVIEW.version,))
    first = BUYER.decide(BUYER.replay([GRANTED, REVIEWED]), command)
    given(BUYER, GRANTED, REVIEWED, *first).when(command).then_refused(Reason.CHANGED)


def test_a_reply_in_between_hinders_no_author() -> None:
    assert REVIEW.version == replace(REVIEW, reply="Thanks!").version


@pytest.mark.parametrize(("history", "command", "reason"), REFUSALS)
def test_refusals(history: list[Event], command: Command, reason: Reason) -> None:
    given(BUYER, *history).when(command).then_refused(reason)


def test_every_reason_has_a_row_in_order() -> None:
    assert list(Reason) == list(dict.fromkeys(reason for _, _, reason in REFUSALS))


HISTORIES: list[tuple[Event, ...]] = [
    (),
    (CLAIMED,),
    (CLAIMED, UNCLAIMED),
    (CLAIMED, GRANTED),
    (GRANTED,),
    (GRANTED, REVOKED),
    (GRANTED, REVIEWED),
    (GRANTED, REVIEWED, Reviewed("p1", "seller", REPLIED, 8)),
    (GRANTED, REVIEWED, HIDDEN),
    (GRANTED, REVIEWED, HIDDEN, SHOWN),
    (GRANTED, REVIEWED, DELETED),
    (GRANTED, REVIEWED, REVOKED),
]
REPEATABLE: list[Command] = [
    Claim("o1", "p1"),
    Claim("o2", "p1"),
    Unclaim("o1", "p1"),
    CheckAccess("p1"),
    Grant("o1", "p1", "seller"),
    Grant("o2", "p1", "seller"),
    Revoke("o1", "p1"),
    WriteReview("p1", REVIEW, 7),
    WriteReview("p1", DULL, 7),
    EditReview("p1", "r1", 8, rating=1),
    ReplyToReview("p1", "r1", "seller", "Thanks!", 9),
    ReplyToReview("p1", "r1", "rival", "Buy mine!", 9),
    HIDE,
    SHOW,
]
ONCE_ONLY: list[Command] = [DeleteReview("p1", "r1")]  # a review that is gone is unknown, as if it had never been


@pytest.mark.parametrize(("history", "command"), list(product(HISTORIES, REPEATABLE + ONCE_ONLY)))
def test_every_command_is_decided_in_every_state(history: tuple[Event, ...], command: Command) -> None:
    assert_decided(BUYER, history, command)


@pytest.mark.parametrize(("history", "command"), list(product(HISTORIES, REPEATABLE)))
def test_asking_again_is_silent(history: tuple[Event, ...], command: Command) -> None:
    assert_silent_when_repeated(BUYER, history, command)
