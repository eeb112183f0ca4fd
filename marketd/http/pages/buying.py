"""Buying in the shop: the order, the library, the files, and reviews."""

import hmac
from enum import StrEnum
from typing import Annotated, Final, Literal

from aiohttp import web
from msgspec import Meta, Struct

from marketd.actors import buyer, order, product
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.money import Money
from marketd.actors.watch import AwaitOutcome
from marketd.clock import id_of, made_at
from marketd.http import reviews
from marketd.http.asking import ask, find, read
from marketd.http.bodies import Currency, Paging, Text, Title, formed
from marketd.http.doing import DOING, Doing
from marketd.http.keys import CLOCK, ONCE
from marketd.http.operation import SIGNED_IN, Answer, Bytes, operation
from marketd.http.orders import NewOrder, download_of, place_order, visible
from marketd.http.pages.entrance import ENTERED
from marketd.http.pages.forms import looked_for, signed_form
from marketd.http.pages.frame import HTML, sent_on, shown
from marketd.http.pages.web_session import Viewer, viewer_of
from marketd.http.problems import NotFound, WrongState
from marketd.http.reviews import NewReview, Stars
from marketd.storage.library import Library, ReadLibrary

routes = web.RouteTableDef()

FORM_AGE_MS_MAX: Final = 24 * 60 * 60 * 1000
SKEW_MS_MAX: Final = 60_000  # how far the clock may have been set back since
WAIT_S: Final = 3  # how long an order's page waits for its outcome, which nearly always comes sooner
_ONCE: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"


class BuyForm(Struct, forbid_unknown_fields=True):
    """
    `minor` and `currency` are the price that the form showed, and the order is placed at no other; `once` differs in
    each form: sent twice, it is one order.
    """

    card: Annotated[str, Meta(min_length=1, max_length=255)]
    minor: Annotated[int, Meta(ge=1, le=2**53)]
    currency: Currency
    once: Annotated[str, Meta(max_length=36, **formed(_ONCE, "Expected what the form was shown with"))]


class ReviewForm(Struct, forbid_unknown_fields=True):
    rating: Stars
    body: Text
    title: Title | None = None


class Shelf(Paging, frozen=True, forbid_unknown_fields=True):
    """`note` is why one was sent here."""

    note: Literal["owned", "under-way"] | None = None


HAD: Final[dict[StrEnum, str]] = {buyer.Reason.ALREADY_OWNED: "owned", buyer.Reason.UNDER_WAY: "under-way"}


@routes.post("/shop/products/{id}/buy")
@operation(access=SIGNED_IN, body=BuyForm, answers=ENTERED, problems=(NotFound,), part_of="page", load="order")
async def buy(request: web.Request) -> web.Response:
    """Buy a product."""
    viewer, form = await signed_form(request, BuyForm)
    shown_at, now_ms = made_at(form.once), request.app[CLOCK].now_ms()
    if not now_ms - FORM_AGE_MS_MAX <= shown_at <= now_ms + SKEW_MS_MAX:  # it becomes the time in the order's id
        raise WrongState("the page is too old: load it again")
    wanted, agreed = NewOrder(request.match_info["id"], form.card), Money(form.minor, form.currency)
    drawn = hmac.digest(viewer.secret.encode(), f"order {form.once} {wanted.product_id}".encode(), "sha256")
    address = Address("order", id_of(shown_at, drawn))
    request[DOING] = Doing(now_ms, drawn, is_again=True)  # it may also be the first time: that is not known

    async with request.app[ONCE].turn(drawn):
        page = await _placed(request, viewer, address, wanted, agreed)

    return sent_on(request, page)


@routes.get("/shop/orders/{id}")
@operation(access=SIGNED_IN, answers={200: Answer(Bytes, HTML)}, problems=(NotFound,), part_of="page", load="long")
async def show(request: web.Request) -> web.Response:
    """Show an order, and the files once it is completed."""
    viewer = await viewer_of(request)
    order_id = request.match_info["id"]
    view = await _own(request, viewer)
    if view.status == "pending":
        awaited = AwaitOutcome(order_id, request.app[CLOCK].now_ms() + WAIT_S * 1000)
        view = await find(request, awaited, order.View, extra_s=WAIT_S) or view

    files = await _files(request, view)

    return shown(request, "shop-order.html", order=view, order_id=order_id, files=files)


@routes.get("/shop/orders/{id}/files/{index}")
@operation(access=SIGNED_IN, answers=ENTERED, problems=(NotFound,), part_of="page")
async def file(request: web.Request) -> web.Response:
    """Redirect to a file, by a link that expires."""
    viewer = await viewer_of(request)
    files = await _files(request, await _own(request, viewer))
    numbered = {str(index): file for index, file in enumerate(files)}
    wanted = numbered.get(request.match_info["index"])
    if wanted is None:
        raise NotFound("there is no such file to be had with this order")
    link = download_of(request, wanted).url
    return sent_on(request, link[link.index("/downloads/") :])


@routes.get("/shop/library")
@operation(access=SIGNED_IN, query=Shelf, answers={200: Answer(Bytes, HTML)}, part_of="page")
async def library(request: web.Request) -> web.Response:
    """Show the products that the user owns."""
    viewer = await viewer_of(request)
    wanted = looked_for(request, Shelf)

    found = await read(request, ReadLibrary(viewer.principal.user_id, wanted.wanted), Library)

    return shown(request, "shop-library.html", entries=found.entries, total=found.total, wanted=wanted)


@routes.post("/shop/products/{id}/reviews")
@operation(access=SIGNED_IN, body=ReviewForm, answers=ENTERED, problems=(NotFound,), part_of="page")
async def review(request: web.Request) -> web.Response:
    """Review a product that the user has bought."""
    viewer, form = await signed_form(request, ReviewForm)
    await reviews.write_review(request, viewer.principal, NewReview(form.rating, form.body, form.title))
    return sent_on(request, f"/shop/products/{request.match_info['id']}#reviews")


async def _placed(request: web.Request, viewer: Viewer, address: Address, wanted: NewOrder, agreed: Money) -> str:
    """Place the order and name its page; for what the buyer has already, or is about to have, that of their library."""
    try:
        await place_order(request, viewer.principal, address, wanted, agreed)
    except Refused as refused:
        if refused.reason not in HAD:
            raise
        return f"/shop/library?note={HAD[refused.reason]}"
    return f"/shop/orders/{address.key}"


async def _own(request: web.Request, viewer: Viewer) -> order.View:
    """Read the order of the path; for anybody but its buyer it does not exist."""
    view = await visible(request, viewer.principal)
    if view.buyer_id != viewer.principal.user_id:
        raise Refused(order.Reason.NO_SUCH_ORDER)
    return view


async def _files(request: web.Request, view: order.View) -> tuple[product.File, ...]:
    """Give the files that may be downloaded; none before the order is completed, or after it was refunded."""
    if (view.status, view.delivery_status) != ("completed", "delivered"):
        return ()
    sold = await ask(request, Address("product", view.product_id), product.Describe(), product.Description)
    return sold.offer.files
