"""
How webhooks are signed: HMAC-SHA-256 by the Standard Webhooks specification 1.0 (standardwebhooks.com).

    webhook-id          the event's id, the same at each attempt
    webhook-timestamp   when this attempt was made, in seconds since the epoch
    webhook-signature   `v1,` and the signature of `id.timestamp.body` in base64, once for each secret that is good

The one rule: a secret is never kept. It is made of its id and our key, without which there is no way to it.
"""

import hmac
from base64 import b64encode
from collections.abc import Iterable
from typing import Final

from marketd.actors.webhook import Endpoint, Secret

PREFIX: Final = "whsec_"


class WebhookSigner:
    """Makes the secrets of one key, and signs with them."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def secret(self, webhook_id: str, secret_id: str) -> str:
        """Give a secret as its owner is shown it, the same each time."""
        return PREFIX + b64encode(self._made(webhook_id, secret_id)).decode()

    def headers(self, endpoint: Endpoint, message_id: str, now_ms: int, body: bytes) -> dict[str, str]:
        """Give the headers that say who sends the body and when."""
        now_s = now_ms // 1000
        signed = f"{message_id}.{now_s}.".encode() + body
        keys = (self._made(endpoint.webhook_id, secret.secret_id) for secret in _good(endpoint.secrets, now_ms))
        made = (b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
        signatures = " ".join(f"v1,{signature}" for signature in made)
        return {"webhook-id": message_id, "webhook-timestamp": str(now_s), "webhook-signature": signatures}

    def _made(self, webhook_id: str, secret_id: str) -> bytes:
        return hmac.digest(self._key, f"webhook\0{webhook_id}\0{secret_id}".encode(), "sha256")


def _good(secrets: Iterable[Secret], now_ms: int) -> list[Secret]:
    return [secret for secret in secrets if secret.expires_at is None or secret.expires_at > now_ms]
