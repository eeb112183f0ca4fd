"""
What a route declares, next to its handler: who may call it, what it takes, what it answers.

The one rule: a declaration is checked against what happens. Code that decodes a body or asks who is signed in asserts
that the route has declared just that, so the document generated from the declarations can't say anything else.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Final, Literal, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import Meta, Struct

from marketd.actors.account import Role
from marketd.http.problems import Problem

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"
ANY: Final = "*/*"  # the media type of a file is its own

_SEEN: Final[set[tuple[object, ...]]] = set()  # declarations that were checked; no more than there are routes

H = TypeVar("H", bound=Handler)

PartOf = Literal["api", "page", "script"]
# The load of an operation, as admission.py counts it: a short request; one that also starts an order's saga; a long
# request with little work; the same, if the client asks to wait; what operators need under overload.
Load = Literal["brief", "order", "long", "long if awaited", "vital"]


class Access(Struct, frozen=True):
    """Who may call a route: whether a token is required, and of which role; no roles means any."""

    is_needed: bool
    roles: tuple[Role, ...] = ()


ANYBODY: Final = None
SIGNED_IN_OR_NOT: Final = Access(False)
SIGNED_IN: Final = Access(True)
SELLERS: Final = Access(True, ("seller",))
SELLERS_AND_ADMINS: Final = Access(True, ("seller", "admin"))
ADMINS: Final = Access(True, ("admin",))


class Answer(Struct, frozen=True):
    """
    The response of one status: the type of the body (None for no body), its media type, its own headers, those that it
    `maybe` has, and the `others`, media types in which the same content is available.
    """

    kind: Any = None
    media_type: str = JSON
    headers: tuple[str, ...] = ()
    maybe: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class Bytes:
    """A body that is not JSON."""


class Operation(Struct, frozen=True):
    """
    All that a route declares; `takes` names the request headers that it reads. It is `part_of` the pages for browsers
    (html), of what the scripts of our own pages call, or else of the API. A route of the API that `is_link` is followed
    from mails: a browser gets a page that explains why the link fails.
    """

    answers: Mapping[int, Answer]
    problems: tuple[type[Problem] | StrEnum, ...]
    access: Access | None
    body: type[Struct] | type[Bytes] | None
    body_is_optional: bool
    query: type[Struct] | None
    takes: tuple[str, ...]
    part_of: PartOf = "api"
    is_link: bool = False
    load: Load = "brief"


def operation(
    *,
    answers: Mapping[int, Answer],
    problems: tuple[type[Problem] | StrEnum, ...] = (),
    access: Access | None = ANYBODY,
    body: type[Struct] | type[Bytes] | None = None,
    body_is_optional: bool = False,
    query: type[Struct] | None = None,
    takes: tuple[str, ...] = (),
    part_of: PartOf = "api",
    is_link: bool = False,
    load: Load = "brief",
) -> Callable[[H], H]:
    """
    Declare a handler. `problems` are its own: those that follow from the body, the parameters and the access, and those
    that any route can have, are added when the document is generated.
    """
    declared = Operation(answers, problems, access, body, body_is_optional, query, takes, part_of, is_link, load)

    def declare(handler: H) -> H:
        handler.__dict__["operation"] = declared
        return handler

    return declare


def operation_of(handler: Any) -> Operation | None:
    """Give what a handler declares; None for a handler without a declaration."""
    found = getattr(handler, "operation", None)
    return found if isinstance(found, Operation) else None


def assert_declared(request: web.Request, name: Literal["access", "body", "query"], value: object) -> None:
    """Check that the route has declared what its handler does; once is enough, for neither changes."""
    handler = request.match_info.handler
    if (handler, name, value) in _SEEN:
        return
    if declared := operation_of(handler):
        found = getattr(declared, name)
        assert found == value, f"{request.path} declares {name} {found}, not {value}"
    _SEEN.add((handler, name, value))


def assert_takes(request: web.Request, header: str) -> None:
    """Check that the route has declared a header that its handler reads."""
    declared = operation_of(request.match_info.handler)
    assert declared is None or header in declared.takes, f"{request.path} does not declare that it takes {header}"


def holding(kind: type[Struct]) -> Meta:
    """Declare the type of JSON that is encoded already (`Raw`)."""
    return Meta(extra={"holds": kind}, extra_json_schema={"$ref": f"#/components/schemas/{kind.__name__}"})
