"""
Push messages to browsers (RFC 8030), sealed so that the push service between can't read them (RFC 8291, by http_ece)
and signed so that it knows who sends them (VAPID, RFC 8292, by py_vapid). These two are what pywebpush is made of; it
itself brings a second HTTP client along, and its own has no defence against endpoints inside our network.

What is refused for good is over; a browser that is there no more is told apart from it. All else is tried again.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Protocol
from urllib.parse import urlsplit

import http_ece
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from py_vapid import Vapid02

from marketd.actors.notices.port import Gone, NoticeFailed, PushMessage, Rejected, Sent
from marketd.actors.notices.posting import Answered, Unreached
from marketd.actors.preferences import Subscription
from marketd.clock import Clock

CURVE: Final = ec.SECP256R1()
ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of that curve's group
PROOF_S: Final = 12 * 3600  # how long one signature is good; a day is the most that is allowed
TOPIC_BYTES: Final = 24  # which are 32 characters, as many as a topic may have
TTL_S_MAX: Final = 28 * 24 * 3600
GONE: Final = frozenset({404, 410})
FOR_NOW: Final = frozenset({408, 425, 429})


class Poster(Protocol):
    """Posts to addresses that strangers name, and to no others than they may."""

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered | Unreached:
        """Post the body once."""
        ...


class PushKey:
    """Who we are to push services: a key of P-256, made of a secret of 32 bytes."""

    def __init__(self, secret: bytes) -> None:
        number = int.from_bytes(secret, "big") % (ORDER - 1) + 1
        self._signer = Vapid02(
            ec.derive_private_key(number, CURVE), conf={"no-strict": True}
        )  # any host may have a mailbox

    @property
    def public(self) -> str:
        """What browsers subscribe with, in base64url."""
        point = self._signer.public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return _written(point)

    def sign(self, origin: str, contact: str, expires_s: int) -> str:
        """Sign for one push service; give the header `Authorization`."""
        header: str = self._signer.sign({"aud": origin, "sub": contact, "exp": expires_s})["Authorization"]
        return header


class WebPush:
    """Sends push messages; `contact` is whom a push service may complain to, a `mailto:` or `https:` address."""

    def __init__(self, line: Poster, key: PushKey, contact: str, clock: Clock) -> None:
        self._line, self._key, self._contact, self._clock = line, key, contact, clock

    async def send(self, message: PushMessage, subscription: Subscription) -> Sent | Rejected | Gone:
        """Send it to one browser; the push service is answerable for it from then on."""
        tag = _written(sha256(message.push_id.encode()).digest()[:TOPIC_BYTES])
        shown = msgspec.json.encode({"title": message.title, "url": message.url, "tag": tag})
        try:
            sealed = _sealed(shown, subscription)
        except ValueError:  # its keys are none
            return Gone()
        now_s, parts = self._clock.now_ms() // 1000, urlsplit(subscription.endpoint)
        headers = {
            "Authorization": self._key.sign(f"{parts.scheme}://{parts.netloc}", self._contact, now_s + PROOF_S),
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(min(TTL_S_MAX, max(0, message.expires_at // 1000 - now_s))),
            "Topic": tag,  # so that a repeat takes the place of the first, if that still waits
        }
        match await self._line.post(subscription.endpoint, headers, sealed):
            case Unreached(why):
                raise NoticeFailed(why)
            case Answered(status) if 200 <= status < 300:
                return Sent()
            case Answered(status) if status in GONE:
                return Gone()
            case Answered(status) if status in FOR_NOW or status >= 500:
                raise NoticeFailed(f"the push service answered {status}")
            case Answered(status):
                return Rejected(str(status))


def _sealed(body: bytes, subscription: Subscription) -> bytes:
    """Seal it for one browser, with a key of its own; raise `ValueError` where the browser's are none."""
    sealed: bytes = http_ece.encrypt(
        body,
        private_key=ec.generate_private_key(CURVE),
        dh=_read(subscription.p256dh),
        auth_secret=_read(subscription.auth),
        version="aes128gcm",
    )
    return sealed


def _written(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _read(text: str) -> bytes:
    return urlsafe_b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4))
