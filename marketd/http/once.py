"""
Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): a POST that is repeated with its key gets its first
response again, byte for byte, and is not executed twice.

    1. turn     requests with the same key run one at a time; the others wait, and then find the stored response
    2. begin    a request is recorded before it is executed; a different one with the same key is refused
    3. work     ids are derived from user and key, so that a repeat after a crash finds what was done already
    4. keep     the response is stored before it is sent

A response that a retry might change is not stored: 401, 408, 413 and 429 change nothing and leave no record; after a
5xx the record of step 2 remains. A response is encrypted under a key derived from the idempotency key and the request's
body, neither of which is stored: whoever reads the file without having sent the request learns nothing, not even whose
it was.
"""

import hashlib
import hmac
import re
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler
from msgspec import Struct

from marketd.bus.port import Busy, NoAnswer
from marketd.clock import Clock
from marketd.http.arriving import DIGEST, arriving
from marketd.http.bodies import read_body
from marketd.http.client import client_network
from marketd.http.doing import DOING, Doing
from marketd.http.identity import bearer
from marketd.http.keys import REQUEST_ID
from marketd.http.problems import (
    BadRequest,
    Fault,
    InHandAlready,
    KeyUsedDifferently,
    NotSignedIn,
    response_of,
)
from marketd.http.sealed import NONCE_BYTES, seal, unseal
from marketd.http.turns import Turns
from marketd.storage.answers import FirstAnswers

HEADER: Final = "Idempotency-Key"
STREAMED: Final = frozenset({"/uploads"})  # whose bodies are never in memory as a whole
PASSING: Final = frozenset({401, 408, 413, 429})
AT_ONCE_MAX: Final = 64  # requests with one key at a time
DIGEST_BYTES: Final = 16

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")


class Kept(Struct, frozen=True, array_like=True):
    """A response as it is stored."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class _Name(NamedTuple):
    """Identifies a request: digests of it and of its owner, and the root of all that is derived from user and key."""

    request: bytes
    owner: bytes
    root: bytes


class _Seal(NamedTuple):
    """
    Derived from the body too: the fingerprint that tells a repeat from another request, and the key of the response.
    """

    fingerprint: bytes
    key: bytes


class Once:
    """Executes each request with an idempotency key once; `secret` is the service's own."""

    def __init__(
        self, answers: FirstAnswers, secret: bytes, clock: Clock, *, wait_s_max: float, answer_bytes_max: int
    ) -> None:
        self._answers, self._secret, self._clock = answers, secret, clock
        self._wait_s_max, self._answer_bytes_max = wait_s_max, answer_bytes_max
        self._turns = Turns[bytes](AT_ONCE_MAX, "repeats of one request")

    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Execute a request, or give its first response again; raise a `Problem` if its key can't be used for it."""
        name = self._name(request, _key_of(request))
        if request.path in STREAMED:
            async with self.turn(name.request):
                return await self._streamed(request, handler, name)
        body = hashlib.sha256(await read_body(request)).digest()
        async with self.turn(name.request):
            return await self._whole(request, handler, name, _seal_of(request, name, body))

    async def _whole(self, request: web.Request, handler: Handler, name: _Name, sealing: _Seal) -> web.StreamResponse:
        begun = await self._answers.begin(name.request, name.owner, sealing.fingerprint)
        if begun.fingerprint != sealing.fingerprint:
            raise _used_differently()
        if begun.answer is not None:
            return _again(begun.answer, sealing)
        seed = hmac.digest(name.root, b"seed %d" % begun.at, "sha256")
        request[DOING] = Doing(begun.at, seed, is_again=not begun.is_first)
        response = await _worked(request, handler)
        if _is_lasting(response):
            await self._keep(name, sealing, response)
        elif response.status in PASSING and begun.is_first:
            await self._answers.forget(name.request)
        return response

    async def _streamed(self, request: web.Request, handler: Handler, name: _Name) -> web.StreamResponse:
        """
        The same for a body that is streamed; what is made from it is named after its bytes, so no record is begun.
        """
        request[DIGEST] = digest = hashlib.sha256()
        known = await self._answers.find(name.request)
        if known is not None and known.answer is not None:
            async for _ in arriving(request):
                pass
            sealing = _seal_of(request, name, digest.digest())
            if known.fingerprint != sealing.fingerprint:
                raise _used_differently()
            return _again(known.answer, sealing)
        response = await _worked(request, handler)
        if _is_lasting(response) and request.content.at_eof():
            await self._keep(name, _seal_of(request, name, digest.digest()), response)
        return response

    async def _keep(self, name: _Name, sealing: _Seal, response: web.StreamResponse) -> None:
        """Store a response, unless it is too large: then a repeat is executed again, with the same ids."""
        assert isinstance(response, web.Response), response
        body = response.body or b""
        assert isinstance(body, bytes), body
        if len(body) > self._answer_bytes_max:
            return
        headers = [(str(header), value) for header, value in response.headers.items()]
        plain = msgspec.msgpack.encode(Kept(response.status, headers, body))
        sealed = seal(sealing.key, self._clock.random_bytes(NONCE_BYTES), plain)
        try:
            await self._answers.keep(name.request, name.owner, sealing.fingerprint, sealed)
        except Busy as error:  # it would mean that nothing was done
            raise NoAnswer(str(error)) from None

    def _name(self, request: web.Request, key: str) -> _Name:
        """
        Name a request by user and key; anonymous requests share one key space, so a repeat may come from any address.
        """
        user = _user_of(request)
        root = self._digest(f"{user}\0{key}")
        owner = self._digest(f"user {user}" if user else f"address {client_network(request)}")
        return _Name(hmac.digest(root, b"request", "sha256")[:DIGEST_BYTES], owner[:DIGEST_BYTES], root)

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._secret, text.encode(), "sha256")

    def turn(self, request: bytes) -> AbstractAsyncContextManager[None]:
        """Let requests with this name enter the block one at a time; raise `Busy` or `InHandAlready`."""
        return self._turns.of(request, self._wait_s_max, self._still_in_hand)

    def _still_in_hand(self) -> InHandAlready:
        return InHandAlready("the same request is still in hand", retry_after_s=self._wait_s_max)


def _key_of(request: web.Request) -> str:
    given = request.headers.getall(HEADER)
    if len(given) != 1 or not _KEY.fullmatch(given[0]):
        raise BadRequest([Fault(f"/{HEADER}", "Expected one key, of 1 to 255 visible ASCII characters")])
    return given[0]


def _user_of(request: web.Request) -> str:
    """Give the user's id, "" if not signed in; an invalid token is left to the handler to refuse."""
    try:
        principal = bearer(request)
    except NotSignedIn:
        return ""
    return principal.user_id if principal else ""


def _seal_of(request: web.Request, name: _Name, body: bytes) -> _Seal:
    what = hmac.digest(name.root, request.rel_url.raw_path_qs.encode() + b"\0" + body, "sha256")
    return _Seal(hmac.digest(what, b"fingerprint", "sha256")[:DIGEST_BYTES], hmac.digest(what, b"seal", "sha256"))


async def _worked(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the handler's response, or the problem document of its error."""
    try:
        return await handler(request)
    except Exception as error:  # as in app.py: problems.py maps every error
        return response_of(error, request[REQUEST_ID])


def _is_lasting(response: web.StreamResponse) -> bool:
    return response.status < 500 and response.status not in PASSING


def _again(sealed: bytes, sealing: _Seal) -> web.Response:
    kept = msgspec.msgpack.decode(unseal(sealing.key, sealed), type=Kept)
    return web.Response(status=kept.status, headers=kept.headers, body=kept.body)


def _used_differently() -> KeyUsedDifferently:
    return KeyUsedDifferently(f"this {HEADER} came with another request before")
