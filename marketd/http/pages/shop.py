"""The shop: the products for sale, and the page of a product."""

from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

from aiohttp import web
from msgspec import Meta

from marketd.actors.money import from_amount
from marketd.clock import new_id
from marketd.http.asking import read
from marketd.http.bodies import Paging
from marketd.http.keys import CLOCK, LIMITS
from marketd.http.operation import SIGNED_IN_OR_NOT, Answer, Bytes, operation
from marketd.http.pages.forms import looked_for
from marketd.http.pages.frame import HTML, shown_to_anybody
from marketd.http.pages.web_session import viewer
from marketd.http.parts import cards_of
from marketd.http.problems import NotFound
from marketd.http.products import PriceBound, RatingBound
from marketd.http.storefront import page_of
from marketd.storage.catalog import BrowseProducts, Sort
from marketd.storage.finding import FoundPage

routes = web.RouteTableDef()

SORTS: Final[dict[Sort, str]] = {
    "relevance": "Best match",
    "newest": "Newest",
    "bestselling": "Best selling",
    "rating": "Best rated",
    "price": "Price, low first",
    "-price": "Price, high first",
}
CARDS: Final = {
    "pm_card_visa": "Visa, which pays",
    "pm_card_mastercard": "Mastercard, which pays",
    "pm_card_chargeDeclined": "A card that is declined",
    "pm_card_chargeDeclinedInsufficientFunds": "A card without funds",
    "pm_card_chargeDeclinedExpiredCard": "A card that has expired",
    "pm_card_refundFail": "A card that takes nothing back",
}
RATINGS: Final = (4, 3, 2)
SIZE: Final = 24


class Search(Paging, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """
    A visitor's search; `part` is the part of the page that a script reloads. Fields that a form left empty are missing.
    """

    size: Annotated[int, Meta(ge=1, le=100)] = SIZE
    q: Annotated[str, Meta(max_length=500)] = ""
    category: Annotated[str, Meta(max_length=100)] = ""
    min_price: PriceBound | None = None
    max_price: PriceBound | None = None
    min_rating: RatingBound | None = None
    seller: Annotated[str, Meta(max_length=64)] = ""
    sort: Sort = "relevance"
    part: Literal["results"] | None = None


@routes.get("/")
@operation(access=SIGNED_IN_OR_NOT, query=Search, answers={200: Answer(Bytes, HTML)}, part_of="page")
async def home(request: web.Request) -> web.Response:
    """Show the products for sale that match the search."""
    await viewer(request)
    wanted = looked_for(request, Search)

    query = BrowseProducts(
        q=wanted.q,
        category=wanted.category or None,
        min_price=wanted.min_price,
        max_price=wanted.max_price,
        min_rating=wanted.min_rating,
        seller=wanted.seller or None,
        sort=wanted.sort,
        page=wanted.wanted,
    )
    found = await read(request, query, FoundPage)

    facts: dict[str, Any] = {
        "wanted": wanted,
        "total": found.total,
        "products": cards_of(product.card for product in found.products),
        "categories": found.categories,
        "sorts": SORTS,
        "ratings": RATINGS,
        "keep": _kept(wanted),
        "with_category": lambda name: "?" + _kept(wanted, name),
    }
    return shown_to_anybody(request, "shop-results.html" if wanted.part else "shop.html", **facts)


@routes.get("/shop/products/{id}")
@operation(access=SIGNED_IN_OR_NOT, answers={200: Answer(Bytes, HTML)}, problems=(NotFound,), part_of="page")
async def show(request: web.Request) -> web.Response:
    """Show a product, its reviews, and how to buy it."""
    found = await viewer(request)

    product = await page_of(request, found.principal if found else None)

    mine = found is not None and any(review.author_id == found.principal.user_id for review in product.reviews)
    facts: dict[str, Any] = {
        "product": product,
        "has_reviewed": mine,
        "is_own": found is not None and found.principal.user_id == product.seller_id,
        "cards": CARDS if request.app[LIMITS].has_sandbox_cards else {},
        "once": new_id(request.app[CLOCK]),
        "minor": from_amount(product.price, product.currency).minor,
    }
    return shown_to_anybody(request, "shop-product.html", **facts)


def _kept(wanted: Search, category: str | None = None) -> str:
    """Write the search as a query string, for links to other pages and categories."""
    category = wanted.category if category is None else category
    given = {
        "q": wanted.q,
        "category": category,
        "minPrice": wanted.min_price,
        "maxPrice": wanted.max_price,
        "minRating": wanted.min_rating,
        "seller": wanted.seller,
        "sort": "" if wanted.sort == "relevance" else wanted.sort,
    }
    return "".join(f"{urlencode({name: value})}&" for name, value in given.items() if value not in ("", None))
