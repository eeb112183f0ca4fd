"""
A browser before a running service, driven as people drive it.

It is whatever Chromium the machine has; where it has none these tests are skipped, and say so. Every page that a test
has seen is held to this: no error in its console, nothing loaded from elsewhere.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from aiohttp import ClientSession, DummyCookieJar
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, async_playwright

from tests.journeys.people import PASSWORD, Person, Visitor
from tests.journeys.process import Service, marketd, running

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS: Final = (
    "--no-sandbox",  # which does not start for root; the pages are our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
ADMIN: Final = "admin@example.org"
WAIT_MS: Final = 10_000
ZONE: Final = "Asia/Tokyo"  # where no browser is in UTC


def chromium() -> str | None:
    """Find the machine's Chromium; the environment may name another one."""
    return os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


class Surfer:
    """Somebody with a browser of their own: its cookies are nobody else's."""

    def __init__(self, context: BrowserContext, page: Page, service: Service) -> None:
        self.context, self.page, self.service = context, page, service
        self.troubles: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("request", self._on_request)

    async def goes(self, path: str) -> None:
        await self.page.goto(self.service.url + path)

    async def signs_in(self, email: str, path: str = "/auth/sign-in") -> None:
        """Sign in where a page asks for it."""
        await self.goes(path)
        await self.page.get_by_label("E-mail").fill(email)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.get_by_role("button", name="Sign out").wait_for()

    def forgives(self, words: str) -> None:
        """Expect a trouble with these words: a browser tells of each refusal that a script gets."""
        (found,) = (trouble for trouble in self.troubles if words in trouble)
        self.troubles.remove(found)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"{message.type}: {message.text} {message.location}")

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.service.url, "data:", "blob:")):
            self.troubles.append(f"asked {request.url}")


class Fair:
    """The service, and a way for more people to come."""

    def __init__(self, service: Service, visitor: Visitor, browser: Browser, stack: AsyncExitStack) -> None:
        self.service, self.visitor, self._browser, self._stack = service, visitor, browser, stack

    async def surfer(self, width: int = 1280, scheme: str = "light", *, has_scripts: bool = True) -> Surfer:
        """Let somebody open a browser."""
        context = await self._browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            accept_downloads=True,
            java_script_enabled=has_scripts,
            timezone_id=ZONE,
        )
        context.set_default_timeout(WAIT_MS)
        self._stack.push_async_callback(context.close)
        return Surfer(context, await context.new_page(), self.service)

    async def finds(self, words: str) -> None:
        """Look for a product until it is found: the index may be two seconds behind."""
        async with asyncio.timeout(WAIT_MS / 1000):
            while not (await self.visitor.get(f"/products?q={words}")).expect(200)["total"]:
                await asyncio.sleep(0.1)

    async def joins(self, role: str) -> Person:
        """Make an account over the API."""
        return await self.visitor.joins(role)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def fair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fair]:
    """Give a service with the sample catalogue, an admin, and a browser."""
    path = chromium()
    if path is None:
        pytest.skip("there is no Chromium on this machine; CHROMIUM may name one")
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        service = await enter(running(tmp_path_factory.mktemp("fair") / "data", "--sample"))
        session = await enter(ClientSession(cookie_jar=DummyCookieJar()))
        made = await marketd(
            "admin", "create", ADMIN, "--password-stdin", "--data", str(service.data), given=f"{PASSWORD}\n"
        )
        assert 0 == made.code, made
        playwright = await enter(async_playwright())
        browser = await playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS])
        stack.push_async_callback(browser.close)
        yield Fair(service, Visitor(service, session), browser, stack)


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Where pictures of the pages are kept to be looked at."""
    folder = Path(os.environ.get("SCREENSHOTS", "build/screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
