"""How a mail is written: the same bytes each time, readable by what others have, and nothing slips into its header."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Final

import pytest
from msgspec.structs import replace

from marketd.actors.notices.mime import Sender, message_of
from marketd.actors.notices.port import Mail

SENDER: Final = Sender("shop@shop.example", "Ann’s shop")
TOKEN: Final = "A" * 70
MAIL: Final = Mail(
    "t1.verify-email", "ann@example.org", "Confirm", f"Open\n\nhttps://shop/{TOKEN}\n", 1_700_000_000_000
)


def read(mail: Mail) -> EmailMessage:
    """Write it, and read it as others do."""
    message = message_from_bytes(message_of(mail, SENDER).as_bytes(), policy=default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_mail_is_written_in_the_same_bytes_each_time() -> None:
    assert message_of(MAIL, SENDER).as_bytes() == message_of(MAIL, SENDER).as_bytes()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Message-ID", "<t1.verify-email@shop.example>"),
        ("Date", "Tue, 14 Nov 2023 22:13:20 +0000"),
        ("From", "Ann’s shop <shop@shop.example>"),
        ("To", "ann@example.org"),
        ("Subject", "Confirm"),
        ("Auto-Submitted", "auto-generated"),
        ("Content-Type", 'text/plain; charset="utf-8"'),
    ],
)
def test_a_mail_has_its_headers(name: str, expected: str) -> None:
    assert expected == read(MAIL)[name]


def test_a_text_comes_out_as_it_went_in() -> None:
    assert MAIL.text == read(MAIL).get_content().replace("\r\n", "\n")


def test_a_text_in_other_letters_comes_out_as_it_went_in() -> None:
    text = "Schöne Grüße, 市场 🐻\n" * 20

    assert text == read(replace(MAIL, text=text)).get_content().replace("\r\n", "\n")


def test_no_line_of_a_plain_text_is_broken() -> None:
    assert f"https://shop/{TOKEN}".encode() in message_of(MAIL, SENDER).as_bytes().splitlines()


def html_of(message: EmailMessage) -> str:
    body = message.get_body(("html",))
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def test_what_is_there_as_html_too_comes_beside_the_text() -> None:
    message = read(replace(MAIL, html="<p>Öffnen</p>\n"))
    text = message.get_body(("plain",))

    assert text is not None
    assert ("multipart/alternative", MAIL.text, "<p>Öffnen</p>\n") == (
        message.get_content_type(),
        text.get_content().replace("\r\n", "\n"),
        html_of(message),
    )


def test_a_mail_with_html_is_written_in_the_same_bytes_each_time() -> None:
    mail = replace(MAIL, html="<p>Open</p>")

    assert message_of(mail, SENDER).as_bytes() == message_of(mail, SENDER).as_bytes()


def test_a_mail_that_can_be_stopped_says_how() -> None:
    message = read(replace(MAIL, unsubscribe="https://shop/unsubscribe/x"))

    assert ("<https://shop/unsubscribe/x>", "List-Unsubscribe=One-Click") == (
        message["List-Unsubscribe"],
        message["List-Unsubscribe-Post"],
    )


def test_other_mails_say_nothing_of_it() -> None:
    assert None is read(MAIL)["List-Unsubscribe"]


def test_a_line_that_is_too_long_is_broken_where_readers_mend_it() -> None:
    mail = replace(MAIL, text="x" * 2000 + "\n")
    lines = message_of(mail, SENDER).as_bytes().splitlines()

    assert (mail.text, True) == (read(mail).get_content().replace("\r\n", "\n"), max(map(len, lines)) <= 998)


def test_lines_end_as_the_mail_wants_them_to() -> None:
    assert b"\n" not in message_of(MAIL, SENDER).as_bytes().replace(b"\r\n", b"")


@pytest.mark.parametrize("to", ["=?utf-8?q?eve=40evil.example=0aBcc:_all?=@example.org", "a=?b?=@example.org"])
def test_what_could_be_taken_for_an_encoded_word_is_in_no_header(to: str) -> None:
    message = read(replace(MAIL, to=to))

    assert ("undisclosed-recipients:;", None, 7) == (
        message["To"],
        message["Bcc"],
        len(set(message.keys()) - {"MIME-Version", "Content-Transfer-Encoding"}),
    )
