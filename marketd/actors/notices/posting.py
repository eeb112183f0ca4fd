"""
Requests to endpoints that strangers name, over aiohttp: to where they may go, and with no more trust than that.

The one rule: what is connected to is what was checked. Each address that a name has is checked, and then once more the
one address that a connection is opened to, behind which nothing is looked up again. No redirect is followed, no proxy
of the environment is used, no cookie is kept; of an answer no more is read than is shown, and for no longer than
allowed.
"""

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from threading import Thread
from typing import Any, Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec import Struct

from marketd.actors.notices.addresses import fault_of, is_public, is_web_port

BODY_BYTES_MAX: Final = 1_024  # of an answer
BODY_WAIT_S_MAX: Final = 2.0  # after its head, which alone says how it went
HEADERS_MAX: Final = 64
IDLE_S_MAX: Final = 15.0
RETRY_AFTER_S_MAX: Final = 86_400.0
DIGITS_MAX: Final = 9
NO_BODY: Final = b""
# One answer for a name that there is not and for one of a neighbour: who asks must not learn which there are.
NOWHERE: Final = "its name leads to no address that is allowed"


class Answered(Struct, frozen=True):
    """What came back: the status, the beginning of the body, and when to come again if it said so."""

    status: int
    body: bytes = NO_BODY
    retry_after_s: float = 0

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


class Unreached(Struct, frozen=True):
    """There was no answer; `why` is for the endpoint's owner, and names no address of ours."""

    why: str


class LineLimits(Struct, frozen=True):
    """Where requests may go, how long one may take, and how many names are looked up at once."""

    allow_private: bool = False
    allow_http: bool = False
    ca_file: str | None = None
    wait_s_max: float = 15
    lookups_max: int = 32


class _AddressRefused(OSError):
    """The address is not one that requests of strangers may go to."""


class Line:
    """Makes the requests; enter it to open it."""

    def __init__(self, limits: LineLimits) -> None:
        self._limits = limits

    async def __aenter__(self) -> Self:
        context: ssl.SSLContext | bool = True  # aiohttp's own; each one more takes 0.8 MB for the authorities
        if self._limits.ca_file:
            context = ssl.create_default_context()
            context.load_verify_locations(self._limits.ca_file)
        connector = aiohttp.TCPConnector(
            limit=0,  # who asks counts
            ssl=context,
            resolver=_Resolver(self._limits),
            socket_factory=self._socket,
            keepalive_timeout=IDLE_S_MAX,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self._limits.wait_s_max),
            auto_decompress=False,
            max_headers=HEADERS_MAX,
        )
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._session.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered | Unreached:
        """Post the body once; whatever happens is an outcome."""
        limits = self._limits
        if fault := fault_of(url, allow_http=limits.allow_http, allow_private=limits.allow_private):
            return Unreached(f"the address is not allowed: {fault[0].lower()}{fault[1:]}")
        try:
            # The second limit is for what aiohttp's own does not end, such as an endless row of interim answers.
            async with asyncio.timeout(limits.wait_s_max + BODY_WAIT_S_MAX):
                return await self._post(url, headers, body)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Unreached(_why(error, limits.wait_s_max))

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answered:
        response = await self._session.post(url, data=body, headers=headers, allow_redirects=False)
        try:
            return Answered(response.status, await _beginning(response), _retry_after_s(response))
        finally:
            if response.content.at_eof():
                response.release()
            else:
                response.close()

    def _socket(self, address: Any) -> socket.socket:
        """Open a socket for an address that aiohttp is about to connect to, be it looked up or written in the URL."""
        family, kind, protocol, _, (host, port, *_) = address
        if not (self._limits.allow_private or (is_public(host) and is_web_port(port))):
            raise _AddressRefused("the address is not a public one")
        return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    """
    Looks names up, and gives the addresses only where every one of them may be reached.

    A name whose servers are silent holds up a thread. So each look-up has one of its own, which is nobody else's, and
    which the end of the process does not wait for.
    """

    def __init__(self, limits: LineLimits) -> None:
        self._limits, self._places = limits, asyncio.Semaphore(limits.lookups_max)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        await self._places.acquire()
        loop = asyncio.get_running_loop()
        looked: asyncio.Future[list[ResolveResult]] = loop.create_future()
        thread = Thread(target=self._look_up, args=(loop, looked, host, port, family), name="webhooks", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # there are as many as the system allows
            self._places.release()
            raise OSError(str(error)) from None
        found = await looked
        if not self._limits.allow_private and not all(is_public(one["host"]) for one in found):
            raise _AddressRefused("the address is not a public one")
        return found

    async def close(self) -> None:
        """Leave nothing open."""

    def _look_up(
        self,
        loop: asyncio.AbstractEventLoop,
        looked: asyncio.Future[list[ResolveResult]],
        host: str,
        port: int,
        family: int,
    ) -> None:
        """In a thread: look a name up, and tell the loop, if there is one by then."""
        try:
            found, error = _look_up(host, port, family), None
        except Exception as failure:  # a name may be such that it can't even be looked up
            found, error = [], failure
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(self._end, looked, found, error)

    def _end(
        self, looked: asyncio.Future[list[ResolveResult]], found: list[ResolveResult], error: Exception | None
    ) -> None:
        self._places.release()
        if looked.done():  # nobody waits any more
            return
        if error is None:
            looked.set_result(found)
        else:
            looked.set_exception(error)


def _look_up(host: str, port: int, family: int) -> list[ResolveResult]:
    found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=port,
            family=kind,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for kind, _, protocol, _, address in found
    ]


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """Read what is shown of a body; what does not come in time, or breaks off, is left out."""
    got = b""
    try:
        async with asyncio.timeout(BODY_WAIT_S_MAX):
            while len(got) < BODY_BYTES_MAX and (part := await response.content.read(BODY_BYTES_MAX - len(got))):
                got += part
    except (aiohttp.ClientError, OSError, ValueError):
        pass
    return got


def _retry_after_s(response: aiohttp.ClientResponse) -> float:
    """Read `Retry-After` where it counts seconds (RFC 9110, section 10.2.3); of a date there is nothing to be had."""
    given = response.headers.get("Retry-After", "").strip()
    is_number = given.isascii() and given.isdigit() and len(given) <= DIGITS_MAX
    return min(float(given), RETRY_AFTER_S_MAX) if is_number else 0


def _why(error: Exception, wait_s_max: float) -> str:
    """Say it in words of ours: theirs may name addresses."""
    match error:
        case TimeoutError():
            return f"there was no answer within {wait_s_max:g} s"
        case aiohttp.ClientConnectorCertificateError():
            return "its certificate is not good for this host"
        case aiohttp.ClientSSLError():
            return "TLS could not be spoken with it"
        case aiohttp.ClientConnectorDNSError() | aiohttp.ClientConnectorError(os_error=_AddressRefused()):
            return NOWHERE
        case aiohttp.ClientConnectorError(os_error=os_error):
            named = os.strerror(os_error.errno) if os_error.errno else type(os_error).__name__
            return f"it could not be connected to: {named}"
        case aiohttp.ServerDisconnectedError() | ConnectionError():
            return "the connection broke off before an answer"
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return "its answer is not HTTP"
        case _:
            return f"the request failed: {type(error).__name__}"
