"""
The port to whoever moves the money.

The one rule: the order's id is the idempotency key. Asking twice charges once; an undo under a key is final, so that a
charge which arrives after it is declined.

    ProcessorUnavailable    no answer, or none that can be trusted: it may have happened or not
"""

from typing import Final, Protocol

from msgspec import Struct

from marketd.actors.money import Money

CIRCUIT: Final = "payments"  # the breaker that stands before whoever it is

# Why money was not taken, as buyers and sellers read it.
UNKNOWN_METHOD: Final = "the payment method is unknown"
DECLINED: Final = "the card was declined"
NO_FUNDS: Final = "the card has insufficient funds"
EXPIRED: Final = "the card has expired"
VOIDED: Final = "the payment was cancelled before it was made"


class Captured(Struct, frozen=True):
    """The money was taken."""


class Declined(Struct, frozen=True):
    """The money was not taken, and will not be under this key."""

    why: str


class PaidBack(Struct, frozen=True):
    """The money went back, or had never been taken and can't be any more."""


class RefundDenied(Struct, frozen=True):
    """The money did not go back."""

    why: str


class ProcessorUnavailable(Exception):
    """The processor gave no answer: what was asked may have happened or not."""


class PaymentProcessor(Protocol):
    """Takes money and gives it back."""

    async def charge(self, order_id: str, price: Money, payment_method_id: str) -> Captured | Declined:
        """Take the price once for the order; raise `ProcessorUnavailable`."""
        ...

    async def refund(self, order_id: str) -> PaidBack | RefundDenied:
        """Give back whatever was taken for the order; raise `ProcessorUnavailable`."""
        ...
