"""
The document of the API: OpenAPI 3.1 (spec.openapis.org/oas/v3.1.1), generated from the routes and their declarations.

    document(rooms)     rooms are the modules with routes; each is a tag, described by its docstring
    ├── _operation      one route: its parameters, body, answers and problems
    │   └── _sorts      every problem that it can answer with
    └── components      the schemas of all types that are sent, and what many responses share

More problems of an operation follow from its declaration: a body can be too large, a token expired.
"""

import re
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, Final

from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace

from marketd import __version__
from marketd.actors import account
from marketd.http.examples import example
from marketd.http.operation import ANY, JSON, Answer, Bytes, Operation, operation_of
from marketd.http.parameters import ALL_TAKE, ANSWER_HEADERS, PATH, REQUEST_HEADERS
from marketd.http.problems import (
    LED_NOWHERE,
    SORTS,
    BadRequest,
    ExpectationFailed,
    Forbidden,
    InHandAlready,
    KeyUsedDifferently,
    NotSignedIn,
    PreconditionFailed,
    Problem,
    ProblemDocument,
    RequestRefused,
    TooLarge,
    TooManyRequests,
    TooSlow,
    Unavailable,
    WrongContentType,
    reason_slug,
)
from marketd.http.schemas import Schema, as_text, components, reference

VERSION: Final = "3.1.1"
PROBLEM: Final = "application/problem+json"
ACCEPT: Final = "Accept"
OCTETS: Final = "application/octet-stream"
BINARY: Final = {"type": "string", "format": "binary"}  # as OpenAPI 3.0 has it, and those who make code of 3.1 know
DESCRIPTION: Final = """\
A self-hosted marketplace of digital goods.

Bodies and answers are JSON in UTF-8, times RFC 3339 in UTC, ids UUIDs. Unknown fields are refused, and
unknown parameters where an operation has any in its query; where it has none, whatever stands there is passed over.
Errors are problem documents (RFC 9457) whose `type` is a page that explains it. `HEAD` is answered wherever `GET` is,
and `OPTIONS` everywhere.
"""
BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "The `accessToken` of `POST /auth/login`, a JWT; `/.well-known/jwks.json` has its keys.",
}
EVERYWHERE: Final = (
    TooManyRequests.slug,
    RequestRefused.slug,
    ExpectationFailed.slug,
    "internal-error",
    "overloaded",
    Unavailable.slug,
)
# The headers that come with a type of problem, or with every problem of a status.
SORT_HEADERS: Final = {
    "in-hand-already": "Retry-After",
    "not-signed-in": "WWW-Authenticate",
    "range-not-satisfiable": "Content-Range",
}
STATUS_HEADERS: Final = {429: "Retry-After", 503: "Retry-After"}
# OpenAPI links: the operations that a response leads to, by operation and status.
_PRODUCT: Final = {"id": "$response.body#/id"}
_SAME_PRODUCT: Final = {"id": "$request.path.id"}
_ORDER: Final = {"id": "$response.body#/orderId"}
_WEBHOOK: Final = {"id": "$response.body#/id"}
_DELIVERY: Final = {"id": "$request.path.id", "deliveryId": "$response.body#/id"}
_REVIEW: Final = {"id": "$response.body#/productId", "reviewId": "$response.body#/id"}
LINKS: Final[dict[str, dict[str, dict[str, dict[str, str]]]]] = {
    "productsListProduct": {
        "201": dict.fromkeys(
            (
                "productsShow",
                "productsRevise",
                "productsWithdraw",
                "productsAccess",
                "productsRelated",
                "reviewsBrowse",
                "mobileShow",
                "storefrontShow",
            ),
            _PRODUCT,
        )
    },
    "productsWithdraw": {"204": dict.fromkeys(("productsShow", "productsRevise"), _SAME_PRODUCT)},
    "ordersPlace": {
        "202": dict.fromkeys(("ordersShow", "ordersEvents", "ordersDownloads", "ordersRefund"), _ORDER),
    },
    "reviewsWrite": {
        "201": dict.fromkeys(
            ("reviewsShow", "reviewsEdit", "reviewsDelete", "reviewsReply", "reviewsHide", "reviewsShowAgain"), _REVIEW
        )
    },
    "webhooksRegister": {
        "201": dict.fromkeys(
            (
                "webhooksShow",
                "webhooksRevise",
                "webhooksRemove",
                "webhooksRotateSecret",
                "deliveriesBrowse",
                "deliveriesTest",
                "deliveriesReplay",
            ),
            _WEBHOOK,
        )
    },
    "deliveriesTest": {"202": dict.fromkeys(("deliveriesShow", "deliveriesResend"), _DELIVERY)},
}
RATE_HEADERS: Final = ("RateLimit", "RateLimit-Policy")  # where requests are limited
TITLES: Final = {
    200: "OK",
    201: "Created",
    202: "Accepted: the work goes on",
    204: "Done",
    206: "A part of it",
    302: "It is elsewhere",
    304: "Nothing has changed",
}


def document(rooms: Iterable[ModuleType]) -> dict[str, Any]:
    """Describe the routes of these modules."""
    found = [(room, route) for room in rooms for route in _routes(room)]
    schemas = components(_kinds(route for _, route in found))
    paths: dict[str, dict[str, Any]] = {}
    problems: dict[str, Schema] = {}
    for room, route in found:
        paths.setdefault(path(route), {})[route.method.lower()] = _operation(room, route, schemas, problems)
    return {
        "openapi": VERSION,
        "info": {
            "title": "marketd",
            "version": __version__,
            "summary": "The backend of a marketplace for digital goods",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [_tag(room) for room in dict.fromkeys(room for room, _ in found)],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in schemas.items() if name not in _queries(found)},
            "responses": {name: problems[name] for name in sorted(problems)},
            "headers": {name: _header(name) for name in ANSWER_HEADERS},
            "parameters": {name: _request_header(name) for name in REQUEST_HEADERS},
            "securitySchemes": {"bearer": BEARER},
        },
    }


def declared_routes(rooms: Iterable[ModuleType]) -> list[tuple[web.RouteDef, Operation]]:
    """Give every route with its declaration."""
    return [(route, _declared(route)) for room in rooms for route in _routes(room)]


def path(route: web.RouteDef) -> str:
    """Write a path without the patterns of its parameters."""
    return re.sub(r"\{(\w+):[^{}]+\}", r"{\1}", route.path)


def _routes(room: ModuleType) -> Iterator[web.RouteDef]:
    for route in room.routes:
        assert isinstance(route, web.RouteDef), f"{room.__name__} has {route}, which nobody can describe"
        yield route


def _declared(route: web.RouteDef) -> Operation:
    """Give a route's declaration, and what follows from it: a GET with an ETag takes conditions."""
    declared = operation_of(route.handler)
    assert declared, f"{route.method} {route.path} declares nothing"
    whole = declared.answers.get(200)
    if route.method != "GET" or whole is None or "ETag" not in whole.headers:
        return declared
    kept = Answer(headers=whole.headers, maybe=whole.maybe)
    takes = ("If-Match", "If-None-Match", *declared.takes)
    return replace(declared, answers={304: kept, **declared.answers}, takes=takes)


def _kinds(routes: Iterable[web.RouteDef]) -> list[type[Struct]]:
    """Give every type of a body, a query or a response."""
    kinds: list[Any] = [ProblemDocument]
    for route in routes:
        declared = _declared(route)
        kinds += [declared.body, declared.query, *(answer.kind for answer in declared.answers.values())]
    return [kind for kind in kinds if kind not in (None, Bytes)]


def _queries(found: Iterable[tuple[ModuleType, web.RouteDef]]) -> set[str]:
    """Name the types of query parameters."""
    return {kind.__name__ for _, route in found if (kind := _declared(route).query)}


def _tag(room: ModuleType) -> dict[str, str]:
    return {"name": _name(room), "description": (room.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")}


def _name(room: ModuleType) -> str:
    return room.__name__.rpartition(".")[2]


def _operation(
    room: ModuleType, route: web.RouteDef, schemas: dict[str, Schema], problems: dict[str, Schema]
) -> dict[str, Any]:
    declared = _declared(route)
    summary, *more = (route.handler.__doc__ or "").strip().split("\n\n")
    described: dict[str, Any] = {
        "operationId": _operation_id(room, route),
        "tags": [_name(room)],
        "summary": summary,
        "description": "\n\n".join([*more, *_choice(declared), who(declared)]),
        "parameters": [*_parameters(route, declared, schemas)],
        "responses": _responses(route, declared, schemas, problems),
    }
    for status, links in LINKS.get(described["operationId"], {}).items():
        described["responses"][status]["links"] = {
            name: {"operationId": name, "parameters": parameters} for name, parameters in links.items()
        }
    if declared.access:
        described["security"] = [{"bearer": []}] if declared.access.is_needed else [{}, {"bearer": []}]
    if declared.body:
        described["requestBody"] = _body(declared, schemas)
    return described


def _operation_id(room: ModuleType, route: web.RouteDef) -> str:
    words = f"{_name(room)}_{route.handler.__name__}".split("_")
    return words[0] + "".join(word.capitalize() for word in words[1:])


def _choice(declared: Operation) -> Iterator[str]:
    """Say what `Accept` chooses from: as a parameter it is not to be described (section 4.8.12)."""
    if ACCEPT in declared.takes:
        others = [f"`{other}`" for answer in declared.answers.values() for other in answer.others]
        yield f"`Accept` chooses between `{JSON}` and {' and '.join(others)}, by weight (RFC 9110, section 12.5.1)."


def who(declared: Operation) -> str:
    """Say in words who may call an operation."""
    access = declared.access
    if access is None:
        return "For everybody."
    if not access.is_needed:
        return "For everybody; who is signed in may see more."
    return f"For {' and '.join(f'{role}s' for role in access.roles) or 'everybody who is signed in'}."


def _parameters(route: web.RouteDef, declared: Operation, schemas: dict[str, Schema]) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)\}", path(route)):
        yield {"name": name, "in": "path", "required": True, **PATH[name]}
    if declared.query:
        whole = schemas[declared.query.__name__]
        for name, schema in whole["properties"].items():
            text, is_required = as_text(schema), name in whole.get("required", ())
            described = {"schema": text, "example": example(text, schemas, declared.query.__name__, name)}
            shown = described if is_required else _unasked(described)
            yield {"name": name, "in": "query", "required": is_required, **shown}
    once = ("Idempotency-Key",) if route.method == "POST" else ()
    for name in (*declared.takes, *once, *ALL_TAKE):
        if name != ACCEPT:
            yield {"$ref": f"#/components/parameters/{name}"}


def _request_header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, **_unasked(REQUEST_HEADERS[name])}


def _unasked(described: Schema) -> Schema:
    """
    Put the example of what nobody has to send into its schema, as JSON Schema has it: an `example` beside the schema
    is what pages that try an operation out fill in, and then send.
    """
    rest = {key: value for key, value in described.items() if key != "example"}
    return rest | {"schema": described["schema"] | {"examples": [described["example"]]}}


def _header(name: str) -> dict[str, Any]:
    return {"required": True, **ANSWER_HEADERS[name]}


def _body(declared: Operation, schemas: dict[str, Schema]) -> dict[str, Any]:
    if declared.body is Bytes:
        content = {media_type: {"schema": BINARY} for media_type in (OCTETS, ANY)}
        return {"description": "The bytes themselves, at least one.", "required": True, "content": content}
    assert declared.body
    return {"required": not declared.body_is_optional, "content": {JSON: _content(declared.body, schemas)}}


def _content(kind: Any, schemas: dict[str, Schema]) -> dict[str, Any]:
    schema = reference(kind)
    return {"schema": schema, "example": example(schema, schemas, kind.__name__)}


def _responses(
    route: web.RouteDef, declared: Operation, schemas: dict[str, Schema], problems: dict[str, Schema]
) -> dict[str, Any]:
    """Describe the responses; those that are only problems are collected in `problems`."""
    responses = {status: _answer(status, answer, schemas) for status, answer in declared.answers.items()}
    slugs: dict[int, list[str]] = {}
    for slug in _sorts(route, declared):
        slugs.setdefault(SORTS[slug].status, []).append(slug)
    for status, named in slugs.items():
        problem = _problem(status, named)
        is_page_too = declared.is_link and status in LED_NOWHERE
        if is_page_too:
            problem["content"]["text/html"] = {}
            problem["headers"]["Cache-Control"] = _header("Cache-Control") | {"required": False}
        own = responses.get(status)
        if own:
            own["content"] |= problem["content"]
            own["headers"] |= problem["headers"]
        else:
            name = ".".join([str(status), *named, *(["html"] if is_page_too else [])])
            problems[name] = problem
            responses[status] = {"$ref": f"#/components/responses/{name}"}
    return {str(status): responses[status] for status in sorted(responses)}


def _answer(status: int, answer: Answer, schemas: dict[str, Schema]) -> dict[str, Any]:
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in (*answer.headers, "X-Request-Id")}
    headers |= {name: _header(name) | {"required": False} for name in (*answer.maybe, *RATE_HEADERS)}
    described: dict[str, Any] = {"description": TITLES.get(status, "As asked"), "headers": headers}
    if answer.kind is Bytes:
        described["content"] = {answer.media_type: {"schema": BINARY} if answer.media_type == ANY else {}}
    elif answer.kind:
        described["content"] = {answer.media_type: _content(answer.kind, schemas)}
    for other in answer.others:
        described["content"][other] = {}
    return described


def _sorts(route: web.RouteDef, declared: Operation) -> list[str]:
    """Name every problem that a route can answer with."""
    kinds: list[type[Problem]] = []
    if declared.body or declared.query:
        kinds.append(BadRequest)
    if declared.body:
        kinds.append(TooLarge)
    if declared.body and declared.body is not Bytes:
        kinds += [TooSlow, WrongContentType]
    if declared.access:
        kinds.append(NotSignedIn)
    if declared.access and declared.access.roles:
        kinds.append(Forbidden)
    if route.method == "POST":  # whose body is read for the idempotency key, whether or not the handler reads it
        kinds += [BadRequest, TooLarge, TooSlow, InHandAlready, KeyUsedDifferently]
    if "If-Match" in declared.takes:
        # For a change, the actor checks the version; a condition that can't be read is refused.
        kinds += [PreconditionFailed] if route.method == "GET" else [BadRequest]
    own = [reason_slug(it) if not isinstance(it, type) else it.slug for it in declared.problems]
    if "If-Match" in declared.takes and route.method != "GET":
        own.append(reason_slug(account.Reason.CHANGED))
    return sorted({*EVERYWHERE, *own, *(kind.slug for kind in kinds)})


def _problem(status: int, slugs: list[str]) -> dict[str, Any]:
    """Describe the problems of one status: each is a problem document whose type is one of these."""
    own = [SORT_HEADERS[slug] for slug in slugs if slug in SORT_HEADERS]
    always = [*([STATUS_HEADERS[status]] if status in STATUS_HEADERS else []), "X-Request-Id"]
    sometimes = [*RATE_HEADERS]
    (always if len(slugs) == 1 else sometimes).extend(own)
    types = [f"/problems/{slug}" for slug in slugs]
    return {
        "description": "\n".join(f"- [{SORTS[slug].title}](/problems/{slug}): {SORTS[slug].advice}" for slug in slugs),
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in always}
        | {name: _header(name) | {"required": False} for name in sometimes},
        "content": {
            PROBLEM: {
                "schema": {
                    "allOf": [
                        reference(ProblemDocument),
                        {
                            "properties": {
                                "type": {"type": "string", "enum": types},
                                "status": {"type": "integer", "enum": [status]},
                            }
                        },
                    ]
                },
                "examples": {slug: {"value": _example_of(slug)} for slug in slugs},
            }
        },
    }


def _example_of(slug: str) -> dict[str, Any]:
    sort = SORTS[slug]
    shown: dict[str, Any] = {
        "type": f"/problems/{slug}",
        "title": sort.title,
        "status": sort.status,
        "detail": sort.advice,
        "instance": "0192f3a5-7c1e-7b44-9a3d-5f2e8c6b1d70",
    }
    if slug == BadRequest.slug:
        shown["errors"] = [{"pointer": "/name", "detail": "Required"}]
    return shown
