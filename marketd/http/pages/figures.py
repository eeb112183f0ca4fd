"""What a seller took of late, day by day, and in as many days before."""

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from aiohttp import web
from msgspec import Struct

from marketd.actors.money import Money
from marketd.clock import instant
from marketd.http.asking import read
from marketd.http.keys import CLOCK
from marketd.storage.orders import ListOrders, OrderEntry, OrderPage
from marketd.storage.pages import Page

DAY: Final = timedelta(days=1)
PAGE_SIZE: Final = 100
SALES_MAX: Final = 1_000
TOP_PRODUCTS: Final = 5
CURRENCY_USUAL: Final = "USD"


class Taking(Struct, frozen=True):
    """What came in within some time, and what was given back of what came in then."""

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
    """In one currency, that of the newest sale; `days` has the first moment of each day, the last one is today."""

    currency: str
    days: list[datetime]
    takings: list[Taking]
    before: Taking
    top: list[Top]

    @property
    def total(self) -> Taking:
        return sum(self.takings, Taking())


async def figures(request: web.Request, seller_id: str, days: int) -> Figures:
    """Add up the sales of so many days, today (UTC) the last."""
    today = instant(request.app[CLOCK].now_ms()).replace(hour=0, minute=0, second=0, microsecond=0)
    first = today - (days - 1) * DAY
    sold = [entry for entry in await _sales(request, seller_id, first - days * DAY) if _is_sale(entry)]
    currency = sold[0].view.price.currency if sold else CURRENCY_USUAL
    sold = [entry for entry in sold if entry.view.price.currency == currency]
    takings, before, top, titles = [Taking()] * days, Taking(), Counter[str](), dict[str, str]()
    orders = Counter[str]()
    for entry in sold:
        day, taking = (instant(entry.view.created_at) - first) // DAY, _taking(entry)
        if 0 <= day < days:
            takings[day] += taking
            top[entry.view.product_id] += entry.view.price.minor
            orders[entry.view.product_id] += 1
            titles.setdefault(entry.view.product_id, entry.view.title)
        elif day < 0:
            before += taking
    best = [
        Top(product_id, titles[product_id], orders[product_id], Money(minor, currency).amount)
        for product_id, minor in top.most_common(TOP_PRODUCTS)
    ]
    return Figures(currency, [first + day * DAY for day in range(days)], takings, before, best)


async def _sales(request: web.Request, seller_id: str, since: datetime) -> list[OrderEntry]:
    found: list[OrderEntry] = []
    for number in range(1, SALES_MAX // PAGE_SIZE + 1):
        page = await read(request, ListOrders(seller_id, "seller", Page(number, PAGE_SIZE)), OrderPage)
        found += [entry for entry in page.orders if instant(entry.view.created_at) >= since]
        if len(found) < number * PAGE_SIZE:
            break
    return found


def _is_sale(entry: OrderEntry) -> bool:
    return entry.view.status in ("completed", "refunded")


def _taking(entry: OrderEntry) -> Taking:
    amount = entry.view.price.amount
    return Taking(1, amount, amount if entry.view.status == "refunded" else Decimal(0))
