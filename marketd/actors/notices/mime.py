"""How a mail is written (RFC 5322): the same bytes whenever it is sent again, so that a repeat can be recognised."""

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from hashlib import sha256
from typing import Final

from msgspec import Struct

from marketd.actors.notices.port import Mail
from marketd.clock import instant

LINE_CHARACTERS_MAX: Final = 998


class Sender(Struct, frozen=True):
    """Who our mails are from."""

    address: str
    name: str

    @property
    def domain(self) -> str:
        """Where we send from."""
        return self.address.rpartition("@")[2]


def message_of(mail: Mail, sender: Sender) -> EmailMessage:
    """Write the mail."""
    message = EmailMessage(policy=SMTP)
    message["Message-ID"] = f"<{mail.mail_id}@{sender.domain}>"
    message["Date"] = instant(mail.at)
    message["From"] = Address(sender.name, addr_spec=sender.address)
    message["To"] = _shown(mail.to)
    message["Subject"] = mail.subject
    message["Auto-Submitted"] = "auto-generated"  # so that no machine answers (RFC 3834)
    if mail.unsubscribe:
        message["List-Unsubscribe"] = f"<{mail.unsubscribe}>"  # RFC 2369
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"  # RFC 8058
    # Quoted-printable would break the lines of links and tokens, which some programs fail to put together again.
    message.set_content(mail.text, cte="7bit" if _is_plain(mail.text) else "quoted-printable")
    if mail.html:
        message.add_alternative(mail.html, subtype="html", cte="quoted-printable")
        message.set_boundary(f"=_{sha256(mail.mail_id.encode()).hexdigest()}")
    return message


def _is_plain(text: str) -> bool:
    """Say whether every mail program of all times can take it (RFC 5322, section 2.1.1)."""
    return text.isascii() and all(len(line) <= LINE_CHARACTERS_MAX for line in text.splitlines())


def _shown(to: str) -> str:
    """Leave out of the header what a reader could take for an encoded word (RFC 2047); the envelope has it."""
    return "undisclosed-recipients:;" if "=?" in to else to
