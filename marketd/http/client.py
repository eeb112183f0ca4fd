"""Who a request comes from, and what they call us; proxies.py says whose word is taken for it."""

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

from aiohttp import web

from marketd.http.keys import LIMITS, PROXIES

SITE_BITS: Final = 64  # one line to the internet gets at least so much of IPv6 to itself (RFC 6177)


def client_address(request: web.Request) -> str:
    """Give the client's IP address in its usual form; empty where it has none, as over a Unix socket."""
    return request.app[PROXIES].client(request).address


def client_network(request: web.Request) -> str:
    """Give what one sender can hardly change."""
    return network_of(client_address(request))


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Give an IPv4 address as it is, and of an IPv6 one its /64."""
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(known, IPv6Address):
        return str(known)
    return str(known.ipv4_mapped or IPv6Network((int(known), SITE_BITS), strict=False))


def is_secure(request: web.Request) -> bool:
    """Say whether the client came by https."""
    public_url = request.app[LIMITS].public_url
    if public_url:
        return public_url.startswith("https:")
    proxies = request.app[PROXIES]  # without any, who asks is at the other end of the connection
    return request.secure if not proxies.networks else proxies.client(request).scheme == "https"


def base_url(request: web.Request) -> str:
    """Give what clients call the service: as the settings say, else as this one does."""
    if public_url := request.app[LIMITS].public_url:
        return public_url
    client = request.app[PROXIES].client(request)
    return f"{client.scheme}://{client.host}"


def address_of(request: web.Request, path: str) -> str:
    """Write a path of ours for a header: whole where the service has a public address, which may hold a path itself."""
    return (request.app[LIMITS].public_url or "") + path
