"""
The ports to whoever tells people what happened: `Notices` what they are told, `Carrier` how a mail reaches them, and
`PushCarrier` how a push message reaches a browser of theirs.

    NoticeFailed    it did not go out, or nobody knows; asking again is harmless. Its message holds no address
"""

from typing import Final, Protocol

from msgspec import Struct

from marketd.actors.preferences import Subscription

CIRCUIT: Final = "mail"  # what the breaker before the carrier is called
PUSH_CIRCUIT: Final = "push"


class Receipt(Struct, frozen=True):
    """A buyer's order is ready to download."""

    order_id: str
    buyer_id: str
    title: str


class Mail(Struct, frozen=True):
    """
    One mail, in plain text and, if there is any, the same as HTML; `mail_id` is the same whenever it is sent again,
    `at` in ms since the epoch, `unsubscribe` is where its reader ends such mails with one click (RFC 8058).
    """

    mail_id: str
    to: str
    subject: str
    text: str
    at: int
    html: str = ""
    unsubscribe: str = ""


class PushMessage(Struct, frozen=True):
    """
    What a browser shows; `push_id` is the same whenever it is sent again, and what it leads to is at `url`. After
    `expires_at` (ms since the epoch) it is not worth showing any more.
    """

    push_id: str
    title: str
    url: str
    expires_at: int


class Sent(Struct, frozen=True):
    """Somebody else is answerable for it now."""


class Rejected(Struct, frozen=True):
    """It was refused for good; sending it again would not help."""

    why: str


class Gone(Struct, frozen=True):
    """Who it is for is there no more."""


class NoticeFailed(Exception):
    """The notice did not go out."""


class Notices(Protocol):
    """Sees to it that people are told."""

    async def send(self, receipt: Receipt) -> None:
        """Take it on: from then on it goes out, at least once; raise `NoticeFailed`."""
        ...


class Carrier(Protocol):
    """Takes mails to where people read them."""

    async def send(self, mail: Mail) -> Sent | Rejected:
        """Send it, at least once; raise `NoticeFailed`."""
        ...


class PushCarrier(Protocol):
    """Takes push messages to where browsers fetch them."""

    async def send(self, message: PushMessage, subscription: Subscription) -> Sent | Rejected | Gone:
        """Send it, at least once; raise `NoticeFailed`."""
        ...
