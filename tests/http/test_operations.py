"""What operators look at."""

import pytest
from msgspec.structs import replace

from marketd.actors import order
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.bus.breaker import Breaker
from marketd.bus.port import NoAnswer
from marketd.bus.subjects import command_subject
from marketd.http.keys import Readiness
from marketd.storage.orders import ListAlerts, OrderEntry, OrderPage
from marketd.storage.pages import Page
from tests.http.stage import Stage
from tests.http.things import AT, AT_TEXT, OWING, SETTLED

pytestmark = pytest.mark.asyncio

ALERT = {
    "id": "o1",
    "orderId": "o1",
    "status": "open",
    "reason": "the card is gone",
    "buyerId": "ann",
    "sellerId": "sam",
    "price": 19.99,
    "currency": "USD",
    "createdAt": AT_TEXT,
}


async def test_a_process_that_lives_says_so(stage: Stage) -> None:
    answer = await stage.call("GET", "/healthz")

    assert (200, {"status": "ok"}, []) == (answer.status, answer.json(), stage.bus.asked)


@pytest.mark.parametrize(("is_ready", "status", "said"), [(True, 200, "ready"), (False, 503, "not ready")])
async def test_each_part_is_shown_whether_or_not_all_work(stage: Stage, is_ready: bool, status: int, said: str) -> None:
    stage.readiness = Readiness(is_ready, {"bus": {"state": "ok"}})

    answer = await stage.call("GET", "/readyz")

    assert (status, {"status": said, "parts": {"bus": {"state": "ok"}}}) == (answer.status, answer.json())


async def test_who_is_not_ready_says_when_to_ask_again(stage: Stage) -> None:
    stage.readiness = Readiness(False, {})

    assert "Retry-After" in (await stage.call("GET", "/readyz")).headers


async def test_no_cache_keeps_the_readiness(stage: Stage) -> None:
    assert "no-store" == (await stage.call("GET", "/readyz")).headers["Cache-Control"]


async def test_an_admin_lists_the_alerts(stage: Stage) -> None:
    stage.bus.answers(ListAlerts, OrderPage(1, [OrderEntry("o1", OWING)]))

    answer = await stage.call("GET", "/admin/alerts?size=5", user="root", role="admin")

    assert (200, {"total": 1, "page": 1, "size": 5, "alerts": [ALERT]}) == (answer.status, answer.json())
    assert [("market.query.alerts", ListAlerts(Page(1, 5)))] == stage.bus.messages


async def test_an_alert_that_was_seen_to_is_shown_as_such(stage: Stage) -> None:
    stage.bus.answers(ListAlerts, OrderPage(1, [OrderEntry("o1", replace(OWING, alert=SETTLED))]))

    (alert,) = (await stage.call("GET", "/admin/alerts", user="root", role="admin")).json()["alerts"]

    assert "resolved" == alert["status"]


async def test_an_admin_notes_that_it_was_seen_to(stage: Stage) -> None:
    stage.bus.answers(order.ResolveAlert, replace(OWING, alert=SETTLED))

    answer = await stage.call("POST", "/admin/alerts/o1/resolve", user="root", role="admin")

    assert (200, ALERT | {"status": "resolved"}) == (answer.status, answer.json())
    o1 = command_subject(Address("order", "o1"))
    assert [(o1, order.ResolveAlert("root", AT))] == stage.bus.messages


@pytest.mark.parametrize("reason", [order.Reason.NO_ALERT, order.Reason.NO_SUCH_ORDER])
async def test_what_has_no_alert_can_not_be_seen_to(stage: Stage, reason: order.Reason) -> None:
    stage.bus.answers(order.ResolveAlert, Refused(reason))

    assert 404 == (await stage.call("POST", "/admin/alerts/o1/resolve", user="root", role="admin")).status


async def test_a_key_that_can_be_no_address_has_no_alert(stage: Stage) -> None:
    answer = await stage.call("POST", "/admin/alerts/a.b/resolve", user="root", role="admin")

    assert (404, []) == (answer.status, stage.bus.asked)


# Circuit breakers.


async def test_each_circuit_is_shown_with_its_state_and_counts(stage: Stage) -> None:
    breaker = Breaker("search", stage.clock, failures_max=1)
    stage.breakers.append(breaker)
    with pytest.raises(NoAnswer):
        await breaker.call(silence, NoAnswer)

    answer = await stage.call("GET", "/admin/circuits", user="root", role="admin")

    circuit = {
        "name": "search",
        "state": "open",
        "failuresInRow": 1,
        "calls": 1,
        "failures": 1,
        "refused": 0,
        "opened": 1,
        "lastError": "NoAnswer: nobody there",
        "successes": 0,
    }
    assert (200, {"circuits": [circuit]}) == (answer.status, answer.json())


async def silence() -> None:
    raise NoAnswer("nobody there")
