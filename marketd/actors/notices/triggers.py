"""
What of the log is told to whom: a record makes notices due, each for one person.

What comes to be told of another kind of actor gets a row here, words in templates/, and its facts in facts.py.
"""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from msgspec import Struct

from marketd.actors import order, webhook
from marketd.actors.address import Address
from marketd.actors.preferences import Topic
from marketd.storage.log import Recorded


class Trigger(Struct, frozen=True):
    """One kind of notice: which templates it is written by, and under which topic its reader may switch it off."""

    kind: str
    topic: Topic


class OfOrder(Trigger, frozen=True):
    """Who is told; and what order and payment have to be for it to be true, at the moment when it is told."""

    whom: Literal["buyer", "seller"]
    status: Literal["completed", "failed", "refunded"]
    payment: Literal["captured", "refunded", "refund_failed"]


class OfWebhook(Trigger, frozen=True):
    """Its owner is told, while it is disabled and not by themselves."""


class Notice(NamedTuple):
    """
    One thing that one person is told, since `at` (ms since the epoch): of the order or webhook `subject_id`, on record
    at the actor of that address. Its id is its own alone and never changes.
    """

    notice_id: str
    trigger: Trigger
    address: Address
    subject_id: str
    at: int


RECEIPT: Final = OfOrder("receipt", "receipts", "buyer", "completed", "captured")
SALE: Final = OfOrder("sale", "sales", "seller", "completed", "captured")
REFUND: Final = OfOrder("refund", "refunds", "buyer", "refunded", "refunded")
ORDER_FAILED: Final = OfOrder("order-failed", "refunds", "buyer", "failed", "refunded")
REFUND_DELAYED: Final = OfOrder("refund-delayed", "refunds", "buyer", "failed", "refund_failed")
WEBHOOK_DISABLED: Final = OfWebhook("webhook-disabled", "webhooks")
TRIGGERS: Final = (RECEIPT, SALE, REFUND, ORDER_FAILED, REFUND_DELAYED, WEBHOOK_DISABLED)

_OF_ORDERS: Final[dict[type, tuple[OfOrder, ...]]] = {
    order.Completed: (RECEIPT, SALE),
    order.Refunded: (REFUND,),
    order.Failed: (ORDER_FAILED,),  # which is no news where nothing had been charged
    order.FailedWithAlert: (REFUND_DELAYED,),
}
TELLING: Final = frozenset({*_OF_ORDERS, webhook.Disabled})  # no other event makes anything due


def due(record: Recorded) -> Sequence[Notice]:
    """Say what a record makes due, if it is true."""
    found = [pair for event in record.commit.events for pair in _follows(event, record.stream)]
    if not found:
        return ()
    address, at = Address.parse(record.stream), record.commit.at
    return [
        Notice(f"{subject_id}.{record.version}.{trigger.kind}", trigger, address, subject_id, at)
        for trigger, subject_id in found
    ]


def _follows(event: Any, stream: str) -> list[tuple[Trigger, str]]:
    match event:
        case webhook.Disabled(webhook_id, why) if why != "by hand":
            return [(WEBHOOK_DISABLED, webhook_id)]
        case _:
            return [(trigger, Address.parse(stream).key) for trigger in _OF_ORDERS.get(type(event), ())]
