"""What a seller took of late, day by day, and in as many days before."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from aiohttp import web
from msgspec import Struct

from marketd.actors.money import Money
from marketd.clock import instant, ms_of
from marketd.http.asking import read
from marketd.http.keys import CLOCK
from marketd.storage.earnings import Earnings, ReadEarnings
from marketd.storage.earnings import Taking as MinorTaking
from marketd.storage.views import CountViews, ViewsCounted

DAY: Final = timedelta(days=1)
TOP_PRODUCTS: Final = 5


class Taking(Struct, frozen=True):
    """What came in within some time, and what was given back in it, whenever it was sold."""

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
    """In one currency, that of the most orders; `days` has the first moment of each day, the last one is today."""

    currency: str
    currencies: list[str]
    days: list[datetime]
    takings: list[Taking]
    before: Taking
    top: list[Top]
    views: int
    conversion: float

    @property
    def total(self) -> Taking:
        return sum(self.takings, Taking())


async def figures(request: web.Request, seller_id: str, days: int) -> Figures:
    """Read what was taken in so many days, today (UTC) the last."""
    today = instant(request.app[CLOCK].now_ms()).replace(hour=0, minute=0, second=0, microsecond=0)
    begins = [today - (days - 1 - day) * DAY for day in range(days)]
    bounds = (*map(ms_of, begins), ms_of(today + DAY))
    found = await read(request, ReadEarnings(seller_id, bounds), Earnings)
    span = (ms_of(begins[0] - days * DAY), bounds[0])
    before = await read(request, ReadEarnings(seller_id, span, found.currency), Earnings)
    viewed = await read(request, CountViews(seller_id, bounds[0], bounds[-1]), ViewsCounted)
    return Figures(
        currency=found.currency,
        currencies=found.currencies,
        days=begins,
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
