"""
An account: one person under one e-mail address, the sessions that are open for them, the mail that they await, and
(preferences.py) how they want to be told of other things, and where their days begin.

Its key is a digest of the normalised address, which makes the address unique without a look-up and keeps it out of
subjects and log lines. Secrets are held as hashes only; of a token that goes out by mail there is only a ticket here,
from which nobody can make the token without our key.
"""

from enum import StrEnum
from hashlib import sha256
from typing import Final, Literal

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict, replace

from marketd.actors import preferences
from marketd.actors.address import Address
from marketd.actors.aggregate import Aggregate, Expected, Refused, version_of
from marketd.actors.preferences import ChooseNotices, Chosen, Contact, Preferences, ReadContact, Subscribed

SESSIONS_MAX: Final = 100  # the one used longest ago ends when one more is opened
HOUR_MS: Final = 60 * 60 * 1000
NOTICE_MS: Final = 24 * HOUR_MS  # how long it is worth telling somebody that their password was changed

Role = Literal["buyer", "seller", "admin"]
Purpose = Literal["verify-email", "password-reset"]
LetterKind = Literal["verify-email", "password-reset", "password-changed"]
LetterEnd = Literal["sent", "rejected", "expired", "given up"]


class Session(Struct, frozen=True):
    """
    One family of refresh tokens: only the newest is good, and it is known by its SHA-256 alone. The two times of use
    are 0 in what was written before there were any. Of the kind "page" it is a browser's, and its token a cookie's.
    """

    session_id: str
    token_hash: str
    expires_at: int  # ms since the epoch, as every time in here
    opened_at: int = 0
    used_at: int = 0
    kind: Literal["api", "page"] = "api"


class Ticket(Struct, frozen=True):
    """What one mailed token stands for; of each purpose only the newest is good, and that once."""

    ticket_id: str
    purpose: Purpose
    issued_at: int
    expires_at: int


class Letter(Struct, frozen=True):
    """A mail that the person awaits; that of a ticket has its id."""

    letter_id: str
    kind: LetterKind
    due_at: int
    expires_at: int


# Commands: what may be asked of an account.


class Register(Struct, frozen=True, tag="account.register"):
    user_id: str
    email: str
    name: str
    role: Role
    password_hash: str
    at: int
    verification: Ticket | None = None


class Rename(Struct, frozen=True, tag="account.rename"):
    """Change what one says of oneself: one's name, one's time zone; None for a zone forgets it."""

    name: str | UnsetType = UNSET
    expected: Expected = None
    zone: str | None | UnsetType = UNSET


class Describe(Struct, frozen=True, tag="account.describe"):
    pass


class ReadCredentials(Struct, frozen=True, tag="account.read-credentials"):
    pass


class OpenSession(Struct, frozen=True, tag="account.open-session"):
    session: Session
    at: int


class RefreshSession(Struct, frozen=True, tag="account.refresh-session"):
    """Exchange the token of `token_hash` for that of `session`; a token that was exchanged before ends the family."""

    token_hash: str
    session: Session
    at: int


class EndSession(Struct, frozen=True, tag="account.end-session"):
    session_id: str
    token_hash: str


class ListSessions(Struct, frozen=True, tag="account.list-sessions"):
    pass


class RevokeSession(Struct, frozen=True, tag="account.revoke-session"):
    session_id: str


class RevokeSessions(Struct, frozen=True, tag="account.revoke-sessions"):
    """End all of them."""


class IssueTicket(Struct, frozen=True, tag="account.issue-ticket"):
    """Let a token go out by mail, unless there were `hourly_max` of its purpose within the hour."""

    ticket: Ticket
    hourly_max: int


class VerifyEmail(Struct, frozen=True, tag="account.verify-email"):
    ticket_id: str
    at: int


class ResetPassword(Struct, frozen=True, tag="account.reset-password"):
    ticket_id: str
    password_hash: str
    at: int


class ReadLetters(Struct, frozen=True, tag="account.read-letters"):
    pass


class EndLetter(Struct, frozen=True, tag="account.end-letter"):
    letter_id: str
    kind: LetterKind
    how: LetterEnd


# Events: what has happened. Tags and fields are the storage format: they may be added to, but not renamed.


class Registered(Struct, frozen=True, tag="account.registered"):
    user_id: str
    email: str
    name: str
    role: Role
    password_hash: str
    at: int


class Renamed(Struct, frozen=True, tag="account.renamed"):
    name: str


class SessionOpened(Struct, frozen=True, tag="account.session-opened"):
    session: Session


class SessionRefreshed(Struct, frozen=True, tag="account.session-refreshed"):
    session: Session


class SessionEnded(Struct, frozen=True, tag="account.session-ended"):
    session_id: str
    why: str


class TicketIssued(Struct, frozen=True, tag="account.ticket-issued"):
    """Its letter is due; the ticket of the same purpose before it is good no more."""

    ticket: Ticket


class EmailVerified(Struct, frozen=True, tag="account.email-verified"):
    at: int


class PasswordReset(Struct, frozen=True, tag="account.password-reset"):
    """Who did it has read our mail, so the e-mail address is verified too; a letter tells them what was done."""

    ticket_id: str
    password_hash: str
    at: int


class LetterEnded(Struct, frozen=True, tag="account.letter-ended"):
    letter_id: str
    kind: LetterKind
    how: LetterEnd


# States: what an account can be.


class Absent(Struct, frozen=True, tag="account.absent"):
    pass


class Member(Struct, frozen=True, tag="account.member"):
    """`tickets` are those of the last hour and the good ones, the newest last; `letters` at most one of a kind."""

    registered: Registered
    name: str
    password_hash: str
    sessions: tuple[Session, ...] = ()
    verified_at: int | None = None
    tickets: tuple[Ticket, ...] = ()
    letters: tuple[Letter, ...] = ()
    preferences: Preferences = Preferences()


# Answers: what the sender learns.


class Profile(Struct, frozen=True, tag="account.profile"):
    user_id: str
    email: str
    name: str
    role: Role
    created_at: int
    is_verified: bool = False
    zone: str | None = None

    @property
    def version(self) -> str:
        """Name what its owner may change."""
        return version_of(self.name, self.zone)


class Credentials(Struct, frozen=True, tag="account.credentials"):
    user_id: str
    role: Role
    password_hash: str


class SessionState(Struct, frozen=True, tag="account.session-state"):
    """Whether the session is open after the command."""

    user_id: str
    role: Role
    is_open: bool


class OpenSessions(Struct, frozen=True, tag="account.open-sessions"):
    """The one used longest ago first; some may have expired."""

    sessions: tuple[Session, ...]


class TicketState(Struct, frozen=True, tag="account.ticket-state"):
    """When the next ticket may be issued, if this one was not because there were too many; else 0."""

    again_at: int


class LettersDue(Struct, frozen=True, tag="account.letters-due"):
    email: str
    letters: tuple[Letter, ...]


Command = (
    Register
    | Rename
    | Describe
    | ReadCredentials
    | OpenSession
    | RefreshSession
    | EndSession
    | ListSessions
    | RevokeSession
    | RevokeSessions
    | IssueTicket
    | VerifyEmail
    | ResetPassword
    | ReadLetters
    | EndLetter
    | ReadContact
    | preferences.Command
)
Event = (
    Registered
    | Renamed
    | SessionOpened
    | SessionRefreshed
    | SessionEnded
    | TicketIssued
    | EmailVerified
    | PasswordReset
    | LetterEnded
    | preferences.Event
)
State = Absent | Member
Answer = Profile | Credentials | SessionState | OpenSessions | TicketState | LettersDue | Contact | Chosen | Subscribed
QUESTIONS: Final = frozenset({Describe, ReadCredentials, ListSessions, ReadLetters, ReadContact})


class Reason(StrEnum):
    NO_SUCH_ACCOUNT = "no such account"
    EMAIL_TAKEN = "the e-mail address is taken"
    CHANGED = "it has changed since it was looked at"
    TICKET_NOT_GOOD = "the token is not good, or not any more"


def decide(state: State, command: Command) -> list[Event]:
    """Say what follows from the command; what already holds follows silently."""
    match state, command:
        case Absent(), Register(verification=ticket):
            return [_registered(command), *([TicketIssued(ticket)] if ticket else [])]
        case Absent(), _:
            raise Refused(Reason.NO_SUCH_ACCOUNT)
        case Member(registered), Register():
            if registered != _registered(command):
                raise Refused(Reason.EMAIL_TAKEN)
            return []
        case Member(name=known), Rename(_, tuple() as wanted) if (
            version_of(known, state.preferences.zone) not in wanted
        ):
            raise Refused(Reason.CHANGED)
        case Member(name=known), Rename(name, zone=zone):
            renamed = [] if name is UNSET or name == known else [Renamed(name)]
            return [*renamed, *preferences.zoned(state.preferences, zone)]
        case Member(), Describe() | ReadCredentials() | ListSessions() | ReadLetters() | ReadContact():
            return []
        case Member(sessions=sessions), OpenSession(session, at):
            if session in sessions:
                return []
            return [*_make_room(sessions, at), SessionOpened(session)]
        case Member(sessions=sessions), RefreshSession(token_hash, session, at):
            return _refresh(_find(sessions, session.session_id), token_hash, session, at)
        case Member(sessions=sessions), EndSession(session_id, token_hash):
            held = _find(sessions, session_id)
            return [SessionEnded(session_id, "signed out")] if held and held.token_hash == token_hash else []
        case Member(sessions=sessions), RevokeSession(session_id):
            return [SessionEnded(session_id, "revoked")] if _find(sessions, session_id) else []
        case Member(sessions=sessions), RevokeSessions():
            return [SessionEnded(session.session_id, "revoked") for session in sessions]
        case Member(), IssueTicket(ticket, hourly_max):
            is_needless = ticket.purpose == "verify-email" and state.verified_at is not None
            is_too_much = len(_of_the_hour(state.tickets, ticket)) >= hourly_max
            return [] if is_needless or is_too_much or ticket in state.tickets else [TicketIssued(ticket)]
        case Member(verified_at=known), VerifyEmail(ticket_id, at):
            if known == at:
                return []
            _refuse_unless_good(state, ticket_id, "verify-email", at)
            return [EmailVerified(at)]
        case Member(password_hash=known, sessions=sessions), ResetPassword(ticket_id, password_hash, at):
            if known == password_hash:
                return []
            _refuse_unless_good(state, ticket_id, "password-reset", at)
            ended = (SessionEnded(session.session_id, "the password was reset") for session in sessions)
            return [PasswordReset(ticket_id, password_hash, at), *ended]
        case Member(letters=letters), EndLetter(letter_id, kind, how):
            is_due = any((letter.letter_id, letter.kind) == (letter_id, kind) for letter in letters)
            return [LetterEnded(letter_id, kind, how)] if is_due else []
        case Member(preferences=Preferences(known)), ChooseNotices(_, tuple() as wanted) if known.version not in wanted:
            raise Refused(Reason.CHANGED)
        case Member(preferences=known), ChooseNotices() | preferences.SubscribePush() | preferences.EndPush():
            return [*preferences.decide(known, command)]
        case _:
            raise AssertionError(f"undecided: {type(command)} on {type(state)}")


def _registered(command: Register) -> Registered:
    given = asdict(command)
    del given["verification"]
    return Registered(**given)


def _refresh(held: Session | None, token_hash: str, session: Session, at: int) -> list[Event]:
    if held is None or held.token_hash == session.token_hash:
        return []
    if held.expires_at <= at:
        return [SessionEnded(held.session_id, "expired")]
    if held.token_hash != token_hash:
        return [SessionEnded(held.session_id, "a refresh token was used twice")]
    return [SessionRefreshed(replace(session, opened_at=held.opened_at))]


def _make_room(sessions: tuple[Session, ...], at: int) -> list[Event]:
    """End what has expired, and the oldest sessions beyond what an account may hold with one more."""
    expired = [s for s in sessions if s.expires_at <= at]
    living = [s for s in sessions if s.expires_at > at]
    surplus = living[: max(0, len(living) + 1 - SESSIONS_MAX)]
    return [
        *(SessionEnded(s.session_id, "expired") for s in expired),
        *(SessionEnded(s.session_id, "too many sessions") for s in surplus),
    ]


def _of_the_hour(tickets: tuple[Ticket, ...], ticket: Ticket) -> list[Ticket]:
    """Find the tickets of the same purpose that were issued in the hour before this one."""
    return [t for t in tickets if t.purpose == ticket.purpose and t.issued_at > ticket.issued_at - HOUR_MS]


def _refuse_unless_good(state: Member, ticket_id: str, purpose: Purpose, at: int) -> None:
    newest = next((ticket for ticket in reversed(state.tickets) if ticket.purpose == purpose), None)
    if newest is None or newest.ticket_id != ticket_id or newest.expires_at <= at:
        raise Refused(Reason.TICKET_NOT_GOOD)


def evolve(state: State, event: Event) -> State:
    """Take in one fact."""
    match state, event:
        case Absent(), Registered():
            return Member(event, event.name, event.password_hash)
        case Member(), Renamed(name):
            return replace(state, name=name)
        case Member(sessions=sessions), SessionOpened(session):
            return replace(state, sessions=(*sessions, session))
        case Member(sessions=sessions), SessionRefreshed(session):
            return replace(state, sessions=(*_without(sessions, session.session_id), session))
        case Member(sessions=sessions), SessionEnded(session_id):
            return replace(state, sessions=_without(sessions, session_id))
        case Member(tickets=tickets), TicketIssued(ticket):
            kept = (t for t in tickets if t.purpose != ticket.purpose)
            letter = Letter(ticket.ticket_id, ticket.purpose, ticket.issued_at, ticket.expires_at)
            tickets = (*kept, *_of_the_hour(tickets, ticket), ticket)
            return replace(state, tickets=tickets, letters=(*_letters_but(state, ticket.purpose), letter))
        case Member(tickets=tickets), EmailVerified(at):
            tickets = tuple(ticket for ticket in tickets if ticket.purpose != "verify-email")
            return replace(state, verified_at=at, tickets=tickets, letters=_letters_but(state, "verify-email"))
        case Member(), PasswordReset(ticket_id, password_hash, at):
            verified_at = at if state.verified_at is None else state.verified_at
            notice = Letter(ticket_id, "password-changed", at, at + NOTICE_MS)
            return replace(state, password_hash=password_hash, verified_at=verified_at, tickets=(), letters=(notice,))
        case Member(), LetterEnded(letter_id, kind):
            letters = tuple(x for x in state.letters if (x.letter_id, x.kind) != (letter_id, kind))
            return replace(state, letters=letters)
        case Member(), _ if isinstance(event, preferences.Event):
            return replace(state, preferences=preferences.evolve(state.preferences, event))
        case _:
            raise AssertionError(f"impossible: {type(event)} on {type(state)}")


def answer(state: State, command: Command, events: list[Event]) -> Answer | None:
    """Say what the sender learns. A sender of credentials must be the front itself."""
    match state, command:
        case Member(registered, name), Register() | Rename() | Describe():
            is_verified = state.verified_at is not None
            who, zone = (registered.user_id, registered.email, name, registered.role), state.preferences.zone
            return Profile(*who, registered.at, is_verified, zone)
        case Member(registered, password_hash=password_hash), ReadCredentials():
            return Credentials(registered.user_id, registered.role, password_hash)
        case Member(registered, sessions=sessions), OpenSession(session) | RefreshSession(session=session):
            held = _find(sessions, session.session_id)
            is_open = held is not None and held.token_hash == session.token_hash
            return SessionState(registered.user_id, registered.role, is_open)
        case Member(sessions=sessions), ListSessions():
            return OpenSessions(sessions)
        case Member(tickets=tickets), IssueTicket(ticket):
            recent = _of_the_hour(tickets, ticket)
            is_done = ticket in tickets or not recent or (ticket.purpose == "verify-email" and state.verified_at)
            return TicketState(0 if is_done else recent[0].issued_at + HOUR_MS)
        case Member(registered, letters=letters), ReadLetters():
            return LettersDue(registered.email, letters)
        case Member(registered), ReadContact():
            return Contact(registered.user_id, registered.email, state.preferences)
        case Member(), ChooseNotices() | preferences.SubscribePush() | preferences.EndPush():
            return preferences.answer(state.preferences, command)
        case _:
            return None


def normalise(email: str) -> str:
    """Say how an address is compared: case never tells two people apart."""
    return email.strip().casefold()


def address_of(email: str) -> Address:
    """Find the account of an e-mail address."""
    return Address("account", sha256(normalise(email).encode()).hexdigest()[:40])


def _letters_but(state: Member, kind: LetterKind) -> tuple[Letter, ...]:
    return tuple(letter for letter in state.letters if letter.kind != kind)


def _find(sessions: tuple[Session, ...], session_id: str) -> Session | None:
    return next((s for s in sessions if s.session_id == session_id), None)


def _without(sessions: tuple[Session, ...], session_id: str) -> tuple[Session, ...]:
    return tuple(s for s in sessions if s.session_id != session_id)


ACCOUNT: Final[Aggregate[State, Command, Event]] = Aggregate(
    "account", Absent(), decide, evolve, answer, Command, Event, State, Reason, QUESTIONS, at_rest=frozenset({Absent})
)
