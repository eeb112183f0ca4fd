"""
The saga: how one order is led from placed to completed, or taken back.

Its plan is the table LEGS: for the step that an order awaits, what is asked and of whom. What follows from the answer
is the order's own decision (order.py), so this module has no state, no clock and does no I/O.

Only the outside world may stay silent for good: its silence is reported to the order when patience ends, and the order
then undoes the step under the same key. Everybody in the house is asked again until they answer.
"""

from collections.abc import Callable
from enum import Enum
from typing import Final, NamedTuple

from msgspec import Struct

from marketd.actors import buyer, product
from marketd.actors.address import Address
from marketd.actors.money import Money
from marketd.actors.notices.port import Receipt
from marketd.actors.order import Awaited, Placed
from marketd.actors.steps import Step


class Charge(NamedTuple):
    """Asked of the payment processor."""

    order_id: str
    price: Money
    payment_method_id: str


class PayBack(NamedTuple):
    """Asked of the payment processor."""

    order_id: str


class Tell(NamedTuple):
    """Asked of whoever sends notices."""

    receipt: Receipt


class Command(NamedTuple):
    """Asked of another actor."""

    address: Address
    message: Struct


class Commands(NamedTuple):
    """Asked of several actors; done when all have."""

    each: tuple[Command, ...]


NOTHING: Final = Commands(())

Ask = Charge | PayBack | Tell | Command | Commands


class Patience(Enum):
    """How long a step is asked again when nobody answers."""

    NONE = "once"
    BOUNDED = "until the patience of the settings ends"
    ENDLESS = "until it is answered"


class Leg(NamedTuple):
    """One step: what to ask, and how long."""

    ask: Callable[[str, Awaited], Ask]
    patience: Patience


def charge(order_id: str, a: Awaited) -> Ask:
    return Charge(order_id, a.placed.price, a.placed.payment_method_id)


def reserve(order_id: str, a: Awaited) -> Ask:
    if not a.placed.is_counted:
        return NOTHING
    return Command(Address("product", a.placed.product_id), product.Reserve(order_id))


def grant(order_id: str, a: Awaited) -> Ask:
    granted = buyer.Grant(order_id, a.placed.product_id, a.placed.seller_id, needs_claim=not a.placed.is_counted)
    return Command(Address("buyer", a.placed.buyer_id), granted)


def tell(order_id: str, a: Awaited) -> Ask:
    return Tell(Receipt(order_id, a.placed.buyer_id, a.placed.title))


def release(order_id: str, a: Awaited) -> Ask:
    if not a.placed.is_counted:
        return NOTHING
    return Command(Address("product", a.placed.product_id), product.Release(order_id, a.licence_key))


def pay_back(order_id: str, a: Awaited) -> Ask:
    return PayBack(order_id)


def revoke(order_id: str, a: Awaited) -> Ask:
    return Command(Address("buyer", a.placed.buyer_id), buyer.Revoke(order_id, a.placed.product_id))


def end_claims(order_id: str, a: Awaited) -> Ask:
    unhold = Command(Address("product", a.placed.product_id), product.Unhold(order_id))
    unclaim = Command(Address("buyer", a.placed.buyer_id), buyer.Unclaim(order_id, a.placed.product_id))
    return Commands((unhold, unclaim) if a.placed.is_counted else (unclaim,))  # so that who claims again finds the unit


# fmt: off
LEGS: Final[dict[Step, Leg]] = {
    #                           asks      how long
    Step.PROCESS_PAYMENT:    Leg(charge,   Patience.BOUNDED),
    Step.UPDATE_INVENTORY:   Leg(reserve,  Patience.ENDLESS),
    Step.PREPARE_DELIVERY:   Leg(grant,    Patience.ENDLESS),
    Step.NOTIFY_BUYER:       Leg(tell,     Patience.NONE),
    Step.NOTIFY_BUYER_LATE:  Leg(tell,     Patience.BOUNDED),
    Step.ROLLBACK_INVENTORY: Leg(release,  Patience.ENDLESS),
    Step.REFUND_PAYMENT:     Leg(pay_back, Patience.BOUNDED),
    Step.REVOKE_DELIVERY:    Leg(revoke,   Patience.ENDLESS),
    Step.END_CLAIMS:         Leg(end_claims, Patience.ENDLESS),
}
# fmt: on

# Taken at once after a step that succeeded, and put on record with it. Product and buyer have their answers on record:
# whoever asks again after a crash gets the same ones, so nothing can have been done that the order does not come to
# know of; and to tell the buyer is no more than to say so.
ALONG_WITH: Final[dict[Step, Step]] = {
    Step.PROCESS_PAYMENT: Step.UPDATE_INVENTORY,
    Step.UPDATE_INVENTORY: Step.PREPARE_DELIVERY,
    Step.PREPARE_DELIVERY: Step.NOTIFY_BUYER,
}


def along_with(step: Step, placed: Placed) -> Step | None:
    """
    Say which step is taken at once after one that succeeded.

    Until a payment is on record somebody else, before or after a crash, may meet a silent processor and unwind the
    order. A unit that had been sold to it along with the payment would be lost then. A delivery can be taken back
    without being known of, and none comes afterwards, for what is unwound has lost its claim.
    """
    if step is Step.PROCESS_PAYMENT and placed.is_counted:
        return None
    return ALONG_WITH.get(step)
