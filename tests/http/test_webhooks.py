"""Webhooks over HTTP: who may have them, of what, where to, and that a secret is shown once."""

from typing import Any

import pytest
from msgspec.structs import replace

from marketd.actors import webhook
from marketd.actors.aggregate import Refused
from marketd.actors.notices.signing import WebhookSigner
from marketd.actors.webhook import Endpoint, Endpoints, Reason, Secret, View
from marketd.bus.events import DATA
from marketd.http.webhooks import OF_SELLERS, PATTERNS
from tests.http.stage import Stage
from tests.http.things import AT, AT_TEXT

pytestmark = pytest.mark.asyncio

URL = "https://books.example/sales"
WANTED: dict[str, Any] = {"url": URL, "events": ["order.*"]}
HOOK = Endpoint("w1", URL, ("order.*",), "the books", "own", (Secret("s1"),), AT, AT)
SHOWN = {
    "id": "w1",
    "url": URL,
    "events": ["order.*"],
    "description": "the books",
    "disabled": False,
    "disabledReason": None,
    "oldSecretExpiresAt": None,
    "createdAt": AT_TEXT,
    "updatedAt": AT_TEXT,
}


@pytest.fixture(autouse=True)
def known(stage: Stage) -> None:
    """Sam has one webhook."""
    stage.bus.answers(webhook.Describe, View(HOOK))
    stage.bus.answers(webhook.Register, lambda command: View(command.endpoint))
    stage.bus.answers(webhook.Revise, View(HOOK))


async def registered(stage: Stage, role: Any = "seller", **changes: Any) -> Endpoint:
    answer = await stage.call("POST", "/webhooks", WANTED | changes, user="sam", role=role)
    assert 201 == answer.status, answer
    command = stage.bus.last.message
    assert isinstance(command, webhook.Register)
    return command.endpoint


# Registering.


async def test_a_webhook_is_registered_with_its_owners_own_actor(stage: Stage) -> None:
    endpoint = await registered(stage, description="the books", events=["order.*", "order.*", "product.listed"])

    assert stage.bus.asked[-1][0].endswith(".webhook.sam")
    assert (URL, ("order.*", "product.listed"), "the books", "own") == (
        endpoint.url,
        endpoint.events,
        endpoint.description,
        endpoint.scope,
    )


async def test_an_admin_is_told_of_everything(stage: Stage) -> None:
    assert "all" == (await registered(stage, "admin", events=["*", "seller.registered"])).scope


async def test_the_secret_is_shown(stage: Stage) -> None:
    answer = await stage.call("POST", "/webhooks", WANTED, user="sam", role="seller")
    shown = answer.json()
    command = stage.bus.last.message
    assert isinstance(command, webhook.Register)

    expected = WebhookSigner(bytes(32)).secret(shown["id"], command.endpoint.secrets[0].secret_id)
    assert (expected, "no-store") == (shown["secret"], answer.headers["Cache-Control"])


async def test_it_is_said_where_it_is(stage: Stage) -> None:
    answer = await stage.call("POST", "/webhooks", WANTED, user="sam", role="seller")

    assert f"/webhooks/{answer.json()['id']}" == answer.headers["Location"]


async def test_the_same_request_makes_the_same_webhook(stage: Stage) -> None:
    key = {"Idempotency-Key": "one"}
    answers = [await stage.call("POST", "/webhooks", WANTED, user="sam", role="seller", headers=key) for _ in range(2)]

    assert answers[0].body == answers[1].body and 1 == len(stage.bus.asked)


async def test_a_buyer_has_none(stage: Stage) -> None:
    assert 403 == (await stage.call("POST", "/webhooks", WANTED, user="ann")).status


async def test_there_are_no_more_than_one_may_have(stage: Stage) -> None:
    stage.bus.answers(webhook.Register, Refused(Reason.TOO_MANY_WEBHOOKS))

    assert 409 == (await stage.call("POST", "/webhooks", WANTED, user="sam", role="seller")).status


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({"url": "http://books.example/"}, ["/url"]),
        ({"url": "https://127.0.0.1/"}, ["/url"]),
        ({"url": "https://localhost/"}, ["/url"]),
        ({"url": "https://[::1]/"}, ["/url"]),
        ({"url": "https://books.example:25/"}, ["/url"]),
        ({"url": "https://ann:secret@books.example/"}, ["/url"]),
        ({"url": "ftp://books.example/"}, ["/url"]),
        ({"url": "https://books.example/" + "a" * 2048}, ["/url"]),
        ({"url": 5, "events": []}, ["/events", "/url"]),
        ({"events": ["order.*", "order.lost", "*.paid"]}, ["/events/1", "/events/2"]),
        ({"events": ["*"] * 100}, ["/events"]),
        ({"events": ["order.paid", "buyer.registered", "seller.*"]}, ["/events/1", "/events/2"]),
        ({"description": "a\0b"}, ["/description"]),
        ({"description": "a" * 501}, ["/description"]),
        ({"secret": "mine"}, ["/secret"]),
        ({"url": "https://10.0.0.1/", "events": ["buyer.*"]}, ["/events/0", "/url"]),
        (
            {"url": "http://x.example:9/", "events": ["order.*", "buyer.*", "nope", 1], "description": 3},
            ["/description", "/events/1", "/events/2", "/events/3", "/url"],
        ),
    ],
)
async def test_what_is_wrong_is_named(stage: Stage, changes: dict[str, Any], faults: list[str]) -> None:
    answer = await stage.call("POST", "/webhooks", WANTED | changes, user="sam", role="seller")

    assert (faults, []) == (answer.faults, stage.bus.asked)


async def test_everything_that_is_public_can_be_named() -> None:
    assert set(DATA) <= set(PATTERNS) and OF_SELLERS < set(PATTERNS)


# Looking at them.


async def test_a_webhook_is_shown_without_its_secret(stage: Stage) -> None:
    assert SHOWN == (await stage.call("GET", "/webhooks/w1", user="sam", role="seller")).json()


async def test_ones_webhooks_are_listed(stage: Stage) -> None:
    stage.bus.answers(webhook.ListEndpoints, Endpoints((HOOK, replace(HOOK, webhook_id="w2"))))
    answer = await stage.call("GET", "/webhooks", user="sam", role="seller")

    assert [SHOWN, SHOWN | {"id": "w2"}] == answer.json()["webhooks"]


async def test_one_that_there_is_not_is_not_found(stage: Stage) -> None:
    stage.bus.answers(webhook.Describe, Refused(Reason.NO_SUCH_WEBHOOK))

    assert 404 == (await stage.call("GET", "/webhooks/w9", user="sam", role="seller")).status


async def test_it_is_said_why_one_is_disabled(stage: Stage) -> None:
    stage.bus.answers(webhook.Describe, View(replace(HOOK, disabled="failing")))
    shown = (await stage.call("GET", "/webhooks/w1", user="sam", role="seller")).json()

    assert (True, "failing") == (shown["disabled"], shown["disabledReason"])


@pytest.mark.parametrize(("expires_at", "expected"), [(AT + 1_000, "2023-11-14T22:13:21Z"), (AT, None)])
async def test_it_is_said_how_long_the_old_secret_is_good(stage: Stage, expires_at: int, expected: str | None) -> None:
    secrets = (Secret("s2"), Secret("s1", expires_at))
    stage.bus.answers(webhook.Describe, View(replace(HOOK, secrets=secrets)))

    shown = (await stage.call("GET", "/webhooks/w1", user="sam", role="seller")).json()
    assert expected == shown["oldSecretExpiresAt"]


# Changing them.


async def test_what_is_named_is_changed(stage: Stage) -> None:
    change = {"events": ["product.*"], "disabled": True}
    answer = await stage.call("PATCH", "/webhooks/w1", change, user="sam", role="seller")

    expected = webhook.Revise("w1", AT, events=("product.*",), disabled=True)
    assert (200, expected) == (answer.status, stage.bus.last.message)


async def test_a_change_is_held_to_the_version_that_was_seen(stage: Stage) -> None:
    tag = (await stage.call("GET", "/webhooks/w1", user="sam", role="seller")).headers["ETag"]
    await stage.call("PATCH", "/webhooks/w1", {}, user="sam", role="seller", headers={"If-Match": tag})
    command = stage.bus.last.message

    assert isinstance(command, webhook.Revise) and (HOOK.version,) == command.expected


async def test_a_change_of_what_has_changed_is_refused(stage: Stage) -> None:
    stage.bus.answers(webhook.Revise, Refused(Reason.CHANGED))
    answer = await stage.call("PATCH", "/webhooks/w1", {}, user="sam", role="seller", headers={"If-Match": '"another"'})

    assert 412 == answer.status


async def test_it_can_not_be_moved_to_where_it_could_not_be_registered(stage: Stage) -> None:
    answer = await stage.call("PATCH", "/webhooks/w1", {"url": "https://127.0.0.1/"}, user="sam", role="seller")

    assert ["/url"] == answer.faults


async def test_one_is_removed(stage: Stage) -> None:
    stage.bus.answers(webhook.Remove, None)
    answer = await stage.call("DELETE", "/webhooks/w1", user="sam", role="seller")

    assert (204, webhook.Remove("w1", AT)) == (answer.status, stage.bus.last.message)


async def test_a_new_secret_is_shown(stage: Stage) -> None:
    def rotated(command: webhook.RotateSecret) -> View:
        return View(replace(HOOK, secrets=(Secret(command.secret_id), Secret("s1", AT + 1_000))))

    stage.bus.answers(webhook.RotateSecret, rotated)
    shown = (await stage.call("POST", "/webhooks/w1/rotate-secret", user="sam", role="seller")).json()
    command = stage.bus.last.message
    assert isinstance(command, webhook.RotateSecret)

    assert WebhookSigner(bytes(32)).secret("w1", command.secret_id) == shown["secret"]


async def test_the_path_of_stripe_is_no_webhook_of_anybodys(stage: Stage) -> None:
    answer = await stage.call("OPTIONS", "/webhooks/stripe")

    assert "HEAD" not in answer.headers["Allow"] and "POST" in answer.headers["Allow"]
