"""Prices as Stripe writes them, and those that it can't."""

from decimal import Decimal

import pytest

from marketd.actors.money import CURRENCIES, Money, decimals, from_amount
from marketd.actors.payments.stripe_units import UNKNOWN, price_of, stripe_amount


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("19.99", "USD", 1999),
        ("19.99", "EUR", 1999),
        ("500", "JPY", 500),
        ("500", "KRW", 500),
        ("500", "XAF", 500),
        ("500", "ISK", 50_000),
        ("500", "UGX", 50_000),
        ("500", "MGA", 500),
        ("19.99", "HUF", 1999),
        ("1.5", "KWD", 1500),
        ("1.99", "BHD", 1990),
        ("19.99", "TND", 19_990),
    ],
)
def test_a_price_is_written_in_the_units_of_stripe(amount: str, currency: str, expected: int) -> None:
    assert expected == stripe_amount(from_amount(Decimal(amount), currency))


@pytest.mark.parametrize("price", [Money(1999, "MGA"), Money(1999, "KWD"), Money(1990, "IQD"), Money(1990, "LYD")])
def test_a_price_that_stripe_can_not_write_is_none(price: Money) -> None:
    assert stripe_amount(price) is None


@pytest.mark.parametrize("currency", sorted(CURRENCIES - UNKNOWN))
def test_a_whole_price_can_be_written_in_every_currency(currency: str) -> None:
    price = Money(100 * 10 ** decimals(currency), currency)

    assert stripe_amount(price) in (100, 10_000, 100_000)


@pytest.mark.parametrize("currency", sorted(CURRENCIES - UNKNOWN))
def test_a_price_is_read_as_it_was_written(currency: str) -> None:
    price = Money(100 * 10 ** decimals(currency), currency)
    amount = stripe_amount(price)

    assert amount is not None
    assert price == price_of(amount, currency)
