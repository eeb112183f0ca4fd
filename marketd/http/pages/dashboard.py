"""The seller's page: takings, best sellers, the newest sales, and products on sale."""

import csv
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from typing import Annotated, Any, Final, Literal

from aiohttp import web
from msgspec import Meta, Struct

from marketd.actors import account, order
from marketd.actors.watch import AwaitOutcome
from marketd.bus.port import BusError
from marketd.http.asking import ask, find, read
from marketd.http.bodies import Paging
from marketd.http.events import LAST_ID, EventStream, streamed
from marketd.http.keys import CLOCK
from marketd.http.operation import EVENT_STREAM, SELLERS, Answer, Bytes, operation
from marketd.http.orders import request_refund
from marketd.http.pages.chart import Chart, bars
from marketd.http.pages.entrance import ENTERED
from marketd.http.pages.figures import Figures, Taking, figures
from marketd.http.pages.forms import looked_for, signed_form
from marketd.http.pages.frame import HTML, count, day, money, sent_on, shown
from marketd.http.pages.till import Till
from marketd.http.pages.web_session import Viewer, viewer_of
from marketd.http.periods import Interval, Zone, known, zones
from marketd.storage.catalog import BrowseProducts
from marketd.storage.finding import FoundPage
from marketd.storage.orders import ListOrders, OrderPage
from marketd.storage.pages import Page
from marketd.storage.people import FindSeller, Seller

routes = web.RouteTableDef()

NEWEST: Final = 10
SPANS: Final = (7, 30, 90, 365)
MANY_PERCENT: Final = 1000
INTERVALS: Final[dict[Interval, str]] = {"day": "Day", "week": "Week of", "month": "Month"}
USUALLY: Final[dict[int, Interval]] = {7: "day", 30: "day", 90: "week", 365: "month"}  # as a phone has room for
REFUND_WAIT_S: Final = 0.5  # how long the list waits for the end of a refund, which nearly always comes sooner
PAGE: Final = {200: Answer(Bytes, HTML)}


class Looking(Struct, frozen=True, forbid_unknown_fields=True):
    """`days` is how far back, `by` the length of a period, `part` the part of the page that a script reloads."""

    days: Literal[7, 30, 90, 365] = 30
    by: Interval | None = None
    part: Literal["figures"] | None = None


class ZoneForm(Struct, forbid_unknown_fields=True):
    zone: Zone


class RefundForm(Struct, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(max_length=1000)] = ""


@routes.get("/dashboard")
@operation(access=SELLERS, query=Looking, answers=PAGE, part_of="page")
async def show(request: web.Request) -> web.Response:
    """Show a seller's dashboard."""
    viewer = await viewer_of(request, "seller")
    wanted = looked_for(request, Looking)

    facts = await _facts(request, viewer, wanted)

    template = "dashboard-figures.html" if wanted.part else "dashboard.html"
    return shown(request, template, **facts, days=wanted.days, spans=SPANS, intervals=INTERVALS)


@routes.get("/dashboard/live")
@operation(
    access=SELLERS,
    answers={200: Answer(Bytes, media_type=EVENT_STREAM, headers=("Cache-Control",))},
    takes=(LAST_ID,),
    part_of="script",
    load="long",
)
async def live(request: web.Request) -> EventStream:
    """Tell an open dashboard when there is something new to show."""
    viewer = await viewer_of(request, "seller")
    return streamed(request, viewer.principal, Till(request, viewer.principal.user_id).more)


@routes.get("/dashboard/sales.csv")
@operation(access=SELLERS, query=Looking, answers={200: Answer(Bytes, "text/csv")}, part_of="page")
async def export(request: web.Request) -> web.Response:
    """Export the figures of each day, week or month as CSV."""
    viewer = await viewer_of(request, "seller")
    wanted = looked_for(request, Looking)

    found = await figures(request, viewer.principal.user_id, wanted.days, wanted.by or "day", known(viewer.zone))

    name = f"sales-{found.days[0]:%Y-%m-%d}-{found.days[-1]:%Y-%m-%d}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return web.Response(text=_csv(found), content_type="text/csv", headers=headers)


@routes.get("/dashboard/zone")
@operation(access=SELLERS, answers=PAGE, part_of="page")
async def show_zone(request: web.Request) -> web.Response:
    """Show the form for the time zone in which days begin."""
    await viewer_of(request, "seller")
    return shown(request, "dashboard-zone.html", zones=sorted(zones()))


@routes.post("/dashboard/zone")
@operation(access=SELLERS, body=ZoneForm, answers=ENTERED, part_of="page")
async def choose_zone(request: web.Request) -> web.Response:
    """Set the time zone in which the seller's days begin."""
    viewer, form = await signed_form(request, ZoneForm, "seller")
    await ask(request, viewer.address, account.Rename(zone=form.zone), account.Profile, principal=viewer.principal)
    return sent_on(request, "/dashboard")


@routes.get("/dashboard/orders")
@operation(access=SELLERS, query=Paging, answers=PAGE, part_of="page")
async def orders(request: web.Request) -> web.Response:
    """Show a seller all sales, each with what can be done about it."""
    viewer = await viewer_of(request, "seller")
    wanted = looked_for(request, Paging)

    found = await read(request, ListOrders(viewer.principal.user_id, "seller", wanted.wanted), OrderPage)

    return shown(request, "dashboard-orders.html", sales=found.orders, total=found.total, wanted=wanted)


@routes.post("/dashboard/orders/{id}/refund")
@operation(access=SELLERS, body=RefundForm, answers=ENTERED, part_of="page")
async def refund(request: web.Request) -> web.Response:
    """Refund a sale."""
    viewer, form = await signed_form(request, RefundForm, "seller")
    await request_refund(request, viewer.principal, form.reason)

    until = request.app[CLOCK].now_ms() + int(REFUND_WAIT_S * 1000)
    with suppress(BusError):  # it is under way all the same, and the page says so
        await find(request, AwaitOutcome(request.match_info["id"], until), order.View, extra_s=REFUND_WAIT_S)

    return sent_on(request, "/dashboard/orders")


async def _facts(request: web.Request, viewer: Viewer, wanted: Looking) -> dict[str, Any]:
    seller_id = viewer.principal.user_id
    found = await figures(request, seller_id, wanted.days, wanted.by or USUALLY[wanted.days], known(viewer.zone))
    newest = await read(request, ListOrders(seller_id, "seller", Page(1, NEWEST)), OrderPage)
    card = await find(request, FindSeller(seller_id), Seller)
    listed = await read(request, BrowseProducts(seller=seller_id, page=Page(1, 1)), FoundPage)
    return {
        "figures": found,
        "total": found.total,
        "changes": _changes(found.total, found.before),
        "charts": _charts(found),
        "labels": _labels(found),
        "newest": newest.orders,
        "sales": newest.total,
        "rating": card.rating if card else None,
        "products": max(listed.total, card.products if card else 0),
    }


def _changes(now: Taking, before: Taking) -> dict[str, str]:
    """Compare the takings with those of the time before, in percent."""
    return {
        "orders": _change(now.orders, before.orders),
        "revenue": _change(float(now.revenue), float(before.revenue)),
        "refunds": _change(float(now.refunds), float(before.refunds)),
        "net": _change(float(now.net), float(before.net)),
    }


def _change(new: float, old: float) -> str:
    if not old:
        return "none before" if new else "as before"
    percent = round((new - old) / old * 100)
    if percent >= MANY_PERCENT:
        return f"{new / old:,.0f} times as much"
    return f"{percent:+d} %" if percent else "as before"


def _charts(found: Figures) -> list[dict[str, Any]]:
    """Draw revenue and orders in two charts: they share nothing but the days."""
    labels = _labels(found)
    revenue = [float(taking.revenue) for taking in found.takings]
    orders = [float(taking.orders) for taking in found.takings]
    of_revenue = bars(revenue, labels, [money(value, found.currency) for value in revenue])
    of_orders = bars(orders, labels, [count(value) for value in orders])
    return [
        _chart("Revenue", of_revenue, sum(revenue), lambda value: money(value, found.currency)),
        _chart("Orders", of_orders, sum(orders), lambda value: f"{value:,.0f}" if value == int(value) else ""),
    ]


def _labels(found: Figures) -> list[str]:
    """Name each period: a day or a week by the day that it begins with, a month by its name."""
    return [f"{begin:%b}\u00a0{begin.year}" if found.by == "month" else day(begin) for begin in found.days]


def _chart(name: str, chart: Chart, total: float, write: Callable[[float], str]) -> dict[str, Any]:
    """Give what the template needs: the chart, and the labels of its lines."""
    return {"name": name, "chart": chart, "total": total, "top": write(chart.top), "middle": write(chart.top / 2)}


def _csv(found: Figures) -> str:
    lines = StringIO()
    writer = csv.writer(lines)
    writer.writerow(("start", "currency", "orders", "revenue", "refunds"))
    for begin, taking in zip(found.days, found.takings, strict=True):
        writer.writerow((f"{begin:%Y-%m-%d}", found.currency, taking.orders, taking.revenue, taking.refunds))
    return lines.getvalue()
