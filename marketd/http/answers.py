"""How responses look: JSON in UTF-8, money as exact numbers, times in RFC 3339, lists with links (RFC 8288)."""

from typing import Any, Final

import msgspec
from aiohttp import hdrs, web
from multidict import CIMultiDict, istr

from marketd.http.client import address_of
from marketd.http.names import X_REQUEST_ID
from marketd.http.operation import JSON
from marketd.http.sending import Whole
from marketd.storage.pages import Page

API_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
OWN_ORIGIN: Final = "same-origin"  # who may embed a response; one that other origins may embed overrides it
USUAL: Final = {  # the headers of every response, unless it sets its own values
    istr("Content-Security-Policy"): API_POLICY,
    istr("Cross-Origin-Resource-Policy"): OWN_ORIGIN,
    istr("Referrer-Policy"): "no-referrer",
    istr("X-Content-Type-Options"): "nosniff",
    hdrs.SERVER: "marketd",
}
USUAL_JSON: Final = CIMultiDict({hdrs.CONTENT_TYPE: JSON, **USUAL})

_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def encoded(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Answer with encoded JSON and all default headers at once: set one by one they cost twice as much."""
    usual = USUAL_JSON
    if headers:
        usual = usual.copy()
        usual.update(headers)
    return Whole(status=status, body=body, headers=usual)


def dressed(response: web.StreamResponse, request_id: str) -> web.StreamResponse:
    """Add the headers that every response has."""
    headers = response.headers
    if hdrs.SERVER not in headers:
        for name, value in USUAL.items():
            headers.setdefault(name, value)
    headers[X_REQUEST_ID] = request_id
    return response


def answered(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Answer with a Struct or a dict."""
    return encoded(written(body), status=status, headers=headers)


def written(body: Any) -> bytes:
    """Encode a Struct or a dict as JSON."""
    return _encoder.encode(body)


def listed(request: web.Request, body: Any, total: int, page: Page) -> web.Response:
    """Answer with one page of a list, and links to the others."""
    response = answered(body)
    for link in links(request, total, page):
        response.headers.add("Link", link)
    return response


def links(request: web.Request, total: int, page: Page) -> list[str]:
    """Write the links to a list's other pages (RFC 8288)."""
    last = max(1, -(-total // page.size))
    numbers = {"first": 1, "last": last}
    if page.number > 1:
        numbers["prev"] = min(page.number - 1, last)
    if page.number < last:
        numbers["next"] = page.number + 1
    return [
        f'<{address_of(request, str(request.rel_url.update_query(page=number, size=page.size)))}>; rel="{relation}"'
        for relation, number in numbers.items()
    ]
