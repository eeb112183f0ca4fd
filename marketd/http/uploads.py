"""Uploads over HTTP: bytes straight to disk, named by their SHA-256; and the previews among them."""

from typing import Final

from aiohttp import web
from msgspec import Struct

from marketd.http.answers import answered
from marketd.http.bodies import FileName, media_type_fault, parameters
from marketd.http.identity import signed_in
from marketd.http.keys import FILES, LIMITS
from marketd.http.problems import BadRequest, Fault, NotFound, TooLarge
from marketd.http.ranges import file_response
from marketd.storage.catalog import PREVIEWS
from marketd.storage.files import SCHEME, FileTooLarge, digest_of

routes = web.RouteTableDef()

CHUNK_BYTES: Final = 64 * 1024
# What a browser may show in place; anything else it only saves. An SVG may hold a script, so it is shown in a sandbox.
SHOWN_IN_PLACE: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/svg+xml"})


class UploadParameters(Struct, forbid_unknown_fields=True):
    name: FileName


class Upload(Struct):
    """`size` in bytes; `url` is what a product's files and previews refer to it by."""

    url: str
    name: str
    type: str
    size: int


@routes.post("/uploads")
async def upload(request: web.Request) -> web.Response:
    """Keep the bytes of the body."""
    seller = signed_in(request, "seller")
    wanted, media_type = parameters(request, UploadParameters), _media_type(request)
    bytes_max = request.app[LIMITS].upload_bytes_max
    if (request.content_length or 0) > bytes_max:
        raise TooLarge(f"a file may have at most {bytes_max} bytes")

    try:
        stored = await request.app[FILES].receive(request.content.iter_chunked(CHUNK_BYTES), bytes_max)
    except FileTooLarge as error:
        raise TooLarge(str(error)) from None
    if not stored.size:
        raise BadRequest([Fault("", "Expected at least one byte")])
    await request.app[FILES].note_owner(stored.digest, seller.user_id)

    return answered(Upload(stored.url, wanted.name, media_type, stored.size), status=201)


def _media_type(request: web.Request) -> str:
    """Read `Content-Type` without its parameters; aiohttp would make one that it can't read into another."""
    given = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if given and (fault := media_type_fault(given)):
        raise BadRequest([Fault("/Content-Type", fault)])
    return given or "application/octet-stream"


@routes.get(PREVIEWS + "{digest}")
async def preview(request: web.Request) -> web.StreamResponse:
    """Show a file that is a product's preview."""
    files = request.app[FILES]
    digest = digest_of(SCHEME + request.match_info["digest"])
    media_type = await files.public_type(digest) if digest else None
    if digest is None or media_type is None:
        raise NotFound("no such preview")
    disposition = "inline" if media_type in SHOWN_IN_PLACE else "attachment"
    headers = {
        "Content-Type": media_type,
        "Content-Disposition": disposition,
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'",
        "Cache-Control": "public, max-age=31536000, immutable",
    }
    return file_response(request, digest, headers)
