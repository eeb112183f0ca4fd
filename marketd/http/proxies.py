"""
The reverse proxies in front of the service, and what they say of their clients.

The one rule: a forwarding header is trusted only as far as a proxy in the settings has written it. So it is read from
the right, hop by hop, and the first hop that is not a trusted proxy is the client; whatever stands further left may be
forged.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Literal, NamedTuple

from aiohttp import web

Told = Literal["x-forwarded", "forwarded"]

HOPS_MAX: Final = 32

_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~-]{1,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_WITH_PORT: Final = re.compile(r"\[([^\]]+)\](?::\d{1,5})?|([0-9.]+):\d{1,5}")
# One pair of RFC 7239, section 4: a token, and a token or a quoted string.
_PAIR: Final = re.compile(
    r'[ \t]*([!#$%&\'*+.^_`|~\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;=]+))[ \t]*([;,]|\Z)', re.ASCII
)


@lru_cache(maxsize=256)
def is_host(name: str) -> bool:
    """Say whether this is a valid host, with or without a port; cached, for nearly all requests have the same one."""
    return _HOST.fullmatch(name) is not None


class Client(NamedTuple):
    """The client's address, its scheme, and the host it asked for, as seen by the outermost trusted proxy."""

    address: str
    scheme: str
    host: str


class _Hop(NamedTuple):
    """What one proxy says of its client."""

    address: str = ""
    scheme: str = ""
    host: str = ""


class Proxies:
    """The trusted proxies by network; they send `X-Forwarded-For` and its like, or `Forwarded` (RFC 7239)."""

    def __init__(self, networks: Iterable[str] = (), told_by: Told = "x-forwarded") -> None:
        self.networks: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(n, strict=False) for n in networks)
        self._told_by = told_by

    def trusts(self, address: str) -> bool:
        """Say whether this is the address of a trusted proxy."""
        found = _parsed(address)
        return found is not None and any(found in network for network in self.networks)

    def client(self, request: web.Request) -> Client:
        """Give the client of a request."""
        client = Client(_plain(request.remote or ""), request.scheme, request.host)
        if not self.networks:
            return client
        for hop in self._hops(request)[: -HOPS_MAX - 1 : -1]:
            if not self.trusts(client.address):
                break
            scheme = hop.scheme if hop.scheme in ("http", "https") else client.scheme
            host = hop.host if is_host(hop.host) else client.host
            address = _plain(hop.address)
            client = Client(address or client.address, scheme, host)
            if not address:  # unknown, obfuscated or malformed: what stands further left can't be trusted
                break
        return client

    def _hops(self, request: web.Request) -> list[_Hop]:
        if self._told_by == "forwarded":
            return _forwarded(",".join(request.headers.getall("Forwarded", ())))
        addresses = _listed(request, "X-Forwarded-For")
        scheme, host = _last(request, "X-Forwarded-Proto"), _last(request, "X-Forwarded-Host")
        return [_Hop(address, scheme.lower(), host) for address in addresses or [""]]


@lru_cache(maxsize=4096)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an address; an IPv4-mapped IPv6 address becomes the IPv4 one (RFC 4291, section 2.5.5.2)."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _plain(text: str) -> str:
    """Write an address in its usual form, without its port; empty if it is invalid."""
    found = _WITH_PORT.fullmatch(text)
    address = _parsed((found[1] or found[2]) if found else text)
    return "" if address is None else str(address)


def _listed(request: web.Request, name: str) -> list[str]:
    line = ",".join(request.headers.getall(name, ()))
    return [part.strip() for part in line.split(",")] if line else []


def _last(request: web.Request, name: str) -> str:
    return (_listed(request, name) or [""])[-1]


def _forwarded(line: str) -> list[_Hop]:
    """Parse `Forwarded`; what stands left of a malformed element is dropped."""
    hops: list[_Hop] = []
    pairs: dict[str, str] = {}
    position = 0
    while position < len(line):
        found = _PAIR.match(line, position)
        if found is None:
            hops, pairs = [_Hop()], {}
            position = line.find(",", position) + 1 or len(line)
            continue
        name, quoted, token, end = found.groups()
        pairs[name.lower()] = re.sub(r"\\(.)", r"\1", quoted) if token is None else token
        position = found.end()
        if end != ";":
            hops.append(_Hop(pairs.get("for", ""), pairs.get("proto", "").lower(), pairs.get("host", "")))
            pairs = {}
    return hops
