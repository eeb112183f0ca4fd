"""
Decodes forms: `application/x-www-form-urlencoded` (WHATWG URL, section 5), strictly converted.

The query of a page may hold parameters that the page does not know, such as those of trackers; they are ignored.
"""

from contextlib import suppress
from typing import Final, TypeVar
from urllib.parse import parse_qsl

from aiohttp import web
from msgspec import Struct
from msgspec.structs import fields

from marketd.actors.account import Role
from marketd.http.bodies import from_texts, read_body
from marketd.http.operation import assert_declared
from marketd.http.pages.web_session import Viewer, check, refuse_others, viewer_of
from marketd.http.problems import NotSignedIn, Problem, RequestRefused, WrongContentType

FORM: Final = "application/x-www-form-urlencoded"
FIELDS_MAX: Final = 50
CSRF: Final = "csrf"

T = TypeVar("T", bound=Struct)


class Nothing(Struct, forbid_unknown_fields=True):
    """A form that has a button and nothing else."""


Pairs = list[tuple[str, str]]

GIVEN: Final[web.RequestKey[dict[str, str]]] = web.RequestKey("given")


def looked_for(request: web.Request, kind: type[T]) -> T:
    """Give what is in the query of a page, as far as the page knows it (not `utm_source`), and was not left empty."""
    assert_declared(request, "query", kind)
    known = {field.encode_name for field in fields(kind)}
    return from_texts([(name, text) for name, text in request.query.items() if name in known and text], kind)


async def signed_form(request: web.Request, kind: type[T], *roles: Role) -> tuple[Viewer, T]:
    """Give the user who sent a form of ours, and its fields."""
    refuse_others(request)
    try:
        found = await viewer_of(request, *roles)
    except NotSignedIn:
        with suppress(Problem):  # what it is told is the first thing that was wrong
            await _given(request)  # which the page that asks to sign in gives back
        raise
    given = await _given(request)
    check(found, dict(given).get(CSRF, ""))
    return found, _converted(request, given, kind)


async def open_form(request: web.Request, kind: type[T]) -> T:
    """Give the fields of a form of ours that needs no session."""
    refuse_others(request)
    given = await _given(request)
    return _converted(request, given, kind)


async def _given(request: web.Request) -> Pairs:
    """Read the fields; an empty one counts as missing, and a line ends with one character."""
    if request.content_type != FORM:
        raise WrongContentType(f"expected {FORM}, got {request.content_type}")
    try:
        fields = parse_qsl((await read_body(request)).decode(), errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError:
        raise RequestRefused("the form can't be read") from None
    given = [(name, text.replace("\r\n", "\n")) for name, text in fields]
    request[GIVEN] = dict(given)
    return given


def _converted(request: web.Request, given: Pairs, kind: type[T]) -> T:
    assert_declared(request, "body", kind)
    return from_texts([pair for pair in given if pair[0] != CSRF], kind)
