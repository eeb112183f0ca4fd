"""Reviews over HTTP. A review belongs to its author, so commands about it go to the author's actor."""

from typing import Annotated

from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from marketd.actors import buyer
from marketd.actors.address import Address
from marketd.http.answers import answered, listed
from marketd.http.asking import ask, find, read, tell
from marketd.http.bodies import Paging, Text, Title, decode, parameters
from marketd.http.client import address_of
from marketd.http.doing import asked_at, id_for
from marketd.http.etags import expected, shown
from marketd.http.identity import signed_in, somebody
from marketd.http.keys import CLOCK, FILES
from marketd.http.operation import ADMINS, SELLERS, SIGNED_IN, SIGNED_IN_OR_NOT, Answer, operation
from marketd.http.problems import Forbidden, NotFound
from marketd.http.tokens import Principal
from marketd.storage.cards import EncodedProduct, ReadProduct
from marketd.storage.reviews import FindReview, ListReviews, ReviewCard, ReviewFound, Reviews, Sort

routes = web.RouteTableDef()

Stars = Annotated[int, Meta(ge=1, le=5)]


class NewReview(Struct, forbid_unknown_fields=True):
    rating: Stars
    body: Text
    title: Title | None = None


class ReviewChange(Struct, forbid_unknown_fields=True):
    """Changes the fields that are given; a `title` of null removes it."""

    rating: Stars | UnsetType = UNSET
    title: Title | None | UnsetType = UNSET
    body: Text | UnsetType = UNSET


class ReplyBody(Struct, forbid_unknown_fields=True):
    body: Text


class HideBody(Struct, forbid_unknown_fields=True):
    """`reason` is told to the author."""

    reason: Text


class ReviewList(Paging, frozen=True, forbid_unknown_fields=True):
    sort: Sort = "newest"


class ReviewPage(Struct):
    total: int
    page: int
    size: int
    average: float
    histogram: dict[str, int]
    reviews: list[ReviewCard]


@routes.get("/products/{id}/reviews")
@operation(query=ReviewList, answers={200: Answer(ReviewPage, headers=("Link",))}, problems=(NotFound,))
async def browse(request: web.Request) -> web.Response:
    """List a product's reviews, the newest first by default."""
    wanted = parameters(request, ReviewList)
    product_id = await _product(request)

    found = await read(request, ListReviews(product_id, wanted.wanted, wanted.sort), Reviews)

    body = ReviewPage(found.total, wanted.page, wanted.size, found.average, found.histogram, found.cards)
    return listed(request, body, found.total, wanted.wanted)


@routes.post("/products/{id}/reviews")
@operation(
    access=SIGNED_IN,
    body=NewReview,
    answers={201: Answer(ReviewCard, headers=("ETag", "Location"))},
    problems=(NotFound, buyer.Reason.NOT_OWNED, buyer.Reason.ALREADY_REVIEWED),
)
async def write(request: web.Request) -> web.Response:
    """Review a product that the user has bought."""
    author = signed_in(request)

    review_id, card = await write_review(request, author, await decode(request, NewReview))

    location = address_of(request, f"/products/{request.match_info['id']}/reviews/{review_id}")
    return _tagged(card, status=201, headers={"Location": location})


async def write_review(request: web.Request, author: Principal, body: NewReview) -> tuple[str, ReviewCard]:
    """Store a review of the product of the path; give its id and its representation."""
    await request.app[FILES].see_room()
    product_id = await _product(request)
    review = buyer.Review(id_for(request, "review"), body.rating, body.title or "", body.body)

    command = buyer.WriteReview(product_id, review, asked_at(request))
    await ask(request, Address("buyer", author.user_id), command, buyer.ReviewState, principal=author)

    return review.review_id, await _card(request, review.review_id)


@routes.get("/products/{id}/reviews/{reviewId}")
@operation(access=SIGNED_IN_OR_NOT, answers={200: Answer(ReviewCard, headers=("ETag",))}, problems=(NotFound,))
async def show(request: web.Request) -> web.Response:
    """Show one review; a hidden one only to its author and to admins."""
    return _tagged(await _addressed(request, somebody(request)))


@routes.patch("/products/{id}/reviews/{reviewId}")
@operation(
    access=SIGNED_IN,
    body=ReviewChange,
    answers={200: Answer(ReviewCard, headers=("ETag",))},
    takes=("If-Match",),
    problems=(NotFound, Forbidden, buyer.Reason.NO_SUCH_REVIEW),
)
async def edit(request: web.Request) -> web.Response:
    """Change the user's own review."""
    author = signed_in(request)
    body, versions = await decode(request, ReviewChange), expected(request)
    card = await _own(request, author)

    now_ms, title = request.app[CLOCK].now_ms(), "" if body.title is None else body.title
    command = buyer.EditReview(card.product_id, card.id, now_ms, body.rating, title, body.body, versions)
    await tell(request, Address("buyer", card.author_id), command, principal=author)

    return _tagged(await _card(request, card.id))


@routes.delete("/products/{id}/reviews/{reviewId}")
@operation(
    access=SIGNED_IN,
    answers={204: Answer()},
    takes=("If-Match",),
    problems=(NotFound, Forbidden, buyer.Reason.NO_SUCH_REVIEW),
)
async def delete(request: web.Request) -> web.Response:
    """Delete the user's own review."""
    author = signed_in(request)
    card = await _own(request, author)
    command = buyer.DeleteReview(card.product_id, card.id, expected(request))
    await tell(request, Address("buyer", card.author_id), command, principal=author)
    return web.Response(status=204)


@routes.post("/products/{id}/reviews/{reviewId}/reply")
@operation(
    access=SELLERS,
    body=ReplyBody,
    answers={201: Answer(ReviewCard)},
    problems=(NotFound, buyer.Reason.NO_SUCH_REVIEW, buyer.Reason.NOT_YOUR_SALE),
)
async def reply(request: web.Request) -> web.Response:
    """Reply to a review of the seller's product; a later reply replaces an earlier one."""
    seller = signed_in(request, "seller")
    body = await decode(request, ReplyBody)
    card = await _addressed(request, seller)

    command = buyer.ReplyToReview(card.product_id, card.id, seller.user_id, body.body, asked_at(request))
    await tell(request, Address("buyer", card.author_id), command, principal=seller)

    return answered(await _card(request, card.id), status=201)


@routes.post("/products/{id}/reviews/{reviewId}/hide")
@operation(
    access=ADMINS,
    body=HideBody,
    answers={200: Answer(ReviewCard)},
    problems=(NotFound, buyer.Reason.NO_SUCH_REVIEW),
)
async def hide(request: web.Request) -> web.Response:
    """Hide a review from everybody but its author and admins, and say why (admins)."""
    admin = signed_in(request, "admin")
    body = await decode(request, HideBody)
    card = await _addressed(request, admin)

    command = buyer.HideReview(card.product_id, card.id, admin.user_id, body.reason, asked_at(request))
    await tell(request, Address("buyer", card.author_id), command, principal=admin)

    return answered(await _card(request, card.id))


@routes.post("/products/{id}/reviews/{reviewId}/show")
@operation(access=ADMINS, answers={200: Answer(ReviewCard)}, problems=(NotFound, buyer.Reason.NO_SUCH_REVIEW))
async def show_again(request: web.Request) -> web.Response:
    """Make a hidden review visible again (admins)."""
    admin = signed_in(request, "admin")
    card = await _addressed(request, admin)
    command = buyer.ShowReview(card.product_id, card.id, admin.user_id, asked_at(request))
    await tell(request, Address("buyer", card.author_id), command, principal=admin)
    return answered(await _card(request, card.id))


def _tagged(card: ReviewCard, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Answer with a review, tagged with the version that its author's actor keeps."""
    version = buyer.Review(card.id, card.rating, card.title, card.body).version
    return shown(card, version=version, status=status, headers=headers)


async def _product(request: web.Request) -> str:
    product_id = request.match_info["id"]
    if await find(request, ReadProduct(product_id), EncodedProduct) is None:
        raise NotFound("no such product")
    return product_id


async def _addressed(request: web.Request, viewer: Principal | None) -> ReviewCard:
    """Find the review of the path, unless it is hidden from the viewer."""
    found = await find(request, FindReview(request.match_info["reviewId"]), ReviewFound)
    if found is None or found.card.product_id != request.match_info["id"]:
        raise NotFound("no such review")
    sees_hidden = viewer is not None and (viewer.role == "admin" or viewer.user_id == found.card.author_id)
    if found.card.hidden and not sees_hidden:
        raise NotFound("no such review")
    return found.card


async def _own(request: web.Request, author: Principal) -> ReviewCard:
    """The same, and check that the user wrote it."""
    card = await _addressed(request, author)
    if card.author_id != author.user_id:
        raise Forbidden("the review is somebody else's")
    return card


async def _card(request: web.Request, review_id: str) -> ReviewCard:
    return (await read(request, FindReview(review_id), ReviewFound)).card
