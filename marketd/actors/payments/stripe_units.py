"""
What Stripe calls a smallest unit (docs.stripe.com/currencies): mostly ISO 4217's, but not always.

Króna and shilling of Uganda have no decimals and are written with two; the ariary has two and is written with none. Of
dinars and rials with three decimals, the last digit has to be zero.
"""

from decimal import Decimal
from typing import Final

from marketd.actors.money import Money, from_amount

DECIMALS_USUAL: Final = 2
DECIMALS_OTHER: Final = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV"), 0),
    **dict.fromkeys(("XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 3),
}
UNKNOWN: Final = frozenset({"IQD", "LYD"})  # three decimals by ISO 4217; what they would be at Stripe nobody says


def stripe_amount(price: Money) -> int | None:
    """Write a price as Stripe wants it; None where it can't be written."""
    digits = DECIMALS_OTHER.get(price.currency, DECIMALS_USUAL)
    amount = price.amount.scaleb(digits)
    is_exact = amount == amount.to_integral_value() and (digits != 3 or amount % 10 == 0)
    return int(amount) if is_exact and price.currency not in UNKNOWN else None


def price_of(amount: int, currency: str) -> Money:
    """Read what `stripe_amount` has written."""
    digits = DECIMALS_OTHER.get(currency, DECIMALS_USUAL)
    return from_amount(Decimal(amount).scaleb(-digits), currency)
