"""
An account is registered once; its sessions are few, and a token that is used twice ends its session; what goes out by
mail is good once, and not for long.
"""

from itertools import product

import pytest
from msgspec.structs import replace

from marketd.actors.account import (
    ACCOUNT,
    HOUR_MS,
    NOTICE_MS,
    SESSIONS_MAX,
    Command,
    Credentials,
    Describe,
    EmailVerified,
    EndLetter,
    EndSession,
    Event,
    IssueTicket,
    Letter,
    LetterEnded,
    LettersDue,
    ListSessions,
    OpenSession,
    OpenSessions,
    PasswordReset,
    Profile,
    Purpose,
    ReadCredentials,
    ReadLetters,
    Reason,
    RefreshSession,
    Register,
    Registered,
    Rename,
    Renamed,
    ResetPassword,
    RevokeSession,
    RevokeSessions,
    Session,
    SessionEnded,
    SessionOpened,
    SessionRefreshed,
    SessionState,
    Ticket,
    TicketIssued,
    TicketState,
    VerifyEmail,
    address_of,
    normalise,
)
from marketd.actors.preferences import ZoneChosen
from tests.actors.totality import assert_decided, assert_silent_when_repeated
from tests.given import given

REGISTER = Register("u1", "ann@example.org", "Ann", "buyer", "argon2", 1)
REGISTERED = Registered("u1", "ann@example.org", "Ann", "buyer", "argon2", 1)
SESSION = Session("s1", "first", expires_at=1000)
NEXT = Session("s1", "second", expires_at=1500)
OPENED = SessionOpened(SESSION)
REFRESHED = SessionRefreshed(NEXT)
FIRST = Ticket("t1", "verify-email", issued_at=10, expires_at=1000)
SECOND = Ticket("t2", "verify-email", issued_at=20, expires_at=1010)
RESET = Ticket("t3", "password-reset", issued_at=30, expires_at=1020)
ISSUED, ISSUED_AGAIN, RESET_ISSUED = TicketIssued(FIRST), TicketIssued(SECOND), TicketIssued(RESET)
WAS_RESET = PasswordReset("t3", "argon2-new", 40)
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


def test_a_time_zone_can_be_told_and_the_name_stays() -> None:
    given(ACCOUNT, REGISTERED).when(Rename(zone="Asia/Kathmandu")).then(ZoneChosen("Asia/Kathmandu"))


def test_name_and_zone_are_changed_together() -> None:
    given(ACCOUNT, REGISTERED).when(Rename("Anna", zone="UTC")).then(Renamed("Anna"), ZoneChosen("UTC"))


def test_the_zone_that_one_has_is_no_change() -> None:
    given(ACCOUNT, REGISTERED, ZoneChosen("UTC")).when(Rename(zone="UTC")).then_nothing()


def test_a_zone_can_be_forgotten() -> None:
    given(ACCOUNT, REGISTERED, ZoneChosen("UTC")).when(Rename(zone=None)).then(ZoneChosen(None))


def test_a_profile_has_the_zone() -> None:
    given(ACCOUNT, REGISTERED, ZoneChosen("UTC")).when(Describe()).then_answered(
        Profile("u1", "ann@example.org", "Ann", "buyer", 1, zone="UTC")
    )


def test_a_change_that_is_meant_for_another_zone_is_refused() -> None:
    described = ACCOUNT.answer(ACCOUNT.replay([REGISTERED]), Describe(), [])
    assert isinstance(described, Profile)
    command = Rename("Anna", (described.version,))
    given(ACCOUNT, REGISTERED, ZoneChosen("UTC")).when(command).then_refused(Reason.CHANGED)


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


def test_a_refreshed_session_keeps_the_time_at_which_it_was_opened() -> None:
    opened = Session("s1", "first", 1000, opened_at=5, used_at=5)
    given(ACCOUNT, REGISTERED, SessionOpened(opened)).when(
        RefreshSession("first", Session("s1", "second", 1500, opened_at=10, used_at=10), 10)
    ).then(SessionRefreshed(Session("s1", "second", 1500, opened_at=5, used_at=10)))


def test_sessions_are_listed() -> None:
    given(ACCOUNT, REGISTERED, OPENED).when(ListSessions()).then_answered(OpenSessions((SESSION,)))


def test_a_session_is_revoked_without_its_token() -> None:
    given(ACCOUNT, REGISTERED, OPENED).when(RevokeSession("s1")).then(SessionEnded("s1", "revoked"))


def test_of_a_session_that_is_not_open_there_is_nothing_to_revoke() -> None:
    given(ACCOUNT, REGISTERED, OPENED).when(RevokeSession("s2")).then_nothing()


def test_all_sessions_are_revoked_together() -> None:
    two = SessionOpened(Session("s2", "t", expires_at=1000))
    given(ACCOUNT, REGISTERED, OPENED, two).when(RevokeSessions()).then(
        SessionEnded("s1", "revoked"), SessionEnded("s2", "revoked")
    )


# What goes out by mail.


def test_who_registers_is_sent_a_ticket() -> None:
    given(ACCOUNT).when(replace(REGISTER, verification=FIRST)).then(REGISTERED, ISSUED)


def test_registering_again_sends_nothing() -> None:
    given(ACCOUNT, REGISTERED, ISSUED).when(replace(REGISTER, verification=SECOND)).then_nothing()


def test_a_ticket_makes_its_letter_due() -> None:
    given(ACCOUNT, REGISTERED, ISSUED).when(ReadLetters()).then_answered(
        LettersDue("ann@example.org", (Letter("t1", "verify-email", 10, 1000),))
    )


def test_of_one_kind_only_the_newest_letter_is_due() -> None:
    given(ACCOUNT, REGISTERED, ISSUED, ISSUED_AGAIN).when(ReadLetters()).then_answered(
        LettersDue("ann@example.org", (Letter("t2", "verify-email", 20, 1010),))
    )


def test_letters_of_two_kinds_are_due_beside_each_other() -> None:
    both = Letter("t1", "verify-email", 10, 1000), Letter("t3", "password-reset", 30, 1020)
    given(ACCOUNT, REGISTERED, ISSUED, RESET_ISSUED).when(ReadLetters()).then_answered(
        LettersDue("ann@example.org", both)
    )


def test_a_letter_that_was_sent_is_due_no_more() -> None:
    ended = LetterEnded("t1", "verify-email", "sent")
    given(ACCOUNT, REGISTERED, ISSUED, ended).when(ReadLetters()).then_answered(LettersDue("ann@example.org", ()))


def test_how_a_letter_ended_is_put_on_record() -> None:
    given(ACCOUNT, REGISTERED, ISSUED).when(EndLetter("t1", "verify-email", "rejected")).then(
        LetterEnded("t1", "verify-email", "rejected")
    )


def test_a_letter_that_another_has_replaced_ends_without_a_trace() -> None:
    given(ACCOUNT, REGISTERED, ISSUED, ISSUED_AGAIN).when(EndLetter("t1", "verify-email", "sent")).then_nothing()


def test_a_ticket_verifies_the_address() -> None:
    given(ACCOUNT, REGISTERED, ISSUED).when(VerifyEmail("t1", 50)).then(EmailVerified(50))


def test_a_profile_says_that_the_address_is_verified() -> None:
    given(ACCOUNT, REGISTERED, ISSUED, EmailVerified(50)).when(Describe()).then_answered(
        Profile("u1", "ann@example.org", "Ann", "buyer", 1, is_verified=True)
    )


def test_no_ticket_is_issued_for_an_address_that_is_verified() -> None:
    given(ACCOUNT, REGISTERED, ISSUED, EmailVerified(50)).when(IssueTicket(SECOND, 5)).then_nothing()


def test_who_needs_no_ticket_does_not_have_to_wait_for_one() -> None:
    given(ACCOUNT, REGISTERED, ISSUED, EmailVerified(50)).when(IssueTicket(SECOND, 1)).then_answered(TicketState(0))


def test_a_letter_that_nobody_needs_any_more_is_not_due() -> None:
    given(ACCOUNT, REGISTERED, ISSUED, EmailVerified(50)).when(ReadLetters()).then_answered(
        LettersDue("ann@example.org", ())
    )


def test_a_ticket_is_issued_again() -> None:
    given(ACCOUNT, REGISTERED, ISSUED).when(IssueTicket(SECOND, 5)).then(ISSUED_AGAIN)


def test_a_ticket_that_was_issued_is_on_its_way() -> None:
    given(ACCOUNT, REGISTERED, ISSUED).when(IssueTicket(SECOND, 5)).then_answered(TicketState(0))


def test_the_last_ticket_that_is_allowed_is_on_its_way() -> None:
    given(ACCOUNT, REGISTERED, ISSUED).when(IssueTicket(SECOND, 2)).then_answered(TicketState(0))


def test_more_tickets_than_allowed_within_an_hour_are_not_issued() -> None:
    given(ACCOUNT, REGISTERED, ISSUED, ISSUED_AGAIN).when(
        IssueTicket(replace(SECOND, ticket_id="t9", issued_at=HOUR_MS), 2)
    ).then_nothing()


def test_who_is_given_no_ticket_learns_when_the_next_may_be_asked_for() -> None:
    given(ACCOUNT, REGISTERED, ISSUED, ISSUED_AGAIN).when(
        IssueTicket(replace(SECOND, ticket_id="t9", issued_at=HOUR_MS), 2)
    ).then_answered(TicketState(10 + HOUR_MS))


def test_after_an_hour_the_next_ticket_is_issued() -> None:
    next_one = replace(SECOND, ticket_id="t9", issued_at=10 + HOUR_MS)
    given(ACCOUNT, REGISTERED, ISSUED, ISSUED_AGAIN).when(IssueTicket(next_one, 2)).then(TicketIssued(next_one))


def test_tickets_of_one_purpose_leave_room_for_the_other() -> None:
    given(ACCOUNT, REGISTERED, ISSUED).when(IssueTicket(RESET, 1)).then(RESET_ISSUED)


def test_tickets_older_than_an_hour_are_not_kept() -> None:
    late = TicketIssued(replace(SECOND, issued_at=2 * HOUR_MS))
    state = ACCOUNT.replay([REGISTERED, ISSUED, RESET_ISSUED, late])

    assert ("t3", "t2") == tuple(ticket.ticket_id for ticket in getattr(state, "tickets", ()))


def test_a_new_password_takes_the_place_of_the_old_one() -> None:
    given(ACCOUNT, REGISTERED, RESET_ISSUED).when(ResetPassword("t3", "argon2-new", 40)).then(WAS_RESET)


def test_credentials_hold_the_newest_hash() -> None:
    given(ACCOUNT, REGISTERED, RESET_ISSUED, WAS_RESET).when(ReadCredentials()).then_answered(
        Credentials("u1", "buyer", "argon2-new")
    )


def test_a_new_password_ends_every_session() -> None:
    two = SessionOpened(Session("s2", "t", expires_at=1000))
    why = "the password was reset"
    given(ACCOUNT, REGISTERED, OPENED, two, RESET_ISSUED).when(ResetPassword("t3", "argon2-new", 40)).then(
        WAS_RESET, SessionEnded("s1", why), SessionEnded("s2", why)
    )


def test_who_has_read_our_mail_has_verified_the_address() -> None:
    given(ACCOUNT, REGISTERED, RESET_ISSUED, WAS_RESET).when(Describe()).then_answered(
        Profile("u1", "ann@example.org", "Ann", "buyer", 1, is_verified=True)
    )


def test_after_a_reset_only_its_notice_is_due() -> None:
    given(ACCOUNT, REGISTERED, ISSUED, RESET_ISSUED, WAS_RESET).when(ReadLetters()).then_answered(
        LettersDue("ann@example.org", (Letter("t3", "password-changed", 40, 40 + NOTICE_MS),))
    )


def test_registering_again_after_a_reset_is_silent() -> None:
    given(ACCOUNT, REGISTERED, RESET_ISSUED, WAS_RESET).when(REGISTER).then_nothing()


USELESS: list[tuple[str, list[Event], str, Purpose, int]] = [
    ("there is none", [], "t1", "verify-email", 50),
    ("it was never issued", [ISSUED], "t7", "verify-email", 50),
    ("it is for something else", [RESET_ISSUED], "t3", "verify-email", 50),
    ("it is for something else", [ISSUED], "t1", "password-reset", 50),
    ("a newer one has replaced it", [ISSUED, ISSUED_AGAIN], "t1", "verify-email", 50),
    (
        "a newer one has replaced it",
        [RESET_ISSUED, TicketIssued(replace(RESET, ticket_id="t4"))],
        "t3",
        "password-reset",
        50,
    ),
    ("its time is over", [ISSUED], "t1", "verify-email", 1000),
    ("its time is over", [RESET_ISSUED], "t3", "password-reset", 1020),
    ("it was used", [ISSUED, EmailVerified(40)], "t1", "verify-email", 50),
    ("it was used", [RESET_ISSUED, WAS_RESET], "t3", "password-reset", 50),
    ("the password was reset", [ISSUED, RESET_ISSUED, WAS_RESET], "t1", "verify-email", 50),
]


@pytest.mark.parametrize(("why", "history", "ticket_id", "purpose", "at"), USELESS)
def test_a_ticket_is_no_good_if(why: str, history: list[Event], ticket_id: str, purpose: Purpose, at: int) -> None:
    command: Command = VerifyEmail(ticket_id, at)
    if purpose == "password-reset":
        command = ResetPassword(ticket_id, "argon2-other", at)

    given(ACCOUNT, REGISTERED, *history).when(command).then_refused(Reason.TICKET_NOT_GOOD)


REFUSALS: list[tuple[list[Event], Command, Reason]] = [
    ([], Describe(), Reason.NO_SUCH_ACCOUNT),
    ([REGISTERED], replace(REGISTER, user_id="u2"), Reason.EMAIL_TAKEN),
    ([REGISTERED], Rename("Anna", ("another",)), Reason.CHANGED),
    ([REGISTERED], VerifyEmail("t1", 50), Reason.TICKET_NOT_GOOD),
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
    (REGISTERED, ZoneChosen("UTC")),
    (REGISTERED, OPENED),
    (REGISTERED, OPENED, REFRESHED),
    (REGISTERED, OPENED, SessionEnded("s1", "signed out")),
    (REGISTERED, *MANY),
    (REGISTERED, ISSUED),
    (REGISTERED, ISSUED, LetterEnded("t1", "verify-email", "sent"), EmailVerified(50)),
    (REGISTERED, OPENED, ISSUED, ISSUED_AGAIN, RESET_ISSUED),
    (REGISTERED, RESET_ISSUED, WAS_RESET),
]
COMMANDS: list[Command] = [
    REGISTER,
    replace(REGISTER, user_id="u2"),
    Rename("Anna"),
    Rename("Anna", zone="UTC"),
    Rename(zone=None),
    Describe(),
    ReadCredentials(),
    OpenSession(SESSION, 10),
    OpenSession(Session("s99", "t", expires_at=3000), 2000),
    RefreshSession("first", NEXT, 10),
    RefreshSession("second", Session("s1", "third", expires_at=1700), 10),
    RefreshSession("first", NEXT, 5000),
    EndSession("s1", "first"),
    EndSession("s7", "t"),
    ListSessions(),
    RevokeSession("s1"),
    RevokeSessions(),
    IssueTicket(FIRST, 1),
    IssueTicket(SECOND, 2),
    IssueTicket(RESET, 5),
    VerifyEmail("t1", 50),
    ResetPassword("t3", "argon2-new", 40),
    ReadLetters(),
    EndLetter("t1", "verify-email", "sent"),
    EndLetter("t3", "password-changed", "sent"),
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
