"""How a mail is written (RFC 5322): the same bytes whenever it is sent again, so that a repeat can be recognised."""

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from msgspec import Struct

from marketd.actors.notices.port import Mail
from marketd.clock import instant


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
    # Quoted-printable would break the lines of links and tokens, which some programs fail to put together again.
    message.set_content(mail.text, cte="7bit" if mail.text.isascii() else "quoted-printable")
    return message


def _shown(to: str) -> str:
    """Leave out of the header what a reader could take for an encoded word (RFC 2047); the envelope has it."""
    return "undisclosed-recipients:;" if "=?" in to else to
