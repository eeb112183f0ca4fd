"""The client of a request, and the URL by which it calls the service; proxies.py decides which headers are trusted."""

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

from aiohttp import web

from marketd.http.keys import LIMITS, PROXIES

SITE_BITS: Final = 64  # one internet connection has at least that much of IPv6 to itself (RFC 6177)


def client_address(request: web.Request) -> str:
    """Give the client's IP address in its usual form; empty where it has none, as over a Unix socket."""
    return request.app[PROXIES].client(request).address


def client_network(request: web.Request) -> str:
    """Give the network that the client is in, which one sender can hardly change."""
    return network_of(client_address(request))


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """Give an IPv4 address as it is, and the /64 network of an IPv6 address."""
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
    proxies = request.app[PROXIES]  # without any, the client is the peer of the connection
    return request.secure if not proxies.networks else proxies.client(request).scheme == "https"


def base_url(request: web.Request) -> str:
    """Give the service's base URL: `public_url` if it is set, else the one that this client used."""
    if public_url := request.app[LIMITS].public_url:
        return public_url
    client = request.app[PROXIES].client(request)
    return f"{client.scheme}://{client.host}"


def address_of(request: web.Request, path: str) -> str:
    """
    Write a path of ours for a header: as a full URL if the service has a public one, which may have a path itself.
    """
    return (request.app[LIMITS].public_url or "") + path
