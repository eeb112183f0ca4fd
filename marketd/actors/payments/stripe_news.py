"""
News from Stripe: what it posts to our endpoint, told from what others post there (docs.stripe.com/webhooks/signature).

The one rule: news is never believed. It comes early, late, twice or not at all; it only names an order that is worth
asking about again, and says that Stripe is there. That a refund has failed after all, days after Stripe took it on, is
for a person to look into: it is logged and counted.
"""

import hmac
import logging
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from marketd.actors.payments.stripe_ledger import ORDER
from marketd.bus.breaker import Breaker
from marketd.clock import Clock

SCHEME: Final = "v1"
REFUND_FAILED: Final = ("failed", "canceled")  # docs.stripe.com/refunds#failed-refunds
_TIME: Final = re.compile(r"[0-9]{1,12}")
_ORDER: Final = re.compile(r"[A-Za-z0-9-]{1,64}")


log = logging.getLogger("marketd.payments")


class _About(Struct):
    object: dict[str, Any]


class _News(Struct):
    data: _About


class StripeNews:
    """The endpoint of one account; `hurry` is told the order that there is news of."""

    def __init__(
        self, secret: str, clock: Clock, breaker: Breaker, hurry: Callable[[str], None], *, tolerance_s: int
    ) -> None:
        self._secret, self._clock, self._breaker, self._hurry = secret.encode(), clock, breaker, hurry
        self._tolerance_s = tolerance_s
        self.failed_refunds = 0

    def take(self, body: bytes, signature: str) -> bool:
        """Take news in; give back whether it is from Stripe, and new."""
        if not self._is_signed(body, signature):
            return False
        self._breaker.probe()
        thing = _thing(body)
        if order_id := _order_of(thing):
            self._hurry(order_id)
            if thing.get("object") == "refund" and thing.get("status") in REFUND_FAILED:
                self.failed_refunds += 1
                log.error("order/%s: Stripe says that its refund has failed: see to it by hand", order_id)
        return True

    def _is_signed(self, body: bytes, signature: str) -> bool:
        """Check `t=…,v1=…`; there are several v1 while the secret is being changed."""
        fields = [tuple(field.partition("=")[::2]) for field in signature.split(",")]
        (time, *more) = [value for name, value in fields if name == "t"] or [""]
        if more or not _TIME.fullmatch(time):
            return False
        if abs(self._clock.now_ms() / 1000 - int(time)) > self._tolerance_s:
            return False
        expected = hmac.digest(self._secret, f"{time}.".encode() + body, "sha256").hex().encode()
        given = [value.encode(errors="surrogateescape") for name, value in fields if name == SCHEME]
        return any(hmac.compare_digest(expected, each) for each in given)


def _thing(body: bytes) -> dict[str, Any]:
    """Give what the news is about; nothing where it can't be read."""
    try:
        return msgspec.json.decode(body, type=_News).data.object
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _order_of(thing: dict[str, Any]) -> str | None:
    """Find the order of an intent, a charge or a refund, each with the metadata we gave it."""
    metadata = thing.get("metadata")
    order_id = metadata.get(ORDER) if isinstance(metadata, dict) else None
    return order_id if isinstance(order_id, str) and _ORDER.fullmatch(order_id) else None
