"""The tokens that go out by mail: only ours, each for one purpose, and the same whenever they are made again."""

from typing import Final, get_args

import pytest

from marketd.actors.account import Purpose
from marketd.actors.notices.tokens import STOP_CHARACTERS, TOKEN_CHARACTERS, Claim, MailTokens
from marketd.actors.preferences import Topic

CLAIM: Final = Claim("0123456789abcdef" * 2 + "01234567", "018bcfe5-6800-7000-8000-000000000001")
TOKENS: Final = MailTokens(bytes(32))
TOKEN: Final = TOKENS.token("verify-email", CLAIM)
STOP: Final = TOKENS.stop(CLAIM.account_key, "sales")
LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize("purpose", get_args(Purpose))
def test_what_a_token_was_made_of_is_what_it_stands_for(purpose: Purpose) -> None:
    assert CLAIM == TOKENS.read(purpose, TOKENS.token(purpose, CLAIM))


def test_a_token_is_the_same_whenever_it_is_made() -> None:
    assert TOKEN == MailTokens(bytes(32)).token("verify-email", CLAIM)


def test_a_token_fits_on_a_line_of_a_mail() -> None:
    assert (70, set()) == (len(TOKEN), set(TOKEN) - set(LETTERS))
    assert TOKEN_CHARACTERS == len(TOKEN)


def test_a_token_is_good_for_its_purpose_alone() -> None:
    assert TOKENS.read("password-reset", TOKEN) is None


def test_a_token_of_another_key_is_not_ours() -> None:
    assert MailTokens(b"x" * 32).read("verify-email", TOKEN) is None


@pytest.mark.parametrize("place", range(TOKEN_CHARACTERS - 1))
def test_a_token_that_was_changed_anywhere_is_not_ours(place: int) -> None:
    other = LETTERS[(LETTERS.index(TOKEN[place]) + 1) % len(LETTERS)]

    assert TOKENS.read("verify-email", TOKEN[:place] + other + TOKEN[place + 1 :]) is None


@pytest.mark.parametrize(
    "token", ["", "A", TOKEN[:-1], TOKEN + "A", TOKEN + "==", f" {TOKEN}", TOKEN.lower(), "ä" * 70]
)
def test_what_is_no_token_is_not_ours(token: str) -> None:
    assert TOKENS.read("verify-email", token) is None


def test_a_ticket_alone_tells_nothing_of_the_proof() -> None:
    others = {MailTokens(bytes([n]) * 32).token("verify-email", CLAIM)[-21:] for n in range(100)}

    assert 100 == len(others)


# What stops mails.


@pytest.mark.parametrize("topic", get_args(Topic))
def test_what_stops_mails_stops_those_of_its_topic(topic: Topic) -> None:
    assert (CLAIM.account_key, topic) == TOKENS.read_stop(TOKENS.stop(CLAIM.account_key, topic))


def test_what_stops_mails_is_of_a_known_length() -> None:
    assert STOP_CHARACTERS == len(STOP)


@pytest.mark.parametrize("place", range(STOP_CHARACTERS))
def test_what_was_changed_anywhere_stops_nothing(place: int) -> None:
    other = LETTERS[(LETTERS.index(STOP[place]) + 1) % len(LETTERS)]

    assert TOKENS.read_stop(STOP[:place] + other + STOP[place + 1 :]) is None


@pytest.mark.parametrize("token", ["", "A", STOP[:-1], STOP + "A", TOKEN, f" {STOP}"[:48], "ä" * 48])
def test_what_is_none_stops_nothing(token: str) -> None:
    assert TOKENS.read_stop(token) is None


def test_another_key_stops_nothing_of_ours() -> None:
    assert MailTokens(b"x" * 32).read_stop(STOP) is None
