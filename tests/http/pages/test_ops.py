"""The operator's page: what it shows of each part, and the hand it lends."""

from typing import Any

import pytest
from msgspec.structs import replace

from marketd.actors import order
from marketd.http.keys import Readiness
from marketd.storage.orders import ListAlerts, OrderEntry, OrderPage
from tests.http.pages.browsers import Browser
from tests.http.stage import Stage
from tests.http.things import OWING, SETTLED

pytestmark = pytest.mark.asyncio

PARTS: dict[str, Any] = {
    "log": {"state": "ok", "head": 1234},
    "readModels": {"state": "behind", "behind": 4, "orders": {"position": 1230, "halted": True}},
    "actors": {"state": "ok", "mailbox_depth_deepest": 17},
}


@pytest.fixture(autouse=True)
def town(stage: Stage) -> None:
    stage.bus.answers(ListAlerts, OrderPage(1, [OrderEntry("o1", OWING)]))
    stage.bus.answers(order.ResolveAlert, replace(OWING, alert=SETTLED))
    stage.readiness = Readiness(False, PARTS)


async def body_of(browser: Browser, path: str = "/ops") -> str:
    await browser.signs_in("admin", "root")
    page = await browser.get(path)
    assert 200 == page.status, page
    return page.body.decode()


async def test_an_open_alert_has_a_button(browser: Browser) -> None:
    assert 'action="/ops/alerts/o1/resolve"' in await body_of(browser)


async def test_a_resolved_alert_has_none(stage: Stage, browser: Browser) -> None:
    stage.bus.answers(ListAlerts, OrderPage(1, [OrderEntry("o1", replace(OWING, alert=SETTLED))]))

    page = await body_of(browser)

    assert ("Nothing needs a hand." in page, "/resolve" in page) == (True, False)


async def test_a_model_shows_how_far_behind_it_is(browser: Browser) -> None:
    page = await body_of(browser)

    assert '<th scope="row">orders</th><td class="number">1,230</td><td class="number">4</td>' in page
    assert '<span class="mark bad">halted</span>' in page


async def test_what_waits_in_mailboxes_is_shown(browser: Browser) -> None:
    assert "<dt>mailbox depth deepest</dt><dd>17</dd>" in await body_of(browser)


async def test_a_part_is_the_state_alone(browser: Browser) -> None:
    page = await body_of(browser, "/ops?part=state")

    assert ("<html" in page, "Not ready" in page) == (False, True)


async def test_an_alert_is_ended_in_the_name_of_who_is_signed_in(stage: Stage, browser: Browser) -> None:
    await browser.signs_in("admin", "root")

    sent = await browser.post("/ops/alerts/o1/resolve", {"csrf": await browser.token("/ops")})

    (command,) = [message for _, message in stage.bus.messages if isinstance(message, order.ResolveAlert)]
    assert (303, "root") == (sent.status, command.by)


@pytest.mark.parametrize("role", ["buyer", "seller"])
async def test_operations_are_for_admins(browser: Browser, role: Any) -> None:
    await browser.signs_in(role)

    assert 403 == (await browser.get("/ops")).status


async def test_a_stranger_gets_the_form_to_sign_in_with(browser: Browser) -> None:
    page = await browser.get("/ops")

    assert (200, True, False) == (page.status, b'name="password"' in page.body, b"Circuit" in page.body)
