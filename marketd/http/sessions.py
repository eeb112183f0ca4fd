"""The sessions of an account over HTTP: listing and ending them."""

from typing import Literal

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from marketd.actors import account
from marketd.clock import Instant, instant, made_at
from marketd.http.answers import answered
from marketd.http.asking import ask, tell
from marketd.http.auth import own_address
from marketd.http.identity import signed_in
from marketd.http.keys import CLOCK
from marketd.http.operation import SIGNED_IN, Answer, operation

routes = web.RouteTableDef()


class Session(Struct, rename="camel"):
    """A session of the account, by tokens or in a browser; `current` is present only in the session that asks."""

    id: str
    created_at: Instant
    last_used_at: Instant
    expires_at: Instant
    kind: Literal["api", "page"]
    current: bool | UnsetType = UNSET


class Sessions(Struct):
    sessions: list[Session]


@routes.get("/auth/sessions")
@operation(access=SIGNED_IN, answers={200: Answer(Sessions)})
async def list_sessions(request: web.Request) -> web.Response:
    """List the user's sessions, the last used first."""
    principal = signed_in(request)

    found = await ask(request, await own_address(request), account.ListSessions(), account.OpenSessions)

    now = request.app[CLOCK].now_ms()
    living = [session for session in reversed(found.sessions) if session.expires_at > now]
    return answered(Sessions([_shown(session, principal.session_id) for session in living]))


@routes.delete("/auth/sessions/{id}")
@operation(access=SIGNED_IN, answers={204: Answer()})
async def end_session(request: web.Request) -> web.Response:
    """End a session and its access tokens; one that is not open is ignored."""
    principal = signed_in(request)

    command = account.RevokeSession(request.match_info["id"])
    await tell(request, await own_address(request), command, principal=principal)

    return web.Response(status=204)


@routes.delete("/auth/sessions")
@operation(access=SIGNED_IN, answers={204: Answer()})
async def end_sessions(request: web.Request) -> web.Response:
    """End all sessions of the user, also the current one."""
    principal = signed_in(request)

    await tell(request, await own_address(request), account.RevokeSessions(), principal=principal)

    return web.Response(status=204)


def _shown(session: account.Session, current: str) -> Session:
    opened_at = session.opened_at or made_at(session.session_id)
    return Session(
        id=session.session_id,
        created_at=instant(opened_at),
        last_used_at=instant(session.used_at or opened_at),
        expires_at=instant(session.expires_at),
        kind=session.kind,
        current=True if session.session_id == current else UNSET,
    )
