"""
An order: one buyer, one product, one price, and how far the sale has come.

An order is its own process manager. Its state says which step it awaits (`AWAITS`); saga.py says what that step asks
of whom; each outcome comes back as `Advance`. Where the next step is the order's own (complete, fail, fail with an
alert) it is taken in the same commit, so that no crash can come between.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import asdict, replace

from marketd.actors.aggregate import Aggregate, Refused
from marketd.actors.money import Money
from marketd.actors.steps import Denied, Outcome, Report, Step, Succeeded, Unanswered

# Commands: what may be asked of an order.


class Place(Struct, frozen=True, tag="order.place"):
    buyer_id: str
    seller_id: str
    product_id: str
    title: str
    price: Money
    payment_method_id: str
    at: int
    is_counted: bool = True


class Advance(Struct, frozen=True, tag="order.advance"):
    """Report how one step ended, or several that were taken one after the other."""

    reports: tuple[Report, ...]
    at: int


class RequestRefund(Struct, frozen=True, tag="order.request-refund"):
    by: str
    is_admin: bool
    why: str
    at: int


class ResolveAlert(Struct, frozen=True, tag="order.resolve-alert"):
    by: str
    at: int


class Describe(Struct, frozen=True, tag="order.describe"):
    pass


class ReadAwaited(Struct, frozen=True, tag="order.read-awaited"):
    """Ask which step the order waits for."""


# Events: what has happened. Tags and fields are the storage format: they may be added to, but not renamed.


class Placed(Struct, frozen=True, tag="order.placed"):
    """`is_counted` says whether a unit has to be sold to the order, or its product has no end of them."""

    buyer_id: str
    seller_id: str
    product_id: str
    title: str
    price: Money
    payment_method_id: str
    at: int
    is_counted: bool = True  # before it was noted, each was


class Paid(Struct, frozen=True, tag="order.paid"):
    at: int


class PaymentDeclined(Struct, frozen=True, tag="order.payment-declined"):
    why: str
    at: int


class PaymentUnanswered(Struct, frozen=True, tag="order.payment-unanswered"):
    at: int


class StockReserved(Struct, frozen=True, tag="order.stock-reserved"):
    licence_key: str | None
    at: int


class StockRefused(Struct, frozen=True, tag="order.stock-refused"):
    why: str
    at: int


class Delivered(Struct, frozen=True, tag="order.delivered"):
    at: int


class DeliveryRefused(Struct, frozen=True, tag="order.delivery-refused"):
    why: str
    at: int


class BuyerNotified(Struct, frozen=True, tag="order.buyer-notified"):
    at: int


class NoticeFailed(Struct, frozen=True, tag="order.notice-failed"):
    why: str
    at: int


class NoticeAbandoned(Struct, frozen=True, tag="order.notice-abandoned"):
    at: int


class Completed(Struct, frozen=True, tag="order.completed"):
    at: int


class StockReleased(Struct, frozen=True, tag="order.stock-released"):
    at: int


class PaymentRefunded(Struct, frozen=True, tag="order.payment-refunded"):
    at: int


class PaymentRefundFailed(Struct, frozen=True, tag="order.payment-refund-failed"):
    why: str
    at: int


class ClaimsEnded(Struct, frozen=True, tag="order.claims-ended"):
    """What was set aside for the order, and is not sold to it, others can have again."""

    at: int


class Failed(Struct, frozen=True, tag="order.failed"):
    why: str
    at: int


class FailedWithAlert(Struct, frozen=True, tag="order.failed-with-alert"):
    why: str
    at: int


class RefundRequested(Struct, frozen=True, tag="order.refund-requested"):
    by: str
    why: str
    at: int


class DeliveryRevoked(Struct, frozen=True, tag="order.delivery-revoked"):
    at: int


class Refunded(Struct, frozen=True, tag="order.refunded"):
    at: int


class AlertResolved(Struct, frozen=True, tag="order.alert-resolved"):
    by: str
    at: int


# States: what an order can be. `at` is when it came to be so.


class Absent(Struct, frozen=True, tag="order.absent"):
    pass


class Paying(Struct, frozen=True, tag="order.paying"):
    placed: Placed
    at: int


class Reserving(Struct, frozen=True, tag="order.reserving"):
    placed: Placed
    at: int


class Delivering(Struct, frozen=True, tag="order.delivering"):
    placed: Placed
    at: int
    licence_key: str | None


class Notifying(Struct, frozen=True, tag="order.notifying"):
    placed: Placed
    at: int
    licence_key: str | None


class Unnoticed(Struct, frozen=True, tag="order.unnoticed"):
    """The notice did not go out: the order is about to be, or is, complete without it; the notice is tried again."""

    placed: Placed
    at: int
    licence_key: str | None


class Complete(Struct, frozen=True, tag="order.complete"):
    placed: Placed
    at: int
    licence_key: str | None


class Releasing(Struct, frozen=True, tag="order.releasing"):
    placed: Placed
    at: int
    licence_key: str | None
    why: str


class Unwinding(Struct, frozen=True, tag="order.unwinding"):
    """Nobody knows whether it was paid: what may have been delivered along with the payment is taken back first."""

    placed: Placed
    at: int
    why: str


class Refunding(Struct, frozen=True, tag="order.refunding"):
    """The sale is being taken back before it was complete."""

    placed: Placed
    at: int
    why: str


class Revoking(Struct, frozen=True, tag="order.revoking"):
    """A complete sale is being taken back: first the access, then the payment."""

    placed: Placed
    at: int
    why: str


class Returning(Struct, frozen=True, tag="order.returning"):
    placed: Placed
    at: int
    why: str


class Declined(Struct, frozen=True, tag="order.declined"):
    placed: Placed
    at: int
    why: str


class TakenBack(Struct, frozen=True, tag="order.taken-back"):
    """Failed, and the payment went back."""

    placed: Placed
    at: int
    why: str


class Returned(Struct, frozen=True, tag="order.returned"):
    """Refunded after it had been complete."""

    placed: Placed
    at: int
    why: str


class Owing(Struct, frozen=True, tag="order.owing"):
    """Failed, and the payment could not go back because of `denied`: an alert is open until `resolved_by` is set."""

    placed: Placed
    at: int
    why: str
    denied: str
    failed_at: int
    was_delivered: bool
    resolved_by: str | None = None


class Ending(Struct, frozen=True, tag="order.ending"):
    """About to come to its `end`, once what was set aside for it is given up."""

    placed: Placed
    at: int
    end: Declined | TakenBack | Owing


# Answers: what the sender learns.


class Alert(Struct, frozen=True):
    """Money that somebody must see to by hand: why it did not go back, since when, and whether somebody has."""

    why: str
    since: int
    is_open: bool


Status = Literal["pending", "completed", "failed", "refunded"]
PaymentStatus = Literal["pending", "captured", "declined", "refunded", "refund_failed"]
DeliveryStatus = Literal["pending", "delivered", "failed", "revoked"]


class View(Struct, frozen=True, tag="order.view"):
    """An order as people see it."""

    buyer_id: str
    seller_id: str
    product_id: str
    title: str
    price: Money
    status: Status
    payment_status: PaymentStatus
    delivery_status: DeliveryStatus
    failure_reason: str | None
    licence_key: str | None
    alert: Alert | None
    created_at: int
    updated_at: int

    @property
    def has_open_alert(self) -> bool:
        """Say whether somebody must see to it by hand."""
        return self.alert is not None and self.alert.is_open


class Awaited(Struct, frozen=True, tag="order.awaited"):
    """The step that the order waits for, if any, and what is needed to take it; `since` when it began to wait."""

    step: Step | None
    placed: Placed
    licence_key: str | None
    since: int


Command = Place | Advance | RequestRefund | ResolveAlert | Describe | ReadAwaited
# fmt: off
Event = (
    Placed | Paid | PaymentDeclined | PaymentUnanswered | StockReserved | StockRefused | Delivered
    | DeliveryRefused | BuyerNotified | NoticeFailed | NoticeAbandoned | Completed | StockReleased
    | PaymentRefunded | PaymentRefundFailed | ClaimsEnded | Failed | FailedWithAlert | RefundRequested
    | DeliveryRevoked | Refunded | AlertResolved
)
Existing = (
    Paying | Reserving | Delivering | Notifying | Unnoticed | Complete | Releasing | Unwinding | Refunding
    | Revoking | Returning | Declined | TakenBack | Returned | Owing | Ending
)
# fmt: on
State = Absent | Existing
Answer = View | Awaited

AWAITS: Final[dict[type, Step]] = {
    Paying: Step.PROCESS_PAYMENT,
    Reserving: Step.UPDATE_INVENTORY,
    Delivering: Step.PREPARE_DELIVERY,
    Notifying: Step.NOTIFY_BUYER,
    Unnoticed: Step.NOTIFY_BUYER_LATE,
    Releasing: Step.ROLLBACK_INVENTORY,
    Unwinding: Step.REVOKE_DELIVERY,
    Refunding: Step.REFUND_PAYMENT,
    Revoking: Step.REVOKE_DELIVERY,
    Returning: Step.REFUND_PAYMENT,
    Ending: Step.END_CLAIMS,
}
NO_ANSWER: Final = "the payment processor did not answer"
QUESTIONS: Final = frozenset({Describe, ReadAwaited})
AT_REST: Final = frozenset({Absent, Complete, Declined, TakenBack, Returned})


class Reason(StrEnum):
    NO_SUCH_ORDER = "no such order"
    PLACED_DIFFERENTLY = "another order was placed under this id"
    NOT_YOUR_SALE = "only the seller of the order may refund it"
    NOT_COMPLETED = "only a completed order can be refunded"
    NO_ALERT = "the order has no alert"


def decide(state: State, command: Command) -> list[Event]:
    """Say what follows from the command; what already holds follows silently."""
    match state, command:
        case Absent(), Place():
            return [_placed(command)]
        case Absent(), _:
            raise Refused(Reason.NO_SUCH_ORDER)
        case _, Place():
            if (_placed(command), state.placed.at) != (state.placed, command.at):
                raise Refused(Reason.PLACED_DIFFERENTLY)
            return []
        case _, Describe() | ReadAwaited():
            return []
        case _, Advance(reports, at):
            return _advance_by(state, reports, at)
        case _, RequestRefund(by, is_admin) if by != state.placed.seller_id and not is_admin:
            raise Refused(Reason.NOT_YOUR_SALE)
        case Complete() | Unnoticed(), RequestRefund(by, _, why, at):
            return [RefundRequested(by, why, at)]
        case Revoking() | Returning() | Returned(), RequestRefund():
            return []
        case _, RequestRefund():
            raise Refused(Reason.NOT_COMPLETED)
        case Owing(resolved_by=None), ResolveAlert(by, at):
            return [AlertResolved(by, at)]
        case Owing(), ResolveAlert():
            return []
        case _, ResolveAlert():
            raise Refused(Reason.NO_ALERT)
        case _:
            raise AssertionError(f"undecided: {type(command)} on {type(state)}")


def _advance_by(state: State, reports: Sequence[Report], at: int) -> list[Event]:
    """Say what follows from one outcome after the other, up to the first that was not awaited."""
    events: list[Event] = []
    for report in reports:
        if isinstance(state, Absent) or AWAITS.get(type(state)) is not report.step:
            break
        for event in _advance(state, report.outcome, at):
            state = evolve(state, event)
            events.append(event)
    return events


def _advance(state: Existing, outcome: Outcome, at: int) -> list[Event]:
    """Say what follows from the outcome of the awaited step: the saga's table, row by row."""
    match state, outcome:
        case Paying(), Succeeded():
            return [Paid(at)]
        case Paying(), Denied(why):
            return [PaymentDeclined(why, at)]
        case Paying(), Unanswered():
            return [PaymentUnanswered(at)]
        case Reserving(), Succeeded(licence_key):
            return [StockReserved(licence_key, at)]
        case Reserving(), Denied(why):
            return [StockRefused(why, at)]
        case Delivering(), Succeeded():
            return [Delivered(at)]
        case Delivering(), Denied(why):
            return [DeliveryRefused(why, at)]
        case Notifying(), Succeeded():
            return [BuyerNotified(at), Completed(at)]
        case Notifying(), Denied(why):
            return [NoticeFailed(why, at), Completed(at)]
        case Notifying(), Unanswered():
            return [NoticeFailed("no answer", at), Completed(at)]
        case Unnoticed(), Succeeded():
            return [BuyerNotified(at)]
        case Unnoticed(), Denied() | Unanswered():
            return [NoticeAbandoned(at)]
        case Releasing(), Succeeded():
            return [StockReleased(at)]
        case Refunding(), Succeeded():
            return [PaymentRefunded(at)]
        case Revoking() | Unwinding(), Succeeded():
            return [DeliveryRevoked(at)]
        case Returning(), Succeeded():
            return [PaymentRefunded(at), Refunded(at)]
        case Refunding(), Denied(detail):
            return [PaymentRefundFailed(detail, at)]
        case Refunding(), Unanswered():
            return [PaymentRefundFailed(NO_ANSWER, at)]
        case Returning(why=why), Denied(detail):
            return [PaymentRefundFailed(detail, at), FailedWithAlert(why, at)]
        case Returning(why=why), Unanswered():
            return [PaymentRefundFailed(NO_ANSWER, at), FailedWithAlert(why, at)]
        case Ending(end=Owing(why=why)), Succeeded():
            return [ClaimsEnded(at), FailedWithAlert(why, at)]
        case Ending(end=end), Succeeded():
            return [ClaimsEnded(at), Failed(end.why, at)]
        case _:
            return []  # the house's own steps are asked until they are answered: their silence moves nothing


def evolve(state: State, event: Event) -> State:
    """Take in one fact. Those of a sale that goes well come first: they are nearly all there are, read by many."""
    match state, event:
        case Absent(), Placed(at=at):
            return Paying(event, at)
        case Paying(placed), Paid(at):
            return Reserving(placed, at)
        case Reserving(placed), StockReserved(licence_key, at):
            return Delivering(placed, at, licence_key)
        case Delivering(placed, _, licence_key), Delivered(at):
            return Notifying(placed, at, licence_key)
        case Notifying(placed, _, licence_key), BuyerNotified(at):
            return Complete(placed, at, licence_key)
        case Complete() | Unnoticed(), Completed():
            return state
        case Paying(placed), PaymentDeclined(why, at):
            return Ending(placed, at, Declined(placed, at, why))
        case Paying(placed), PaymentUnanswered(at):
            return Refunding(placed, at, NO_ANSWER) if placed.is_counted else Unwinding(placed, at, NO_ANSWER)
        case Unwinding(placed, _, why), DeliveryRevoked(at):
            return Refunding(placed, at, why)
        case Reserving(placed), StockRefused(why, at):
            return Refunding(placed, at, why)
        case Delivering(placed, _, licence_key), DeliveryRefused(why, at):
            return Releasing(placed, at, licence_key, why)
        case Unnoticed(placed, at, licence_key), BuyerNotified():
            return Complete(placed, at, licence_key)
        case Notifying(placed, _, licence_key), NoticeFailed(_, at):
            return Unnoticed(placed, at, licence_key)
        case Unnoticed(placed, at, licence_key), NoticeAbandoned():
            return Complete(placed, at, licence_key)
        case Releasing(placed, _, _, why), StockReleased(at):
            return Refunding(placed, at, why)
        case Complete(placed) | Unnoticed(placed), RefundRequested(_, why, at):
            return Revoking(placed, at, why)
        case Revoking(placed, _, why), DeliveryRevoked(at):
            return Returning(placed, at, why)
        case Refunding(placed, _, why), PaymentRefunded(at):
            return Ending(placed, at, TakenBack(placed, at, why))
        case Returning(placed, _, why), PaymentRefunded(at):
            return Returned(placed, at, why)
        case Refunding(placed, _, why), PaymentRefundFailed(denied, at):
            return Ending(placed, at, Owing(placed, at, why, denied, at, was_delivered=False))
        case Returning(placed, _, why), PaymentRefundFailed(denied, at):
            return Owing(placed, at, why, denied, at, was_delivered=True)
        case Ending(), ClaimsEnded():
            return state
        case Ending(end=end), Failed(_, at) | FailedWithAlert(_, at):  # before there were claims: at once
            return replace(end, at=at)
        case (Returned(), Refunded()) | (Owing(), FailedWithAlert()):
            return state
        case Owing(), AlertResolved(by, at):
            return replace(state, at=at, resolved_by=by)
        case _:
            raise AssertionError(f"impossible: {type(event)} on {type(state)}")


def answer(state: State, command: Command, events: list[Event]) -> Answer | None:
    """Say what the sender learns; whom the licence key is shown to is the front's business."""
    match state, command:
        case Absent(), _:
            return None
        case _, Place() | Advance():
            return None
        case _, ReadAwaited():
            return awaited(state)
        case _:
            return view(state)


def awaited(state: Existing) -> Awaited:
    return Awaited(AWAITS.get(type(state)), state.placed, getattr(state, "licence_key", None), state.at)


def view(state: Existing) -> View:
    """Show an order as people see it."""
    placed = state.placed
    status, payment, delivery = _statuses(state)
    return View(
        buyer_id=placed.buyer_id,
        seller_id=placed.seller_id,
        product_id=placed.product_id,
        title=placed.title,
        price=placed.price,
        status=status,
        payment_status=payment,
        delivery_status=delivery,
        failure_reason=_failure_reason(state),
        licence_key=state.licence_key if isinstance(state, Complete | Unnoticed) else None,
        alert=_alert(state),
        created_at=placed.at,
        updated_at=state.at,
    )


def _statuses(state: Existing) -> tuple[Status, PaymentStatus, DeliveryStatus]:
    """Status of the order, of its payment, and of its delivery."""
    match state:
        case Paying():
            return "pending", "pending", "pending"
        case Reserving() | Delivering():
            return "pending", "captured", "pending"
        case Notifying():
            return "pending", "captured", "delivered"
        case Complete() | Unnoticed():
            return "completed", "captured", "delivered"
        case Releasing() | Unwinding() | Refunding():
            return "pending", "captured" if state.why != NO_ANSWER else "pending", "failed"
        case Revoking() | Returning():
            return "completed", "captured", "revoked"
        case Ending(end=end):
            return "pending", _statuses(end)[1], "failed"
        case Declined():
            return "failed", "declined", "failed"
        case TakenBack():
            return "failed", "refunded", "failed"
        case Returned():
            return "refunded", "refunded", "revoked"
        case Owing(was_delivered=was_delivered):
            return "failed", "refund_failed", "revoked" if was_delivered else "failed"


def _failure_reason(state: Existing) -> str | None:
    match state:
        case Declined(why=why) | TakenBack(why=why):
            return why
        case Owing(why=why, denied=denied):
            return why or denied
        case _:
            return None


def _alert(state: Existing) -> Alert | None:
    return Alert(state.denied, state.failed_at, state.resolved_by is None) if isinstance(state, Owing) else None


def _placed(command: Place) -> Placed:
    return Placed(**asdict(command))


ORDER: Final[Aggregate[State, Command, Event]] = Aggregate(
    "order", Absent(), decide, evolve, answer, Command, Event, State, Reason, QUESTIONS, AT_REST, frozenset({Place})
)
