"""What our letters say: the link, the token on a line of its own, until when, and nobody's name."""

from typing import Final, get_args

import pytest

from marketd.actors.account import Letter, LetterKind, address_of
from marketd.actors.notices.letters import Writer
from marketd.actors.notices.port import Mail
from marketd.actors.notices.templates import Templates
from marketd.actors.notices.tokens import Claim, MailTokens

TO: Final = "ann@example.org"
ANN: Final = address_of(TO)
TICKET: Final = "018bcfe5-6800-7000-8000-000000000001"
AT: Final = 1_700_000_000_000
TOKENS: Final = MailTokens(bytes(32))
TEMPLATES: Final = Templates("Shop")
KINDS: Final[tuple[LetterKind, ...]] = get_args(LetterKind)


def written(kind: LetterKind, url: str = "https://shop.example") -> Mail:
    return Writer(url, TOKENS, TEMPLATES).write(ANN, Letter(TICKET, kind, AT, AT + 3_600_000), TO)


@pytest.mark.parametrize("kind", KINDS)
def test_a_letter_says_the_same_in_html(kind: LetterKind) -> None:
    mail = written(kind)
    links = [line for line in mail.text.splitlines() if "#token=" in line]

    assert [] == [link for link in links if f'href="{link}"' not in mail.html]
    assert mail.html.startswith("<!doctype html>") and mail.subject in mail.html


@pytest.mark.parametrize("kind", KINDS)
def test_a_letter_is_the_same_whenever_it_is_written(kind: LetterKind) -> None:
    assert written(kind) == written(kind)


def test_no_two_kinds_have_the_same_name() -> None:
    assert 3 == len({written(kind).mail_id for kind in KINDS})


@pytest.mark.parametrize("kind", ["verify-email", "password-reset"])
def test_the_token_stands_on_a_line_of_its_own(kind: LetterKind) -> None:
    assert kind != "password-changed"
    token = TOKENS.token(kind, Claim(ANN.key, TICKET))

    assert 1 == written(kind).text.splitlines().count(token)


@pytest.mark.parametrize("kind", ["verify-email", "password-reset"])
def test_the_link_leads_to_its_page_with_the_token_where_no_server_sees_it(kind: LetterKind) -> None:
    assert kind != "password-changed"
    token = TOKENS.token(kind, Claim(ANN.key, TICKET))

    assert (
        f"https://shop.example/market/auth/{kind}#token={token}"
        in written(kind, "https://shop.example/market").text.splitlines()
    )


def test_a_notice_has_no_token() -> None:
    text = written("password-changed").text

    assert "#" not in text and max(map(len, text.split())) < 40


@pytest.mark.parametrize("kind", ["verify-email", "password-reset"])
def test_a_letter_says_until_when(kind: LetterKind) -> None:
    assert "until 2023-11-14 23:13 UTC" in written(kind).text


@pytest.mark.parametrize("kind", KINDS)
def test_lines_are_short_but_for_the_link(kind: LetterKind) -> None:
    lines = [line for line in written(kind).text.splitlines() if "://" not in line]

    assert max(map(len, lines)) <= 78
