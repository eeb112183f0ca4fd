"""
A hub: somebody's NATS server elsewhere, which our own connects to as a leaf node, from behind any firewall.

The one rule: over that line goes what its account lets through, and nothing else: what all integrators together may.
Who is at the hub may read events and pull from their consumers; commands, queries and the streams themselves are out
of reach.
While the line is down events wait in our stream, for as long as it keeps them.
"""

from typing import Any, Final
from urllib.parse import quote, urlsplit

from msgspec import Struct

from marketd.bus.integrators import ACCOUNT, STREAMS, imports

RECONNECT: Final = "2s"


class Hub(Struct, frozen=True):
    """Where its leaf nodes connect, and who we are there."""

    url: str
    user: str | None = None
    password: str | None = None


def leafnodes(hub: Hub) -> dict[str, Any]:
    """What the server's configuration says of it."""
    return {"reconnect": RECONNECT, "remotes": [{"url": _address(hub), "account": ACCOUNT}]}


def account() -> dict[str, Any]:
    """The account that the line is bound to: it has no users, and may pull from the consumer of any integrator."""
    return {
        "imports": [
            imported for stream, above in STREAMS.items() for imported in imports(stream, [f"{above}.>"], consumer="*")
        ]
    }


def _address(hub: Hub) -> str:
    """Write who we are into the address, which is the only place for it; with characters that would end it escaped."""
    if hub.user is None:
        return hub.url
    who = f"{quote(hub.user, safe='')}:{quote(hub.password or '', safe='')}"
    parts = urlsplit(hub.url)
    return parts._replace(netloc=f"{who}@{parts.netloc}").geturl()
