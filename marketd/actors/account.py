"""
An account: one person under one e-mail address, and the sessions that are open for them.

Its key is a digest of the normalised address, which makes the address unique without a look-up and keeps it out of
subjects and log lines. Secrets are held as hashes only.
"""

from enum import StrEnum
from hashlib import sha256
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import asdict, replace

from marketd.actors.address import Address
from marketd.actors.aggregate import Aggregate, Expected, Refused, version_of

SESSIONS_MAX: Final = 20  # the oldest session ends when one more is opened

Role = Literal["buyer", "seller", "admin"]


class Session(Struct, frozen=True):
    """One family of refresh tokens: only the newest is good, and it is known by its SHA-256 alone."""

    session_id: str
    token_hash: str
    expires_at: int  # ms since the epoch, as every time in here


# Commands: what may be asked of an account.


class Register(Struct, frozen=True, tag="account.register"):
    user_id: str
    email: str
    name: str
    role: Role
    password_hash: str
    at: int


class Rename(Struct, frozen=True, tag="account.rename"):
    name: str
    expected: Expected = None


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


# States: what an account can be.


class Absent(Struct, frozen=True, tag="account.absent"):
    pass


class Member(Struct, frozen=True, tag="account.member"):
    registered: Registered
    name: str
    sessions: tuple[Session, ...] = ()


# Answers: what the sender learns.


class Profile(Struct, frozen=True, tag="account.profile"):
    user_id: str
    email: str
    name: str
    role: Role
    created_at: int

    @property
    def version(self) -> str:
        """Name what its owner may change."""
        return version_of(self.name)


class Credentials(Struct, frozen=True, tag="account.credentials"):
    user_id: str
    role: Role
    password_hash: str


class SessionState(Struct, frozen=True, tag="account.session-state"):
    """Whether the session is open after the command."""

    user_id: str
    role: Role
    is_open: bool


Command = Register | Rename | Describe | ReadCredentials | OpenSession | RefreshSession | EndSession
Event = Registered | Renamed | SessionOpened | SessionRefreshed | SessionEnded
State = Absent | Member
Answer = Profile | Credentials | SessionState


class Reason(StrEnum):
    NO_SUCH_ACCOUNT = "no such account"
    EMAIL_TAKEN = "the e-mail address is taken"
    CHANGED = "it has changed since it was looked at"


def decide(state: State, command: Command) -> list[Event]:
    """Say what follows from the command; what already holds follows silently."""
    match state, command:
        case Absent(), Register():
            return [Registered(**asdict(command))]
        case Absent(), _:
            raise Refused(Reason.NO_SUCH_ACCOUNT)
        case Member(registered), Register():
            if registered != Registered(**asdict(command)):
                raise Refused(Reason.EMAIL_TAKEN)
            return []
        case Member(name=known), Rename(expected=tuple() as expected) if version_of(known) not in expected:
            raise Refused(Reason.CHANGED)
        case Member(name=known), Rename(name):
            return [] if name == known else [Renamed(name)]
        case Member(), Describe() | ReadCredentials():
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
        case _:
            raise AssertionError(f"undecided: {type(command)} on {type(state)}")


def _refresh(held: Session | None, token_hash: str, session: Session, at: int) -> list[Event]:
    if held is None or held == session:
        return []
    if held.expires_at <= at:
        return [SessionEnded(held.session_id, "expired")]
    if held.token_hash != token_hash:
        return [SessionEnded(held.session_id, "a refresh token was used twice")]
    return [SessionRefreshed(session)]


def _make_room(sessions: tuple[Session, ...], at: int) -> list[Event]:
    """End what has expired, and the oldest sessions beyond what an account may hold with one more."""
    expired = [s for s in sessions if s.expires_at <= at]
    living = [s for s in sessions if s.expires_at > at]
    surplus = living[: max(0, len(living) + 1 - SESSIONS_MAX)]
    return [
        *(SessionEnded(s.session_id, "expired") for s in expired),
        *(SessionEnded(s.session_id, "too many sessions") for s in surplus),
    ]


def evolve(state: State, event: Event) -> State:
    """Take in one fact."""
    match state, event:
        case Absent(), Registered():
            return Member(event, event.name)
        case Member(), Renamed(name):
            return replace(state, name=name)
        case Member(sessions=sessions), SessionOpened(session):
            return replace(state, sessions=(*sessions, session))
        case Member(sessions=sessions), SessionRefreshed(session):
            return replace(state, sessions=(*_without(sessions, session.session_id), session))
        case Member(sessions=sessions), SessionEnded(session_id):
            return replace(state, sessions=_without(sessions, session_id))
        case _:
            raise AssertionError(f"impossible: {type(event)} on {type(state)}")


def answer(state: State, command: Command, events: list[Event]) -> Answer | None:
    """Say what the sender learns. A sender of credentials must be the front itself."""
    match state, command:
        case Member(registered, name), Register() | Rename() | Describe():
            return Profile(registered.user_id, registered.email, name, registered.role, registered.at)
        case Member(registered), ReadCredentials():
            return Credentials(registered.user_id, registered.role, registered.password_hash)
        case Member(registered, _, sessions), OpenSession(session) | RefreshSession(session=session):
            return SessionState(registered.user_id, registered.role, session in sessions)
        case _:
            return None


def normalise(email: str) -> str:
    """Say how an address is compared: case never tells two people apart."""
    return email.strip().casefold()


def address_of(email: str) -> Address:
    """Find the account of an e-mail address."""
    return Address("account", sha256(normalise(email).encode()).hexdigest()[:40])


def _find(sessions: tuple[Session, ...], session_id: str) -> Session | None:
    return next((s for s in sessions if s.session_id == session_id), None)


def _without(sessions: tuple[Session, ...], session_id: str) -> tuple[Session, ...]:
    return tuple(s for s in sessions if s.session_id != session_id)


ACCOUNT: Final[Aggregate[State, Command, Event]] = Aggregate(
    "account", Absent(), decide, evolve, answer, Command, Event, State, Reason
)
