"""Downloads over HTTP: the link itself is the permission, until it expires or the sale is refunded."""

import re
from urllib.parse import quote

from aiohttp import web

from marketd.actors import order
from marketd.actors.address import Address
from marketd.http.asking import ask
from marketd.http.keys import FILES, LINKS
from marketd.http.operation import Answer, operation
from marketd.http.problems import Forbidden, Gone, RangeNotSatisfiable
from marketd.http.ranges import FILE_ANSWERS, FILE_CONDITIONS, file_response
from marketd.http.tokens import TokenExpired, TokenInvalid
from marketd.storage.files import digest_of

routes = web.RouteTableDef()


@routes.get("/downloads/{token}")
@operation(
    answers=FILE_ANSWERS | {302: Answer(headers=("Location",))},
    problems=(order.Reason.NO_SUCH_ORDER, Forbidden, Gone, RangeNotSatisfiable),
    takes=FILE_CONDITIONS,
    is_link=True,
    load="long",
)
async def download(request: web.Request) -> web.StreamResponse:
    """Give the file, or a part of it (RFC 9110, section 14), or redirect to where it is."""
    try:
        grant = request.app[LINKS].verify(request.match_info["token"])
    except TokenInvalid:
        raise Forbidden("the link is not one of this service") from None
    except TokenExpired:
        raise Gone("the link has expired") from None

    view = await ask(request, Address("order", grant.order_id), order.Describe(), order.View)

    if (view.status, view.delivery_status) != ("completed", "delivered"):
        raise Gone("the sale was taken back")
    digest = digest_of(grant.url)
    if digest is None:
        return web.Response(status=302, headers={"Location": _in_ascii(grant.url)})
    headers = {
        "Content-Type": grant.type,
        "Content-Disposition": attachment(grant.name),
        "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
        "Cache-Control": "private, no-transform",
    }
    return file_response(request, request.app[FILES].path(digest), headers)


def _in_ascii(url: str) -> str:
    """Write an address as a URI (RFC 3987, section 3.1); printable ASCII stays as it is."""
    return re.sub(r"[^!-~]+", lambda other: quote(other[0]), url)


def attachment(name: str) -> str:
    """Write `Content-Disposition` for any file name (RFC 6266): plain for old clients, exact for the others."""
    plain = re.sub(r'[^ -~]|["\\\\%]', "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
