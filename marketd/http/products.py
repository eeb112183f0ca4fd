"""Products over HTTP: listing, changing, finding and showing them."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, ClassVar, Final

import msgspec
from aiohttp import hdrs, web
from msgspec import UNSET, Meta, Struct, UnsetType

from marketd.actors import buyer, product
from marketd.actors.address import Address
from marketd.actors.aggregate import Expected
from marketd.actors.money import CURRENCIES, Money, decimals, from_amount
from marketd.http.answers import answered, links
from marketd.http.asking import ask, find, read, tell
from marketd.http.bodies import (
    SEEN,
    UNSEEN,
    Currency,
    Examined,
    FileName,
    LongText,
    MediaType,
    Paging,
    Price,
    ShortLine,
    Title,
    examine,
    formed,
    parameters,
    price_of,
)
from marketd.http.client import address_of
from marketd.http.doing import asked_at, id_for
from marketd.http.etags import expected, tag_of, tagged
from marketd.http.identity import signed_in, somebody
from marketd.http.kept import Page
from marketd.http.keys import CARDS, CLOCK, FILES, PAGES
from marketd.http.operation import SELLERS, SIGNED_IN, SIGNED_IN_OR_NOT, Answer, holding, operation
from marketd.http.problems import Fault, NotFound
from marketd.http.tokens import Principal
from marketd.http.visits import note_visit
from marketd.storage.cards import EncodedProduct, ReadProduct
from marketd.storage.catalog import BrowseProducts, ProductCard, Sort
from marketd.storage.files import digest_of
from marketd.storage.finding import FindRelated, FoundPage, Related, Suggest, Suggestions

routes = web.RouteTableDef()

PRODUCT: Final = "/products/{id:(?!suggest$)[^/]+}"  # so that /products/suggest has its own `Allow`

FILES_MAX: Final = 50
PREVIEWS_MAX: Final = 20
LICENCE_KEYS_MAX: Final = 10_000
STOCK_MAX: Final = 1_000_000_000
PRICE_BOUND_MAX: Final = 1_000_000_000
FOR_ALL: Final[dict[str, str]] = {hdrs.VARY: "Authorization"}
FOR_ONE: Final[dict[str, str]] = {hdrs.VARY: "Authorization", hdrs.CACHE_CONTROL: "private"}

_HOST: Final = rf"[^\s/?#@:\[\]\\<>^|{UNSEEN}]+|\[[0-9A-Fa-f:.]+\]"
_PORT: Final = "6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}"
_FILE_ADDRESS: Final = (
    rf"upload://[0-9a-f]{{64}}|https://(?:{_HOST})(?::(?:{_PORT})?)?(?:[/?#][^\s{UNSEEN}]*)?"  # RFC 3986, section 3
)
_LICENCE_KEY: Final = rf"{SEEN}(?:[^{UNSEEN}]*{SEEN})?"


FileAddress = Annotated[
    str, Meta(max_length=2048, **formed(_FILE_ADDRESS, "Expected the address of an upload, or one of https"))
]
LicenceKey = Annotated[
    str, Meta(min_length=1, max_length=500, **formed(_LICENCE_KEY, "Expected one line without spaces around it"))
]
Stock = Annotated[int, Meta(ge=0, le=STOCK_MAX)]


def _bound_fault(price: Decimal) -> str | None:
    return None if price.is_finite() and 0 <= price <= PRICE_BOUND_MAX else "Expected a number from 0 to a billion"


def _rating_fault(rating: Decimal) -> str | None:
    fits = rating.is_finite() and 0 <= rating <= 5 and rating == round(rating, 2)
    return None if fits else "Expected a number from 0 to 5 with at most two decimals"


PriceBound = Annotated[
    Decimal,
    Meta(extra={"check": _bound_fault}, extra_json_schema={"minimum": 0, "maximum": PRICE_BOUND_MAX}),
]
RatingBound = Annotated[
    Decimal,
    Meta(extra={"check": _rating_fault}, extra_json_schema={"minimum": 0, "maximum": 5, "multipleOf": 0.01}),
]


WHOLE_CURRENCIES: Final = frozenset(currency for currency in CURRENCIES if not decimals(currency))


class FileBody(Struct, forbid_unknown_fields=True):
    """`url` is an upload of the seller's own or an https address; `size` is in bytes."""

    name: FileName
    type: MediaType
    size: Annotated[int, Meta(ge=0, le=2**53)]
    url: FileAddress


class PreviewBody(Struct, forbid_unknown_fields=True):
    name: FileName
    type: MediaType
    url: FileAddress


FileBodies = Annotated[list[FileBody], Meta(min_length=1, max_length=FILES_MAX)]
PreviewBodies = Annotated[list[PreviewBody], Meta(max_length=PREVIEWS_MAX)]
LicenceKeys = Annotated[list[LicenceKey], Meta(max_length=LICENCE_KEYS_MAX, extra_json_schema={"uniqueItems": True})]

# The reasons why a product can't be changed.
NOT_TO_CHANGE: Final = (product.Reason.NO_SUCH_PRODUCT, product.Reason.NOT_YOUR_PRODUCT)


# A price is whole if its currency has no minor unit. (No schema can say that there are keys for the whole stock.)
FITTING_PRICE: Final = {
    "if": {"properties": {"currency": {"enum": sorted(WHOLE_CURRENCIES)}}, "required": ["currency"]},
    "then": {"properties": {"price": {"multipleOf": 1}}},
}


class NewProduct(Struct, forbid_unknown_fields=True, rename="camel"):
    """`stock` null means unlimited; each order gets one of the `licenceKeys`."""

    also: ClassVar = FITTING_PRICE

    title: Title
    description: LongText
    price: Price
    category: ShortLine
    files: FileBodies
    currency: Currency = "USD"
    previews: PreviewBodies = []
    stock: Stock | None = None
    licence_keys: LicenceKeys = []


class ProductChange(Struct, forbid_unknown_fields=True, rename="camel"):
    """Changes the fields that are given; `stock` sets what is left, `licenceKeys` are added to those left."""

    also: ClassVar = FITTING_PRICE

    title: Title | UnsetType = UNSET
    description: LongText | UnsetType = UNSET
    price: Price | UnsetType = UNSET
    currency: Currency | UnsetType = UNSET
    category: ShortLine | UnsetType = UNSET
    files: FileBodies | UnsetType = UNSET
    previews: PreviewBodies | UnsetType = UNSET
    stock: Stock | None | UnsetType = UNSET
    licence_keys: LicenceKeys = []


class BrowseParameters(Paging, frozen=True, forbid_unknown_fields=True, rename="camel"):
    q: Annotated[str, Meta(max_length=500)] = ""
    category: Annotated[str, Meta(max_length=100)] | None = None
    min_price: PriceBound | None = None
    max_price: PriceBound | None = None
    seller: Annotated[str, Meta(max_length=64)] | None = None
    min_rating: RatingBound | None = None
    sort: Sort = "relevance"


class SuggestParameters(Struct, forbid_unknown_fields=True):
    q: Annotated[str, Meta(min_length=1, max_length=100)]


class SuggestionList(Struct, rename="camel"):
    suggestions: list[str]
    did_you_mean: str | None


class Facets(Struct):
    category: dict[str, int]


class ScoredProduct(ProductCard, frozen=True, rename="camel"):
    """A product, and how well it matches the search; 0 without one."""

    score: float


class FoundProducts(Struct):
    """One page of results, and the number of all results in each category."""

    total: int
    page: int
    size: int
    products: list[Annotated[msgspec.Raw, holding(ScoredProduct)]]
    facets: Facets


class RelatedProducts(Struct):
    products: list[Annotated[msgspec.Raw, holding(ProductCard)]]


class HasAccess(Struct, rename="camel"):
    has_access: bool


# The most requested route comes first: routes that begin alike are tried in order.


@routes.get(PRODUCT)
@operation(
    access=SIGNED_IN_OR_NOT,
    answers={200: Answer(ProductCard, headers=("ETag",), maybe=("Cache-Control",))},
    problems=(NotFound,),
)
async def show(request: web.Request) -> web.Response:
    """Show a product; only its seller sees the addresses of its files."""
    viewer = somebody(request)
    product_id = request.match_info["id"]

    shown = request.app[CARDS].kept(product_id) or await find(request, ReadProduct(product_id), EncodedProduct)

    if shown is None:
        raise NotFound("no such product")
    note_visit(request, shown.seller_id, product_id, viewer)
    if viewer and viewer.user_id == shown.seller_id:
        return tagged(shown.own, tag=own_tag(shown), headers=FOR_ONE)
    return tagged(shown.public, tag=shown.tag, headers=FOR_ALL)


@routes.patch(PRODUCT)
@operation(
    access=SELLERS,
    body=ProductChange,
    answers={200: Answer(ProductCard, headers=("ETag",))},
    problems=(NotFound, *NOT_TO_CHANGE, product.Reason.WITHDRAWN, product.Reason.TOO_MANY_KEYS),
    takes=("If-Match",),
)
async def revise(request: web.Request) -> web.Response:
    """Change a product."""
    seller = signed_in(request, "seller")

    shown = await change_product(request, seller, await examine(request, ProductChange), expected(request))

    return tagged(shown.own, tag=own_tag(shown))


async def change_product(
    request: web.Request, seller: Principal, change: Examined[ProductChange], versions: Expected = None
) -> EncodedProduct:
    """Change the product of the path; give its new representation."""
    address = _address(request)
    await request.app[FILES].see_room()
    body = change.body(await _faults(request, seller, change.fitting))
    described = await ask(request, address, product.Describe(), product.Description, principal=seller)
    change.body(_price_faults(body, described.offer.price))
    await _publish(request, body)
    command = product.Revise(
        seller_id=seller.user_id,
        at=_now(request),
        title=body.title,
        description=body.description,
        price=_changed_price(body, described.offer.price),
        category=body.category,
        files=UNSET if body.files is UNSET else _files(body.files),
        previews=UNSET if body.previews is UNSET else _previews(body.previews),
        stock=body.stock,
        licence_keys=tuple(body.licence_keys),
        expected=versions,
    )

    await tell(request, address, command, principal=seller)

    return await read(request, ReadProduct(address.key), EncodedProduct)


@routes.delete(PRODUCT)
@operation(access=SELLERS, answers={204: Answer()}, problems=(NotFound, *NOT_TO_CHANGE), takes=("If-Match",))
async def withdraw(request: web.Request) -> web.Response:
    """Take a product off sale."""
    await take_off_sale(request, signed_in(request, "seller"), expected(request))
    return web.Response(status=204)


async def take_off_sale(request: web.Request, seller: Principal, versions: Expected = None) -> None:
    """Take the product of the path off sale."""
    command = product.Withdraw(seller.user_id, _now(request), versions)
    await tell(request, _address(request), command, principal=seller)


@routes.post("/products")
@operation(
    access=SELLERS,
    body=NewProduct,
    answers={201: Answer(ProductCard, headers=("ETag", "Location"))},
)
async def list_product(request: web.Request) -> web.Response:
    """Put a product on sale."""
    seller = signed_in(request, "seller")

    product_id, shown = await put_on_sale(request, seller, await examine(request, NewProduct))

    headers = {"Location": address_of(request, f"/products/{product_id}")}
    return tagged(shown.own, tag=own_tag(shown), status=201, headers=headers)


async def put_on_sale(request: web.Request, seller: Principal, new: Examined[NewProduct]) -> tuple[str, EncodedProduct]:
    """Put this seller's product on sale; give its id and its representation."""
    await request.app[FILES].see_room()
    body = new.body([*_stock_faults(new.fitting), *await _faults(request, seller, new.fitting)])
    await _publish(request, body)
    offer = product.Offer(
        title=body.title,
        description=body.description,
        price=from_amount(price_of(body.price), body.currency),
        category=body.category,
        files=_files(body.files),
        previews=_previews(body.previews),
    )
    keys = tuple(body.licence_keys)
    address = Address("product", id_for(request, "product"))

    command = product.List(seller.user_id, offer, body.stock, keys, asked_at(request))
    await tell(request, address, command, principal=seller)

    return address.key, await read(request, ReadProduct(address.key), EncodedProduct)


@routes.get("/products")
@operation(
    query=BrowseParameters,
    answers={200: Answer(FoundProducts, headers=("ETag", "Cache-Control", "X-Data-Source", "Link"))},
)
async def browse(request: web.Request) -> web.Response:
    """Find products."""
    pages, query = request.app[PAGES], request.rel_url.raw_query_string
    page = pages.get(query)
    if page is None:
        changes = pages.changes
        page, is_lasting = await _found(request)
        if is_lasting:
            pages.keep(query, page, changes)
    response = tagged(page.body, tag=page.tag, headers=page.headers)
    for link in page.links:
        response.headers.add("Link", link)
    return response


async def _found(request: web.Request) -> tuple[Page, bool]:
    """Make a page, and say whether it may be cached: what the database answers while the index is down may not."""
    wanted = parameters(request, BrowseParameters)
    query = BrowseProducts(
        q=wanted.q,
        category=wanted.category,
        min_price=wanted.min_price,
        max_price=wanted.max_price,
        seller=wanted.seller,
        min_rating=wanted.min_rating,
        sort=wanted.sort,
        page=wanted.wanted,
    )
    found = await read(request, query, FoundPage)
    products = [msgspec.Raw(b'%b,"score":%g}' % (p.card[:-1], p.score)) for p in found.products]
    body = FoundProducts(found.total, wanted.page, wanted.size, products, Facets(found.categories))
    written = msgspec.json.encode(body)
    page = Page(
        body=written,
        tag=tag_of(written),
        headers={"Cache-Control": "max-age=60", "X-Data-Source": found.source},
        links=tuple(links(request, found.total, wanted.wanted)),
        product_ids=frozenset(product.product_id for product in found.products),
    )
    return page, found.source == "index"


@routes.get("/products/suggest")
@operation(query=SuggestParameters, answers={200: Answer(SuggestionList, headers=("Cache-Control",))})
async def suggest(request: web.Request) -> web.Response:
    """Complete a search text."""
    wanted = parameters(request, SuggestParameters)
    found = await read(request, Suggest(wanted.q), Suggestions)
    return answered(SuggestionList(found.titles, found.did_you_mean), headers={"Cache-Control": "max-age=60"})


@routes.get("/products/{id}/related")
@operation(answers={200: Answer(RelatedProducts, headers=("Cache-Control",))}, problems=(NotFound,))
async def related(request: web.Request) -> web.Response:
    """Show related products: what a product's buyers also bought, then similar ones."""
    product_id = request.match_info["id"]
    if await find(request, ReadProduct(product_id), EncodedProduct) is None:
        raise NotFound("no such product")

    found = await read(request, FindRelated(product_id), Related)

    products = [msgspec.Raw(card) for card in found.cards]
    return answered(RelatedProducts(products), headers={"Cache-Control": "max-age=60"})


@routes.get("/products/{id}/access")
@operation(access=SIGNED_IN, answers={200: Answer(HasAccess)}, problems=(NotFound,))
async def access(request: web.Request) -> web.Response:
    """Say whether the user owns the product."""
    viewer = signed_in(request)
    product_id = request.match_info["id"]
    if await find(request, ReadProduct(product_id), EncodedProduct) is None:
        raise NotFound("no such product")

    checked = await ask(request, Address("buyer", viewer.user_id), buyer.CheckAccess(product_id), buyer.Access)

    return answered(HasAccess(checked.has_access))


def own_tag(card: EncodedProduct) -> str:
    """The tag of a product as its seller sees it, which shows more than others see."""
    return f"{card.tag}-own" if card.tag else ""


def _address(request: web.Request) -> Address:
    address = Address("product", request.match_info["id"])
    if not address.is_sound:
        raise NotFound("no such product")
    return address


# Faults of several fields together, or of what they refer to. Fields that don't fit are UNSET.


async def _faults(request: web.Request, seller: Principal, body: NewProduct | ProductChange) -> list[Fault]:
    """Name every fault for this seller that can be found without asking the product's actor."""
    return [*_price_faults(body), *_key_faults(body), *await _upload_faults(request, seller, body)]


def _price_faults(body: NewProduct | ProductChange, old: Money | None = None) -> list[Fault]:
    """Check that price and currency fit each other; the one that is not given is the `old` one."""
    amount = price_of(body.price) if body.price is not UNSET else old.amount if old else None
    currency = body.currency if body.currency is not UNSET else old.currency if old else None
    if amount is None or currency is None:
        return []
    try:
        from_amount(amount, currency)
    except ValueError as error:
        return [Fault("/price", str(error))]
    return []


def _key_faults(body: NewProduct | ProductChange) -> list[Fault]:
    keys = body.licence_keys or []
    first = {key: index for index, key in reversed(list(enumerate(keys)))}
    return [Fault(f"/licenceKeys/{i}", "Given more than once") for i, key in enumerate(keys) if first[key] != i]


def _stock_faults(body: NewProduct) -> list[Fault]:
    """Check that a new product has keys for its stock; of an existing one, its actor knows what is left."""
    is_short = body.licence_keys and (body.stock or 0) > len(body.licence_keys)
    return [Fault("/stock", product.Reason.MORE_STOCK_THAN_KEYS.value)] if is_short else []


async def _upload_faults(request: web.Request, seller: Principal, body: NewProduct | ProductChange) -> list[Fault]:
    """Check that uploads are the seller's own and have the given size."""
    store, faults = request.app[FILES], []
    for index, file in enumerate(body.files or []):
        if file.url and (digest := digest_of(file.url)):
            size = await store.size_if_owned(digest, seller.user_id)
            if size is None:
                faults.append(Fault(f"/files/{index}/url", "Expected an upload of your own"))
            elif size != file.size:
                faults.append(Fault(f"/files/{index}/size", f"Expected {size}, the size of the upload"))
    for index, preview in enumerate(body.previews or []):
        digest = preview.url and digest_of(preview.url)
        if digest and await store.size_if_owned(digest, seller.user_id) is None:
            faults.append(Fault(f"/previews/{index}/url", "Expected an upload of your own"))
    return faults


async def _publish(request: web.Request, body: NewProduct | ProductChange) -> None:
    """Make the uploads public that are now previews."""
    for preview in body.previews or []:
        if digest := digest_of(preview.url):
            await request.app[FILES].publish(digest, preview.type)


def _files(files: Sequence[FileBody]) -> tuple[product.File, ...]:
    return tuple(product.File(file.name, file.type, file.size, file.url) for file in files)


def _previews(previews: Sequence[PreviewBody]) -> tuple[product.Preview, ...]:
    return tuple(product.Preview(preview.name, preview.type, preview.url) for preview in previews)


def _changed_price(body: ProductChange, old: Money) -> Money | UnsetType:
    if body.price is UNSET and body.currency is UNSET:
        return UNSET
    amount = old.amount if body.price is UNSET else price_of(body.price)
    return from_amount(amount, old.currency if body.currency is UNSET else body.currency)


def _now(request: web.Request) -> int:
    return request.app[CLOCK].now_ms()
