"""Where the links of our mails lead: pages that do nothing by themselves, and that run no script but their own."""

import hashlib
import re
from base64 import b64encode

import pytest

from tests.http.stage import Stage

pytestmark = pytest.mark.asyncio

PAGES = ["/auth/verify-email", "/auth/password-reset"]


@pytest.mark.parametrize("path", PAGES)
async def test_opening_a_link_asks_nobody_anything(stage: Stage, path: str) -> None:
    answer = await stage.call("GET", path)

    assert (200, "text/html", []) == (answer.status, answer.media_type, stage.bus.asked)


@pytest.mark.parametrize("path", [*PAGES, "/problems/not-found"])
async def test_a_page_has_a_main_part(stage: Stage, path: str) -> None:
    page = (await stage.call("GET", path)).body

    assert (1, 1) == (page.count(b"<main>"), page.count(b"</main>"))


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_runs_its_own_script_alone(stage: Stage, path: str) -> None:
    answer = await stage.call("GET", path)
    (script,) = re.findall(r"<script>(.*?)</script>", answer.body.decode(), re.DOTALL)

    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = answer.headers["Content-Security-Policy"]
    assert (True, True) == (f"script-src 'sha256-{digest}'" in policy, policy.startswith("default-src 'none'"))


@pytest.mark.parametrize(("path", "asks_for_a_password"), [(PAGES[0], False), (PAGES[1], True)])
async def test_only_a_reset_asks_for_a_password(stage: Stage, path: str, asks_for_a_password: bool) -> None:
    assert asks_for_a_password == (b"type=password" in (await stage.call("GET", path)).body)


@pytest.mark.parametrize("path", PAGES)
async def test_a_token_in_the_query_does_not_come_back_in_the_page(stage: Stage, path: str) -> None:
    assert b"<b>" not in (await stage.call("GET", f"{path}?token=<b>")).body
