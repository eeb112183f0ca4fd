"""
The one place that maps errors to HTTP statuses: every error is sent as a problem document (RFC 9457).

    Problem                 what a handler itself finds wrong
    ├── BadRequest          400, naming every field at fault
    ├── RequestRefused      400, where there are no fields yet
    ├── NotSignedIn         401
    │   └── TokenRefused        the access token is invalid
    ├── Forbidden           403
    ├── NotFound            404
    ├── MethodNotAllowed    405, with the allowed methods
    ├── TooSlow             408
    ├── WrongState          409
    ├── InHandAlready       409, the same request is in progress
    ├── Gone                410
    ├── PreconditionFailed  412
    ├── TooLarge            413
    ├── WrongContentType    415
    ├── RangeNotSatisfiable 416, with the size of the file
    ├── ExpectationFailed   417
    ├── KeyUsedDifferently  422
    ├── TooManyFailures     429
    ├── TooManyMails        429
    ├── TooManyRequests     429
    ├── Overloaded          503, and nothing was done
    └── Unavailable         503
"""

import logging
from collections.abc import Sequence
from enum import StrEnum
from math import ceil
from typing import Final, NamedTuple

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from marketd.actors import account, buyer, order, product, webhook
from marketd.actors.aggregate import Refused
from marketd.bus.port import BusError, Busy, Crashed, Undecodable
from marketd.storage.database import DiskTrouble

RETRY_AFTER_S: Final = 1

log = logging.getLogger("marketd.http")


class Fault(Struct, frozen=True):
    """One field at fault: where (a JSON pointer, RFC 6901, or the parameter's name after a slash) and why."""

    pointer: str
    detail: str


class Problem(Exception):
    """An error with its own `slug`; undecodable bytes that the detail quotes from a header are replaced."""

    slug: str

    def __init__(self, detail: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail.encode(errors="replace").decode())
        self.retry_after_s = retry_after_s


class BadRequest(Problem):
    slug = "bad-request"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(f"{fault.pointer or '/'}: {fault.detail}" for fault in faults[:3]))
        self.faults = list(faults)


class RequestRefused(Problem):
    slug = "request-refused"


class NotSignedIn(Problem):
    slug = "not-signed-in"


class TokenRefused(NotSignedIn):
    pass


class Forbidden(Problem):
    slug = "forbidden"


class NotFound(Problem):
    slug = "not-found"


class MethodNotAllowed(Problem):
    slug = "method-not-allowed"

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method} is not one of {allowed}")
        self.allowed = allowed


class TooSlow(Problem):
    slug = "too-slow"


class WrongState(Problem):
    slug = "wrong-state"


class Gone(Problem):
    slug = "gone"


class PreconditionFailed(Problem):
    slug = "precondition-failed"


class TooLarge(Problem):
    slug = "too-large"


class WrongContentType(Problem):
    slug = "wrong-content-type"


class RangeNotSatisfiable(Problem):
    slug = "range-not-satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"the file has {size} bytes, and none of them is in the range")
        self.size = size


class ExpectationFailed(Problem):
    slug = "expectation-failed"


class InHandAlready(Problem):
    slug = "in-hand-already"


class KeyUsedDifferently(Problem):
    slug = "key-used-differently"


class TooManyFailures(Problem):
    slug = "too-many-failures"


class TooManyMails(Problem):
    slug = "too-many-mails"


class TooManyRequests(Problem):
    slug = "too-many-requests"


class Overloaded(Problem):
    slug = "overloaded"


class Unavailable(Problem):
    slug = "unavailable"


class Sort(NamedTuple):
    """A type of problem: its status, its title, and advice on what to do."""

    status: int
    title: str
    advice: str


REASON_STATUS: Final[dict[StrEnum, int]] = {
    account.Reason.NO_SUCH_ACCOUNT: 404,
    account.Reason.CHANGED: 412,  # the same reason for all kinds of actors
    account.Reason.TICKET_NOT_GOOD: 400,
    product.Reason.NO_SUCH_PRODUCT: 404,
    product.Reason.NOT_YOUR_PRODUCT: 403,
    product.Reason.MORE_STOCK_THAN_KEYS: 400,
    product.Reason.OFFER_TOO_LARGE: 400,
    product.Reason.TOO_MANY_HOLDS: 503,
    buyer.Reason.NOT_OWNED: 403,
    buyer.Reason.NOT_YOUR_SALE: 403,
    buyer.Reason.NO_SUCH_REVIEW: 404,
    order.Reason.NO_SUCH_ORDER: 404,
    order.Reason.NOT_YOUR_SALE: 403,
    order.Reason.NO_ALERT: 404,
    webhook.Reason.NO_SUCH_WEBHOOK: 404,
}
REASONS: Final[tuple[StrEnum, ...]] = tuple(
    reason for kind in (account, product, buyer, order, webhook) for reason in kind.Reason
)


def reason_slug(reason: StrEnum) -> str:
    """Name the problem that a refusal becomes, such as `sold-out`; reasons with the same words are the same problem."""
    return REASONS[REASONS.index(reason)].name.lower().replace("_", "-")


def _of_reasons() -> dict[str, Sort]:
    advice = "The state of things does not allow what was asked; asking again the same way will not help."
    return {
        reason_slug(reason): Sort(REASON_STATUS.get(reason, 409), reason.value.capitalize(), advice)
        for reason in REASONS
    }


SORTS: Final[dict[str, Sort]] = {
    "bad-request": Sort(400, "The request does not validate", "`errors` names each field at fault and what it needs."),
    "not-signed-in": Sort(401, "Not signed in", "Sign in at /auth/login and send the access token as a bearer token."),
    "forbidden": Sort(403, "Not allowed", "Another person or another role may do this, but not this account."),
    "not-found": Sort(404, "Not found", "There is no such thing, or none that this account may see."),
    "method-not-allowed": Sort(405, "Method not allowed", "`Allow` names the methods that there are."),
    "too-slow": Sort(408, "Too slow", "Send the whole body within the time that the detail names."),
    "wrong-state": Sort(
        409, "The state forbids it", "Look at the thing itself: its state does not allow this, or not yet."
    ),
    "in-hand-already": Sort(
        409, "In hand already", "The first request under this key is still being worked on; send it again later."
    ),
    "gone": Sort(410, "Gone", "The link has expired or was taken back; get a new one from the order's downloads."),
    "precondition-failed": Sort(412, "Precondition failed", "The thing has changed: fetch it again, and look."),
    "too-large": Sort(413, "Too large", "Send less; the detail says how much is allowed."),
    "wrong-content-type": Sort(415, "Wrong content type", "Send JSON, with `Content-Type: application/json`."),
    "range-not-satisfiable": Sort(416, "No such range", "`Content-Range` says how many bytes there are."),
    "expectation-failed": Sort(417, "Expectation failed", "Send the request without `Expect`, or with 100-continue."),
    "key-used-differently": Sort(
        422, "Another request under this key", "An `Idempotency-Key` is for one request: take a new one for another."
    ),
    "too-many-failures": Sort(429, "Too many failures", "Wait as long as `Retry-After` says, then try again."),
    "too-many-mails": Sort(429, "Too many mails", "Look into the mailbox, or wait as long as `Retry-After` says."),
    "too-many-requests": Sort(
        429, "Too many requests", "Wait as long as `Retry-After` says; `RateLimit-Policy` names how many are allowed."
    ),
    "request-refused": Sort(400, "The request was refused", "The detail says what was wrong with it."),
    "internal-error": Sort(
        500, "Internal error", "A defect of the service; its log has the details under the same id."
    ),
    "overloaded": Sort(503, "Overloaded", "Too much is going on; wait as long as `Retry-After` says, then try again."),
    "unavailable": Sort(503, "Unavailable", "A part of the service is down; whether the request took effect is open."),
    **_of_reasons(),
    "too-many-holds": Sort(
        503,
        "Too many orders for the product are under way",
        "Wait as long as `Retry-After` says, then try again: some of them will be over.",
    ),
}


LED_NOWHERE: Final = frozenset({403, 404, 409, 410})  # for these, a browser that followed a link gets a page


class ProblemDocument(Struct, rename="camel"):
    """A problem (RFC 9457): `type` is a page that explains it, `instance` the id of the request."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[Fault] | UnsetType = UNSET


def problem_of(error: Exception, request_id: str) -> Problem:
    """Turn any error into a problem; an unexpected one is logged with the id of the request."""
    match error:
        case Problem():
            return error
        case Refused(reason=product.Reason.MORE_STOCK_THAN_KEYS as reason):
            return BadRequest([Fault("/stock", reason.value)])
        case Refused(reason=product.Reason.OFFER_TOO_LARGE as reason):
            return BadRequest([Fault("", reason.value)])
        case Refused(reason=account.Reason.TICKET_NOT_GOOD as reason):
            return BadRequest([Fault("/token", reason.value)])
        case Refused(reason=product.Reason.TOO_MANY_HOLDS as reason):
            return _named(reason_slug(reason), reason.value, RETRY_AFTER_S)
        case Refused(reason=reason):
            return _named(reason_slug(reason), reason.value)
        case web.RequestPayloadError():
            return RequestRefused("the body is not encoded as its headers say")
        case ConnectionResetError():  # nobody reads this then; our own connections raise other errors
            return RequestRefused("the body broke off")
        case web.HTTPRequestEntityTooLarge():
            return TooLarge("the body is too large")
        case web.HTTPNotFound():
            return NotFound("there is nothing at this path")
        case web.HTTPMethodNotAllowed():
            return MethodNotAllowed(error.method, allowed(error))
        case web.HTTPException() if error.status < 500:
            return RequestRefused(error.reason)
        case Busy():
            return _named("overloaded", "too much is going on", RETRY_AFTER_S)
        case Crashed() | Undecodable():
            return _named("internal-error", "the service has a defect here")
        case DiskTrouble():
            return _named("unavailable", "the service's disk takes no more of this", RETRY_AFTER_S)
        case BusError():
            return _named("unavailable", "a part of the service did not answer", RETRY_AFTER_S)
        case _:
            log.error("a handler crashed in request %s", request_id, exc_info=error)
            return _named("internal-error", "the service has a defect here")


def allowed(error: web.HTTPMethodNotAllowed) -> str:
    """Write the `Allow` header of a path; OPTIONS is always allowed."""
    return ", ".join(sorted({*error.allowed_methods, "OPTIONS"}))


def _named(slug: str, detail: str, retry_after_s: float | None = None) -> Problem:
    problem = Problem(detail, retry_after_s=retry_after_s)
    problem.slug = slug
    return problem


def response_of(error: Exception, instance: str) -> web.Response:
    """Write the error as a problem document; `instance` is the id of the request."""
    problem = problem_of(error, instance)
    sort = SORTS[problem.slug]
    document = ProblemDocument(f"/problems/{problem.slug}", sort.title, sort.status, str(problem), instance)
    if isinstance(problem, BadRequest):
        document.errors = problem.faults
    headers = {}
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, ceil(problem.retry_after_s)))
    if isinstance(problem, NotSignedIn):
        error_code = ', error="invalid_token"' if isinstance(problem, TokenRefused) else ""  # RFC 6750, section 3
        headers["WWW-Authenticate"] = f'Bearer realm="marketd"{error_code}'
    if isinstance(problem, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{problem.size}"
    if isinstance(problem, MethodNotAllowed):
        headers["Allow"] = problem.allowed
    return web.Response(
        status=sort.status,
        body=msgspec.json.encode(document),
        content_type="application/problem+json",
        headers=headers,
    )
