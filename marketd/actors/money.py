"""
Money: whole minor units of one currency, and the only arithmetic on them. Floats are never used.

Minor units follow ISO 4217: a dollar has 100, a Kuwaiti dinar 1,000, and a yen has none.
"""

from decimal import Decimal
from typing import Final

from msgspec import Struct

DECIMALS_USUAL: Final = 2
DECIMALS_OTHER: Final = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV"), 0),
    **dict.fromkeys(("XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}
CURRENCIES: Final = frozenset(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP
    CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF
    IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD
    MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB
    RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD
    UYU UZS VED VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG
    """.split()
)


class Money(Struct, frozen=True):
    """An amount in the smallest unit of its currency: `Money(1999, "USD")` is 19.99 dollars."""

    minor: int
    currency: str

    @property
    def amount(self) -> Decimal:
        """The exact amount in the currency's main unit."""
        return Decimal(self.minor).scaleb(-decimals(self.currency))


def decimals(currency: str) -> int:
    """Give the number of digits after the decimal point."""
    return DECIMALS_OTHER.get(currency, DECIMALS_USUAL)


def from_amount(amount: Decimal, currency: str) -> Money:
    """Convert a decimal amount; raise `ValueError` if it has more decimals than the currency."""
    minor = amount.scaleb(decimals(currency))
    if minor != minor.to_integral_value():
        raise ValueError(f"{currency} has {decimals(currency)} decimals")
    return Money(int(minor), currency)
