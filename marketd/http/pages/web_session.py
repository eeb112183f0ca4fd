"""
The user of a page: the session of a browser, identified by a cookie.

    cookie      `<account key>.<session id>.<secret>`: HttpOnly, SameSite=Lax, and under https Secure and `__Host-`
    session     a session of the account, of the kind "page": listed with the others, ended like them and with them
    token       the CSRF token that each form of ours has beside the cookie, so that no other page can forge one

The one rule: cookies are for pages and bearer tokens for the API, and neither works for the other. No handler of the
API reads a cookie; and the account stores a cookie's secret under another hash than a refresh token's, so that a cookie
can't be exchanged for tokens.

A change is accepted only from a page of ours: the browser says that the request comes from this origin
(`Sec-Fetch-Site`, or `Origin` from older browsers), and the form has the token. The token is masked differently in each
page, so that no compressed page reveals it by its length (BREACH, 2013).
"""

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from msgspec import Struct

from marketd.actors import account
from marketd.actors.account import Role
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.clock import HOUR_MS
from marketd.http.asking import ask, tell
from marketd.http.client import base_url, is_secure
from marketd.http.doing import asked_at, id_for, secret_for
from marketd.http.gathering import together
from marketd.http.keys import CLOCK, LIMITS
from marketd.http.operation import SIGNED_IN_OR_NOT, Access, assert_declared
from marketd.http.problems import Forbidden, NotSignedIn
from marketd.http.tokens import Principal

NAME: Final = "marketd"
HOST_NAME: Final = f"__Host-{NAME}"  # a browser accepts it only from this very host, over https (RFC 6265bis)
HEADER: Final = "X-CSRF-Token"
SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")
TOKEN_BYTES: Final = 32


class Viewer(Struct, frozen=True):
    """The user of a page, and their session."""

    principal: Principal
    name: str
    email: str
    address: Address
    secret: str
    zone: str | None = None

    @property
    def role(self) -> Role:
        return self.principal.role

    def token(self, request: web.Request) -> str:
        """Write the token for a page: a random mask, and the token combined with it."""
        mask = urlsafe_b64decode(secret_for(request, "mask") + "=")
        return urlsafe_b64encode(mask + _xor(mask, self._token)).decode()

    def knows(self, token: str) -> bool:
        """Say whether this is the token of one of the viewer's pages."""
        try:
            given = urlsafe_b64decode(token)
        except ValueError:
            return False
        mask, hidden = given[:TOKEN_BYTES], given[TOKEN_BYTES:]
        return len(hidden) == TOKEN_BYTES and hmac.compare_digest(_xor(mask, hidden), self._token)

    @property
    def _token(self) -> bytes:
        return hmac.digest(self.secret.encode(), b"token of a form", "sha256")


VIEWER: Final = web.RequestKey("viewer", Viewer)


async def viewer(request: web.Request) -> Viewer | None:
    """Give the viewer of a page that is for everybody, or None."""
    assert_declared(request, "access", SIGNED_IN_OR_NOT)
    return await _seen(request)


async def viewer_of(request: web.Request, *roles: Role) -> Viewer:
    """Give the viewer of a page; raise `NotSignedIn`, or `Forbidden` if the role is none of these."""
    assert_declared(request, "access", Access(True, roles))
    found = await _seen(request)
    if found is None:
        raise NotSignedIn("this page is for people who are signed in")
    if roles and found.role not in roles:
        raise Forbidden(f"this page is for the role {' or '.join(roles)}")
    return found


async def sender(request: web.Request, *roles: Role) -> Viewer:
    """Give the user whose script sends a change; raise as above, or if another site's page sends it."""
    refuse_others(request)
    found = await viewer_of(request, *roles)
    check(found, request.headers.get(HEADER, ""))
    return found


def refuse_others(request: web.Request) -> None:
    """Check that a page of ours sent this; raise `Forbidden`."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin", "")
    is_ours = site == "same-origin" if site is not None else origin == _origin(base_url(request))
    if not is_ours or len(request.headers.getall("Sec-Fetch-Site", ())) > 1:
        raise Forbidden("this was not sent by a page of this service")


def check(found: Viewer, token: str) -> None:
    """Check that a form has a token of this session; raise `Forbidden`."""
    if not found.knows(token):
        raise Forbidden("this form is of another session: go back, load the page again, and send it once more")


async def open_session(request: web.Request, address: Address, response: web.Response) -> None:
    """Open a session for a user whose credentials were verified, and give the browser its cookie."""
    now, secret, hours = asked_at(request), secret_for(request, "cookie"), request.app[LIMITS].page_hours
    session_id = id_for(request, "session")
    session = account.Session(session_id, _hash(secret), now + hours * HOUR_MS, now, now, "page")
    await ask(request, address, account.OpenSession(session, now), account.SessionState)
    secure = is_secure(request)
    response.set_cookie(
        HOST_NAME if secure else NAME,
        f"{address.key}.{session_id}.{secret}",
        path="/",
        max_age=hours * 60 * 60,
        httponly=True,
        secure=secure,
        samesite="Lax",
    )


async def end_session(request: web.Request, found: Viewer, response: web.Response) -> None:
    """End the session, and have the browser forget its cookie."""
    command = account.EndSession(found.principal.session_id, _hash(found.secret))
    await tell(request, found.address, command, principal=found.principal)
    response.del_cookie(HOST_NAME if is_secure(request) else NAME, path="/", secure=is_secure(request))


async def _seen(request: web.Request) -> Viewer | None:
    """Give the viewer if the cookie's session is open, which only the account's actor knows."""
    parts = request.cookies.get(HOST_NAME if is_secure(request) else NAME, "").split(".")
    if len(parts) != 3 or not SECRET.fullmatch(parts[2]):
        return None
    address, session_id, secret = Address("account", parts[0]), parts[1], parts[2]
    if not address.is_sound:
        return None
    try:
        described, listed = await together(
            tell(request, address, question, until_seen=False)
            for question in (account.Describe(), account.ListSessions())
        )
    except Refused:  # there is no such account
        return None
    profile, sessions = described.value, listed.value
    assert isinstance(profile, account.Profile) and isinstance(sessions, account.OpenSessions)
    now = request.app[CLOCK].now_ms()
    if not any(_is_this(session, session_id, secret, now) for session in sessions.sessions):
        return None
    principal = Principal(profile.user_id, profile.role, session_id)
    request[VIEWER] = found = Viewer(principal, profile.name, profile.email, address, secret, profile.zone)
    return found


def _is_this(session: account.Session, session_id: str, secret: str, now: int) -> bool:
    is_open = (session.session_id, session.kind) == (session_id, "page") and session.expires_at > now
    return is_open and hmac.compare_digest(session.token_hash, _hash(secret))


def _hash(secret: str) -> str:
    """Hash a cookie's secret differently from all other secrets."""
    return sha256(f"cookie {secret}".encode()).hexdigest()


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))
