"""People of the town with browsers: what they send is what a browser of theirs would."""

import re
from typing import Final, Self

from tests.journeys.people import PASSWORD, Answer, Person, Visitor
from tests.security.town import Town

TOKEN: Final = re.compile(r'name="csrf" value="([^"]+)"')
FORM: Final = "application/x-www-form-urlencoded"


class BrowserOfTown:
    """Somebody's; nothing of the API is opened by it."""

    def __init__(self, who: Visitor) -> None:
        self._visitor = Visitor(who.service, who._session)
        self.cookie = self.csrf = ""

    async def signs_in(self, email: str) -> Self:
        """Sign in, and read the token of the forms."""
        entered = await self.sends("POST", "/auth/sign-in", f"email={email}&password={PASSWORD}".replace("@", "%40"))
        assert 303 == entered.status, entered
        self.cookie = entered.headers["Set-Cookie"].partition(";")[0]
        found = TOKEN.search((await self.sends("GET", "/")).body.decode())
        assert found is not None
        self.csrf = found[1]
        return self

    async def sends(
        self, method: str, path: str, form: str = "", *, site: str = "same-origin", csrf: str | None = None
    ) -> Answer:
        """Send a request as a page of this site would, or of another; a form with its token, or another one."""
        token = self.csrf if csrf is None else csrf
        headers = {"Sec-Fetch-Site": site} | ({"Cookie": self.cookie} if self.cookie else {})
        if method == "GET":
            return await self._visitor.ask(method, path, headers=headers)
        headers |= {"Content-Type": FORM, "X-CSRF-Token": token}
        body = "&".join(part for part in (form, f"csrf={token.replace('=', '%3D')}") if part)
        return await self._visitor.ask(method, path, data=body.encode(), headers=headers)


async def browser_of(town: Town, person: Person) -> BrowserOfTown:
    """Give a browser that somebody is signed in with."""
    return await BrowserOfTown(town.stranger).signs_in(person.email)
