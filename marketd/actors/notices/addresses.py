"""
Where requests may go that strangers ask us to make: to public addresses, and to ports that speak HTTP.

The one rule: what is not known to be public is not. An address that stands for an IPv4 address is judged by that one.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

# What of a URL is taken: nothing that two programs might read differently, no user and no fragment.
URL: Final = r"https?://(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?(?:/[!$-;=?-Z_a-z~%@]*)?"

WEB_PORTS: Final = frozenset({80, 443})
SYSTEM_PORTS_MAX: Final = 1023
# Above those, what browsers do not speak HTTP to either ("bad port", fetch.spec.whatwg.org).
BAD_PORTS: Final = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}
)
PORT_MAX: Final = 65_535

_GLOBAL_6: Final = IPv6Network("2000::/3")  # RFC 4291: all global unicast addresses that were ever given away
_NAT64: Final = (IPv6Network("64:ff9b::/96"),)  # RFC 6052; an address of ours that leads to an IPv4 address
# What the standard library takes for public, or may take in one version and not in the next.
_NOT_PUBLIC_4: Final = (
    IPv4Network("100.64.0.0/10"),  # shared between carriers and their customers, RFC 6598
    IPv4Network("192.0.0.0/24"),  # protocol assignments, RFC 6890
    IPv4Network("192.88.99.0/24"),  # relays of 6to4, RFC 7526
    IPv4Network("198.18.0.0/15"),  # benchmarks, RFC 2544
)
_NOT_PUBLIC_6: Final = (
    IPv6Network("2001::/23"),  # Teredo, ORCHID and other protocols, RFC 2928
    IPv6Network("2001:db8::/32"),  # documentation, RFC 3849
    IPv6Network("2002::/16"),  # 6to4, RFC 7526
    IPv6Network("3fff::/20"),  # documentation, RFC 9637
)


def fault_of(url: str, *, allow_http: bool, allow_private: bool) -> str | None:
    """Say what is wrong with a URL of this form, as far as can be said without looking its host up."""
    try:
        parts = urlsplit(url)
    except ValueError:  # what stands in brackets is no address
        return "Expected a public address"
    try:
        port = parts.port
    except ValueError:  # it is too large
        port = 0
    host = parts.hostname or ""
    if parts.scheme != "https" and not allow_http:
        return "Expected https"
    if port is not None and not is_web_port(port):
        return "Expected a port that speaks HTTP: 443, 80, or one above 1023"
    if not allow_private and (_is_local(host) or (_is_literal(host) and not is_public(host))):
        return "Expected a public address"
    return None


def _is_local(host: str) -> bool:
    """Say whether a name is for this machine by its meaning (RFC 6761, section 6.3)."""
    name = host.rstrip(".")
    return name == "localhost" or name.endswith(".localhost")


def _is_literal(host: str) -> bool:
    """Say whether it is an address, also one that only some would read as one, such as 0x7f.1; no name ends so."""
    last = host.rstrip(".").rpartition(".")[2]
    return ":" in host or last.isdigit() or last[:2] == "0x"


def is_public(text: str) -> bool:
    """Say whether an IP address is one that anybody on the internet may reach."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        within = _within(address)
        return _is_public_6(address) if within is None else _is_public_4(within)
    return _is_public_4(address)


def is_web_port(port: int) -> bool:
    """Say whether HTTP may be spoken to a port; mail servers and their like would take it for their own."""
    return port in WEB_PORTS or (SYSTEM_PORTS_MAX < port <= PORT_MAX and port not in BAD_PORTS)


def _within(address: IPv6Address) -> IPv4Address | None:
    """Give the IPv4 address that this one leads to, if it does."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return None


def _is_public_4(address: IPv4Address) -> bool:
    is_special = address.is_multicast or address.is_reserved or address.is_loopback or address.is_unspecified
    return address.is_global and not is_special and not any(address in network for network in _NOT_PUBLIC_4)


def _is_public_6(address: IPv6Address) -> bool:
    return address in _GLOBAL_6 and address.is_global and not any(address in network for network in _NOT_PUBLIC_6)
