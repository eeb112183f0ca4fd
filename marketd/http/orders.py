"""Orders over HTTP: buying, following an order, refunds, and download links."""

import re
from decimal import Decimal
from typing import Annotated, Final, Literal

from aiohttp import web
from msgspec import Meta, Struct

from marketd.actors import buyer, order, product
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.money import Money
from marketd.actors.watch import AwaitOutcome
from marketd.clock import Instant, instant
from marketd.http import unfolding
from marketd.http.answers import answered, listed
from marketd.http.asking import ask, find, read, seen, tell
from marketd.http.bodies import Paging, decode, decode_optional, parameters
from marketd.http.claims import Claims, is_placed
from marketd.http.client import address_of, base_url
from marketd.http.doing import asked_at, id_for, is_again
from marketd.http.etags import shown
from marketd.http.events import LAST_ID, streamed, wants_stream
from marketd.http.identity import signed_in
from marketd.http.keys import CLOCK, LIMITS, LINKS
from marketd.http.operation import EVENT_STREAM, SIGNED_IN, Answer, operation
from marketd.http.problems import Forbidden, NotFound, WrongState
from marketd.http.tokens import DownloadGrant, Principal
from marketd.storage.history import Happening, History, ReadHistory
from marketd.storage.orders import ListOrders, OrderPage

routes = web.RouteTableDef()

_WAIT: Final = re.compile(r"\s*wait\s*=\s*(\d{1,6})\s*", re.IGNORECASE)

Id = Annotated[str, Meta(min_length=1, max_length=64)]


# The reasons why a product can't be bought.
NOT_FOR_SALE: Final = (
    product.Reason.NO_SUCH_PRODUCT,
    product.Reason.WITHDRAWN,
    product.Reason.OWN_PRODUCT,
    product.Reason.SOLD_OUT,
    product.Reason.TOO_MANY_HOLDS,
)


class NewOrder(Struct, forbid_unknown_fields=True, rename="camel"):
    product_id: Id
    payment_method_id: Annotated[str, Meta(min_length=1, max_length=255)]


class RefundBody(Struct, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(max_length=1000)] | None = None


class OrderList(Paging, frozen=True, forbid_unknown_fields=True, rename={"as_": "as"}):
    as_: Literal["buyer", "seller"] = "buyer"


class Accepted(Struct, rename="camel"):
    message: str
    order_id: str
    status: order.Status


class OrderBody(Struct, rename="camel", omit_defaults=True):
    """An order as clients see it; only the buyer sees `licenceKey`."""

    id: str
    buyer_id: str
    seller_id: str
    product_id: str
    product_title: str
    price: Decimal
    currency: str
    status: order.Status
    payment_status: order.PaymentStatus
    delivery_status: order.DeliveryStatus
    created_at: Instant
    updated_at: Instant
    failure_reason: str | None = None
    licence_key: str | None = None


class Orders(Struct):
    total: int
    page: int
    size: int
    orders: list[OrderBody]


class Events(Struct):
    events: list[Happening]


class Download(Struct, rename="camel"):
    """A file and its URL, which is valid until `expiresAt`."""

    name: str
    type: str
    size: int
    url: str
    expires_at: Instant


class Downloads(Struct):
    downloads: list[Download]


@routes.post("/orders")
@operation(
    access=SIGNED_IN,
    body=NewOrder,
    answers={202: Answer(Accepted, headers=("Location",))},
    problems=(NotFound, *NOT_FOR_SALE, buyer.Reason.ALREADY_OWNED, buyer.Reason.UNDER_WAY),
    load="order",
)
async def place(request: web.Request) -> web.Response:
    """Buy a product."""
    principal = signed_in(request)
    body = await decode(request, NewOrder)
    address = Address("order", id_for(request, "order"))

    await place_order(request, principal, address, body)

    return _accepted(request, address)


async def place_order(
    request: web.Request, principal: Principal, address: Address, body: NewOrder, agreed: Money | None = None
) -> None:
    """Place an order, unless it was placed before; if a price was `agreed`, only at that price."""
    if not Address("product", body.product_id).is_sound:
        raise NotFound("no such product")
    if is_again(request) and await is_placed(request, address.key):  # which may have sold the product out by now
        return
    try:
        position = await _ordered(request, principal, address, body, agreed)
    except Refused:  # the order may refuse because a concurrent repeat has just placed it
        if not (is_again(request) and await is_placed(request, address.key)):
            raise
    else:
        await seen(request, position)  # if this fails, the order is placed all the same


async def _ordered(
    request: web.Request, principal: Principal, address: Address, body: NewOrder, agreed: Money | None
) -> int:
    """Reserve what the order needs and place it; give its position in the log."""
    asked = product.Quote(principal.user_id, address.key)
    sold = Address("product", body.product_id)
    quote = await ask(request, sold, asked, product.Quoted, principal=principal, until_seen=False)
    if agreed not in (None, quote.price):
        raise WrongState("the price is another one than the page showed: load it again")
    command = order.Place(
        buyer_id=principal.user_id,
        seller_id=quote.seller_id,
        product_id=body.product_id,
        title=quote.title,
        price=quote.price,
        payment_method_id=body.payment_method_id,
        at=asked_at(request),
        is_counted=quote.is_counted,
    )
    async with Claims(request, address.key, body.product_id, principal, is_counted=quote.is_counted).kept():
        answer = await tell(request, address, command, principal=principal, until_seen=False)
    return answer.position


@routes.get("/orders")
@operation(access=SIGNED_IN, query=OrderList, answers={200: Answer(Orders, headers=("Link",))})
async def browse(request: web.Request) -> web.Response:
    """List the orders that the user has bought, or sold; the newest first."""
    principal = signed_in(request)
    wanted = parameters(request, OrderList)

    found = await read(request, ListOrders(principal.user_id, wanted.as_, wanted.wanted), OrderPage)

    orders = [_shown(entry.order_id, entry.view, principal) for entry in found.orders]
    return listed(request, Orders(found.total, wanted.page, wanted.size, orders), found.total, wanted.wanted)


@routes.get("/orders/{id}")
@operation(
    access=SIGNED_IN,
    answers={200: Answer(OrderBody, headers=("ETag",), maybe=("Preference-Applied",))},
    problems=(order.Reason.NO_SUCH_ORDER,),
    takes=("Prefer",),
    load="long if awaited",
)
async def show(request: web.Request) -> web.Response:
    """Show an order; with `Prefer: wait=N` (RFC 7240), once it is no longer pending, or after N seconds."""
    principal = signed_in(request)
    wait_s = _preferred_wait_s(request)
    view = await visible(request, principal, until_seen=not wait_s)  # a client that waits does not get this one

    if wait_s and view.status != "pending":
        view = await visible(request, principal)
    elif wait_s:
        until = request.app[CLOCK].now_ms() + wait_s * 1000
        awaited = AwaitOutcome(request.match_info["id"], until)
        view = await find(request, awaited, order.View, extra_s=wait_s) or view

    applied = {"Preference-Applied": f"wait={wait_s}"} if wait_s is not None else None
    return shown(_shown(request.match_info["id"], view, principal), headers=applied)


@routes.get("/orders/{id}/events")
@operation(
    access=SIGNED_IN,
    answers={200: Answer(Events, maybe=("Cache-Control",), others=(EVENT_STREAM,))},
    problems=(order.Reason.NO_SUCH_ORDER,),
    takes=("Accept", LAST_ID),
    load="long if awaited",
)
async def events(request: web.Request) -> web.StreamResponse:
    """
    List what happened to an order, from the log.

    With `Accept: text/event-stream`, as server-sent events: what has happened, and whatever still does. The id of an
    event is the position of its record, so a client that sends it as `Last-Event-ID` continues from there.
    """
    principal = signed_in(request)
    await visible(request, principal)
    if wants_stream(request):
        return streamed(request, principal, unfolding.Unfolding(request, request.match_info["id"]).more)

    history = await read(request, ReadHistory(request.match_info["id"]), History)

    return answered(Events([unfolding.shown(happening) for happening in history.happenings]))


@routes.get("/orders/{id}/downloads")
@operation(
    access=SIGNED_IN,
    answers={200: Answer(Downloads, headers=("Cache-Control",))},
    problems=(order.Reason.NO_SUCH_ORDER, Forbidden, WrongState),
)
async def downloads(request: web.Request) -> web.Response:
    """Give links to the files of a completed order."""
    principal = signed_in(request)
    view = await visible(request, principal)
    if view.buyer_id != principal.user_id:
        raise Forbidden("the downloads are the buyer's")
    if (view.status, view.delivery_status) != ("completed", "delivered"):
        raise WrongState("the order is not completed")

    sold = await ask(request, Address("product", view.product_id), product.Describe(), product.Description)

    links = [download_of(request, file) for file in sold.offer.files]
    return answered(Downloads(links), headers={"Cache-Control": "no-store"})


@routes.post("/orders/{id}/refund")
@operation(
    access=SIGNED_IN,
    body=RefundBody,
    body_is_optional=True,
    answers={202: Answer(Accepted)},
    problems=(order.Reason.NO_SUCH_ORDER, order.Reason.NOT_YOUR_SALE, order.Reason.NOT_COMPLETED),
)
async def refund(request: web.Request) -> web.Response:
    """Refund a completed order."""
    principal = signed_in(request)
    body = await decode_optional(request, RefundBody)

    view = await request_refund(request, principal, body.reason or "")

    message = "the order is refunded already" if view.status == "refunded" else "the refund is under way"
    return answered(Accepted(message, request.match_info["id"], view.status), status=202)


async def request_refund(request: web.Request, principal: Principal, reason: str) -> order.View:
    """Request a refund of the order of the path."""
    await visible(request, principal)
    command = order.RequestRefund(principal.user_id, principal.role == "admin", reason, asked_at(request))
    return await ask(request, _address(request), command, order.View, principal=principal)


def _accepted(request: web.Request, address: Address) -> web.Response:
    accepted = Accepted("the order is placed", address.key, "pending")
    return answered(accepted, status=202, headers={"Location": address_of(request, f"/orders/{address.key}")})


async def visible(request: web.Request, principal: Principal, *, until_seen: bool = True) -> order.View:
    """Read the order of the path, if this user may know that it exists."""
    view = await ask(request, _address(request), order.Describe(), order.View, until_seen=until_seen)
    if principal.role != "admin" and principal.user_id not in (view.buyer_id, view.seller_id):
        raise Refused(order.Reason.NO_SUCH_ORDER)
    return view


def _address(request: web.Request) -> Address:
    address = Address("order", request.match_info["id"])
    if not address.is_sound:
        raise Refused(order.Reason.NO_SUCH_ORDER)
    return address


def _preferred_wait_s(request: web.Request) -> int | None:
    """Read `Prefer: wait=N`, N in seconds; other preferences are ignored."""
    preferences = ",".join(request.headers.getall("Prefer", [])).split(",")
    waits = [match for preference in preferences if (match := _WAIT.fullmatch(preference.partition(";")[0]))]
    return min(int(waits[0][1]), int(request.app[LIMITS].wait_s_max)) if waits else None


def _shown(order_id: str, view: order.View, viewer: Principal) -> OrderBody:
    return OrderBody(
        id=order_id,
        buyer_id=view.buyer_id,
        seller_id=view.seller_id,
        product_id=view.product_id,
        product_title=view.title,
        price=view.price.amount,
        currency=view.price.currency,
        status=view.status,
        payment_status=view.payment_status,
        delivery_status=view.delivery_status,
        failure_reason=view.failure_reason,
        licence_key=view.licence_key if viewer.user_id == view.buyer_id else None,
        created_at=instant(view.created_at),
        updated_at=instant(view.updated_at),
    )


def download_of(request: web.Request, file: product.File) -> Download:
    """Link to a file of the order of the path."""
    grant = DownloadGrant(request.match_info["id"], file.name, file.type, file.url)
    token, expires_at = request.app[LINKS].issue(grant)
    url = f"{base_url(request)}/downloads/{token}"
    return Download(file.name, file.type, file.size, url, instant(expires_at))
