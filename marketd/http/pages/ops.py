"""The operator's page: the state of the service, and the alerts to resolve."""

from collections import Counter
from collections.abc import Iterator, Mapping
from math import inf
from typing import Any, Final, Literal, NamedTuple

from aiohttp import web
from msgspec import Struct

from marketd import __version__
from marketd.http.asking import read
from marketd.http.keys import CIRCUITS, READINESS, TRAFFIC
from marketd.http.operation import ADMINS, Answer, Bytes, operation
from marketd.http.operations import resolve_alert
from marketd.http.operations import shown as alert_of
from marketd.http.pages.entrance import ENTERED
from marketd.http.pages.followers import followers
from marketd.http.pages.forms import Nothing, looked_for, signed_form
from marketd.http.pages.frame import HTML, sent_on, shown
from marketd.http.pages.web_session import viewer_of
from marketd.http.problems import NotFound
from marketd.measures import Histogram
from marketd.storage.orders import ListAlerts, OrderPage
from marketd.storage.pages import Page

routes = web.RouteTableDef()

ALERTS: Final = 50
ROUTES: Final = 25
SLOW_SHARE: Final = 0.95
READ_MODELS: Final = "readModels"
LOG: Final = "log"
NAMES: Final = ("pid",)  # numbers that are no counts


class Row(NamedTuple):
    """The traffic of one route; `slow_s` is the 95th percentile of the time, rounded up to the next bound."""

    route: str
    requests: int
    refused: int
    failed: int
    mean_s: float
    slow_s: float


class Looking(Struct, frozen=True, forbid_unknown_fields=True):
    """`part` is the part of the page that a script reloads."""

    part: Literal["state"] | None = None


@routes.get("/ops")
@operation(access=ADMINS, query=Looking, answers={200: Answer(Bytes, HTML)}, part_of="page", load="vital")
async def show(request: web.Request) -> web.Response:
    """Show the state of the service."""
    await viewer_of(request, "admin")
    wanted = looked_for(request, Looking)

    found = await read(request, ListAlerts(Page(1, ALERTS)), OrderPage)
    readiness = request.app[READINESS]()

    facts = {
        "is_ready": readiness.is_ready,
        "alerts": [alert_of(entry) for entry in found.orders],
        "alerts_total": found.total,
        "circuits": request.app[CIRCUITS](),
        "models": _models(readiness.parts),
        "head": readiness.parts.get(LOG, {}).get("head"),
        "parts": [(name, part.get("state", ""), list(_facts(part))) for name, part in readiness.parts.items()],
        "version": __version__,
        "routes": _traffic(request)[:ROUTES],
        **await followers(request),
    }
    return shown(request, "ops-state.html" if wanted.part else "ops.html", **facts)


@routes.post("/ops/alerts/{id}/resolve")
@operation(access=ADMINS, body=Nothing, answers=ENTERED, problems=(NotFound,), part_of="page", load="vital")
async def resolve(request: web.Request) -> web.Response:
    """Mark an alert as resolved."""
    viewer, _ = await signed_form(request, Nothing, "admin")
    await resolve_alert(request, viewer.principal)
    return sent_on(request, "/ops#alerts")


def _traffic(request: web.Request) -> list[Row]:
    """Give the traffic of each route, the busiest first; nothing if requests are not counted."""
    traffic = request.app.get(TRAFFIC)
    if traffic is None:
        return []
    counted, timed = traffic.measures()
    ends: dict[str, Counter[str]] = {}
    for (method, path, status), number in counted.samples:
        assert not isinstance(number, Histogram)
        ends.setdefault(f"{method} {path}", Counter())[status[0]] += int(number)
    times = {f"{method} {path}": value for (method, path), value in timed.samples}
    rows = [_row(route, count, times[route]) for route, count in ends.items()]
    return sorted(rows, key=lambda row: (-row.requests, row.route))


def _row(route: str, ends: Counter[str], times: object) -> Row:
    assert isinstance(times, Histogram)
    total, so_far = len(times), 0
    slow_s = inf
    for bound, number in zip((*times.bounds, inf), times.counts, strict=True):
        so_far += number
        if so_far >= SLOW_SHARE * total:
            slow_s = bound
            break
    return Row(route, total, ends["4"], ends["5"], times.total / max(1, total), slow_s)


def _models(parts: Mapping[str, Any]) -> list[tuple[str, int, bool]]:
    """Give each read model with its position, and whether it has stopped."""
    found = parts.get(READ_MODELS, {}).items()
    return [(name, model["position"], model["halted"]) for name, model in found if isinstance(model, dict)]


def _facts(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give what a part reports, except its state, in words."""
    for name, value in part.items():
        if name != "state" and not isinstance(value, dict):
            is_count = isinstance(value, int) and not isinstance(value, bool) and name not in NAMES
            yield _words(name), f"{value:,}" if is_count else str(value)


def _words(name: str) -> str:
    """Write names such as `in_hand_max` and `commitsWaiting` as words."""
    spaced = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return spaced.replace("_", " ").strip()
