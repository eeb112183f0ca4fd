"""
What of the log is told to whom: a record of an order makes notices due, each for one person.

What comes to be told of another kind of actor gets a row here, words in templates/, and its facts where the notifier
gathers them: that a webhook was disabled, for one.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from marketd.actors import order
from marketd.actors.preferences import Topic


class Trigger(NamedTuple):
    """
    One kind of notice: which templates it is written by, under which topic its reader may switch it off, who that is,
    and what order and payment have to be for it to be true, at the moment when it is told.
    """

    kind: str
    topic: Topic
    whom: Literal["buyer", "seller"]
    status: Literal["completed", "failed", "refunded"]
    payment: Literal["captured", "refunded", "refund_failed"]


RECEIPT: Final = Trigger("receipt", "receipts", "buyer", "completed", "captured")
SALE: Final = Trigger("sale", "sales", "seller", "completed", "captured")
REFUND: Final = Trigger("refund", "refunds", "buyer", "refunded", "refunded")
ORDER_FAILED: Final = Trigger("order-failed", "refunds", "buyer", "failed", "refunded")
REFUND_DELAYED: Final = Trigger("refund-delayed", "refunds", "buyer", "failed", "refund_failed")
TRIGGERS: Final = (RECEIPT, SALE, REFUND, ORDER_FAILED, REFUND_DELAYED)

_BY_EVENT: Final[dict[type, tuple[Trigger, ...]]] = {
    order.Completed: (RECEIPT, SALE),
    order.Refunded: (REFUND,),
    order.Failed: (ORDER_FAILED,),  # which is no news where nothing had been charged
    order.FailedWithAlert: (REFUND_DELAYED,),
}


def due(events: Sequence[Any]) -> tuple[Trigger, ...]:
    """Say what a record's events make due, if it is true."""
    return tuple(trigger for event in events for trigger in _BY_EVENT.get(type(event), ()))
