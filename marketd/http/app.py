"""The application: every route, and what every request passes through."""

import re
from functools import cache
from typing import Final, NamedTuple

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from marketd.clock import Clock, Ids
from marketd.http import (
    analytics,
    auth,
    confirmations,
    deliveries,
    downloads,
    landing,
    library,
    metrics,
    mobile,
    news,
    notices,
    openapi,
    operations,
    orders,
    products,
    reference,
    reviews,
    sessions,
    storefront,
    uploads,
    webhooks,
)
from marketd.http.admission import Admission
from marketd.http.answers import dressed
from marketd.http.client import is_secure
from marketd.http.cors import Cors
from marketd.http.encodings import Encodings
from marketd.http.etags import conditional
from marketd.http.in_hand import InHand
from marketd.http.keys import (
    ADMISSION,
    CLOCK,
    CORS,
    DOCUMENT,
    ENCODINGS,
    IN_HAND,
    LIMITS,
    ONCE,
    PROXIES,
    RATES,
    REQUEST_ID,
    TRAFFIC,
    Quotas,
)
from marketd.http.names import TRACEPARENT, X_REQUEST_ID
from marketd.http.once import HEADER
from marketd.http.operation import operation_of
from marketd.http.pages import buying, dashboard, entrance, offers, ops, refusals, shop, static
from marketd.http.problems import RETRY_AFTER_S, TooManyRequests, Unavailable, allowed, problem_of, response_of
from marketd.http.proxies import Proxies
from marketd.http.traffic import Traffic, arrived, left
from marketd.spans import NOBODYS, is_recording
from marketd.trace import Cause, begin, end

App = web.Application  # under this name for the composition root, which does not know aiohttp

YEAR_S: Final = 365 * 24 * 60 * 60

# The modules with the API's routes, in the order in which the OpenAPI document lists them.
ROOMS: Final = (
    auth,
    confirmations,
    sessions,
    landing,
    uploads,
    products,
    reviews,
    mobile,
    storefront,
    orders,
    downloads,
    library,
    webhooks,
    deliveries,
    notices,
    analytics,
    news,
    operations,
    metrics,
    reference,
)
# The modules with the HTML pages and the endpoints of their scripts, which are not in the OpenAPI document.
PAGE_ROOMS: Final = (static, entrance, shop, buying, dashboard, offers, ops)

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def make_app(clock: Clock, *, body_bytes_max: int) -> web.Application:
    """Make the application; the caller adds the parts that keys.py names."""
    app = web.Application(middlewares=[front], client_max_size=body_bytes_max)
    app[CLOCK] = clock
    app[IN_HAND] = InHand()
    app[CORS], app[ENCODINGS], app[PROXIES] = Cors(), Encodings(), Proxies()
    app[DOCUMENT] = described()
    app.on_startup.append(_furnish)
    for room in (*ROOMS, *PAGE_ROOMS):
        app.add_routes(room.routes)
    return app


class Door(NamedTuple):
    """The parts that every request uses, looked up once: each lookup in the application costs a call."""

    clock: Clock
    ids: Ids
    in_hand: InHand
    admission: Admission
    rates: Quotas | None
    traffic: Traffic | None
    encodings: Encodings
    cors: Cors
    may_be_secure: bool  # even if the connection is not: a proxy, or the settings, may say so


DOOR: Final = web.AppKey("door", Door)


async def _furnish(app: web.Application) -> None:
    app[DOOR] = Door(
        clock=app[CLOCK],
        ids=Ids(app[CLOCK]),
        in_hand=app[IN_HAND],
        admission=app[ADMISSION],
        rates=app.get(RATES),
        traffic=app.get(TRAFFIC),
        encodings=app[ENCODINGS],
        cors=app[CORS],
        may_be_secure=bool(app[PROXIES].networks or app[LIMITS].public_url),
    )


@cache
def described() -> bytes:
    """Write the OpenAPI document, once for all applications: it depends on the code alone."""
    return msgspec.json.encode(openapi.document(ROOMS))


@web.middleware
async def front(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Set the request id and the trace, turn every error into a problem document, and finish the response."""
    door, given, allowance = request.app[DOOR], request.headers, None
    named = given.get(X_REQUEST_ID, "")
    request_id = request[REQUEST_ID] = named if named and _SANE_ID.fullmatch(named) else door.ids.make()
    in_hand, traffic = door.in_hand, door.traffic
    trace = _traceparent(request) if TRACEPARENT in given else ""
    spent = arrived(request, trace) if is_recording() else NOBODYS
    cause = Cause(request_id, spent.traceparent or trace, None if spent.traceparent else door.clock)
    began_s = traffic.now_s() if traffic is not None else 0.0
    before = begin((cause,))
    try:
        if in_hand.is_closing:
            raise Unavailable("the service is stopping", retry_after_s=RETRY_AFTER_S)
        stay = door.admission.enter(request)
        if door.rates is not None:
            allowance = door.rates.take(request)
        if allowance is not None and allowance.wait_s:
            raise TooManyRequests("too many requests in too short a time", retry_after_s=allowance.wait_s)
        with in_hand, stay:
            is_once = request.method == "POST" and HEADER in given
            response = await (once(request, handler) if is_once else handler(request))
            if isinstance(response, web.Response):  # files and streams do this themselves
                response = await finished(request, response)
    except Exception as error:  # the last resort: problems.py maps every error, and logs unexpected ones
        problem = problem_of(error, request_id)
        refused = refusals.page_of(request, problem) or response_of(problem, request_id)
        response = options(request, error) or await finished(request, refused)
    finally:
        end(before)
    dressed(response, request_id)
    if allowance is not None:
        response.headers["RateLimit-Policy"], response.headers["RateLimit"] = allowance.policy, allowance.left
    if door.cors.origins:
        door.cors.allow(request, response)
    if (door.may_be_secure or request.secure) and is_secure(request):
        response.headers["Strict-Transport-Security"] = f"max-age={YEAR_S}"
    if in_hand.is_closing:
        response.force_close()
    if spent is not NOBODYS:
        left(spent, response)
    if traffic is not None:
        traffic.note(request, response, began_s, cause)
    return response


async def once(request: web.Request, handler: Handler) -> web.StreamResponse:
    """
    Answer a request with an idempotency key once. Unknown paths need no stored response; pages have other protection
    against repeats, and their responses may hold session cookies.
    """
    declared = operation_of(request.match_info.handler)
    if request.match_info.http_exception is not None or (declared and declared.part_of != "api"):
        return await handler(request)
    return await request.app[ONCE].answer(request, handler)


async def finished(request: web.Request, response: web.Response) -> web.Response:
    """Evaluate the conditions of the request, and compress the body as it accepts."""
    encodings, given = request.app[DOOR].encodings, request.headers
    coding = encodings.choose(request, response)
    if hdrs.IF_NONE_MATCH in given or hdrs.IF_MATCH in given:
        response = conditional(request, response)
    if coding and response.body:
        await encodings.encode(response, coding)
    return response


def options(request: web.Request, error: Exception) -> web.Response | None:
    """Answer OPTIONS (RFC 9110, section 9.3.7), for which no route is declared; give None for any other request."""
    if request.method != "OPTIONS":
        return None
    if isinstance(error, web.HTTPMethodNotAllowed):
        return web.Response(status=204, headers={"Allow": allowed(error)})
    return web.Response(status=204) if request.raw_path == "*" else None  # asked of the service as a whole


def _traceparent(request: web.Request) -> str:
    """Give the `traceparent` header; if it was sent more than once, it is invalid (W3C Trace Context, section 3.2)."""
    given = request.headers.getall(TRACEPARENT)
    return given[0] if len(given) == 1 else ""
