"""
Mails over SMTP (RFC 5321), by aiosmtplib, to a server that takes them on their way.

What it refuses for good (5xx) because of the recipient or the mail is over; all else may be mended, and is tried again,
also a wrong password of ours. Its words stay unread: they may hold an address.
"""

import asyncio
from typing import Literal

import aiosmtplib
from msgspec import Struct

from marketd.actors.notices.mime import Sender, message_of
from marketd.actors.notices.port import Mail, NoticeFailed, Rejected, Sent

Encryption = Literal["starttls", "tls", "none"]


class SmtpServer(Struct, frozen=True):
    """Where the server is, and who we are to it; `ca_file` has the certificates that are trusted beside the usual."""

    host: str
    port: int = 587
    user: str | None = None
    password: str | None = None
    encryption: Encryption = "starttls"
    ca_file: str | None = None
    send_s_max: float = 30


class SmtpCarrier:
    """Sends each mail over a connection of its own."""

    def __init__(self, server: SmtpServer, sender: Sender) -> None:
        self._server, self._sender = server, sender

    async def send(self, mail: Mail) -> Sent | Rejected:
        """Send it; the server is answerable for it from then on."""
        try:
            async with asyncio.timeout(self._server.send_s_max):
                await self._hand_over(mail)
        except aiosmtplib.SMTPRecipientsRefused as error:
            return _rejected(max(refused.code for refused in error.recipients))
        except aiosmtplib.SMTPDataError as error:
            return _rejected(error.code)
        except aiosmtplib.SMTPResponseException as error:
            raise NoticeFailed(f"the mail server answered {error.code}: {type(error).__name__}") from None
        except TimeoutError:
            raise NoticeFailed("the mail server did not answer in time") from None
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise NoticeFailed(f"the mail server can't be talked to: {type(error).__name__}") from None
        return Sent()

    async def _hand_over(self, mail: Mail) -> None:
        server, sender = self._server, self._sender
        await aiosmtplib.send(
            message_of(mail, sender),
            sender=sender.address,
            recipients=[mail.to],
            hostname=server.host,
            port=server.port,
            username=server.user,
            password=server.password,
            use_tls=server.encryption == "tls",
            start_tls=server.encryption == "starttls",
            cert_bundle=server.ca_file,
            local_hostname=sender.domain,
            timeout=server.send_s_max,
        )


def _rejected(code: int) -> Rejected:
    if not 500 <= code < 600:
        raise NoticeFailed(f"the mail server answered {code}")
    return Rejected(str(code))
