"""
The ports to whoever tells people what happened: `Notices` what they are told, `Carrier` how a mail reaches them.

    NoticeFailed    it did not go out, or nobody knows; asking again is harmless. Its message holds no address
"""

from typing import Final, Protocol

from msgspec import Struct

CIRCUIT: Final = "mail"  # what the breaker before the carrier is called


class Receipt(Struct, frozen=True):
    """A buyer's order is ready to download."""

    order_id: str
    buyer_id: str
    title: str


class Mail(Struct, frozen=True):
    """One mail in plain text; `mail_id` is the same whenever it is sent again, `at` in ms since the epoch."""

    mail_id: str
    to: str
    subject: str
    text: str
    at: int


class Sent(Struct, frozen=True):
    """Somebody else is answerable for it now."""


class Rejected(Struct, frozen=True):
    """It was refused for good; sending it again would not help."""

    why: str


class NoticeFailed(Exception):
    """The notice did not go out."""


class Notices(Protocol):
    """Sends notices to people."""

    async def send(self, receipt: Receipt) -> None:
        """Send it, at least once; raise `NoticeFailed`."""
        ...


class Carrier(Protocol):
    """Takes mails to where people read them."""

    async def send(self, mail: Mail) -> Sent | Rejected:
        """Send it, at least once; raise `NoticeFailed`."""
        ...
