"""A seller's recent takings by day, week or month, and those of as many days before."""

from datetime import date
from decimal import Decimal
from typing import Final
from zoneinfo import ZoneInfo

from aiohttp import web
from msgspec import Struct

from marketd.actors.money import Money
from marketd.clock import instant
from marketd.http.asking import read
from marketd.http.keys import CLOCK
from marketd.http.periods import DAY, Interval, begins, span
from marketd.storage.earnings import Earnings, ReadEarnings
from marketd.storage.earnings import Taking as MinorTaking
from marketd.storage.views import CountViews, ViewsCounted

TOP_PRODUCTS: Final = 5


class Taking(Struct, frozen=True):
    """The revenue of a period, and the refunds made in it, whenever the sale was."""

    orders: int = 0
    revenue: Decimal = Decimal(0)
    refunds: Decimal = Decimal(0)

    @property
    def net(self) -> Decimal:
        return self.revenue - self.refunds

    def __add__(self, other: "Taking") -> "Taking":
        return Taking(self.orders + other.orders, self.revenue + other.revenue, self.refunds + other.refunds)


class Top(Struct, frozen=True):
    product_id: str
    title: str
    orders: int
    revenue: Decimal


class Figures(Struct, frozen=True):
    """
    In one currency, that of the most orders; `days` has the first counted day of each period, the last ends today.
    """

    currency: str
    currencies: list[str]
    by: Interval
    days: list[date]
    takings: list[Taking]
    before: Taking
    top: list[Top]
    views: int
    conversion: float

    @property
    def total(self) -> Taking:
        return sum(self.takings, Taking())


async def figures(request: web.Request, seller_id: str, days: int, by: Interval, zone: str) -> Figures:
    """
    Read the takings of the last `days` days in a time zone, up to today; the first week or month may be cut short.
    """
    now_ms = request.app[CLOCK].now_ms()
    stretch = span(None, None, zone, now_ms=now_ms, days=days)
    starts = [stretch.since, *begins(stretch, by)[1:]]
    its_days = [instant(start).astimezone(ZoneInfo(zone)).date() for start in starts]
    bounds = (*starts, stretch.until)
    found = await read(request, ReadEarnings(seller_id, bounds), Earnings)
    earlier = span(str(its_days[0] - days * DAY), str(its_days[0] - DAY), zone, now_ms=now_ms, days=days)
    before = await read(request, ReadEarnings(seller_id, (earlier.since, earlier.until), found.currency), Earnings)
    viewed = await read(request, CountViews(seller_id, bounds[0], bounds[-1]), ViewsCounted)
    return Figures(
        currency=found.currency,
        currencies=found.currencies,
        by=by,
        days=its_days,
        takings=[_taking(taking, found.currency) for taking in found.takings],
        before=_taking(before.takings[0], found.currency),
        top=[
            Top(top.product_id, top.title, top.orders, Money(top.revenue, found.currency).amount)
            for top in found.top[:TOP_PRODUCTS]
        ],
        views=viewed.views,
        conversion=min(1.0, found.all_orders / viewed.views) if viewed.views else 0.0,
    )


def _taking(taking: MinorTaking, currency: str) -> Taking:
    return Taking(taking.orders, Money(taking.revenue, currency).amount, Money(taking.refunds, currency).amount)
