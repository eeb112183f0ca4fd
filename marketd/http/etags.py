"""
Entity tags and conditional requests (RFC 9110, sections 8.8.3 and 13).

A tag is `<version>-<digest>`, or a digest alone where nothing can be changed. The version is the one that the
resource's actor keeps, so that the actor itself refuses a change in the turn that would make it (`If-Match`); the
digest is of the whole representation. Other representations (compressed, or for the owner) have a suffix: a strong tag
identifies exact bytes.
"""

import re
from hashlib import sha256
from typing import Any, Final

from aiohttp import web

from marketd.actors.aggregate import Expected
from marketd.http.answers import encoded, written
from marketd.http.names import ETAG
from marketd.http.operation import assert_takes
from marketd.http.problems import BadRequest, Fault, PreconditionFailed

DIGITS: Final = 32

# Headers about the body, which a 304 does not have.
_OF_THE_BODY: Final = ("Content-Type", "Content-Encoding")
_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\U0010ffff]*)"')
_TAGS: Final = re.compile(rf"[ \t,]*{_TAG.pattern}(?:[ \t]*,[ \t,]*{_TAG.pattern})*[ \t,]*")


def tagged(
    body: bytes, *, tag: str = "", version: str = "", status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Answer with encoded JSON and its ETag: the given one, or one made from the body."""
    response = encoded(body, status=status, headers=headers)
    response.headers[ETAG] = f'"{tag or tag_of(body, version)}"'
    return response


def tag_of(body: bytes, version: str = "") -> str:
    """Make the tag of a body."""
    digest = sha256(body).hexdigest()[:DIGITS]
    return f"{version}-{digest}" if version else digest


def shown(body: Any, *, version: str = "", status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """The same with a Struct or a dict."""
    return tagged(written(body), version=version, status=status, headers=headers)


def expected(request: web.Request) -> Expected:
    """
    Give the versions that `If-Match` allows a change to be made to; None for any. Weak tags never match (section
    13.1.1). A malformed header is refused: the client wanted a condition, so it must not be ignored.
    """
    assert_takes(request, "If-Match")
    if "If-Match" not in request.headers:
        return None
    given = ",".join(request.headers.getall("If-Match"))
    if given.strip() == "*":
        return None
    if not _TAGS.fullmatch(given):
        raise BadRequest([Fault("/If-Match", "Expected `*` or a list of entity tags, each in double quotes")])
    return tuple(tag.partition("-")[0] for weak, tag in _TAG.findall(given) if not weak)


def conditional(request: web.Request, response: web.Response) -> web.Response:
    """Answer 304 if `If-None-Match` names our tag; raise `PreconditionFailed` if `If-Match` does not."""
    conditions = request.headers
    if request.method not in ("GET", "HEAD") or response.status != 200 or "ETag" not in response.headers:
        return response
    ours = response.headers["ETag"]
    if "If-Match" in conditions and not _names(conditions.getall("If-Match"), ours, weakly=False):
        raise PreconditionFailed("it is another one than `If-Match` says")
    if "If-None-Match" in conditions and _names(conditions.getall("If-None-Match"), ours, weakly=True):
        kept = web.Response(status=304, headers=response.headers)
        for name in _OF_THE_BODY:
            kept.headers.popall(name, None)
        return kept
    return response


def _names(given: list[str], ours: str, *, weakly: bool) -> bool:
    """Say whether a condition names our tag; `*` names every tag, and a malformed header none."""
    line = ",".join(given)
    if line.strip() == "*":
        return True
    if not _TAGS.fullmatch(line):
        return False
    return any(f'"{tag}"' == ours for weak, tag in _TAG.findall(line) if weakly or not weak)
