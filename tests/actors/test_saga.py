"""The table of the saga, row by row: what a step asks of whom, what moves it on, what turns it back."""

from typing import NamedTuple

import pytest

from marketd.actors import buyer, product
from marketd.actors.address import Address
from marketd.actors.notices.port import Receipt
from marketd.actors.order import (
    AWAITS,
    NO_ANSWER,
    ORDER,
    Advance,
    Awaited,
    BuyerNotified,
    ClaimsEnded,
    Completed,
    Delivered,
    DeliveryRefused,
    DeliveryRevoked,
    Event,
    Existing,
    Failed,
    FailedWithAlert,
    NoticeAbandoned,
    NoticeFailed,
    Paid,
    PaymentDeclined,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentUnanswered,
    ReadAwaited,
    Refunded,
    RequestRefund,
    State,
    StockRefused,
    StockReleased,
    StockReserved,
    view,
)
from marketd.actors.saga import LEGS, NOTHING, Ask, Charge, Command, Commands, Patience, PayBack, Tell, along_with
from marketd.actors.steps import Denied, Outcome, Report, Step, Succeeded, Unanswered
from tests.actors.sale import (
    COMPLETE,
    DELIVERING,
    ENDING,
    ENDING_OWING,
    ENDING_TAKEN_BACK,
    NOTIFYING,
    PAYING,
    PLACED,
    PRICE,
    REFUNDING,
    RELEASED,
    RELEASING,
    RESERVING,
    RETURNING,
    REVOKING,
    UNANSWERED,
    UNCOUNTED,
    UNNOTICED,
    UNWINDING,
    UNWOUND,
    History,
)
from tests.given import given


class Row(NamedTuple):
    """In this history, this step ends so: that is put on record, and the next step is that one."""

    history: History
    step: Step
    outcome: Outcome
    events: tuple[Event, ...]
    next: Step | None


YES, NO, SILENCE = Succeeded(), Denied("no"), Unanswered()
# fmt: off
TABLE = [
    Row(PAYING, Step.PROCESS_PAYMENT, YES, (Paid(9),), Step.UPDATE_INVENTORY),
    Row(PAYING, Step.PROCESS_PAYMENT, NO, (PaymentDeclined("no", 9),), Step.END_CLAIMS),
    Row(PAYING, Step.PROCESS_PAYMENT, SILENCE, (PaymentUnanswered(9),), Step.REFUND_PAYMENT),
    Row((UNCOUNTED,), Step.PROCESS_PAYMENT, SILENCE, (PaymentUnanswered(9),), Step.REVOKE_DELIVERY),
    Row(RESERVING, Step.UPDATE_INVENTORY, YES, (StockReserved(None, 9),), Step.PREPARE_DELIVERY),
    Row(RESERVING, Step.UPDATE_INVENTORY, Succeeded("k7"), (StockReserved("k7", 9),), Step.PREPARE_DELIVERY),
    Row(RESERVING, Step.UPDATE_INVENTORY, NO, (StockRefused("no", 9),), Step.REFUND_PAYMENT),
    Row(DELIVERING, Step.PREPARE_DELIVERY, YES, (Delivered(9),), Step.NOTIFY_BUYER),
    Row(DELIVERING, Step.PREPARE_DELIVERY, NO, (DeliveryRefused("no", 9),), Step.ROLLBACK_INVENTORY),
    Row(NOTIFYING, Step.NOTIFY_BUYER, YES, (BuyerNotified(9), Completed(9)), None),
    Row(NOTIFYING, Step.NOTIFY_BUYER, NO, (NoticeFailed("no", 9), Completed(9)), Step.NOTIFY_BUYER_LATE),
    Row(NOTIFYING, Step.NOTIFY_BUYER, SILENCE, (NoticeFailed("no answer", 9), Completed(9)), Step.NOTIFY_BUYER_LATE),
    Row(UNNOTICED, Step.NOTIFY_BUYER_LATE, YES, (BuyerNotified(9),), None),
    Row(UNNOTICED, Step.NOTIFY_BUYER_LATE, NO, (NoticeAbandoned(9),), None),
    Row(UNNOTICED, Step.NOTIFY_BUYER_LATE, SILENCE, (NoticeAbandoned(9),), None),
    Row(RELEASING, Step.ROLLBACK_INVENTORY, YES, (StockReleased(9),), Step.REFUND_PAYMENT),
    Row(REFUNDING, Step.REFUND_PAYMENT, YES, (PaymentRefunded(9),), Step.END_CLAIMS),
    Row(REFUNDING, Step.REFUND_PAYMENT, NO, (PaymentRefundFailed("no", 9),), Step.END_CLAIMS),
    Row(REFUNDING, Step.REFUND_PAYMENT, SILENCE, (PaymentRefundFailed(NO_ANSWER, 9),), Step.END_CLAIMS),
    Row(RELEASED, Step.REFUND_PAYMENT, YES, (PaymentRefunded(9),), Step.END_CLAIMS),
    Row(UNANSWERED, Step.REFUND_PAYMENT, YES, (PaymentRefunded(9),), Step.END_CLAIMS),
    Row(UNWINDING, Step.REVOKE_DELIVERY, YES, (DeliveryRevoked(9),), Step.REFUND_PAYMENT),
    Row(UNWOUND, Step.REFUND_PAYMENT, YES, (PaymentRefunded(9),), Step.END_CLAIMS),
    Row(ENDING, Step.END_CLAIMS, YES, (ClaimsEnded(9), Failed("no funds", 9)), None),
    Row(ENDING_TAKEN_BACK, Step.END_CLAIMS, YES, (ClaimsEnded(9), Failed("sold out", 9)), None),
    Row(ENDING_OWING, Step.END_CLAIMS, YES, (ClaimsEnded(9), FailedWithAlert("sold out", 9)), None),
    # a complete sale, taken back by its seller
    Row(REVOKING, Step.REVOKE_DELIVERY, YES, (DeliveryRevoked(9),), Step.REFUND_PAYMENT),
    Row(RETURNING, Step.REFUND_PAYMENT, YES, (PaymentRefunded(9), Refunded(9)), None),
    Row(RETURNING, Step.REFUND_PAYMENT, NO, (PaymentRefundFailed("no", 9), FailedWithAlert("a mistake", 9)), None),
    Row(RETURNING, Step.REFUND_PAYMENT, SILENCE,
        (PaymentRefundFailed(NO_ANSWER, 9), FailedWithAlert("a mistake", 9)), None),
]
# fmt: on


def state_after(history: History, *events: Event) -> Existing:
    state: State = ORDER.replay([*history, *events])
    assert isinstance(state, Existing)
    return state


def awaited(history: History) -> Awaited:
    answer = ORDER.answer(state_after(history), ReadAwaited(), [])
    assert isinstance(answer, Awaited)
    return answer


@pytest.mark.parametrize("row", TABLE)
def test_what_an_outcome_puts_on_record(row: Row) -> None:
    given(ORDER, *row.history).when(Advance((Report(row.step, row.outcome),), 9)).then(*row.events)


@pytest.mark.parametrize("row", TABLE)
def test_which_step_comes_next(row: Row) -> None:
    assert row.next is AWAITS.get(type(state_after(row.history, *row.events)))


def test_every_step_is_in_the_table() -> None:
    assert set(Step) == {row.step for row in TABLE}


def test_every_step_is_awaited_in_some_state() -> None:
    assert set(Step) == set(AWAITS.values())


def test_every_step_has_a_leg() -> None:
    assert set(Step) == set(LEGS)


@pytest.mark.parametrize(("state", "step"), AWAITS.items())
def test_silence_moves_only_what_the_outside_owes(state: type, step: Step) -> None:
    history = next(row.history for row in TABLE if isinstance(state_after(row.history), state))
    moved = ORDER.decide(state_after(history), Advance((Report(step, SILENCE),), 9)) != []

    assert (LEGS[step].patience is not Patience.ENDLESS) is moved


@pytest.mark.parametrize(
    ("history", "status"),
    [
        ((*NOTIFYING, BuyerNotified(9), Completed(9)), ("completed", "captured")),
        ((*ENDING, ClaimsEnded(9), Failed("no funds", 9)), ("failed", "declined")),
        ((*ENDING_TAKEN_BACK, ClaimsEnded(9), Failed("sold out", 9)), ("failed", "refunded")),
        ((*ENDING_OWING, ClaimsEnded(9), FailedWithAlert("sold out", 9)), ("failed", "refund_failed")),
        # as it was recorded before there were claims
        ((*PAYING, PaymentDeclined("no", 9), Failed("no", 9)), ("failed", "declined")),
        ((*REFUNDING, PaymentRefunded(9), Failed("sold out", 9)), ("failed", "refunded")),
        ((*REFUNDING, PaymentRefundFailed("no", 9), FailedWithAlert("sold out", 9)), ("failed", "refund_failed")),
        ((*RETURNING, PaymentRefunded(9), Refunded(9)), ("refunded", "refunded")),
    ],
)
def test_the_ends(history: History, status: tuple[str, str]) -> None:
    shown = view(state_after(history))

    assert status == (shown.status, shown.payment_status)


def test_a_refund_of_a_complete_sale_begins_with_the_access() -> None:
    events = ORDER.decide(state_after(COMPLETE), RequestRefund("sue", False, "a mistake", 6))

    assert Step.REVOKE_DELIVERY is AWAITS[type(state_after(COMPLETE, *events))]


# fmt: off
ASKED: list[tuple[History, Ask]] = [
    (PAYING,     Charge("o1", PRICE, "pm_card_visa")),
    (RESERVING,  Command(Address("product", "p1"), product.Reserve("o1"))),
    (DELIVERING, Command(Address("buyer", "ann"), buyer.Grant("o1", "p1", "sue"))),
    ((UNCOUNTED, Paid(2), StockReserved(None, 3)),
                 Command(Address("buyer", "ann"), buyer.Grant("o1", "p1", "sue", needs_claim=True))),
    (NOTIFYING,  Tell(Receipt("o1", "ann", "Serif"))),
    (UNNOTICED,  Tell(Receipt("o1", "ann", "Serif"))),
    (RELEASING,  Command(Address("product", "p1"), product.Release("o1", "k1"))),
    ((UNCOUNTED, Paid(2)), NOTHING),
    ((UNCOUNTED, Paid(2), StockReserved(None, 3), DeliveryRefused("owned already", 4)), NOTHING),
    (UNWINDING,  Command(Address("buyer", "ann"), buyer.Revoke("o1", "p1"))),
    (REFUNDING,  PayBack("o1")),
    (UNANSWERED, PayBack("o1")),
    (REVOKING,   Command(Address("buyer", "ann"), buyer.Revoke("o1", "p1"))),
    (RETURNING,  PayBack("o1")),
    (ENDING,     Commands((Command(Address("product", "p1"), product.Unhold("o1")),
                           Command(Address("buyer", "ann"), buyer.Unclaim("o1", "p1"))))),
    ((UNCOUNTED, PaymentDeclined("no funds", 2)),
                 Commands((Command(Address("buyer", "ann"), buyer.Unclaim("o1", "p1")),))),
]
PATIENCE = {
    Step.PROCESS_PAYMENT:    Patience.BOUNDED,
    Step.UPDATE_INVENTORY:   Patience.ENDLESS,
    Step.PREPARE_DELIVERY:   Patience.ENDLESS,
    Step.NOTIFY_BUYER:       Patience.NONE,
    Step.NOTIFY_BUYER_LATE:  Patience.BOUNDED,
    Step.ROLLBACK_INVENTORY: Patience.ENDLESS,
    Step.REFUND_PAYMENT:     Patience.BOUNDED,
    Step.REVOKE_DELIVERY:    Patience.ENDLESS,
    Step.END_CLAIMS:         Patience.ENDLESS,
}
# fmt: on


@pytest.mark.parametrize(("history", "asked"), ASKED)
def test_what_is_asked_of_whom(history: History, asked: Ask) -> None:
    waiting = awaited(history)
    assert waiting.step is not None

    assert asked == LEGS[waiting.step].ask("o1", waiting)


@pytest.mark.parametrize(("step", "patience"), PATIENCE.items())
def test_how_long_a_step_is_asked(step: Step, patience: Patience) -> None:
    assert patience is LEGS[step].patience


@pytest.mark.parametrize(
    ("step", "along", "along_uncounted"),
    [
        (Step.PROCESS_PAYMENT, None, Step.UPDATE_INVENTORY),
        (Step.UPDATE_INVENTORY, Step.PREPARE_DELIVERY, Step.PREPARE_DELIVERY),
        (Step.PREPARE_DELIVERY, Step.NOTIFY_BUYER, Step.NOTIFY_BUYER),
        (Step.NOTIFY_BUYER, None, None),
        (Step.REVOKE_DELIVERY, None, None),
    ],
)
def test_what_is_taken_along_with_a_step(step: Step, along: Step | None, along_uncounted: Step | None) -> None:
    assert (along, along_uncounted) == (along_with(step, PLACED), along_with(step, UNCOUNTED))
