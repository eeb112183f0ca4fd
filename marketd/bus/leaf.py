"""
A hub: a remote NATS server, to which our own connects as a leaf node, from behind any firewall.

The one rule: that connection carries only what its account allows, which is what all integrators together may do.
Clients of the hub may read events and pull from the integrators' consumers; commands, queries and the streams
themselves are out of reach. While the connection is down, events wait in our stream for as long as it keeps them.
"""

from typing import Any, Final
from urllib.parse import quote, urlsplit

from msgspec import Struct

from marketd.bus.integrators import ACCOUNT, STREAMS, imports

RECONNECT: Final = "2s"


class Hub(Struct, frozen=True):
    """The hub's address for leaf nodes, and our credentials there."""

    url: str
    user: str | None = None
    password: str | None = None


def leafnodes(hub: Hub) -> dict[str, Any]:
    """Give the `leafnodes` section of the server's configuration."""
    return {"reconnect": RECONNECT, "remotes": [{"url": _address(hub), "account": ACCOUNT}]}


def account() -> dict[str, Any]:
    """Give the account of this connection: it has no users, and may pull from the consumer of any integrator."""
    return {
        "imports": [
            imported for stream, above in STREAMS.items() for imported in imports(stream, [f"{above}.>"], consumer="*")
        ]
    }


def _address(hub: Hub) -> str:
    """Write the credentials into the URL, the only place for them; characters that would end them are escaped."""
    if hub.user is None:
        return hub.url
    who = f"{quote(hub.user, safe='')}:{quote(hub.password or '', safe='')}"
    parts = urlsplit(hub.url)
    return parts._replace(netloc=f"{who}@{parts.netloc}").geturl()
