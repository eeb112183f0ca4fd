"""Endpoints for apps: a screen in one response, with short texts and small images."""

from decimal import Decimal
from typing import Any, Final, Literal

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict

from marketd.actors import product
from marketd.clock import Instant
from marketd.http.asking import read
from marketd.http.etags import shown
from marketd.http.gathering import Gathering, together
from marketd.http.identity import somebody
from marketd.http.keys import LIMITS
from marketd.http.operation import SIGNED_IN_OR_NOT, Answer, operation
from marketd.http.parts import access_of, cards_of, newest_reviews, product_of, related_to
from marketd.http.problems import NotFound
from marketd.http.tokens import Principal
from marketd.http.visits import note_visit
from marketd.storage.catalog import PREVIEWS, BrowseProducts, CardFile, ProductCard, Rating, Sort
from marketd.storage.finding import FoundPage
from marketd.storage.images import has_variant
from marketd.storage.library import Library, LibraryEntry, ReadLibrary
from marketd.storage.pages import Page
from marketd.storage.reviews import ReviewCard

routes = web.RouteTableDef()

KEPT: Final = ("ETag", "Cache-Control")

DESCRIPTION_CHARACTERS_MAX: Final = 200
REVIEWS: Final = 3
LISTED: Final = 10
CATEGORIES: Final = 6
LISTED_BY_CATEGORY: Final = 4
PURCHASES: Final = 10
ORIGINAL: Final = "/original/"
MOBILE: Final = "/mobile/"


class MobilePreview(Struct, frozen=True, rename="camel"):
    """`mobileUrl` is a smaller variant, which every image has."""

    name: str
    type: str
    url: str
    mobile_url: str | UnsetType = UNSET


class MobileCard(Struct, frozen=True, kw_only=True, rename="camel"):
    """A product as apps show it; it has either a `description` or, if that is long, a `shortDescription`."""

    id: str
    seller_id: str
    seller_name: str
    title: str
    description: str | UnsetType = UNSET
    short_description: str | UnsetType = UNSET
    price: Decimal
    currency: str
    category: str
    files: list[CardFile]
    previews: list[MobilePreview]
    status: Literal["active", "withdrawn"]
    stock: int | None
    rating: Rating
    created_at: Instant
    updated_at: Instant


class MobileProduct(MobileCard, frozen=True, kw_only=True, rename="camel"):
    """A product with what is shown around it; `degraded` names the parts that are missing."""

    reviews: list[ReviewCard]
    related_products: list[MobileCard]
    has_access: bool
    degraded: list[str]


class CategoryShelf(Struct, frozen=True):
    """The best-selling products of a category that has `total` of them."""

    category: str
    total: int
    products: list[MobileCard]


class MobileHome(Struct, frozen=True):
    """The start screen of an app; `purchases` are the user's own, none if not signed in."""

    newest: list[MobileCard]
    bestselling: list[MobileCard]
    categories: list[CategoryShelf]
    purchases: list[LibraryEntry]
    degraded: list[str]


@routes.get("/mobile/products/{id}")
@operation(
    access=SIGNED_IN_OR_NOT,
    answers={200: Answer(MobileProduct, headers=KEPT)},
    problems=(NotFound,),
)
async def show(request: web.Request) -> web.Response:
    """Show a product to an app, with its newest reviews, related products, and whether the user owns it."""
    viewer = somebody(request)
    card = await product_of(request)
    note_visit(request, card.seller_id, card.id, viewer)
    limits = request.app[LIMITS].parts

    async with Gathering(request) as parts:
        reviews = parts.add("reviews", _reviews(request, card.id), limits.reviews_wait_s_max, empty=[])
        related = parts.add("relatedProducts", related_to(request, card.id), limits.related_wait_s_max, empty=[])
        access = parts.add("hasAccess", access_of(request, viewer, card.id), limits.access_wait_s_max, empty=False)

    body = MobileProduct(
        **_fields(card),
        reviews=reviews.result(),
        related_products=[_cut(other) for other in related.result()],
        has_access=access.result(),
        degraded=parts.degraded,
    )
    return shown(body, headers=_headers(viewer, body.degraded, "max-age=300", "private, max-age=300"))


@routes.get("/mobile/home")
@operation(
    access=SIGNED_IN_OR_NOT,
    answers={200: Answer(MobileHome, headers=KEPT)},
)
async def home(request: web.Request) -> web.Response:
    """
    Give an app's start screen: the newest and best-selling products, a few of each category, and the user's purchases.
    """
    viewer = somebody(request)
    limits = request.app[LIMITS].parts

    async with Gathering(request) as parts:
        newest = parts.add("newest", _listed(request, "newest"), limits.lists_wait_s_max, empty=[])
        bestselling = parts.add("bestselling", _listed(request, "bestselling"), limits.lists_wait_s_max, empty=[])
        categories = parts.add("categories", _categories(request), limits.lists_wait_s_max, empty=[])
        purchases = parts.add("purchases", _purchases(request, viewer), limits.purchases_wait_s_max, empty=[])

    body = MobileHome(
        newest.result(), bestselling.result(), categories.result(), purchases.result(), degraded=parts.degraded
    )
    # A user who has just bought something wants to see it: their copy is cached, but revalidated each time.
    return shown(body, headers=_headers(viewer, body.degraded, "max-age=60", "private, no-cache"))


async def _reviews(request: web.Request, product_id: str) -> list[ReviewCard]:
    return (await newest_reviews(request, product_id, REVIEWS)).cards


async def _listed(request: web.Request, sort: Sort) -> list[MobileCard]:
    found = await _find(request, BrowseProducts(sort=sort, page=Page(1, LISTED)))
    return _shelved(found)


async def _categories(request: web.Request) -> list[CategoryShelf]:
    """Give the largest categories, each with a few products."""
    everything = await _find(request, BrowseProducts(page=Page(1, 1)))
    largest = sorted(everything.categories.items(), key=lambda counted: (-counted[1], counted[0]))[:CATEGORIES]

    async def shelf(category: str, total: int) -> CategoryShelf:
        query = BrowseProducts(category=category, sort="bestselling", page=Page(1, LISTED_BY_CATEGORY))
        return CategoryShelf(category, total, _shelved(await _find(request, query)))

    return await together(shelf(category, total) for category, total in largest)


async def _find(request: web.Request, query: BrowseProducts) -> FoundPage:
    return await read(request, query, FoundPage, wait_s=request.app[LIMITS].parts.lists_wait_s_max)


async def _purchases(request: web.Request, viewer: Principal | None) -> list[LibraryEntry]:
    if viewer is None:
        return []
    query, wait_s = ReadLibrary(viewer.user_id, Page(1, PURCHASES)), request.app[LIMITS].parts.purchases_wait_s_max
    return (await read(request, query, Library, wait_s=wait_s)).entries


def _shelved(found: FoundPage) -> list[MobileCard]:
    return [_cut(card) for card in cards_of(product.card for product in found.products)]


def _cut(card: ProductCard) -> MobileCard:
    return MobileCard(**_fields(card))


def _fields(card: ProductCard) -> dict[str, Any]:
    """Give the fields of a product with its description cut and a smaller variant of each image."""
    fields = asdict(card) | {"previews": [_preview(preview) for preview in card.previews]}
    if len(card.description) > DESCRIPTION_CHARACTERS_MAX:
        fields["short_description"] = f"{fields.pop('description')[:DESCRIPTION_CHARACTERS_MAX]}..."
    return fields


def _preview(preview: product.Preview) -> MobilePreview:
    name, media_type, url = preview.name, preview.type, preview.url
    return MobilePreview(name, media_type, url, _mobile_url(url, media_type))


def _mobile_url(url: str, media_type: str) -> str | UnsetType:
    """Give the URL of an image's smaller variant; on other hosts it follows a convention, and may not exist."""
    if not media_type.startswith("image/"):
        return UNSET
    if url.startswith(PREVIEWS):
        return f"{url}/mobile" if has_variant(media_type) else url
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")  # a host may be called `original` too
    return f"{scheme}{separator}{host}{(slash + path).replace(ORIGINAL, MOBILE, 1)}"


def _headers(viewer: Principal | None, degraded: list[str], for_all: str, for_one: str) -> dict[str, str]:
    """Say how long the response may be cached; one with parts missing has to be revalidated."""
    kept = for_one if viewer else for_all
    return {"Cache-Control": "no-cache" if degraded else kept, "Vary": "Authorization"}
