"""Uploads over HTTP: streamed to disk, named by their SHA-256; and the previews among them."""

from typing import Final

from aiohttp import web
from msgspec import Struct

from marketd.http.answers import answered
from marketd.http.arriving import arriving, upload_bytes_max
from marketd.http.bodies import FileName, media_type_fault, parameters
from marketd.http.identity import signed_in
from marketd.http.keys import FILES
from marketd.http.operation import SELLERS, Answer, Bytes, operation
from marketd.http.problems import (
    RETRY_AFTER_S,
    BadRequest,
    Fault,
    NotFound,
    RangeNotSatisfiable,
    TooLarge,
    Unavailable,
    WrongContentType,
)
from marketd.http.ranges import FILE_ANSWERS, FILE_CONDITIONS, file_response
from marketd.http.tokens import Principal
from marketd.storage.catalog import PREVIEWS
from marketd.storage.files import SCHEME, FileTooLarge, digest_of
from marketd.storage.images import VARIANT_TYPE, ImagesBusy, has_variant

routes = web.RouteTableDef()

# Types that a browser may show in place; others are downloaded. An SVG may hold a script, so it is sandboxed.
SHOWN_IN_PLACE: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/svg+xml"})


class UploadParameters(Struct, forbid_unknown_fields=True):
    name: FileName


class Upload(Struct):
    """`size` is in bytes; a product's files and previews refer to the upload by `url`."""

    url: str
    name: str
    type: str
    size: int


@routes.post("/uploads")
@operation(
    access=SELLERS,
    query=UploadParameters,
    body=Bytes,
    answers={201: Answer(Upload)},
    problems=(WrongContentType,),
    load="long",
)
async def upload(request: web.Request) -> web.Response:
    """Store the body as a file; of an image, a smaller variant too."""
    return answered(await store_upload(request, signed_in(request, "seller")), status=201)


async def store_upload(request: web.Request, seller: Principal) -> Upload:
    """Store the body of a seller's request."""
    wanted, media_type = parameters(request, UploadParameters), _media_type(request)
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise WrongContentType("expected the file's own bytes, in no content coding")  # it could expand to a huge one
    bytes_max = upload_bytes_max(request)
    if (request.content_length or 0) > bytes_max:
        raise TooLarge(f"a file may have at most {bytes_max} bytes")

    try:
        stored = await request.app[FILES].receive(arriving(request), bytes_max, request.content_type)
    except FileTooLarge as error:
        raise TooLarge(str(error)) from None
    except ImagesBusy as error:
        raise Unavailable(str(error), retry_after_s=RETRY_AFTER_S) from None
    if not stored.size:
        raise BadRequest([Fault("", "Expected at least one byte")])
    await request.app[FILES].note_owner(stored.digest, seller.user_id)

    return Upload(stored.url, wanted.name, media_type, stored.size)


def _media_type(request: web.Request) -> str:
    """Read `Content-Type` without its parameters; aiohttp would replace one that it can't read."""
    given = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if given and (fault := media_type_fault(given)):
        raise BadRequest([Fault("/Content-Type", fault)])
    return given or "application/octet-stream"


@routes.get(PREVIEWS + "{digest}")
@operation(answers=FILE_ANSWERS, problems=(NotFound, RangeNotSatisfiable), takes=FILE_CONDITIONS, load="long")
async def preview(request: web.Request) -> web.StreamResponse:
    """Show a file that is a product's preview."""
    digest, media_type = await _public(request)
    return file_response(request, request.app[FILES].path(digest), _shown_as(media_type))


@routes.get(PREVIEWS + "{digest}/mobile")
@operation(answers=FILE_ANSWERS, problems=(NotFound, RangeNotSatisfiable), takes=FILE_CONDITIONS, load="long")
async def mobile_preview(request: web.Request) -> web.StreamResponse:
    """Show a preview's smaller variant, or the preview itself if it has none."""
    digest, media_type = await _public(request)
    try:
        variant = await request.app[FILES].variant(digest) if has_variant(media_type) else None
    except ImagesBusy as error:
        raise Unavailable(str(error), retry_after_s=RETRY_AFTER_S) from None
    if variant is None:
        return file_response(request, request.app[FILES].path(digest), _shown_as(media_type))
    return file_response(request, variant, _shown_as(VARIANT_TYPE))


async def _public(request: web.Request) -> tuple[str, str]:
    """Give the digest and the media type of a file that everybody may see."""
    digest = digest_of(SCHEME + request.match_info["digest"])
    media_type = await request.app[FILES].public_type(digest) if digest else None
    if digest is None or media_type is None:
        raise NotFound("no such preview")
    return digest, media_type


def _shown_as(media_type: str) -> dict[str, str]:
    return {
        "Content-Type": media_type,
        "Content-Disposition": "inline" if media_type in SHOWN_IN_PLACE else "attachment",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'none'",
        "Cache-Control": "public, max-age=31536000, immutable",
        "Cross-Origin-Resource-Policy": "cross-origin",  # a shop of another origin shows it in its pages
    }
