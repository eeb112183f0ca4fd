"""The library over HTTP: the products that a user owns."""

from aiohttp import web
from msgspec import Struct

from marketd.http.answers import listed
from marketd.http.asking import read
from marketd.http.bodies import Paging, parameters
from marketd.http.identity import signed_in
from marketd.http.operation import SIGNED_IN, Answer, operation
from marketd.storage.library import Library, LibraryEntry, ReadLibrary

routes = web.RouteTableDef()


class LibraryPage(Struct):
    total: int
    page: int
    size: int
    products: list[LibraryEntry]


@routes.get("/library")
@operation(access=SIGNED_IN, query=Paging, answers={200: Answer(LibraryPage, headers=("Link",))})
async def browse(request: web.Request) -> web.Response:
    """List the products that the user owns, the newest first."""
    owner = signed_in(request)
    wanted = parameters(request, Paging)

    found = await read(request, ReadLibrary(owner.user_id, wanted.wanted), Library)

    body = LibraryPage(found.total, wanted.page, wanted.size, found.entries)
    return listed(request, body, found.total, wanted.wanted)
