"""What became of webhooks, and what is sent by hand, over HTTP."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from marketd.actors import webhook
from marketd.actors.aggregate import Refused
from marketd.actors.webhook import Reason, View
from marketd.storage.enquiries import (
    Attempt,
    Delivery,
    DeliveryPage,
    ListDeliveries,
    ReadDelivery,
    Replay,
    Replayed,
    Resend,
    SendTest,
)
from marketd.storage.pages import Page
from tests.http.stage import HEAD, Reply, Stage
from tests.http.test_webhooks import HOOK
from tests.http.things import AT, AT_TEXT

pytestmark = pytest.mark.asyncio

EVENT = {
    "specversion": "1.0",
    "id": "7-0-ab",
    "source": "https://shop.example",
    "type": "market.order.paid",
    "subject": "o1",
    "time": AT_TEXT,
    "datacontenttype": "application/json",
    "data": {"orderId": "o1"},
}
PENDING = Delivery("d1", "7-0-ab", "order.paid", "event", "pending", AT, 1, AT + 5_000)
DELIVERED = replace(
    PENDING,
    state="delivered",
    attempt_count=2,
    next_at=None,
    attempts=(Attempt(AT, 15_000, None, "it hangs", b""), Attempt(AT + 1_000, 8, 200, None, b"thanks\xff")),
    body=msgspec.json.encode(EVENT),
)
SHOWN = {
    "id": "d1",
    "messageId": "7-0-ab",
    "type": "order.paid",
    "source": "event",
    "state": "pending",
    "createdAt": AT_TEXT,
    "attemptCount": 1,
    "nextAttemptAt": "2023-11-14T22:13:25Z",
}
DELIVERIES = "/webhooks/w1/deliveries"


@pytest.fixture(autouse=True)
def known(stage: Stage) -> None:
    """Sam has one webhook."""
    stage.bus.answers(webhook.Describe, View(HOOK))


async def call(stage: Stage, method: str, path: str, body: object = None, **options: Any) -> Reply:
    return await stage.call(method, path, body, user="sam", role="seller", **options)


async def test_deliveries_are_listed(stage: Stage) -> None:
    stage.bus.answers(ListDeliveries, DeliveryPage(41, (PENDING,)))
    answer = await call(stage, "GET", f"{DELIVERIES}?state=pending&page=2&size=1")

    assert ListDeliveries("w1", "pending", Page(2, 1)) == stage.bus.last.message
    assert {"total": 41, "page": 2, "size": 1, "deliveries": [SHOWN]} == answer.json()


async def test_a_state_that_there_is_not_is_refused(stage: Stage) -> None:
    assert ["/state"] == (await call(stage, "GET", f"{DELIVERIES}?state=lost")).faults


async def test_a_delivery_is_shown_with_its_attempts_and_what_was_sent(stage: Stage) -> None:
    stage.bus.answers(ReadDelivery, DELIVERED)
    shown = (await call(stage, "GET", f"{DELIVERIES}/d1")).json()

    assert [
        {"at": AT_TEXT, "durationMs": 15_000, "status": None, "error": "it hangs", "responseBody": ""},
        {"at": "2023-11-14T22:13:21Z", "durationMs": 8, "status": 200, "error": None, "responseBody": "thanks\ufffd"},
    ] == shown["attempts"]
    assert (EVENT, "delivered", None) == (shown["payload"], shown["state"], shown["nextAttemptAt"])


async def test_a_delivery_is_not_sent_again_to_who_has_it_as_it_is(stage: Stage) -> None:
    stage.bus.answers(ReadDelivery, replace(DELIVERED, attempts=DELIVERED.attempts[:1]))
    known = {"If-None-Match": (await call(stage, "GET", f"{DELIVERIES}/d1")).headers["ETag"]}
    same = await call(stage, "GET", f"{DELIVERIES}/d1", headers=known)
    stage.bus.answers(ReadDelivery, DELIVERED)
    changed = await call(stage, "GET", f"{DELIVERIES}/d1", headers=known)

    assert (304, b"", 200) == (same.status, same.body, changed.status)


async def test_a_delivery_that_there_is_not_is_not_found(stage: Stage) -> None:
    stage.bus.answers(ReadDelivery, None)

    assert 404 == (await call(stage, "GET", f"{DELIVERIES}/d9")).status


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", DELIVERIES, None),
        ("GET", f"{DELIVERIES}/d1", None),
        ("POST", f"{DELIVERIES}/d1/resend", None),
        ("POST", "/webhooks/w1/test", None),
        ("POST", "/webhooks/w1/replay", {"since": AT_TEXT}),
    ],
)
async def test_of_a_webhook_of_somebody_else_nothing_is_to_be_had(
    stage: Stage, method: str, path: str, body: object
) -> None:
    stage.bus.answers(webhook.Describe, Refused(Reason.NO_SUCH_WEBHOOK))
    answer = await call(stage, method, path, body)

    assert (404, [webhook.Describe("w1")]) == (answer.status, [message for _, message in stage.bus.messages])


async def test_a_delivery_is_sent_again(stage: Stage) -> None:
    stage.bus.answers(Resend, replace(PENDING, next_at=None))
    answer = await call(stage, "POST", f"{DELIVERIES}/d1/resend")

    assert (202, Resend("w1", "d1")) == (answer.status, stage.bus.last.message)
    assert f"{DELIVERIES}/{answer.json()['id']}" == answer.headers["Location"]


async def test_who_sends_it_knows_the_webhook_as_we_do(stage: Stage) -> None:
    """It was registered a moment ago, and the courier may not have heard of it."""
    stage.bus.answers(Resend, PENDING)
    await call(stage, "POST", f"{DELIVERIES}/d1/resend")

    assert HEAD == stage.bus.last.at_least


@pytest.mark.parametrize(
    ("path", "body"), [(f"{DELIVERIES}/d1/resend", None), ("/webhooks/w1/replay", {"since": AT_TEXT})]
)
async def test_what_is_disabled_is_sent_nothing(stage: Stage, path: str, body: object) -> None:
    stage.bus.answers(webhook.Describe, View(replace(HOOK, disabled="failing")))

    assert 409 == (await call(stage, "POST", path, body)).status


async def test_a_test_is_sent_also_to_what_is_disabled(stage: Stage) -> None:
    stage.bus.answers(webhook.Describe, View(replace(HOOK, disabled="failing")))
    stage.bus.answers(SendTest, lambda asked: replace(PENDING, delivery_id=asked.delivery_id, source="test"))
    answer = await call(stage, "POST", "/webhooks/w1/test")

    assert (202, f"{DELIVERIES}/{answer.json()['id']}") == (answer.status, answer.headers["Location"])


async def test_what_has_happened_is_sent(stage: Stage) -> None:
    stage.bus.answers(Replay, Replayed(12))
    body = {"since": "2023-11-14T00:00:00Z", "until": AT_TEXT, "events": ["order.paid"]}
    answer = await call(stage, "POST", "/webhooks/w1/replay", body)
    asked = stage.bus.last.message
    assert isinstance(asked, Replay)

    assert (202, {"replayId": asked.replay_id, "events": 12}) == (answer.status, answer.json())
    assert ("sam", "w1", 1_699_920_000_000, AT, ("order.paid",)) == (
        asked.owner_id,
        asked.webhook_id,
        asked.since,
        asked.until,
        asked.events,
    )


async def test_where_nothing_else_is_said_it_is_what_the_webhook_wants_until_now(stage: Stage) -> None:
    stage.bus.answers(Replay, Replayed(0))
    await call(stage, "POST", "/webhooks/w1/replay", {"since": "2023-11-14T00:00:00Z"})
    asked = stage.bus.last.message
    assert isinstance(asked, Replay)

    assert (AT, HOOK.events) == (asked.until, asked.events)


async def test_the_same_request_asks_for_the_same_replay(stage: Stage) -> None:
    stage.bus.answers(Replay, RuntimeError("the service dies"))
    for _ in range(2):
        stage.client.is_strict = False
        body = {"since": "2023-11-14T00:00:00Z"}
        await call(stage, "POST", "/webhooks/w1/replay", body, headers={"Idempotency-Key": "one"})
    asked = {message.replay_id for _, message in stage.bus.messages if isinstance(message, Replay)}

    assert 1 == len(asked)


async def test_what_is_too_much_is_refused(stage: Stage) -> None:
    stage.bus.answers(Replay, Replayed(0, is_too_much=True))

    assert ["/since"] == (await call(stage, "POST", "/webhooks/w1/replay", {"since": AT_TEXT})).faults


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, ["/since"]),
        ({"since": "yesterday"}, ["/since"]),
        ({"since": "2023-11-14T00:00:00"}, ["/since"]),
        ({"since": AT_TEXT, "events": ["seller.registered"]}, ["/events/0"]),
        ({"since": AT_TEXT, "events": []}, ["/events"]),
    ],
)
async def test_what_is_wrong_with_a_replay_is_named(stage: Stage, body: object, faults: list[str]) -> None:
    assert faults == (await call(stage, "POST", "/webhooks/w1/replay", body)).faults
