"""
What people are told of an order, as a mail and as a push message; the same each time it is written.

A receipt has links that download what was bought. They are good for days, as nobody opens a mail within minutes, and
end with the sale. Whoever reads the buyer's mail could have a new password sent to it, so the links give nothing away
that the mailbox does not.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from marketd.actors import order
from marketd.actors.account import address_of
from marketd.actors.notices.letters import said
from marketd.actors.notices.port import Mail, PushMessage
from marketd.actors.notices.templates import Templates, Words
from marketd.actors.notices.tokens import MailTokens
from marketd.actors.notices.triggers import SALE, Trigger
from marketd.actors.product import File
from marketd.clock import instant

PUSH_CHARACTERS_MAX: Final = 250  # a message has 4,096 bytes at most (RFC 8030, section 7.2)
HOUR_MS: Final = 3_600_000


class Notice(NamedTuple):
    """One thing that one person is told of one order, since `at`; its id is its own alone and never changes."""

    notice_id: str
    trigger: Trigger
    order_id: str
    at: int


# Makes the address of a file that was bought with an order, good until a time in ms since the epoch.
Link = Callable[[str, File, int], str]


class OrderLetters:
    """Writes them for the service that people call `url`."""

    def __init__(self, url: str, tokens: MailTokens, templates: Templates, link: Link, *, link_hours: int) -> None:
        self._url, self._tokens, self._templates = url, tokens, templates
        self._link, self._link_ms = link, link_hours * HOUR_MS

    def mail(self, notice: Notice, view: order.View, files: Sequence[File], to: str) -> Mail:
        """Write it as a mail."""
        stop = ""
        if notice.trigger is SALE:  # the others come once for something that one has done oneself
            stop = f"{self._url}/unsubscribe/{self._tokens.stop(address_of(to).key, notice.trigger.topic)}"
        words = self._words(notice, view, files, stop)
        return Mail(notice.notice_id, to, words.subject, words.text, notice.at, words.html, stop)

    def push(self, notice: Notice, view: order.View, expires_at: int) -> PushMessage:
        """Write it as a push message: what a mail has for a subject."""
        title = self._words(notice, view, (), "").subject[:PUSH_CHARACTERS_MAX]
        return PushMessage(notice.notice_id, title, f"{self._url}/orders/{notice.order_id}", expires_at)

    def _words(self, notice: Notice, view: order.View, files: Sequence[File], stop: str) -> Words:
        until = notice.at + self._link_ms
        values: dict[str, Any] = {
            "url": self._url,
            "order_id": notice.order_id,
            "title": view.title,
            "price": f"{view.price.currency} {view.price.amount}",
            "at": said(instant(notice.at)),
            "reason": view.failure_reason or "",
            "licence_key": (view.licence_key or "") if notice.trigger.whom == "buyer" else "",
            "files": [_shown(file, self._link(notice.order_id, file, until)) for file in files],
            "until": said(instant(until)),
            "unsubscribe": stop,
        }
        return self._templates.write(notice.trigger.kind, values)


def _shown(file: File, url: str) -> dict[str, str]:
    return {"name": file.name, "size": _size(file.size), "url": url}


def _size(count: int) -> str:
    """Write a number of bytes as people read it, in thousands (IEC 80000-13)."""
    size, units = float(count), ["bytes", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
