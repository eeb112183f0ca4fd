"""
What a request makes, so that making it again is the same: ids, times and secrets.

A request with an Idempotency-Key draws all of them from its key, its user and the moment when it first came. Done again
after a crash it sends the same commands under the same ids to the same actors, which find their first results. Any
other request takes them from the clock.
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
    """Since when (ms since the epoch) the request is known, what it draws from, and whether it was begun before."""

    at: int
    seed: bytes
    is_again: bool


DOING: Final = web.RequestKey("doing", Doing)


def id_for(request: web.Request, what: str) -> str:
    """Make an id; `what` tells it from others of the same request."""
    doing = request.get(DOING)
    return new_id(request.app[CLOCK]) if doing is None else id_of(doing.at, _drawn(doing, f"id {what}"))


def secret_for(request: web.Request, what: str) -> str:
    """Make a secret that nobody can guess, in 43 characters that a URL may hold."""
    doing = request.get(DOING)
    if doing is None:
        return secrets.token_urlsafe(SECRET_BYTES)
    return urlsafe_b64encode(_drawn(doing, f"secret {what}")).rstrip(b"=").decode()


def asked_at(request: web.Request) -> int:
    """Say when it was first asked for, in ms since the epoch."""
    doing = request.get(DOING)
    return request.app[CLOCK].now_ms() if doing is None else doing.at


def may_come_again(request: web.Request) -> bool:
    """Say whether the same ids and times may be drawn once more."""
    return request.get(DOING) is not None


def is_again(request: web.Request) -> bool:
    """Say whether it may have been done already, though nobody knows the answer."""
    doing = request.get(DOING)
    return doing is not None and doing.is_again


def _drawn(doing: Doing, what: str) -> bytes:
    return hmac.digest(doing.seed, what.encode(), "sha256")
