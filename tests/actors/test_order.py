"""An order is placed once, is led to one end, and shows people where it stands."""

from itertools import product

import pytest
from msgspec.structs import replace

from marketd.actors.order import (
    ORDER,
    Absent,
    Advance,
    Alert,
    AlertResolved,
    Awaited,
    Command,
    Describe,
    Existing,
    Place,
    Placed,
    ReadAwaited,
    Reason,
    RefundRequested,
    RequestRefund,
    ResolveAlert,
    State,
    View,
    view,
)
from marketd.actors.steps import Denied, Report, Step, Succeeded, Unanswered
from tests.actors.sale import (
    COMPLETE,
    DELIVERING,
    HISTORIES,
    OWING,
    OWING_AFTER_SALE,
    PAYING,
    PLACE,
    PLACED,
    PRICE,
    RESOLVED,
    RETURNED,
    REVOKING,
    TAKEN_BACK,
    UNNOTICED,
    History,
)
from tests.actors.totality import assert_decided, assert_silent_when_repeated
from tests.given import given

PENDING = View(
    "ann", "sue", "p1", "Serif", PRICE, "pending", "pending", "pending", None, None, None, created_at=1, updated_at=1
)


def seen(history: History) -> View:
    state: State = ORDER.replay(history)
    assert isinstance(state, Existing)
    return view(state)


# Placing and looking.


def test_an_order_is_placed() -> None:
    given(ORDER).when(PLACE).then(PLACED)


def test_who_places_an_order_sees_it_pending() -> None:
    given(ORDER, *PAYING).when(Describe()).then_answered(PENDING)


def test_placing_it_again_is_silent() -> None:
    given(ORDER, *PAYING).when(PLACE).then_nothing()


def test_placing_it_again_at_its_end_is_silent() -> None:
    given(ORDER, *COMPLETE).when(PLACE).then_nothing()


def test_looking_leaves_no_trace() -> None:
    given(ORDER, *PAYING).when(Describe()).then_nothing()


def test_an_open_order_says_what_it_waits_for_and_since_when() -> None:
    given(ORDER, *DELIVERING).when(ReadAwaited()).then_answered(Awaited(Step.PREPARE_DELIVERY, PLACED, "k1", since=3))


def test_an_order_at_its_end_waits_for_nothing() -> None:
    given(ORDER, *COMPLETE).when(ReadAwaited()).then_answered(Awaited(None, PLACED, "k1", since=5))


def test_who_reports_a_step_learns_nothing() -> None:
    given(ORDER, *PAYING).when(Advance((Report(Step.PROCESS_PAYMENT, Succeeded()),), 2)).then_answered(None)


def test_a_report_of_another_step_is_silent() -> None:
    given(ORDER, *PAYING).when(Advance((Report(Step.UPDATE_INVENTORY, Succeeded("k1")),), 2)).then_nothing()


STATUSES = {
    "paying": ("pending", "pending", "pending"),
    "reserving": ("pending", "captured", "pending"),
    "delivering": ("pending", "captured", "pending"),
    "notifying": ("pending", "captured", "delivered"),
    "complete": ("completed", "captured", "delivered"),
    "unnoticed": ("completed", "captured", "delivered"),
    "ending": ("pending", "declined", "failed"),
    "ending taken back": ("pending", "refunded", "failed"),
    "ending owing": ("pending", "refund_failed", "failed"),
    "declined": ("failed", "declined", "failed"),
    "unanswered": ("pending", "pending", "failed"),
    "unwinding": ("pending", "pending", "failed"),
    "unwound": ("pending", "pending", "failed"),
    "refunding": ("pending", "captured", "failed"),
    "releasing": ("pending", "captured", "failed"),
    "released": ("pending", "captured", "failed"),
    "taken back": ("failed", "refunded", "failed"),
    "owing": ("failed", "refund_failed", "failed"),
    "revoking": ("completed", "captured", "revoked"),
    "returning": ("completed", "captured", "revoked"),
    "returned": ("refunded", "refunded", "revoked"),
    "owing after the sale": ("failed", "refund_failed", "revoked"),
    "resolved": ("failed", "refund_failed", "failed"),
}


@pytest.mark.parametrize("name", [name for name in HISTORIES if name != "absent"])
def test_what_people_see(name: str) -> None:
    shown = seen(HISTORIES[name])

    assert STATUSES[name] == (shown.status, shown.payment_status, shown.delivery_status)


def test_every_state_has_a_history() -> None:
    states = {type(ORDER.replay(history)) for history in HISTORIES.values()}

    assert {Absent, *Existing.__args__} == states


def test_a_failed_order_says_why() -> None:
    assert "sold out" == seen(TAKEN_BACK).failure_reason


def test_a_refunded_order_has_not_failed() -> None:
    assert seen(RETURNED).failure_reason is None


def test_the_licence_key_is_shown_when_the_sale_is_complete() -> None:
    assert "k1" == seen(COMPLETE).licence_key


def test_the_licence_key_is_not_shown_before() -> None:
    assert seen(DELIVERING).licence_key is None


def test_the_licence_key_is_not_shown_once_the_sale_is_taken_back() -> None:
    assert seen(REVOKING).licence_key is None


def test_a_payment_that_could_not_go_back_opens_an_alert() -> None:
    assert seen(OWING).has_open_alert


def test_an_alert_says_why_the_payment_did_not_go_back() -> None:
    assert Alert("bank says no", since=4, is_open=True) == seen(OWING).alert


def test_resolving_an_alert_does_not_make_it_newer() -> None:
    assert Alert("bank says no", since=4, is_open=False) == seen(RESOLVED).alert


def test_an_alert_that_is_resolved_is_not_open() -> None:
    assert not seen(RESOLVED).has_open_alert


# Refunds and alerts.


def test_the_seller_asks_for_a_refund() -> None:
    given(ORDER, *COMPLETE).when(RequestRefund("sue", False, "a mistake", 6)).then(
        RefundRequested("sue", "a mistake", 6)
    )


def test_an_admin_asks_for_a_refund() -> None:
    given(ORDER, *COMPLETE).when(RequestRefund("root", True, "fraud", 6)).then(RefundRequested("root", "fraud", 6))


def test_an_order_whose_notice_is_late_can_be_refunded() -> None:
    given(ORDER, *UNNOTICED).when(RequestRefund("sue", False, "a mistake", 6)).then(
        RefundRequested("sue", "a mistake", 6)
    )


@pytest.mark.parametrize("name", ["revoking", "returning", "returned"])
def test_asking_again_for_a_refund_is_silent(name: str) -> None:
    given(ORDER, *HISTORIES[name]).when(RequestRefund("sue", False, "again", 9)).then_nothing()


@pytest.mark.parametrize("history", [OWING, OWING_AFTER_SALE])
def test_an_admin_resolves_the_alert(history: History) -> None:
    given(ORDER, *history).when(ResolveAlert("root", 9)).then(AlertResolved("root", 9))


def test_resolving_again_is_silent() -> None:
    given(ORDER, *RESOLVED).when(ResolveAlert("toor", 10)).then_nothing()


REFUSALS: list[tuple[History, Command, Reason]] = [
    ((), Describe(), Reason.NO_SUCH_ORDER),
    (PAYING, replace(PLACE, buyer_id="bob"), Reason.PLACED_DIFFERENTLY),
    (COMPLETE, RequestRefund("ann", False, "", 6), Reason.NOT_YOUR_SALE),
    (PAYING, RequestRefund("sue", False, "", 6), Reason.NOT_COMPLETED),
    (OWING, RequestRefund("root", True, "", 6), Reason.NOT_COMPLETED),
    (COMPLETE, ResolveAlert("root", 6), Reason.NO_ALERT),
]


@pytest.mark.parametrize(("history", "command", "reason"), REFUSALS)
def test_refusals(history: History, command: Command, reason: Reason) -> None:
    given(ORDER, *history).when(command).then_refused(reason)


def test_every_reason_has_a_row_in_order() -> None:
    assert list(Reason) == list(dict.fromkeys(reason for _, _, reason in REFUSALS))


COMMANDS: list[Command] = [
    PLACE,
    replace(PLACE, title="Sans"),
    *(
        Advance((Report(step, outcome),), 20)
        for step in Step
        for outcome in (Succeeded("k1"), Denied("no"), Unanswered())
    ),
    RequestRefund("sue", False, "a mistake", 20),
    RequestRefund("ann", False, "a mistake", 20),
    RequestRefund("root", True, "a mistake", 20),
    ResolveAlert("root", 20),
    Describe(),
    ReadAwaited(),
]


@pytest.mark.parametrize(("name", "command"), list(product(HISTORIES, COMMANDS)))
def test_every_command_is_decided_in_every_state(name: str, command: Command) -> None:
    assert_decided(ORDER, HISTORIES[name], command)


@pytest.mark.parametrize(("name", "command"), list(product(HISTORIES, COMMANDS)))
def test_asking_again_is_silent(name: str, command: Command) -> None:
    assert_silent_when_repeated(ORDER, HISTORIES[name], command)


def test_what_is_placed_is_what_was_asked() -> None:
    assert Placed.__struct_fields__ == Place.__struct_fields__
