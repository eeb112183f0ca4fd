"""How people are told things: by the settings, and as files where there are none."""

from pathlib import Path

import msgspec
import pytest

from marketd.actors.notices.outbox import Outbox
from marketd.actors.notices.smtp import SmtpCarrier
from marketd.actors.notices.templates import TemplateFault
from marketd.config.folder import Folder
from marketd.config.mailing import known_url, make_carrier, make_templates
from marketd.config.settings import Http, Settings
from marketd.config.telling import Mail


def test_without_a_mail_server_mails_are_files(tmp_path: Path) -> None:
    assert isinstance(make_carrier(Settings(), Folder(tmp_path)), Outbox)


def test_with_a_mail_server_mails_go_there(tmp_path: Path) -> None:
    assert isinstance(make_carrier(Settings(mail=Mail(host="mail.example")), Folder(tmp_path)), SmtpCarrier)


@pytest.mark.parametrize(
    ("public_url", "listening", "expected"),
    [
        ("https://shop.example", "http://127.0.0.1:9000", "https://shop.example"),
        (None, "http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        (None, None, "http://127.0.0.1:8080"),
    ],
)
def test_links_lead_to_what_clients_call_the_service(
    public_url: str | None, listening: str | None, expected: str
) -> None:
    assert expected == known_url(Settings(http=Http(public_url=public_url)), listening)


def test_who_sends_mail_without_a_public_url_is_warned(caplog: pytest.LogCaptureFixture) -> None:
    known_url(Settings(mail=Mail(host="mail.example")), "http://127.0.0.1:9000")

    assert "http.public_url is not set: the links in mails lead to http://127.0.0.1:9000" in caplog.text


def test_templates_that_are_not_there_are_not_ignored(tmp_path: Path) -> None:
    with pytest.raises(TemplateFault, match="there is no folder of templates"):
        make_templates(Settings(mail=Mail(templates=str(tmp_path / "mine"))))


@pytest.mark.parametrize("address", ["", "shop", "shop@", "@shop", "Shop <shop@shop.example>", "a@b\nBcc: c@d"])
def test_what_no_mail_can_be_from_is_refused(address: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"mail": {"from_address": address}}, Settings)


@pytest.mark.parametrize("name", ["Shop\nBcc: c@d", "Shop\x00", "Shop\n"])
def test_a_name_does_not_break_the_line(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"mail": {"from_name": name}}, Settings)
