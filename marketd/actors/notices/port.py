"""
The port to whoever tells people what happened.

    NoticeFailed    it did not go out; asking again is harmless
"""

from typing import Protocol

from msgspec import Struct


class Receipt(Struct, frozen=True):
    """A buyer's order is ready to download."""

    order_id: str
    buyer_id: str
    title: str


class NoticeFailed(Exception):
    """The notice did not go out."""


class Notices(Protocol):
    """Sends notices to people."""

    async def send(self, receipt: Receipt) -> None:
        """Send it, at least once; raise `NoticeFailed`."""
        ...
