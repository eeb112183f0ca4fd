"""The endpoint for shop pages: all that a page shows of a product, in one response."""

from typing import Final

from aiohttp import web
from msgspec import Struct
from msgspec.structs import asdict

from marketd.clock import Instant
from marketd.http.etags import shown
from marketd.http.gathering import Gathering
from marketd.http.identity import somebody
from marketd.http.keys import LIMITS
from marketd.http.operation import SIGNED_IN_OR_NOT, Answer, operation
from marketd.http.parts import access_of, newest_reviews, product_of, related_to, seller_card
from marketd.http.problems import NotFound
from marketd.http.tokens import Principal
from marketd.http.visits import note_visit
from marketd.storage.catalog import ProductCard, Rating
from marketd.storage.people import Seller
from marketd.storage.reviews import ReviewCard, Reviews

routes = web.RouteTableDef()

KEPT: Final = ("ETag", "Cache-Control")

REVIEWS: Final = 10


class FullRating(Rating, frozen=True):
    """`histogram` has a count for each rating; it is empty if it could not be read."""

    histogram: dict[str, int]


class SellerCard(Struct, frozen=True, rename="camel"):
    """A seller as buyers see them: `products` are those on sale, `rating` is that of all products they ever sold."""

    id: str
    name: str
    products: int
    rating: Rating
    member_since: Instant


class ProductPage(ProductCard, frozen=True, kw_only=True, rename="camel"):
    """A product with what is shown around it; `degraded` names the parts that are missing."""

    rating: FullRating
    reviews: list[ReviewCard]
    related_products: list[ProductCard]
    seller: SellerCard | None
    has_access: bool
    degraded: list[str]


@routes.get("/web/products/{id}")
@operation(
    access=SIGNED_IN_OR_NOT,
    answers={200: Answer(ProductPage, headers=KEPT)},
    problems=(NotFound,),
)
async def show(request: web.Request) -> web.Response:
    """Show a product to a page, with its reviews, its seller, related products, and whether the user owns it."""
    viewer = somebody(request)

    body = await page_of(request, viewer)

    kept = "private, no-cache" if viewer else "no-cache"  # a page has to be current; revalidating costs a 304
    return shown(body, headers={"Cache-Control": kept, "Vary": "Authorization"})


async def page_of(request: web.Request, viewer: Principal | None) -> ProductPage:
    """Gather what is shown of the product of the path."""
    card = await product_of(request)
    note_visit(request, card.seller_id, card.id, viewer)
    limits = request.app[LIMITS].parts

    async with Gathering(request) as parts:
        reviews = parts.add(
            "reviews", newest_reviews(request, card.id, REVIEWS), limits.reviews_wait_s_max, empty=_unknown(card)
        )
        related = parts.add("relatedProducts", related_to(request, card.id), limits.related_wait_s_max, empty=[])
        seller = parts.add("seller", seller_card(request, card.seller_id), limits.seller_wait_s_max, empty=None)
        access = parts.add("hasAccess", access_of(request, viewer, card.id), limits.access_wait_s_max, empty=False)

    found = reviews.result()
    around = {
        "rating": FullRating(found.average, found.total, found.histogram),
        "reviews": found.cards,
        "related_products": related.result(),
        "seller": _seller(seller.result()),
        "has_access": access.result(),
        "degraded": parts.degraded,
    }
    return ProductPage(**(asdict(card) | around))


def _unknown(card: ProductCard) -> Reviews:
    """Give what is known of the reviews without reading them."""
    return Reviews(card.rating.count, card.rating.average, {}, [])


def _seller(seller: Seller | None) -> SellerCard | None:
    if seller is None:
        return None
    return SellerCard(seller.user_id, seller.name, seller.products, seller.rating, seller.member_since)
