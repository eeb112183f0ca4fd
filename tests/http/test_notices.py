"""How one wants to be told of things is one's own to say; and who has a mail can have such mails stopped."""

from typing import Any, Final

import pytest

from marketd.actors import account
from marketd.actors.aggregate import Refused
from marketd.actors.preferences import (
    Choice,
    ChooseNotices,
    Chosen,
    Contact,
    EndPush,
    Preferences,
    ReadContact,
    Subscribed,
    SubscribePush,
    Subscription,
)
from marketd.http.keys import FrontLimits
from marketd.storage.people import FindPerson
from tests.http.stage import PUBLIC_KEY, Stage, staged
from tests.http.things import AT, AT_TEXT, KEY, PERSON

pytestmark = pytest.mark.asyncio

NO_SALES: Final = Chosen((("sales", "email"),))
PHONE: Final = Subscription("s1", "https://push.example/send/secret", "B-point", "auth-secret", AT)
BODY: Final[dict[str, Any]] = {
    "endpoint": "https://push.example/send/secret",
    "expirationTime": None,
    "keys": {"p256dh": PUBLIC_KEY, "auth": "BTBZMqHH6r4Tts7J_aSIgg"},
}


def contact(chosen: Chosen, *subscriptions: Subscription) -> Contact:
    return Contact("ann", "ann@example.org", Preferences(chosen, subscriptions))


@pytest.fixture(autouse=True)
def person(stage: Stage) -> None:
    stage.bus.answers(FindPerson, PERSON)
    stage.bus.answers(ReadContact, contact(NO_SALES, PHONE))
    stage.bus.answers(ChooseNotices, NO_SALES)
    stage.bus.answers(SubscribePush, Subscribed("s1", AT))
    stage.bus.answers(EndPush, None)


# What is told.


async def test_it_is_shown_what_is_told_over_which_channel(stage: Stage) -> None:
    answer = await stage.call("GET", "/auth/me/notifications", user="ann")

    both = {"email": True, "push": True}
    expected = {"receipts": both, "sales": {"email": False, "push": True}, "refunds": both, "webhooks": both}
    assert expected == answer.json()


async def test_only_what_is_named_is_changed(stage: Stage) -> None:
    change = {"sales": {"email": False}, "refunds": {"email": True, "push": False}, "receipts": {}}
    answer = await stage.call("PATCH", "/auth/me/notifications", change, user="ann")

    choices = (Choice("sales", "email", False), Choice("refunds", "email", True), Choice("refunds", "push", False))
    assert (200, ChooseNotices(choices)) == (answer.status, stage.bus.last.message)


async def test_what_has_changed_is_shown(stage: Stage) -> None:
    answer = await stage.call("PATCH", "/auth/me/notifications", {"sales": {"email": False}}, user="ann")

    assert (False, True) == (answer.json()["sales"]["email"], answer.json()["sales"]["push"])


async def test_a_change_may_name_what_it_is_made_to(stage: Stage) -> None:
    seen = await stage.call("GET", "/auth/me/notifications", user="ann")
    headers = {"If-Match": seen.headers["ETag"]}
    await stage.call("PATCH", "/auth/me/notifications", {"sales": {"email": True}}, user="ann", headers=headers)

    assert ChooseNotices((Choice("sales", "email", True),), (NO_SALES.version,)) == stage.bus.last.message


async def test_a_change_to_what_is_another_now_is_refused(stage: Stage) -> None:
    stage.bus.answers(ChooseNotices, Refused(account.Reason.CHANGED))
    headers = {"If-Match": '"another"'}

    assert 412 == (await stage.call("PATCH", "/auth/me/notifications", {}, user="ann", headers=headers)).status


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"mails": {}}, "/mails"),
        ({"sales": {"sms": True}}, "/sales/sms"),
        ({"sales": {"email": "no"}}, "/sales/email"),
        ({"sales": None}, "/sales"),
        ({"verify-email": {"email": False}}, "/verify-email"),
    ],
)
async def test_what_can_not_be_chosen_is_named(stage: Stage, change: dict[str, Any], fault: str) -> None:
    answer = await stage.call("PATCH", "/auth/me/notifications", change, user="ann")

    assert [fault] == answer.faults


# Browsers.


async def test_everybody_may_have_the_key_that_browsers_subscribe_with(stage: Stage) -> None:
    answer = await stage.call("GET", "/push/key")

    assert (200, {"publicKey": PUBLIC_KEY}) == (answer.status, answer.json())


async def test_a_browser_subscribes_with_what_it_gives(stage: Stage) -> None:
    answer = await stage.call("POST", "/push/subscriptions", BODY, user="ann")

    message = stage.bus.last.message
    assert isinstance(message, SubscribePush)
    assert (201, {"id": "s1", "createdAt": AT_TEXT}, "/push/subscriptions/s1") == (
        answer.status,
        answer.json(),
        answer.headers["Location"],
    )
    assert [BODY["endpoint"], *BODY["keys"].values()] == [
        message.subscription.endpoint,
        message.subscription.p256dh,
        message.subscription.auth,
    ]


async def test_a_request_that_comes_again_under_its_key_subscribes_once(stage: Stage) -> None:
    headers = {"Idempotency-Key": "k1"}
    answers = [await stage.call("POST", "/push/subscriptions", BODY, user="ann", headers=headers) for _ in range(2)]

    assert (answers[0].body, 1) == (
        answers[1].body,
        sum(isinstance(message, SubscribePush) for _, message in stage.bus.messages),
    )


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://push.example/send",
        "https://127.0.0.1/send",
        "https://[::1]/send",
        "https://[d15]/send",
        "https://10.1.2.3/send",
        "https://localhost/send",
        "https://push.example:22/send",
        "https://user@push.example/send",
        "ftp://push.example/send",
        "push.example",
        "",
    ],
)
async def test_a_push_service_is_public_and_has_tls(stage: Stage, endpoint: str) -> None:
    answer = await stage.call("POST", "/push/subscriptions", BODY | {"endpoint": endpoint}, user="ann")

    assert (["/endpoint"], []) == (answer.faults, [m for _, m in stage.bus.messages if isinstance(m, SubscribePush)])


async def test_for_tests_a_push_service_may_be_near(tmp_path: Any) -> None:
    async with staged(tmp_path, FrontLimits(push_private_allowed=True)) as stage:
        stage.bus.answers(FindPerson, PERSON)
        stage.bus.answers(SubscribePush, Subscribed("s1", AT))
        body = BODY | {"endpoint": "http://127.0.0.1:9000/send"}

        assert 201 == (await stage.call("POST", "/push/subscriptions", body, user="ann")).status


@pytest.mark.parametrize(
    ("keys", "faults"),
    [
        ({}, ["/keys/auth", "/keys/p256dh"]),
        ({"p256dh": "short", "auth": "short"}, ["/keys/auth", "/keys/p256dh"]),
        ({"p256dh": "C" + PUBLIC_KEY[1:], "auth": "BTBZMqHH6r4Tts7J_aSIgg=="}, ["/keys/p256dh"]),
        ({"p256dh": PUBLIC_KEY + "=", "auth": "BTBZMqHH6r4Tts7J/aSIgg"}, ["/keys/auth"]),
    ],
)
async def test_keys_have_the_form_that_browsers_give_them(
    stage: Stage, keys: dict[str, str], faults: list[str]
) -> None:
    answer = await stage.call("POST", "/push/subscriptions", BODY | {"keys": keys}, user="ann")

    assert faults == answer.faults


async def test_an_endpoint_that_is_not_asked_is_named_beside_wrong_keys(stage: Stage) -> None:
    body = {"endpoint": "http://push.example/", "keys": 5}

    assert ["/endpoint", "/keys"] == (await stage.call("POST", "/push/subscriptions", body, user="ann")).faults


async def test_browsers_are_listed_without_their_secrets(stage: Stage) -> None:
    answer = await stage.call("GET", "/push/subscriptions", user="ann")

    expected = [{"id": "s1", "service": "https://push.example", "createdAt": AT_TEXT}]
    assert (expected, False) == (answer.json()["subscriptions"], b"secret" in answer.body)


async def test_a_browser_is_told_no_more(stage: Stage) -> None:
    answer = await stage.call("DELETE", "/push/subscriptions/s1", user="ann")

    assert (204, EndPush("s1", "by hand")) == (answer.status, stage.bus.last.message)


# Links in mails.


async def test_the_link_of_a_mail_asks_first(stage: Stage) -> None:
    answer = await stage.call("GET", f"/unsubscribe/{stage.mail_tokens.stop(KEY, 'sales')}")

    assert (200, "text/html", []) == (answer.status, answer.media_type, stage.bus.asked)
    assert b"<form method=post>" in answer.body and b"mails about sales" in answer.body


async def test_the_page_runs_no_script_and_posts_to_us_alone(stage: Stage) -> None:
    answer = await stage.call("GET", f"/unsubscribe/{stage.mail_tokens.stop(KEY, 'sales')}")

    policy = answer.headers["Content-Security-Policy"]
    assert ("script-src" in policy, "default-src 'none'" in policy, "form-action 'self'" in policy) == (
        False,
        True,
        True,
    )


async def test_one_click_stops_such_mails_without_signing_in(stage: Stage) -> None:
    path = f"/unsubscribe/{stage.mail_tokens.stop(KEY, 'sales')}"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await stage.call("POST", path, data=b"List-Unsubscribe=One-Click", headers=headers)

    assert (200, ChooseNotices((Choice("sales", "email", False),))) == (answer.status, stage.bus.last.message)
    assert stage.bus.asked[-1][0].endswith(f".account.{KEY}")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_token_that_is_not_ours_stops_nothing(stage: Stage, method: str) -> None:
    token = stage.mail_tokens.stop(KEY, "sales")

    assert (404, []) == ((await stage.call(method, f"/unsubscribe/{token[:-1]}!")).status, stage.bus.asked)
