"""A seller's sales: the report of a time range, live totals, and how many buyers came back."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Final

from aiohttp import web
from msgspec import Meta, Struct

from marketd.actors.money import Money
from marketd.clock import Instant, instant
from marketd.http.answers import answered, written
from marketd.http.asking import find, read
from marketd.http.auth import zone_of
from marketd.http.bodies import Currency, parameters
from marketd.http.events import LAST_ID, Event, EventStream, streamed
from marketd.http.identity import signed_in
from marketd.http.keys import CLOCK, LIMITS
from marketd.http.operation import EVENT_STREAM, SELLERS, Answer, Bytes, operation
from marketd.http.periods import Interval, Span, Zone, begins, days_of, moment_fault, span
from marketd.http.problems import BadRequest, Fault
from marketd.http.tables import CSV, tabled, wants_table
from marketd.http.tokens import Principal
from marketd.storage.earnings import Earnings, FindNewest, Newest, ReadEarnings, Taking
from marketd.storage.regulars import Buyers, CountBuyers
from marketd.storage.tills import AwaitSale
from marketd.storage.views import CountViews, ViewsCounted

routes = web.RouteTableDef()

DAYS_USUAL: Final = 30
OWN: Final = {"Cache-Control": "private, no-cache", "Vary": "Accept, Authorization"}
SHARE_DECIMALS: Final = 4

_MOMENT: Final = {"anyOf": [{"format": "date"}, {"format": "date-time"}]}
Moment = Annotated[str, Meta(max_length=40, extra={"check": moment_fault}, extra_json_schema=_MOMENT)]


class SpanParameters(Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """
    `from` and `to` are dates (`to` included) or instants (`to` excluded); `to` defaults to today, `from` to 30 days up
    to `to`. `timezone` decides when a day begins; it defaults to the account's `timeZone`, or UTC. `currency` defaults
    to that of the most orders.
    """

    from_: Moment | None = None
    to: Moment | None = None
    timezone: Zone | None = None
    currency: Currency | None = None


class SalesParameters(SpanParameters, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    interval: Interval = "day"


class Totals(Struct, rename="camel"):
    """
    Sales in one currency; `refunds` are those made in the range, whenever the sale was. `views` count each visitor of a
    product once a day; `conversion` is the orders, in all currencies, divided by the views, at most 1.
    """

    orders: int
    units: int
    revenue: Decimal
    refunds: Decimal
    net_revenue: Decimal
    average_order: Decimal
    views: int
    conversion: float


class Period(Struct):
    """Sales from `start`, when the day, week or month begins, until the next period; 0 where there were none."""

    start: Instant
    orders: int
    revenue: Decimal
    refunds: Decimal


class BestSeller(Struct, rename="camel"):
    product_id: str
    title: str
    orders: int
    revenue: Decimal


class Ratings(Struct):
    """The ratings that buyers gave in the range."""

    average: float
    count: int
    histogram: dict[str, int]


class SalesNow(Struct, rename={"from_": "from"}):
    """The totals from one moment up to another."""

    currency: str
    totals: Totals
    from_: Instant
    to: Instant


class SalesReport(SalesNow, rename={"top_products": "topProducts", "from_": "from"}):
    """`currencies` are all currencies with sales, the most used first."""

    currencies: list[str]
    interval: Interval
    timezone: str
    series: list[Period]
    top_products: list[BestSeller]
    ratings: Ratings


class Regulars(Struct):
    """How many buyers a seller has, how many of them bought more than once, and their share."""

    buyers: int
    returning: int
    share: float


@routes.get("/analytics/sales")
@operation(
    access=SELLERS,
    query=SalesParameters,
    answers={
        200: Answer(SalesReport, headers=("Cache-Control",), maybe=("Content-Disposition",), others=(CSV,)),
    },
    takes=("Accept",),
)
async def sales(request: web.Request) -> web.Response:
    """
    Give a seller's sales in a time range; with `Accept: text/csv`, the series as a table.

    Amounts are in one currency: ask for another with `currency`; currencies are never added up.
    """
    seller = signed_in(request, "seller")
    wanted = parameters(request, SalesParameters)
    stretch = _span(request, wanted, wanted.timezone or await zone_of(request, seller.user_id))
    starts = begins(stretch, wanted.interval)

    bounds = (stretch.since, *starts[1:], stretch.until)
    found = await read(request, ReadEarnings(seller.user_id, bounds, wanted.currency), Earnings)
    viewed = await read(request, CountViews(seller.user_id, stretch.since, stretch.until), ViewsCounted)

    report = _report(wanted, stretch, starts, found, viewed.views)
    if wants_table(request):
        rows = [(period.start, period.orders, period.revenue, period.refunds) for period in report.series]
        name = "-".join(["sales", *map(str, days_of(stretch)), report.currency])
        return tabled(name, Period.__struct_fields__, rows, OWN)
    return answered(report, headers=OWN)


@routes.get("/analytics/live")
@operation(
    access=SELLERS,
    query=SpanParameters,
    answers={200: Answer(Bytes, media_type=EVENT_STREAM, headers=("Cache-Control",))},
    takes=(LAST_ID,),
    load="long",
)
async def live(request: web.Request) -> EventStream:
    """
    Stream a seller's totals whenever they change, as server-sent events named `totals`.

    Each has `currency`, `totals`, `from` and `to` as in `/analytics/sales`. Each is complete, so a client that
    reconnects needs only the next one.
    """
    seller = signed_in(request, "seller")
    wanted = parameters(request, SpanParameters)
    zone = wanted.timezone or await zone_of(request, seller.user_id)
    _span(request, wanted, zone)

    return streamed(request, seller, Running(request, seller, wanted, zone).more)


@routes.get("/analytics/buyers")
@operation(access=SELLERS, answers={200: Answer(Regulars)})
async def buyers(request: web.Request) -> web.Response:
    """Count a seller's buyers, and those who bought more than once."""
    seller = signed_in(request, "seller")
    found = await read(request, CountBuyers(seller.user_id), Buyers)
    return answered(Regulars(found.buyers, found.returning, _share(found.returning, found.buyers)))


class Running:
    """The totals of one stream, sent when they differ from those sent last."""

    def __init__(self, request: web.Request, seller: Principal, wanted: SpanParameters, zone: str) -> None:
        self._request, self._seller_id, self._wanted, self._zone = request, seller.user_id, wanted, zone
        self._position, self._told = -1, b""

    async def more(self, wait_s: float, last_id: str) -> Sequence[Event]:
        """Give the totals: at once the first time, then after the next sale, or after `wait_s` at the latest."""
        position = await self._next(wait_s)
        stretch = _span(self._request, self._wanted, self._zone)
        bounds = (stretch.since, stretch.until)
        found = await read(self._request, ReadEarnings(self._seller_id, bounds, self._wanted.currency), Earnings)
        viewed = await read(self._request, CountViews(self._seller_id, *bounds), ViewsCounted)
        self._position = position
        now = written(SalesNow(found.currency, _totals(found, viewed.views), *map(instant, bounds)))
        if now == self._told:
            return []
        self._told = now
        return [Event(now, "totals", str(position))]

    async def _next(self, wait_s: float) -> int:
        """Give the position of the newest sale; after the first call, wait for the next sale."""
        if self._position < 0:
            return (await read(self._request, FindNewest(self._seller_id), Newest)).position
        until = self._request.app[CLOCK].now_ms() + int(wait_s * 1000)
        awaited = AwaitSale(self._seller_id, self._position, until)
        found = await find(self._request, awaited, Newest, extra_s=wait_s)
        return found.position if found else self._position


def _span(request: web.Request, wanted: SpanParameters, zone: str) -> Span:
    """Work out the time range that was asked for; raise `BadRequest`."""
    now_ms, days_max = request.app[CLOCK].now_ms(), request.app[LIMITS].range_days_max
    stretch = span(wanted.from_, wanted.to, zone, now_ms=now_ms, days=DAYS_USUAL)
    if stretch.since >= stretch.until:
        raise BadRequest([Fault("/from" if wanted.from_ else "/to", "Expected `from` to be before `to`")])
    if stretch.days > days_max:
        raise BadRequest([Fault("/from", f"Expected at most {days_max} days before `to`")])
    return stretch


def _report(wanted: SalesParameters, stretch: Span, starts: list[int], found: Earnings, views: int) -> SalesReport:
    def amount(minor: int) -> Decimal:
        return Money(minor, found.currency).amount

    return SalesReport(
        currency=found.currency,
        totals=_totals(found, views),
        from_=instant(stretch.since),
        to=instant(stretch.until),
        currencies=found.currencies,
        interval=wanted.interval,
        timezone=stretch.zone,
        series=[
            Period(instant(start), taking.orders, amount(taking.revenue), amount(taking.refunds))
            for start, taking in zip(starts, found.takings, strict=True)
        ],
        top_products=[BestSeller(top.product_id, top.title, top.orders, amount(top.revenue)) for top in found.top],
        ratings=Ratings(found.average, found.reviews, found.histogram),
    )


def _totals(found: Earnings, views: int) -> Totals:
    """Add up the periods. An order has one unit; an average is rounded half up to the currency's minor unit."""

    def amount(minor: int) -> Decimal:
        return Money(minor, found.currency).amount

    whole = Taking(
        sum(taking.orders for taking in found.takings),
        sum(taking.revenue for taking in found.takings),
        sum(taking.refunds for taking in found.takings),
    )
    return Totals(
        orders=whole.orders,
        units=whole.orders,
        revenue=amount(whole.revenue),
        refunds=amount(whole.refunds),
        net_revenue=amount(whole.revenue - whole.refunds),
        average_order=amount((2 * whole.revenue + whole.orders) // (2 * whole.orders) if whole.orders else 0),
        views=views,
        conversion=min(1.0, _share(found.all_orders, views)),
    )


def _share(part: int, whole: int) -> float:
    return round(part / whole, SHARE_DECIMALS) if whole else 0.0
