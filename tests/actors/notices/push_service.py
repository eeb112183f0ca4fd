"""
A real push service over HTTP, and the browsers behind it: what comes is checked as RFC 8292 says, and opened with the
browser's keys as RFC 8291 says.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import http_ece
import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from marketd.actors.preferences import Subscription

AUTH: Final = bytes(range(16))
BYTES_MAX: Final = 4096


class Taken(NamedTuple):
    """A message that came: to which browser, what it showed, and its headers."""

    browser: str
    shown: dict[str, Any]
    headers: dict[str, str]


class PushService:
    """`answers` are the statuses that the browsers of these names are told, in the place of 201."""

    def __init__(self) -> None:
        self.answers: dict[str, int] = {}
        self.taken: list[Taken] = []
        self.asked = 0
        self.url = ""
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}

    def subscribe(self, name: str) -> Subscription:
        """Have a browser ask for what goes to `POST /push/subscriptions`."""
        key = self._keys.setdefault(name, ec.generate_private_key(ec.SECP256R1()))
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return Subscription(f"s-{name}", f"{self.url}/send/{name}", _written(point), _written(AUTH), 1)

    def body(self, name: str) -> dict[str, Any]:
        """The same as `PushSubscription.toJSON()` writes it."""
        made = self.subscribe(name)
        keys = {"p256dh": made.p256dh, "auth": made.auth}
        return {"endpoint": made.endpoint, "expirationTime": None, "keys": keys}

    async def take(self, request: web.Request) -> web.Response:
        """Take a message as a push service does, and show it as the browser does."""
        self.asked += 1
        name, sealed = request.match_info["name"], await request.read()
        status = self.answers.get(name, 201)
        if status != 201:
            return web.Response(status=status)
        self._check(request)
        assert len(sealed) <= BYTES_MAX
        opened = http_ece.decrypt(sealed, private_key=self._keys[name], auth_secret=AUTH, version="aes128gcm")
        self.taken.append(Taken(name, json.loads(opened), dict(request.headers)))
        return web.Response(status=201, headers={"Location": f"{self.url}/message/{self.asked}"})

    def _check(self, request: web.Request) -> None:
        scheme, _, given = request.headers["Authorization"].partition(" ")
        parts = dict(part.split("=", 1) for part in given.split(","))
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), _read(parts["k"]))
        options: Any = {"require": ["aud", "exp", "sub"], "verify_exp": False}
        claims = jwt.decode(parts["t"], key, algorithms=["ES256"], audience=self.url, options=options)
        assert "vapid" == scheme and claims["sub"].startswith(("mailto:", "https://")), claims
        assert ("aes128gcm", "application/octet-stream") == (request.headers["Content-Encoding"], request.content_type)

    @asynccontextmanager
    async def up(self, port: int | None = None) -> AsyncIterator[None]:
        """Serve."""
        app = web.Application()
        app.router.add_post("/send/{name}", self.take)
        async with TestServer(app, host="127.0.0.1", port=port) as server:
            self.url = str(server.make_url("")).rstrip("/")
            yield


def claims_of(taken: Taken) -> dict[str, Any]:
    """Give what was signed, which the service has checked."""
    token = taken.headers["Authorization"].partition("t=")[2].partition(",")[0]
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def _written(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _read(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
