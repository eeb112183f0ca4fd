"""
The ids, times and secrets that a request makes, the same each time that it is executed.

A request with an Idempotency-Key derives all of them from its key, its user and the time when it first arrived.
Executed again after a crash, it sends the same commands with the same ids to the same actors, which give their first
results. Any other request takes them from the clock and from chance.
"""

import hmac
import secrets
from base64 import urlsafe_b64encode
from typing import Final

from aiohttp import web
from msgspec import Struct

from marketd.clock import id_of, new_id
from marketd.http.keys import CLOCK

SECRET_BYTES: Final = 32


class Doing(Struct, frozen=True):
    """When the request first arrived (ms since the epoch), the seed of its ids, and whether it was begun before."""

    at: int
    seed: bytes
    is_again: bool


DOING: Final = web.RequestKey("doing", Doing)


def id_for(request: web.Request, what: str) -> str:
    """Make an id; `what` distinguishes it from other ids of the same request."""
    doing = request.get(DOING)
    return new_id(request.app[CLOCK]) if doing is None else id_of(doing.at, _drawn(doing, f"id {what}"))


def secret_for(request: web.Request, what: str) -> str:
    """Make an unguessable secret of 43 URL-safe characters; `what` distinguishes it from other secrets."""
    doing = request.get(DOING)
    if doing is None:
        return secrets.token_urlsafe(SECRET_BYTES)
    return urlsafe_b64encode(_drawn(doing, f"secret {what}")).rstrip(b"=").decode()


def asked_at(request: web.Request) -> int:
    """Give the time when the request first arrived, in ms since the epoch."""
    doing = request.get(DOING)
    return request.app[CLOCK].now_ms() if doing is None else doing.at


def may_come_again(request: web.Request) -> bool:
    """Say whether the request may be executed again with the same ids and times."""
    return request.get(DOING) is not None


def is_again(request: web.Request) -> bool:
    """Say whether the request may have been executed before, with an unknown result."""
    doing = request.get(DOING)
    return doing is not None and doing.is_again


def _drawn(doing: Doing, what: str) -> bytes:
    return hmac.digest(doing.seed, what.encode(), "sha256")
