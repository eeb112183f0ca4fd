"""
Makes what sends notices to users, for the composition root: the carriers, the sender, the retries and the links.

    async with notifying(...) as notices:     # opens the file of sent notices and the HTTP client; then run them
"""

import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marketd.actors.address import Address
from marketd.actors.notices.channels import ByMail, ByPush, PushServices
from marketd.actors.notices.letters import Writer
from marketd.actors.notices.mime import Sender
from marketd.actors.notices.notice_letters import NoticeLetters
from marketd.actors.notices.notifier import FindAccount, Notifier, NotifierLimits
from marketd.actors.notices.outbox import Outbox
from marketd.actors.notices.port import CIRCUIT, Carrier
from marketd.actors.notices.posting import Line, LineLimits
from marketd.actors.notices.postman import Postman, PostmanLimits
from marketd.actors.notices.push import PushKey, WebPush
from marketd.actors.notices.sent import SentByChannel, SentFile
from marketd.actors.notices.templates import Templates
from marketd.actors.notices.tokens import MailTokens
from marketd.actors.product import File
from marketd.bus.breaker import Breaker
from marketd.bus.port import Bus
from marketd.clock import Clock
from marketd.config.folder import Folder
from marketd.config.guarding import make_breaker
from marketd.config.losses import tell_lost_keys
from marketd.config.settings import Settings
from marketd.http.tokens import DownloadGrant, DownloadLinks, load_link_key, load_mail_key, load_push_key
from marketd.storage.log import EventLog
from marketd.storage.people import FindPerson, find
from marketd.storage.projector import Projector

log = logging.getLogger("marketd.notices")


@dataclass
class Notices:
    """All parts that send notices to users."""

    tokens: MailTokens
    push_key: PushKey
    mail_breaker: Breaker
    push_services: PushServices
    postman: Postman
    by_mail: Notifier
    by_push: Notifier

    @property
    def runs(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run for as long as the service lives."""
        return [self.postman.run(), self.by_mail.run(), self.by_push.run()]

    def parts(self) -> dict[str, dict[str, Any]]:
        """
        Give the state of each part. Waiting for an external service holds up nothing else, so it does not affect
        readiness.
        """
        mail = {"state": _state(self.mail_breaker), **self.postman.statistics(), "orders": self.by_mail.statistics()}
        return {"mail": mail, "push": {"state": _state(self.push_services), **self.by_push.statistics()}}


@asynccontextmanager
async def notifying(
    settings: Settings, folder: Folder, clock: Clock, bus: Bus, events: EventLog, projector: Projector, url: str | None
) -> AsyncIterator[Notices]:
    """Make all parts that send notices; raise `TemplateFault`, `KeyUnusable` or `StorageError`."""
    tell_lost_keys(folder, events.head, "links.key", "mail.key", "push.key")
    tokens, push_key = MailTokens(load_mail_key(folder.keys)), PushKey(load_push_key(folder.keys))
    templates = make_templates(settings)
    known, finding = known_url(settings, url), account_finder(projector)
    letters = make_notice_letters(settings, folder, clock, tokens, templates, known)
    mail_breaker = make_breaker(CIRCUIT, settings, clock)
    services = PushServices(lambda name: make_breaker(name, settings, clock))
    carrier, writer = make_carrier(settings, folder), Writer(known, tokens, templates)
    allowed = settings.push.private_allowed
    limits = LineLimits(allow_private=allowed, allow_http=allowed, wait_s_max=settings.push.send_s_max)
    async with SentFile(folder.notices) as sent, Line(limits) as line:
        contact = settings.push.contact or f"mailto:{settings.mail.from_address}"
        web_push = WebPush(line, push_key, contact, clock)
        by_mail = ByMail(carrier, mail_breaker, letters)
        by_push = ByPush(web_push, services, letters, settings.push.patience_s)
        yield Notices(
            tokens,
            push_key,
            mail_breaker,
            services,
            Postman(bus, events, carrier, writer, mail_breaker, clock, postman_limits(settings)),
            Notifier(bus, events, by_mail, SentByChannel(sent, by_mail.name), finding, clock, mail_limits(settings)),
            Notifier(bus, events, by_push, SentByChannel(sent, by_push.name), finding, clock, push_limits(settings)),
        )


def make_carrier(settings: Settings, folder: Folder) -> Carrier:
    """Make the carrier of mails: SMTP if there is a server, else files."""
    wanted = settings.mail
    sender = Sender(wanted.from_address, wanted.from_name)
    if wanted.host is None:
        return Outbox(folder.mail, sender, files_max=wanted.files_max)
    from marketd.actors.notices.smtp import SmtpCarrier, SmtpServer  # imported here: its library takes 0.4 MB

    server = SmtpServer(
        host=wanted.host,
        port=wanted.port,
        user=wanted.user,
        password=wanted.password,
        encryption=wanted.encryption,
        ca_file=wanted.ca_file,
        send_s_max=wanted.send_s_max,
    )
    return SmtpCarrier(server, sender)


def make_templates(settings: Settings) -> Templates:
    """Load our templates, replaced by those in the operator's folder; raise `TemplateFault`."""
    folder = settings.mail.templates
    return Templates(settings.mail.from_name, Path(folder) if folder else None)


def known_as(settings: Settings, url: str | None) -> str:
    """Give the public URL of the service, or else where it listens."""
    return settings.http.public_url or url or f"http://{settings.http.host}:{settings.http.port}"


def known_url(settings: Settings, url: str | None) -> str:
    """Give the base URL of the links in mails."""
    known = known_as(settings, url)
    if settings.mail.host and not settings.http.public_url:
        log.warning("http.public_url is not set: the links in mails lead to %s", known)
    return known


def make_notice_letters(
    settings: Settings, folder: Folder, clock: Clock, tokens: MailTokens, templates: Templates, url: str
) -> NoticeLetters:
    """Make the writer of letters about orders, with links to download what was bought, and about webhooks."""
    links = DownloadLinks(load_link_key(folder.keys), clock, minutes=settings.downloads.link_minutes)

    def link(order_id: str, file: File, until: int) -> str:
        grant = DownloadGrant(order_id, file.name, file.type, file.url)
        return f"{url}/downloads/{links.issue_until(grant, until // 1000)}"

    return NoticeLetters(url, tokens, templates, link, link_hours=settings.downloads.mail_link_hours)


def account_finder(projector: Projector) -> FindAccount:
    """Make a function that finds accounts in the read model of people."""

    async def find_account(user_id: str, position: int) -> Address | None:
        await projector.wait_reached(position)
        person = await projector.read(find, FindPerson(user_id))
        return Address("account", person.account_key) if person else None

    return find_account


def postman_limits(settings: Settings) -> PostmanLimits:
    """Give the limits of the postman."""
    limits = settings.mail
    return PostmanLimits(
        retry_s=limits.retry_s,
        retry_s_max=limits.retry_s_max,
        patience_s=limits.patience_s,
        reply_wait_s_max=settings.actors.reply_wait_s_max,
        at_once_max=limits.at_once_max,
        waiting_max=limits.waiting_max,
    )


def mail_limits(settings: Settings) -> NotifierLimits:
    """Give the limits of notices by mail."""
    limits = settings.mail
    return NotifierLimits(
        retry_s=limits.retry_s,
        retry_s_max=limits.retry_s_max,
        patience_s=limits.patience_s,
        reply_wait_s_max=settings.actors.reply_wait_s_max,
        at_once_max=limits.at_once_max,
        waiting_max=limits.notices_waiting_max,
        second_max=limits.notices_second_max,
    )


def push_limits(settings: Settings) -> NotifierLimits:
    """Give the limits of push messages."""
    limits = settings.push
    return NotifierLimits(
        retry_s=limits.retry_s,
        retry_s_max=limits.retry_s_max,
        patience_s=limits.patience_s,
        reply_wait_s_max=settings.actors.reply_wait_s_max,
        at_once_max=limits.at_once_max,
        waiting_max=limits.waiting_max,
        second_max=limits.second_max,
    )


def _state(guard: Breaker | PushServices) -> str:
    return "ok" if guard.state == "closed" else "down"
