"""
What people are told of an order or a webhook, as a mail and as a push message; the same each time it is written.

A receipt has links that download what was bought. They are good for days, as nobody opens a mail within minutes, and
end with the sale. Whoever reads the buyer's mail could have a new password sent to it, so the links give nothing away
that the mailbox does not.
"""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from marketd.actors.account import address_of
from marketd.actors.notices.facts import Facts, OfAnEndpoint, OfAnOrder
from marketd.actors.notices.letters import said
from marketd.actors.notices.port import Mail, PushMessage
from marketd.actors.notices.templates import Templates, Words
from marketd.actors.notices.tokens import MailTokens
from marketd.actors.notices.triggers import SALE, Notice
from marketd.actors.product import File
from marketd.actors.webhook import Endpoint
from marketd.clock import HOUR_MS, instant

PUSH_CHARACTERS_MAX: Final = 250  # a message has 4,096 bytes at most (RFC 8030, section 7.2)


# Makes the address of a file that was bought with an order, good until a time in ms since the epoch.
Link = Callable[[str, File, int], str]


class NoticeLetters:
    """Writes them for the service that people call `url`."""

    def __init__(self, url: str, tokens: MailTokens, templates: Templates, link: Link, *, link_hours: int) -> None:
        self._url, self._tokens, self._templates = url, tokens, templates
        self._link, self._link_ms = link, link_hours * HOUR_MS

    def mail(self, notice: Notice, facts: Facts) -> Mail:
        """Write it as a mail."""
        to, stop = facts.contact.email, ""
        if notice.trigger is SALE:  # the others come once for something that one has done oneself, or has to mend
            stop = f"{self._url}/unsubscribe/{self._tokens.stop(address_of(to).key, notice.trigger.topic)}"
        words = self._words(notice, facts, stop)
        return Mail(notice.notice_id, to, words.subject, words.text, notice.at, words.html, stop)

    def push(self, notice: Notice, facts: Facts, expires_at: int) -> PushMessage:
        """Write it as a push message: what a mail has for a subject."""
        title = self._words(notice, facts, "").subject[:PUSH_CHARACTERS_MAX]
        return PushMessage(notice.notice_id, title, f"{self._url}/{_path(notice, facts)}", expires_at)

    def _words(self, notice: Notice, facts: Facts, stop: str) -> Words:
        values = {"url": self._url, "at": said(instant(notice.at)), "unsubscribe": stop}
        match facts.subject:
            case OfAnOrder():
                values |= self._of_order(notice, facts.subject)
            case OfAnEndpoint(endpoint):
                values |= _of_endpoint(endpoint)
        return self._templates.write(notice.trigger.kind, values)

    def _of_order(self, notice: Notice, subject: OfAnOrder) -> dict[str, Any]:
        view, until, for_seller = subject.view, notice.at + self._link_ms, notice.trigger is SALE
        return {
            "order_id": notice.subject_id,
            "title": view.title,
            "price": f"{view.price.currency} {view.price.amount}",
            "reason": view.failure_reason or "",
            "licence_key": "" if for_seller else view.licence_key or "",
            "files": [_shown(file, self._link(notice.subject_id, file, until)) for file in subject.files],
            "until": said(instant(until)),
        }


def _path(notice: Notice, facts: Facts) -> str:
    kind = "webhooks" if isinstance(facts.subject, OfAnEndpoint) else "orders"
    return f"{kind}/{notice.subject_id}"


def _of_endpoint(endpoint: Endpoint) -> dict[str, Any]:
    """Of where it is only the host: the rest may be what the receiver knows us by."""
    return {
        "webhook_id": endpoint.webhook_id,
        "host": urlsplit(endpoint.url).netloc,
        "description": endpoint.description,
        "why": endpoint.disabled or "",
    }


def _shown(file: File, url: str) -> dict[str, str]:
    return {"name": file.name, "size": _size(file.size), "url": url}


def _size(count: int) -> str:
    """Write a number of bytes as people read it, in thousands (IEC 80000-13)."""
    size, units = float(count), ["bytes", "kB", "MB", "GB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
