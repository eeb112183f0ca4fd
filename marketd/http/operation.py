"""
What a route says of itself, where its handler stands: who may call it, what it takes in, what it answers.

The one rule: a declaration is held to what happens. What decodes a body or asks who is signed in asserts that the
route has declared just that, so the document that is made from the declarations can say nothing else.
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

_SEEN: Final[set[tuple[object, ...]]] = set()  # what was seen to be declared; no more than there are routes

H = TypeVar("H", bound=Handler)

PartOf = Literal["api", "page", "script"]
# What an operation asks of the service, as admission.py counts it: something brief; that, and an order's saga; long in
# hand, but little work; that, if who asks wants to wait; what operators need when there is too much of all others.
Load = Literal["brief", "order", "long", "long if awaited", "vital"]


class Access(Struct, frozen=True):
    """Who may call it: whether a token has to be there, and whose; no roles are any."""

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
    What goes out with one status: the type of the body (None for no body), its media type, headers of its own; and
    the `others`, media types that the same is also to be had in.
    """

    kind: Any = None
    media_type: str = JSON
    headers: tuple[str, ...] = ()
    maybe: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class Bytes:
    """A body that is nobody's JSON."""


class Operation(Struct, frozen=True):
    """
    All that a route declares; `takes` names the request's headers that it looks at. What is `part_of` the pages is for
    people with a browser (html) or for the scripts of our own pages; all else is the API. What of that `is_link` people
    follow from their mails: a browser is told by a page why it leads nowhere.
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
    Declare a handler. `problems` are its own: those that follow from the body, the parameters and the access, and
    those that any route can meet, are added where the document is made.
    """
    declared = Operation(answers, problems, access, body, body_is_optional, query, takes, part_of, is_link, load)

    def declare(handler: H) -> H:
        handler.__dict__["operation"] = declared
        return handler

    return declare


def operation_of(handler: Any) -> Operation | None:
    """Give what a handler declares; None for one that is nobody's route."""
    found = getattr(handler, "operation", None)
    return found if isinstance(found, Operation) else None


def assert_declared(request: web.Request, name: Literal["access", "body", "query"], value: object) -> None:
    """See that the route has declared what its handler is doing; once is enough, for neither changes."""
    handler = request.match_info.handler
    if (handler, name, value) in _SEEN:
        return
    if declared := operation_of(handler):
        found = getattr(declared, name)
        assert found == value, f"{request.path} declares {name} {found}, not {value}"
    _SEEN.add((handler, name, value))


def assert_takes(request: web.Request, header: str) -> None:
    """See that the route has declared a header that its handler looks at."""
    declared = operation_of(request.match_info.handler)
    assert declared is None or header in declared.takes, f"{request.path} does not declare that it takes {header}"


def holding(kind: type[Struct]) -> Meta:
    """Say of JSON that is written already (`Raw`) what is in it."""
    return Meta(extra={"holds": kind}, extra_json_schema={"$ref": f"#/components/schemas/{kind.__name__}"})
