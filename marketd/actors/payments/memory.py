"""
The processor's ledger in memory: the twin of sandbox.py for tests and simulations. It forgets everything when it goes.

`movements` is every sum that ever changed hands, in order: with one entry too many, somebody was charged twice.
"""

from marketd.actors.money import Money
from marketd.actors.payments.processor import VOIDED, Captured, Declined, PaidBack, RefundDenied
from marketd.actors.payments.sandbox import REFUND_DENIED, REFUND_FAILS, why_declined


class MemoryProcessor:
    """Dictionaries that keep the port's promises."""

    def __init__(self) -> None:
        self.charges: dict[str, Captured | Declined] = {}
        self.refunds: dict[str, PaidBack | RefundDenied] = {}
        self.movements: list[tuple[str, int]] = []  # an order's id, and what was taken for it; less than 0: given back
        self._methods: dict[str, str] = {}

    async def charge(self, order_id: str, price: Money, payment_method_id: str) -> Captured | Declined:
        """Take the price once for the order."""
        if known := self.charges.get(order_id):
            return known
        why = why_declined(payment_method_id)
        self.charges[order_id] = outcome = Declined(why) if why else Captured()
        self._methods[order_id] = payment_method_id
        if not why:
            self.movements.append((order_id, price.minor))
        return outcome

    async def refund(self, order_id: str) -> PaidBack | RefundDenied:
        """Give back what was taken for the order; if nothing was, see to it that nothing will be."""
        if known := self.refunds.get(order_id):
            return known
        denied = self._methods.get(order_id) == REFUND_FAILS
        self.refunds[order_id] = outcome = RefundDenied(REFUND_DENIED) if denied else PaidBack()
        self.charges.setdefault(order_id, Declined(VOIDED))
        taken = self.taken(order_id)
        if taken and not denied:
            self.movements.append((order_id, -taken))
        return outcome

    def taken(self, order_id: str) -> int:
        """Say what was taken for an order and has not gone back."""
        return sum(minor for moved, minor in self.movements if moved == order_id)
