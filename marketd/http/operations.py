"""Endpoints for operators: whether the service is alive and ready, and the alerts that need manual work."""

from decimal import Decimal
from typing import Any, Literal

from aiohttp import web
from msgspec import Struct

from marketd.actors import order
from marketd.actors.address import Address
from marketd.bus.breaker import Circuit
from marketd.clock import Instant, instant
from marketd.http.answers import answered, listed
from marketd.http.asking import ask, read
from marketd.http.bodies import Paging, parameters
from marketd.http.doing import asked_at
from marketd.http.encodings import WITHOUT_SECRET
from marketd.http.identity import signed_in
from marketd.http.keys import CIRCUITS, READINESS
from marketd.http.operation import ADMINS, Answer, operation
from marketd.http.problems import RETRY_AFTER_S, NotFound
from marketd.http.tokens import Principal
from marketd.storage.orders import ListAlerts, OrderEntry, OrderPage

routes = web.RouteTableDef()


class Alive(Struct):
    status: Literal["ok"] = "ok"


class Ready(Struct):
    status: Literal["ready", "not ready"]
    parts: dict[str, Any]


class Circuits(Struct):
    circuits: list[Circuit]


class Alert(Struct, rename="camel"):
    """An order whose refund failed: it has to be resolved by hand. `id` is the order's."""

    id: str
    order_id: str
    status: Literal["open", "resolved"]
    reason: str
    buyer_id: str
    seller_id: str
    price: Decimal
    currency: str
    created_at: Instant


class Alerts(Struct):
    total: int
    page: int
    size: int
    alerts: list[Alert]


@routes.get("/healthz")
@operation(answers={200: Answer(Alive)}, load="vital")
async def health(request: web.Request) -> web.Response:
    """Say that the process is alive."""
    return answered(Alive())


@routes.get("/readyz")
@operation(
    answers={200: Answer(Ready, headers=("Cache-Control",)), 503: Answer(Ready, headers=("Cache-Control",))},
    load="vital",
)
async def readiness(request: web.Request) -> web.Response:
    """Say whether each part works and the read models have caught up."""
    state = request.app[READINESS]()
    body = Ready("ready" if state.is_ready else "not ready", state.parts)
    headers = {"Cache-Control": "no-store"}
    if not state.is_ready:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    response = answered(body, status=200 if state.is_ready else 503, headers=headers)
    response[WITHOUT_SECRET] = True
    return response


@routes.get("/admin/circuits")
@operation(access=ADMINS, answers={200: Answer(Circuits)}, load="vital")
async def circuits(request: web.Request) -> web.Response:
    """Show the circuit breaker of each external service."""
    signed_in(request, "admin")
    return answered(Circuits(request.app[CIRCUITS]()))


@routes.get("/admin/alerts")
@operation(access=ADMINS, query=Paging, answers={200: Answer(Alerts, headers=("Link",))}, load="vital")
async def alerts(request: web.Request) -> web.Response:
    """List the alerts, the open ones first."""
    signed_in(request, "admin")
    wanted = parameters(request, Paging)

    found = await read(request, ListAlerts(wanted.wanted), OrderPage)

    body = Alerts(found.total, wanted.page, wanted.size, [shown(entry) for entry in found.orders])
    return listed(request, body, found.total, wanted.wanted)


@routes.post("/admin/alerts/{id}/resolve")
@operation(
    access=ADMINS,
    answers={200: Answer(Alert)},
    problems=(NotFound, order.Reason.NO_SUCH_ORDER, order.Reason.NO_ALERT),
    load="vital",
)
async def resolve(request: web.Request) -> web.Response:
    """Mark an alert as resolved."""
    return answered(await resolve_alert(request, signed_in(request, "admin")))


async def resolve_alert(request: web.Request, admin: Principal) -> Alert:
    """Resolve the alert of the path."""
    address = Address("order", request.match_info["id"])
    if not address.is_sound:
        raise NotFound("no such alert")

    command = order.ResolveAlert(admin.user_id, asked_at(request))
    view = await ask(request, address, command, order.View, principal=admin)

    return shown(OrderEntry(address.key, view))


def shown(entry: OrderEntry) -> Alert:
    """Write an alert as the API shows it."""
    view = entry.view
    assert view.alert, f"order/{entry.order_id} has no alert"
    return Alert(
        id=entry.order_id,
        order_id=entry.order_id,
        status="open" if view.alert.is_open else "resolved",
        reason=view.alert.why,
        buyer_id=view.buyer_id,
        seller_id=view.seller_id,
        price=view.price.amount,
        currency=view.price.currency,
        created_at=instant(view.alert.since),
    )
