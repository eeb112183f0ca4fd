"""How mail goes out, for the composition root: over what, from whom, how patiently, and what its links lead to."""

import logging

from marketd.actors.notices.letters import Writer
from marketd.actors.notices.mime import Sender
from marketd.actors.notices.outbox import Outbox
from marketd.actors.notices.port import Carrier
from marketd.actors.notices.postman import PostmanLimits
from marketd.actors.notices.smtp import SmtpCarrier, SmtpServer
from marketd.actors.notices.tokens import MailTokens
from marketd.config.folder import Folder
from marketd.config.settings import Settings

log = logging.getLogger("marketd.notices")


def make_carrier(settings: Settings, folder: Folder) -> Carrier:
    """Send over SMTP where there is a server; else keep the mails as files."""
    wanted = settings.mail
    sender = Sender(wanted.from_address, wanted.from_name)
    if wanted.host is None:
        return Outbox(folder.mail, sender, files_max=wanted.files_max)
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


def make_writer(settings: Settings, tokens: MailTokens, url: str | None) -> Writer:
    """Write letters whose links lead to what clients call the service, or else to where it listens."""
    known = settings.http.public_url or url or f"http://{settings.http.host}:{settings.http.port}"
    if settings.mail.host and not settings.http.public_url:
        log.warning("http.public_url is not set: the links in mails lead to %s", known)
    return Writer(known, tokens)


def postman_limits(settings: Settings) -> PostmanLimits:
    """How patient the postman is."""
    limits = settings.mail
    return PostmanLimits(
        retry_s=limits.retry_s,
        retry_s_max=limits.retry_s_max,
        patience_s=limits.patience_s,
        reply_wait_s_max=settings.actors.reply_wait_s_max,
        at_once_max=limits.at_once_max,
        waiting_max=limits.waiting_max,
    )
