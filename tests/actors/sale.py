"""One sale, event by event: how an order comes into each of its states."""

from typing import Final

from msgspec.structs import replace

from marketd.actors.money import Money
from marketd.actors.order import (
    AlertResolved,
    BuyerNotified,
    ClaimsEnded,
    Completed,
    Delivered,
    DeliveryRefused,
    DeliveryRevoked,
    Event,
    Failed,
    FailedWithAlert,
    NoticeFailed,
    Paid,
    PaymentDeclined,
    PaymentRefunded,
    PaymentRefundFailed,
    PaymentUnanswered,
    Place,
    Placed,
    Refunded,
    RefundRequested,
    StockRefused,
    StockReleased,
    StockReserved,
)

History = tuple[Event, ...]

PRICE: Final = Money(1999, "USD")
PLACE: Final = Place("ann", "sue", "p1", "Serif", PRICE, "pm_card_visa", 1)
PLACED: Final = Placed("ann", "sue", "p1", "Serif", PRICE, "pm_card_visa", 1)

UNCOUNTED: Final = replace(PLACED, is_counted=False)  # of a product that has no end of units

PAYING: Final[History] = (PLACED,)
RESERVING: Final[History] = (*PAYING, Paid(2))
DELIVERING: Final[History] = (*RESERVING, StockReserved("k1", 3))
NOTIFYING: Final[History] = (*DELIVERING, Delivered(4))
COMPLETE: Final[History] = (*NOTIFYING, BuyerNotified(5), Completed(5))
UNNOTICED: Final[History] = (*NOTIFYING, NoticeFailed("mailbox full", 5), Completed(5))

ENDING: Final[History] = (*PAYING, PaymentDeclined("no funds", 2))
DECLINED: Final[History] = (*ENDING, ClaimsEnded(2), Failed("no funds", 2))
UNANSWERED: Final[History] = (*PAYING, PaymentUnanswered(2))
UNWINDING: Final[History] = (UNCOUNTED, PaymentUnanswered(2))
UNWOUND: Final[History] = (*UNWINDING, DeliveryRevoked(3))
REFUNDING: Final[History] = (*RESERVING, StockRefused("sold out", 3))
RELEASING: Final[History] = (*DELIVERING, DeliveryRefused("owned already", 4))
RELEASED: Final[History] = (*RELEASING, StockReleased(5))
ENDING_TAKEN_BACK: Final[History] = (*REFUNDING, PaymentRefunded(4))
TAKEN_BACK: Final[History] = (*ENDING_TAKEN_BACK, ClaimsEnded(4), Failed("sold out", 4))
ENDING_OWING: Final[History] = (*REFUNDING, PaymentRefundFailed("bank says no", 4))
OWING: Final[History] = (*ENDING_OWING, ClaimsEnded(4), FailedWithAlert("sold out", 4))

REVOKING: Final[History] = (*COMPLETE, RefundRequested("sue", "a mistake", 6))
RETURNING: Final[History] = (*REVOKING, DeliveryRevoked(7))
RETURNED: Final[History] = (*RETURNING, PaymentRefunded(8), Refunded(8))
OWING_AFTER_SALE: Final[History] = (
    *RETURNING,
    PaymentRefundFailed("bank says no", 8),
    FailedWithAlert("a mistake", 8),
)
RESOLVED: Final[History] = (*OWING, AlertResolved("root", 9))

HISTORIES: Final[dict[str, History]] = {
    "absent": (),
    "paying": PAYING,
    "reserving": RESERVING,
    "delivering": DELIVERING,
    "notifying": NOTIFYING,
    "complete": COMPLETE,
    "unnoticed": UNNOTICED,
    "ending": ENDING,
    "ending taken back": ENDING_TAKEN_BACK,
    "ending owing": ENDING_OWING,
    "declined": DECLINED,
    "unanswered": UNANSWERED,
    "unwinding": UNWINDING,
    "unwound": UNWOUND,
    "refunding": REFUNDING,
    "releasing": RELEASING,
    "released": RELEASED,
    "taken back": TAKEN_BACK,
    "owing": OWING,
    "revoking": REVOKING,
    "returning": RETURNING,
    "returned": RETURNED,
    "owing after the sale": OWING_AFTER_SALE,
    "resolved": RESOLVED,
}
