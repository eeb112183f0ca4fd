"""An account is registered once; its sessions are few, and a token that is used twice ends its session."""

from itertools import product

import pytest
from msgspec.structs import replace

from marketd.actors.account import (
    ACCOUNT,
    SESSIONS_MAX,
    Command,
    Credentials,
    Describe,
    EndSession,
    Event,
    OpenSession,
    Profile,
    ReadCredentials,
    Reason,
    RefreshSession,
    Register,
    Registered,
    Rename,
    Renamed,
    Session,
    SessionEnded,
    SessionOpened,
    SessionRefreshed,
    SessionState,
    address_of,
    normalise,
)
from tests.actors.totality import assert_decided, assert_silent_when_repeated
from tests.given import given

REGISTER = Register("u1", "ann@example.org", "Ann", "buyer", "argon2", 1)
REGISTERED = Registered("u1", "ann@example.org", "Ann", "buyer", "argon2", 1)
SESSION = Session("s1", "first", expires_at=1000)
NEXT = Session("s1", "second", expires_at=1500)
OPENED = SessionOpened(SESSION)
REFRESHED = SessionRefreshed(NEXT)
MANY = [SessionOpened(Session(f"s{n}", "t", expires_at=1000)) for n in range(SESSIONS_MAX)]


def test_registering_makes_the_account() -> None:
    given(ACCOUNT).when(REGISTER).then(REGISTERED)


def test_who_registers_learns_their_profile() -> None:
    given(ACCOUNT).when(REGISTER).then_answered(Profile("u1", "ann@example.org", "Ann", "buyer", 1))


def test_registering_again_with_the_same_is_silent() -> None:
    given(ACCOUNT, REGISTERED).when(REGISTER).then_nothing()


def test_registering_again_after_a_change_of_name_is_silent() -> None:
    given(ACCOUNT, REGISTERED, Renamed("Anna")).when(REGISTER).then_nothing()


def test_a_name_can_be_changed() -> None:
    given(ACCOUNT, REGISTERED).when(Rename("Anna")).then(Renamed("Anna"))


def test_the_name_that_one_has_is_no_change() -> None:
    given(ACCOUNT, REGISTERED).when(Rename("Ann")).then_nothing()


def test_a_profile_has_the_newest_name() -> None:
    given(ACCOUNT, REGISTERED, Renamed("Anna")).when(Describe()).then_answered(
        Profile("u1", "ann@example.org", "Anna", "buyer", 1)
    )


def test_credentials_are_read_without_a_trace() -> None:
    given(ACCOUNT, REGISTERED).when(ReadCredentials()).then_nothing()


def test_credentials_hold_the_hash() -> None:
    given(ACCOUNT, REGISTERED).when(ReadCredentials()).then_answered(Credentials("u1", "buyer", "argon2"))


def test_a_session_opens() -> None:
    given(ACCOUNT, REGISTERED).when(OpenSession(SESSION, 10)).then(OPENED)


def test_an_opened_session_is_open() -> None:
    given(ACCOUNT, REGISTERED).when(OpenSession(SESSION, 10)).then_answered(SessionState("u1", "buyer", True))


def test_a_token_is_exchanged_for_the_next() -> None:
    given(ACCOUNT, REGISTERED, OPENED).when(RefreshSession("first", NEXT, 10)).then(REFRESHED)


def test_a_refreshed_session_is_open() -> None:
    given(ACCOUNT, REGISTERED, OPENED).when(RefreshSession("first", NEXT, 10)).then_answered(
        SessionState("u1", "buyer", True)
    )


def test_a_token_used_twice_ends_the_session() -> None:
    third = Session("s1", "third", expires_at=1700)
    given(ACCOUNT, REGISTERED, OPENED, REFRESHED).when(RefreshSession("first", third, 20)).then(
        SessionEnded("s1", "a refresh token was used twice")
    )


def test_who_uses_a_token_twice_learns_that_the_session_is_over() -> None:
    third = Session("s1", "third", expires_at=1700)
    given(ACCOUNT, REGISTERED, OPENED, REFRESHED).when(RefreshSession("first", third, 20)).then_answered(
        SessionState("u1", "buyer", False)
    )


def test_a_session_can_not_be_refreshed_when_its_time_is_over() -> None:
    given(ACCOUNT, REGISTERED, OPENED).when(RefreshSession("first", NEXT, 1000)).then(SessionEnded("s1", "expired"))


def test_a_session_that_is_over_can_not_be_refreshed() -> None:
    ended = SessionEnded("s1", "signed out")
    given(ACCOUNT, REGISTERED, OPENED, ended).when(RefreshSession("first", NEXT, 10)).then_answered(
        SessionState("u1", "buyer", False)
    )


def test_signing_out_ends_the_session() -> None:
    given(ACCOUNT, REGISTERED, OPENED).when(EndSession("s1", "first")).then(SessionEnded("s1", "signed out"))


def test_signing_out_with_an_old_token_changes_nothing() -> None:
    given(ACCOUNT, REGISTERED, OPENED, REFRESHED).when(EndSession("s1", "first")).then_nothing()


def test_signing_out_teaches_nothing() -> None:
    given(ACCOUNT, REGISTERED, OPENED).when(EndSession("s1", "first")).then_answered(None)


def test_one_session_too_many_ends_the_oldest() -> None:
    one_more = Session("new", "t", expires_at=2000)
    given(ACCOUNT, REGISTERED, *MANY).when(OpenSession(one_more, 10)).then(
        SessionEnded("s0", "too many sessions"), SessionOpened(one_more)
    )


def test_a_refreshed_session_is_not_the_oldest_any_more() -> None:
    one_more, again = Session("new", "t", expires_at=2000), Session("s0", "t2", expires_at=2000)
    given(ACCOUNT, REGISTERED, *MANY, SessionRefreshed(again)).when(OpenSession(one_more, 10)).then(
        SessionEnded("s1", "too many sessions"), SessionOpened(one_more)
    )


def test_expired_sessions_make_room_first() -> None:
    soon_over = SessionOpened(Session("late", "t", expires_at=5))
    one_more = Session("new", "t", expires_at=2000)
    given(ACCOUNT, REGISTERED, *MANY[1:], soon_over).when(OpenSession(one_more, 10)).then(
        SessionEnded("late", "expired"), SessionOpened(one_more)
    )


REFUSALS: list[tuple[list[Event], Command, Reason]] = [
    ([], Describe(), Reason.NO_SUCH_ACCOUNT),
    ([REGISTERED], replace(REGISTER, user_id="u2"), Reason.EMAIL_TAKEN),
    ([REGISTERED], Rename("Anna", ("another",)), Reason.CHANGED),
]


def test_a_change_that_is_meant_for_this_version_is_made() -> None:
    described = ACCOUNT.answer(ACCOUNT.replay([REGISTERED]), Describe(), [])
    assert isinstance(described, Profile)
    given(ACCOUNT, REGISTERED).when(Rename("Anna", ("another", described.version))).then(Renamed("Anna"))


@pytest.mark.parametrize(("history", "command", "reason"), REFUSALS)
def test_refusals(history: list[Event], command: Command, reason: Reason) -> None:
    given(ACCOUNT, *history).when(command).then_refused(reason)


def test_every_reason_has_a_row_in_order() -> None:
    assert list(Reason) == [reason for _, _, reason in REFUSALS]


HISTORIES: list[tuple[Event, ...]] = [
    (),
    (REGISTERED,),
    (REGISTERED, Renamed("Anna")),
    (REGISTERED, OPENED),
    (REGISTERED, OPENED, REFRESHED),
    (REGISTERED, OPENED, SessionEnded("s1", "signed out")),
    (REGISTERED, *MANY),
]
COMMANDS: list[Command] = [
    REGISTER,
    replace(REGISTER, user_id="u2"),
    Rename("Anna"),
    Describe(),
    ReadCredentials(),
    OpenSession(SESSION, 10),
    OpenSession(Session("s99", "t", expires_at=3000), 2000),
    RefreshSession("first", NEXT, 10),
    RefreshSession("second", Session("s1", "third", expires_at=1700), 10),
    RefreshSession("first", NEXT, 5000),
    EndSession("s1", "first"),
    EndSession("s7", "t"),
]


@pytest.mark.parametrize(("history", "command"), list(product(HISTORIES, COMMANDS)))
def test_every_command_is_decided_in_every_state(history: tuple[Event, ...], command: Command) -> None:
    assert_decided(ACCOUNT, history, command)


@pytest.mark.parametrize(("history", "command"), list(product(HISTORIES, COMMANDS)))
def test_asking_again_is_silent(history: tuple[Event, ...], command: Command) -> None:
    assert_silent_when_repeated(ACCOUNT, history, command)


def test_addresses_are_compared_without_case_and_edges() -> None:
    assert "straße@example.org".casefold() == normalise(" STRASSE@Example.ORG ")


def test_two_spellings_of_an_address_are_one_account() -> None:
    assert address_of("ann@example.org") == address_of("Ann@Example.org ")


def test_the_key_of_an_account_hides_the_address() -> None:
    assert "ann" not in address_of("ann@example.org").key


def test_the_key_of_an_account_is_sound() -> None:
    assert address_of("o'ann+shop@exämple.org").is_sound
