"""The application: every route, and what every request passes through."""

import html
import re
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from marketd.clock import Clock, new_id
from marketd.http import auth, downloads, library, mobile, operations, orders, products, reviews, storefront, uploads
from marketd.http.in_hand import InHand
from marketd.http.keys import CLOCK, IN_HAND, REQUEST_ID
from marketd.http.problems import RETRY_AFTER_S, SORTS, NotFound, Unavailable, response_of

PAGE_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
API_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
HEADERS: Final = {"Server": "marketd", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

routes = web.RouteTableDef()


def make_app(clock: Clock, *, body_bytes_max: int) -> web.Application:
    """Make the application; whoever starts it puts the parts of keys.py into it."""
    app = web.Application(middlewares=[front], client_max_size=body_bytes_max)
    app[CLOCK] = clock
    app[IN_HAND] = InHand()
    for room in (auth, uploads, products, reviews, mobile, storefront, orders, downloads, library, operations):
        app.add_routes(room.routes)
    app.add_routes(routes)
    return app


@web.middleware
async def front(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Name the request, and answer every error as a problem document."""
    given = request.headers.get("X-Request-Id", "")
    request[REQUEST_ID] = given if _SANE_ID.fullmatch(given) else new_id(request.app[CLOCK])
    in_hand = request.app[IN_HAND]
    try:
        if in_hand.is_closing:
            raise Unavailable("the service is stopping", retry_after_s=RETRY_AFTER_S)
        with in_hand:
            response = await handler(request)
    except Exception as error:  # the last door: problems.py knows them all, and logs those it does not
        response = response_of(error, request[REQUEST_ID])
    dressed(response, request[REQUEST_ID])
    if in_hand.is_closing:
        response.force_close()
    return response


def dressed(response: web.StreamResponse, request_id: str) -> web.StreamResponse:
    """Give an answer the headers that all of them have."""
    headers = response.headers
    if "Content-Security-Policy" not in headers:
        headers["Content-Security-Policy"] = API_POLICY
    headers.extend(HEADERS)
    headers["X-Request-Id"] = request_id
    return response


@routes.get("/problems/{slug}")
async def explain(request: web.Request) -> web.Response:
    """Explain a sort of problem to who follows its `type`."""
    sort = SORTS.get(request.match_info["slug"])
    if sort is None:
        raise NotFound("no such sort of problem")
    title = html.escape(f"{sort.title} ({sort.status})")
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
        "<style>body{font:1.1em/1.5 system-ui;max-width:40em;margin:3em auto;padding:0 1em}</style>"
        f"<h1>{title}</h1><p>{html.escape(sort.advice)}</p></html>"
    )
    return web.Response(text=page, content_type="text/html", headers={"Content-Security-Policy": PAGE_POLICY})
