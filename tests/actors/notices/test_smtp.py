"""Mails over SMTP, to a real server: what it takes, what it refuses, how it proves who it is, and when it is silent."""

import datetime
import ipaddress
import ssl
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from marketd.actors.notices.mime import Sender
from marketd.actors.notices.port import Mail, NoticeFailed, Rejected, Sent
from marketd.actors.notices.smtp import SmtpCarrier, SmtpServer
from tests.actors.notices.mail_server import PASSWORD, USER, MailServer

pytestmark = pytest.mark.asyncio

TOKEN: Final = "A" * 70
MAIL: Final = Mail("t1.verify-email", "ann@example.org", "Confirm", f"Open\n{TOKEN}\n.\n", 1_700_000_000_000)


def carrier(server: MailServer, **options: Any) -> SmtpCarrier:
    settings: dict[str, Any] = {"encryption": "none", "send_s_max": 5.0} | options
    return SmtpCarrier(SmtpServer("127.0.0.1", server.port, **settings), Sender("shop@shop.example", "Shop"))


def known_carrier(server: MailServer, certificate: Path, password: str) -> SmtpCarrier:
    return carrier(server, encryption="starttls", ca_file=str(certificate), user=USER, password=password)


async def failure(made: SmtpCarrier) -> str:
    with pytest.raises(NoticeFailed) as caught:
        await made.send(MAIL)
    return str(caught.value)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A server's own certificate for 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.test")])
    day, today = datetime.timedelta(days=1), datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - day)
        .not_valid_after(today + day)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "mail.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return file


def proven_by(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


async def test_a_mail_arrives() -> None:
    server = MailServer()
    async with server.up():
        sent = await carrier(server).send(MAIL)

    ((recipients, message),) = server.taken
    assert (Sent(), ["ann@example.org"], "Confirm") == (sent, recipients, message["Subject"])


async def test_a_text_arrives_as_it_was_sent() -> None:
    server = MailServer()
    async with server.up():
        await carrier(server).send(MAIL)

    ((_, message),) = server.taken
    assert MAIL.text == message.get_payload(decode=True).decode().replace("\r\n", "\n")  # type: ignore[union-attr]


async def test_a_repeat_has_the_same_id() -> None:
    server = MailServer()
    async with server.up():
        await carrier(server).send(MAIL)
        await carrier(server).send(MAIL)

    assert ["<t1.verify-email@shop.example>"] * 2 == server.ids


async def test_we_say_who_we_are() -> None:
    server = MailServer()
    async with server.up():
        await carrier(server).send(MAIL)

    assert "EHLO shop.example" == server.seen[0]


async def test_a_server_that_wants_to_know_who_we_are_is_told(certificate: Path) -> None:
    server = MailServer()
    async with server.up(tls=proven_by(certificate), wants_login=True):
        await known_carrier(server, certificate, PASSWORD).send(MAIL)

    assert ([USER.encode()], 1) == (server.logged_in, len(server.taken))


async def test_a_wrong_password_of_ours_may_be_mended(certificate: Path) -> None:
    server = MailServer()
    async with server.up(tls=proven_by(certificate), wants_login=True):
        said = await failure(known_carrier(server, certificate, "wrong"))

    assert ("the mail server answered 535: SMTPAuthenticationError", []) == (said, server.taken)


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
async def test_a_mail_goes_over_tls(certificate: Path, encryption: str) -> None:
    server = MailServer()
    async with server.up(tls=proven_by(certificate), at_once=encryption == "tls"):
        await carrier(server, encryption=encryption, ca_file=str(certificate)).send(MAIL)

    assert ("MAIL over TLS", 1) == (server.seen[-1], len(server.taken))


@pytest.mark.parametrize("encryption", ["starttls", "tls"])
async def test_a_server_that_can_not_prove_who_it_is_gets_nothing(certificate: Path, encryption: str) -> None:
    server = MailServer()
    async with server.up(tls=proven_by(certificate), at_once=encryption == "tls"):
        await failure(carrier(server, encryption=encryption))

    assert [] == server.taken


async def test_a_server_without_starttls_gets_nothing_where_it_is_wanted() -> None:
    server = MailServer()
    async with server.up():
        await failure(carrier(server, encryption="starttls"))

    assert [] == server.taken


@pytest.mark.parametrize(("command", "answer"), [("RCPT", "550 no such mailbox"), ("DATA", "554 this is spam")])
async def test_what_is_refused_for_good_is_over(command: str, answer: str) -> None:
    server = MailServer()
    server.answers[command] = answer
    async with server.up():
        assert Rejected(answer[:3]) == await carrier(server).send(MAIL)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("RCPT", "450 the mailbox is full"),
        ("DATA", "451 come again"),
        ("MAIL", "421 too busy"),
        ("MAIL", "550 who are you"),
    ],
)
async def test_what_is_refused_for_now_is_tried_again(command: str, answer: str) -> None:
    server = MailServer()
    server.answers[command] = answer
    async with server.up():
        assert (await failure(carrier(server))).startswith(f"the mail server answered {answer[:3]}")


@pytest.mark.parametrize("command", ["RCPT", "DATA", "MAIL"])
async def test_what_the_server_says_of_an_address_is_not_repeated(command: str) -> None:
    server = MailServer()
    server.answers[command] = "451 <ann@example.org> is greylisted"
    async with server.up():
        assert "ann" not in await failure(carrier(server))


async def test_a_server_that_dies_after_it_has_the_mail_gets_it_again_under_its_name() -> None:
    server = MailServer()
    server.dies_after_data = True
    async with server.up():
        said = await failure(carrier(server))
        server.dies_after_data = False
        await carrier(server).send(MAIL)

    assert (True, 2, 1) == (
        said.startswith("the mail server can't be talked to"),
        len(server.ids),
        len(set(server.ids)),
    )


async def test_a_server_that_is_down_is_tried_again() -> None:
    server = MailServer()
    async with server.up():
        pass

    assert "the mail server can't be talked to: SMTPConnectError" == await failure(carrier(server))


async def test_a_server_that_hangs_is_waited_for_no_longer_than_the_limit() -> None:
    server = MailServer()
    server.hangs = True
    async with server.up():
        assert "the mail server did not answer in time" == await failure(carrier(server, send_s_max=0.2))
