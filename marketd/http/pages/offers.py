"""A seller's products: the list, the form for one product, and what its script sends."""

from aiohttp import web
from msgspec import Struct

from marketd.http import products, uploads
from marketd.http.answers import answered
from marketd.http.asking import find, read
from marketd.http.bodies import Paging, examine
from marketd.http.etags import expected
from marketd.http.operation import SELLERS, Answer, Bytes, operation
from marketd.http.pages.dashboard import PAGE
from marketd.http.pages.entrance import ENTERED
from marketd.http.pages.forms import Nothing, looked_for, signed_form
from marketd.http.pages.frame import sent_on, shown
from marketd.http.pages.web_session import sender, viewer_of
from marketd.http.parts import cards_of
from marketd.http.problems import NotFound, WrongContentType
from marketd.http.products import NewProduct, ProductChange, own_tag
from marketd.http.uploads import Upload, UploadParameters
from marketd.storage.cards import EncodedProduct, ReadProduct
from marketd.storage.catalog import BrowseProducts
from marketd.storage.finding import FoundPage

routes = web.RouteTableDef()


class Kept(Struct):
    """The id of a stored product, and the path of its page."""

    id: str
    page: str


@routes.get("/dashboard/products")
@operation(access=SELLERS, query=Paging, answers=PAGE, part_of="page")
async def browse(request: web.Request) -> web.Response:
    """Show a seller's products on sale."""
    viewer = await viewer_of(request, "seller")
    wanted = looked_for(request, Paging)

    query = BrowseProducts(seller=viewer.principal.user_id, sort="newest", page=wanted.wanted)
    found = await read(request, query, FoundPage)

    cards = cards_of(product.card for product in found.products)
    return shown(request, "dashboard-products.html", products=cards, total=found.total, wanted=wanted)


@routes.get("/dashboard/products/new")
@operation(access=SELLERS, answers=PAGE, part_of="page")
async def new(request: web.Request) -> web.Response:
    """Show the form for a new product."""
    await viewer_of(request, "seller")
    return shown(request, "dashboard-product.html", product=None)


@routes.get("/dashboard/products/{id:(?!new$)[^/]+}")
@operation(access=SELLERS, answers=PAGE, problems=(NotFound,), part_of="page")
async def show(request: web.Request) -> web.Response:
    """Show the form for one of the seller's products."""
    viewer = await viewer_of(request, "seller")
    found = await find(request, ReadProduct(request.match_info["id"]), EncodedProduct)
    if found is None or found.seller_id != viewer.principal.user_id:
        raise NotFound("you have no such product")
    (card,) = cards_of([found.own])
    return shown(request, "dashboard-product.html", product=card, tag=own_tag(found))


@routes.post("/dashboard/uploads")
@operation(
    access=SELLERS,
    query=UploadParameters,
    body=Bytes,
    answers={201: Answer(Upload)},
    problems=(WrongContentType,),
    part_of="script",
    load="long",
)
async def upload(request: web.Request) -> web.Response:
    """Store a file."""
    viewer = await sender(request, "seller")
    return answered(await uploads.store_upload(request, viewer.principal), status=201)


@routes.post("/dashboard/products")
@operation(access=SELLERS, body=NewProduct, answers={201: Answer(Kept)}, part_of="script")
async def list_product(request: web.Request) -> web.Response:
    """Put a product on sale."""
    viewer = await sender(request, "seller")
    product_id, _ = await products.put_on_sale(request, viewer.principal, await examine(request, NewProduct))
    return answered(Kept(product_id, f"/dashboard/products/{product_id}"), status=201)


@routes.post("/dashboard/products/{id:(?!new$)[^/]+}")
@operation(
    access=SELLERS,
    body=ProductChange,
    answers={200: Answer(Kept)},
    problems=(NotFound,),
    takes=("If-Match",),
    part_of="script",
)
async def revise(request: web.Request) -> web.Response:
    """Change a product."""
    viewer = await sender(request, "seller")
    change = await examine(request, ProductChange)
    await products.change_product(request, viewer.principal, change, expected(request))
    product_id = request.match_info["id"]
    return answered(Kept(product_id, f"/dashboard/products/{product_id}"))


@routes.post("/dashboard/products/{id}/withdraw")
@operation(access=SELLERS, body=Nothing, answers=ENTERED, problems=(NotFound,), part_of="page")
async def withdraw(request: web.Request) -> web.Response:
    """Take a product off sale."""
    viewer, _ = await signed_form(request, Nothing, "seller")
    await products.take_off_sale(request, viewer.principal)
    return sent_on(request, "/dashboard/products")
