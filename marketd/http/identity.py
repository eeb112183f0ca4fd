"""The user of a request: its bearer token, and the roles that may use a handler."""

from aiohttp import hdrs, web

from marketd.actors.account import Role
from marketd.http.keys import ENDED, TOKENS
from marketd.http.operation import SIGNED_IN_OR_NOT, Access, assert_declared
from marketd.http.problems import RETRY_AFTER_S, Forbidden, NotSignedIn, TokenRefused, Unavailable
from marketd.http.tokens import Principal, TokenExpired, TokenInvalid


def signed_in(request: web.Request, *roles: Role) -> Principal:
    """Give the signed-in user; raise `NotSignedIn`, or `Forbidden` if the role is none of these."""
    assert_declared(request, "access", Access(True, roles))
    principal = bearer(request)
    if principal is None:
        raise NotSignedIn("this needs an access token")
    if roles and principal.role not in roles:
        raise Forbidden(f"this is for the role {' or '.join(roles)}")
    return principal


def somebody(request: web.Request) -> Principal | None:
    """Give the user, or None without a token; raise `NotSignedIn` for an invalid token."""
    assert_declared(request, "access", SIGNED_IN_OR_NOT)
    return bearer(request)


def bearer(request: web.Request) -> Principal | None:
    """The same for code that runs before the handlers, whatever the route declares."""
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    if not given:
        return None
    if len(given) > 1:
        raise NotSignedIn("expected one `Authorization`, not several")
    scheme, _, token = given[0].partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise NotSignedIn("expected `Authorization: Bearer` and an access token")
    try:
        principal = request.app[TOKENS].verify(token.strip())
    except (TokenInvalid, TokenExpired) as error:
        raise TokenRefused(str(error)) from None
    ended = request.app[ENDED]
    if ended.is_behind:
        raise Unavailable("which sessions have ended is still being read", retry_after_s=RETRY_AFTER_S)
    if principal.session_id in ended:
        raise TokenRefused("the session of the access token has ended")
    return principal
