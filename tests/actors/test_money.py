"""Money is whole minor units, and what is written comes back exactly."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketd.actors.money import CURRENCIES, DECIMALS_OTHER, Money, decimals, from_amount

WRITTEN = [
    ("19.99", "USD", 1999),
    ("0.01", "USD", 1),
    ("5", "EUR", 500),
    ("1000000", "USD", 100_000_000),
    ("1500", "JPY", 1500),
    ("1.234", "KWD", 1234),
    ("19.9900", "USD", 1999),
]


@pytest.mark.parametrize(("amount", "currency", "minor"), WRITTEN)
def test_an_amount_becomes_minor_units(amount: str, currency: str, minor: int) -> None:
    assert Money(minor, currency) == from_amount(Decimal(amount), currency)


@pytest.mark.parametrize(("amount", "currency", "minor"), WRITTEN)
def test_minor_units_are_shown_as_the_amount(amount: str, currency: str, minor: int) -> None:
    assert Decimal(amount) == Money(minor, currency).amount


@pytest.mark.parametrize(("amount", "currency"), [("19.999", "USD"), ("1.5", "JPY"), ("0.0001", "KWD")])
def test_a_fraction_that_the_currency_has_not_is_refused(amount: str, currency: str) -> None:
    with pytest.raises(ValueError) as caught:
        from_amount(Decimal(amount), currency)

    assert f"{currency} has {decimals(currency)} decimals" == str(caught.value)


@settings(deadline=None, database=None)
@given(minor=st.integers(-(10**15), 10**15), currency=st.sampled_from(sorted(CURRENCIES)))
def test_nothing_is_lost_on_the_way_out_and_back(minor: int, currency: str) -> None:
    money = Money(minor, currency)

    assert money == from_amount(money.amount, currency)


def test_a_dollar_has_a_hundred_cents() -> None:
    assert 2 == decimals("USD")


def test_a_yen_is_its_own() -> None:
    assert 0 == decimals("JPY")


def test_a_kuwaiti_dinar_has_a_thousand() -> None:
    assert 3 == decimals("KWD")


def test_every_exception_is_a_currency() -> None:
    assert set() == set(DECIMALS_OTHER) - CURRENCIES
