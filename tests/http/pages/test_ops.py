"""The operator's page: what it shows of each part, and the hand it lends."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from marketd.actors import order
from marketd.bus.guests import Guest, Guests, ListIntegrators
from marketd.bus.port import NoAnswer
from marketd.http.keys import Readiness
from marketd.storage.enquiries import ReadStandings, Standing, Standings
from marketd.storage.orders import ListAlerts, OrderEntry, OrderPage
from marketd.storage.people import FindPerson, Person
from tests.http.pages.browsers import Browser
from tests.http.stage import LIMITS_HERE, Stage, staged
from tests.http.things import AT, OWING, SETTLED

pytestmark = pytest.mark.asyncio

PARTS: dict[str, Any] = {
    "log": {"state": "ok", "head": 1234},
    "readModels": {"state": "behind", "behind": 4, "orders": {"position": 1230, "halted": True}},
    "actors": {"state": "ok", "mailbox_depth_deepest": 17},
}
GUEST = Guest("acme", ("market.events.order.>",), AT, 12_345, 6)
HOOK = Standing("w1", "sam", "books.example", None, 7, None, None)


@pytest.fixture(autouse=True)
def town(stage: Stage) -> None:
    set_up(stage)


def set_up(stage: Stage) -> None:
    stage.bus.answers(ListAlerts, OrderPage(1, [OrderEntry("o1", OWING)]))
    stage.bus.answers(order.ResolveAlert, replace(OWING, alert=SETTLED))
    stage.bus.answers(ListIntegrators, Guests((GUEST,)))
    stage.bus.answers(ReadStandings, Standings(1, (HOOK,)))
    stage.bus.answers(FindPerson, Person("sam", "k", "Sam <b>", "seller"))
    stage.readiness = Readiness(False, PARTS)


async def body_of(browser: Browser, path: str = "/ops") -> str:
    await browser.signs_in("admin", "root")
    page = await browser.get(path)
    assert 200 == page.status, page
    return page.body.decode()


async def test_what_a_link_has_collected_on_its_way_is_passed_over(browser: Browser) -> None:
    assert "Operations" in await body_of(browser, "/ops?utm_source=mail")


async def test_no_two_landmarks_have_the_same_name(browser: Browser) -> None:
    page = await body_of(browser)
    titles = dict(re.findall(r'<h\d id="([^"]+)">([^<]*)', page))
    labelled = [titles[title].strip() for title in re.findall(r'<section[^>]*aria-labelledby="([^"]+)"', page)]
    named = re.findall(r'<(?:nav|div class="scroll" role="region") aria-label="([^"]+)"', page)

    assert {} == {name: count for name, count in Counter(labelled + named).items() if count > 1}


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


async def test_an_integrator_shows_how_far_behind_it_is(browser: Browser) -> None:
    page = await body_of(browser)

    assert '<th scope="row">acme</th><td><code>market.events.order.&gt;</code></td>' in page
    assert '<td class="number">12,345</td><td class="number">6</td>' in page


async def test_a_webhook_shows_where_and_whose_it_is(browser: Browser) -> None:
    page = await body_of(browser)

    assert '<th scope="row">books.example</th><td dir="auto">Sam &lt;b&gt;</td>' in page


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, '<span class="mark good">ok</span>'),
        ({"disabled": "gone"}, '<span class="mark bad">disabled</span> <span class="hint">gone</span>'),
        (
            {"failing_since": AT},
            '<span class="mark bad">failing</span> <span class="hint">since 14 Nov 2023, 22:13 UTC',
        ),
        ({"last_failure": "status <500>"}, '<td class="hint">status &lt;500&gt;</td>'),
    ],
)
async def test_a_webhook_shows_how_it_fares(
    stage: Stage, browser: Browser, changes: dict[str, Any], expected: str
) -> None:
    stage.bus.answers(ReadStandings, Standings(1, (replace(HOOK, **changes),)))

    assert expected in (await body_of(browser)).replace("\u00a0", " ")


async def test_the_rest_is_shown_while_nats_says_nothing(stage: Stage, browser: Browser) -> None:
    stage.bus.answers(ListIntegrators, NoAnswer("no answer"))
    stage.bus.answers(ReadStandings, NoAnswer("no answer"))

    page = await body_of(browser)

    assert ("does not say just now" in page, "can&#39;t be read" in page or "can't be read" in page) == (True, True)


async def test_who_reads_at_a_server_of_others_is_not_asked_for(tmp_path: Path) -> None:
    async with staged(tmp_path, replace(LIMITS_HERE, has_integrators=False)) as stage:
        set_up(stage)
        page = await body_of(Browser(stage))

    assert ("NATS server of others" in page, "acme" in page) == (True, False)


async def test_that_there_is_nobody_says_how_to_let_one_in(stage: Stage, browser: Browser) -> None:
    stage.bus.answers(ListIntegrators, Guests(()))
    stage.bus.answers(ReadStandings, Standings(0, ()))

    page = await body_of(browser)

    assert ("marketd integrator add" in page, "POST /webhooks" in page) == (True, True)


@pytest.mark.parametrize("role", ["buyer", "seller"])
async def test_operations_are_for_admins(browser: Browser, role: Any) -> None:
    await browser.signs_in(role)

    assert 403 == (await browser.get("/ops")).status


async def test_a_stranger_gets_the_form_to_sign_in_with(browser: Browser) -> None:
    page = await browser.get("/ops")

    assert (200, True, False) == (page.status, b'name="password"' in page.body, b"Circuit" in page.body)
