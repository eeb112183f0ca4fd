"""A browser as the front sees it: it keeps a cookie, says where a form comes from, and sends what a page gave it."""

import re
from collections.abc import Mapping
from typing import Any

from marketd.actors import account
from marketd.actors.account import Role
from marketd.actors.aggregate import Refused
from tests.http.stage import Reply, Stage

OURS = {"Sec-Fetch-Site": "same-origin"}
CREDENTIALS = {"email": "ann@example.org", "password": "Passw0rd"}
TOKEN = re.compile(r'name="csrf" value="([^"]+)"')


class Browser:
    """Somebody's, before a stage whose accounts answer like those of one person."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.cookie = ""
        self.sessions: list[account.Session] = []

    async def signs_in(self, role: Role = "buyer", user_id: str = "ann", **more: str) -> Reply:
        """Be somebody, and sign in."""
        bus = self.stage.bus
        hashed = await self.stage.passwords.hash("Passw0rd")
        bus.answers(account.ReadCredentials, account.Credentials(user_id, role, hashed))
        bus.answers(account.OpenSession, self._open)
        bus.answers(account.EndSession, self._end)
        bus.answers(account.ListSessions, lambda _: account.OpenSessions(tuple(self.sessions)))
        bus.answers(account.Describe, account.Profile(user_id, "ann@example.org", "Ann <b>", role, 0))
        reply = await self.post("/auth/sign-in", CREDENTIALS | more)
        self.cookie = reply.headers.get("Set-Cookie", "").partition(";")[0]
        return reply

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.stage.call("GET", path, headers=self._headers(headers))

    async def post(self, path: str, form: Mapping[str, str], headers: Mapping[str, str] = OURS) -> Reply:
        return await self.stage.call("POST", path, data=dict(form), headers=self._headers(headers))

    async def token(self, path: str = "/shop/library") -> str:
        """Read the token of the forms from a page."""
        found = TOKEN.search((await self.get(path)).body.decode())
        assert found is not None
        return found[1]

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        self.stage.client.session.cookie_jar.clear()  # which is everybody's, and so nobody's
        return {**({"Cookie": self.cookie} if self.cookie else {}), **more}

    def _open(self, command: Any) -> account.SessionState:
        self.sessions.append(command.session)
        return account.SessionState("ann", "buyer", True)

    def _end(self, command: Any) -> None:
        self.sessions = [session for session in self.sessions if session.session_id != command.session_id]


def nobody(_: object) -> None:
    """Answer as an account that there is not."""
    raise Refused(account.Reason.NO_SUCH_ACCOUNT)
