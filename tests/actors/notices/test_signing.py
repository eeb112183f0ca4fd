"""Webhooks are signed so that the library of Standard Webhooks, and no other secret, takes them for ours."""

from base64 import b64decode
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from marketd.actors.notices.signing import WebhookSigner
from marketd.actors.webhook import Endpoint, Secret

BODY = '{"specversion":"1.0","data":{"title":"Grün"}}'.encode()
HOOK = Endpoint("w1", "https://books.example/", ("*",), "", "own", (Secret("s1"),), 7, 7)
SIGNER = WebhookSigner(b"k" * 32)


def now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)  # the library holds it against the real clock


def signed(endpoint: Endpoint = HOOK, at: int = 0) -> dict[str, str]:
    return SIGNER.headers(endpoint, "4711-0-9f86d081", at or now_ms(), BODY)


def test_the_library_takes_it_for_ours() -> None:
    assert {"specversion": "1.0", "data": {"title": "Grün"}} == Webhook(SIGNER.secret("w1", "s1")).verify(
        BODY, signed()
    )


@pytest.mark.parametrize(
    "secret",
    [SIGNER.secret("w2", "s1"), SIGNER.secret("w1", "s2"), WebhookSigner(b"x" * 32).secret("w1", "s1")],
)
def test_with_another_secret_the_library_does_not(secret: str) -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY, signed())


def test_another_body_is_not_ours() -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(SIGNER.secret("w1", "s1")).verify(BODY + b" ", signed())


def test_another_id_is_not_ours() -> None:
    with pytest.raises(WebhookVerificationError):
        Webhook(SIGNER.secret("w1", "s1")).verify(BODY, signed() | {"webhook-id": "another"})


def test_an_old_attempt_is_not_taken_again() -> None:
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(SIGNER.secret("w1", "s1")).verify(BODY, signed(at=now_ms() - 600_000))


def test_while_two_secrets_are_good_it_is_signed_with_both() -> None:
    both = replace(HOOK, secrets=(Secret("s2"), Secret("s1", now_ms() + 60_000)))
    for secret_id in ("s1", "s2"):
        Webhook(SIGNER.secret("w1", secret_id)).verify(BODY, signed(both))

    assert 2 == len(signed(both)["webhook-signature"].split(" "))


def test_with_a_secret_whose_time_is_over_it_is_not_signed() -> None:
    rotated = replace(HOOK, secrets=(Secret("s2"), Secret("s1", 1_000)))

    assert 1 == len(SIGNER.headers(rotated, "m", 1_000, BODY)["webhook-signature"].split(" "))


def test_a_secret_has_as_many_bytes_as_the_specification_wants() -> None:
    prefix, _, encoded = SIGNER.secret("w1", "s1").partition("_")

    assert ("whsec", True) == (prefix, 24 <= len(b64decode(encoded, validate=True)) <= 64)


def test_a_secret_is_the_same_each_time() -> None:
    assert WebhookSigner(b"k" * 32).secret("w1", "s1") == SIGNER.secret("w1", "s1")


def test_ids_do_not_run_into_each_other() -> None:
    assert SIGNER.secret("w1", "1s") != SIGNER.secret("w11", "s")
