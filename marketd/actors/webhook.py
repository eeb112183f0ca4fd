"""
The webhooks of one person: where they want to be told of what happens, of which events, and how each is signed.

Its key is the person's id: how many there may be, and whose each is, can then be decided without asking anybody. There
is no secret in here; each is made of its id and a key of the service (`notices/signing.py`).
"""

from collections.abc import Collection
from enum import StrEnum
from typing import Final, Literal

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from marketd.actors.aggregate import Aggregate, Expected, Refused, version_of

SECRETS_MAX: Final = 3  # the newest, and those before it that are still good
OVERLAP_MS: Final = 24 * 60 * 60 * 1000  # for how long the secret before the newest is still good

Scope = Literal["own", "all"]
Why = Literal["by hand", "failing", "gone", "too many waiting"]


class Secret(Struct, frozen=True):
    """What a secret is made of; it is good until `expires_at` (ms since the epoch, as every time in here), or on."""

    secret_id: str
    expires_at: int | None = None


class Endpoint(Struct, frozen=True):
    """
    Where the events are sent that `events` names, all or by `order.*`: those of the person's own sales, or all of them.
    `disabled` says why nothing is sent; the newest of the secrets comes first.
    """

    webhook_id: str
    url: str
    events: tuple[str, ...]
    description: str
    scope: Scope
    secrets: tuple[Secret, ...]
    created_at: int
    updated_at: int
    disabled: Why | None = None

    @property
    def version(self) -> str:
        """Name what its owner may change."""
        return version_of(self.url, self.events, self.description, self.disabled is not None)


# Commands: what may be asked of somebody's webhooks.


class Register(Struct, frozen=True, tag="webhook.register"):
    """Add an endpoint, unless there are `endpoints_max` already."""

    endpoint: Endpoint
    endpoints_max: int


class Revise(Struct, frozen=True, tag="webhook.revise"):
    webhook_id: str
    at: int
    url: str | UnsetType = UNSET
    events: tuple[str, ...] | UnsetType = UNSET
    description: str | UnsetType = UNSET
    disabled: bool | UnsetType = UNSET
    expected: Expected = None


class Disable(Struct, frozen=True, tag="webhook.disable"):
    """Send nothing more to `url`; to another one the endpoint may have by now, things go on."""

    webhook_id: str
    url: str
    why: Why
    at: int


class RotateSecret(Struct, frozen=True, tag="webhook.rotate-secret"):
    """Sign with another secret, and for a day with the one before it too."""

    webhook_id: str
    secret_id: str
    at: int


class Remove(Struct, frozen=True, tag="webhook.remove"):
    webhook_id: str
    at: int
    expected: Expected = None


class Describe(Struct, frozen=True, tag="webhook.describe"):
    webhook_id: str


class ListEndpoints(Struct, frozen=True, tag="webhook.list-endpoints"):
    pass


# Events: what has happened. Tags and fields are the storage format: they may be added to, but not renamed.


class Registered(Struct, frozen=True, tag="webhook.registered"):
    endpoint: Endpoint


class Revised(Struct, frozen=True, tag="webhook.revised"):
    """All that its owner may change, as it is from now on."""

    webhook_id: str
    url: str
    events: tuple[str, ...]
    description: str
    at: int


class Disabled(Struct, frozen=True, tag="webhook.disabled"):
    """Nothing is sent any more; unless it was by hand, the owner has to be told."""

    webhook_id: str
    why: Why
    at: int


class Enabled(Struct, frozen=True, tag="webhook.enabled"):
    webhook_id: str
    at: int


class SecretRotated(Struct, frozen=True, tag="webhook.secret-rotated"):
    webhook_id: str
    secret_id: str
    at: int


class Removed(Struct, frozen=True, tag="webhook.removed"):
    webhook_id: str
    at: int


# States: what somebody's webhooks can be. Everybody has none at first.


class Board(Struct, frozen=True, tag="webhook.board"):
    """The endpoints by their ids, the oldest first."""

    endpoints: dict[str, Endpoint] = {}


# Answers: what the sender learns.


class View(Struct, frozen=True, tag="webhook.view"):
    endpoint: Endpoint


class Endpoints(Struct, frozen=True, tag="webhook.endpoints"):
    endpoints: tuple[Endpoint, ...]


Change = Revise | RotateSecret
Command = Register | Change | Disable | Remove | Describe | ListEndpoints
Event = Registered | Revised | Disabled | Enabled | SecretRotated | Removed
State = Board
Answer = View | Endpoints
QUESTIONS: Final = frozenset({Describe, ListEndpoints})


class Reason(StrEnum):
    NO_SUCH_WEBHOOK = "no such webhook"
    TOO_MANY_WEBHOOKS = "there are as many webhooks as one may have"
    CHANGED = "it has changed since it was looked at"


def decide(state: State, command: Command) -> list[Event]:
    """Say what follows from the command; what already holds follows silently."""
    match command:
        case Register(endpoint, endpoints_max):
            if endpoint.webhook_id in state.endpoints:
                return []
            if len(state.endpoints) >= endpoints_max:
                raise Refused(Reason.TOO_MANY_WEBHOOKS)
            return [Registered(endpoint)]
        case Revise(webhook_id, expected=expected):
            return _revise(_find(state, webhook_id, expected), command)
        case Disable(webhook_id, url, why, at):
            known = state.endpoints.get(webhook_id)
            is_meant = known is not None and known.url == url and known.disabled is None
            return [Disabled(webhook_id, why, at)] if is_meant else []
        case RotateSecret(webhook_id, secret_id, at):
            known = _find(state, webhook_id)
            is_known = any(secret.secret_id == secret_id for secret in known.secrets)
            return [] if is_known else [SecretRotated(webhook_id, secret_id, at)]
        case Remove(webhook_id, at, expected):
            _find(state, webhook_id, expected)
            return [Removed(webhook_id, at)]
        case Describe(webhook_id):
            _find(state, webhook_id)
            return []
        case ListEndpoints():
            return []
        case _:
            raise AssertionError(f"undecided: {type(command)}")


def _find(state: State, webhook_id: str, expected: Expected = None) -> Endpoint:
    endpoint = state.endpoints.get(webhook_id)
    if endpoint is None:
        raise Refused(Reason.NO_SUCH_WEBHOOK)
    if expected is not None and endpoint.version not in expected:
        raise Refused(Reason.CHANGED)
    return endpoint


def _revise(known: Endpoint, command: Revise) -> list[Event]:
    given = {name: getattr(command, name) for name in ("url", "events", "description")}
    new = replace(known, **{name: value for name, value in given.items() if value is not UNSET})
    events: list[Event] = []
    if new != known:
        events.append(Revised(new.webhook_id, new.url, new.events, new.description, command.at))
    if command.disabled is True and known.disabled is None:
        events.append(Disabled(known.webhook_id, "by hand", command.at))
    if command.disabled is False and known.disabled is not None:
        events.append(Enabled(known.webhook_id, command.at))
    return events


def evolve(state: State, event: Event) -> State:
    """Take in one fact."""
    if isinstance(event, Registered):
        return Board({**state.endpoints, event.endpoint.webhook_id: event.endpoint})
    others = {key: endpoint for key, endpoint in state.endpoints.items() if key != event.webhook_id}
    if isinstance(event, Removed):
        return Board(others)
    changed = changed_by(state.endpoints[event.webhook_id], event)
    return Board({key: changed if key == event.webhook_id else old for key, old in state.endpoints.items()})


def changed_by(endpoint: Endpoint, event: Revised | Disabled | Enabled | SecretRotated) -> Endpoint:
    """Say what becomes of an endpoint."""
    match event:
        case Revised(_, url, events, description, at):
            return replace(endpoint, url=url, events=events, description=description, updated_at=at)
        case Disabled(_, why, at):
            return replace(endpoint, disabled=why, updated_at=at)
        case Enabled(_, at):
            return replace(endpoint, disabled=None, updated_at=at)
        case SecretRotated(_, secret_id, at):
            return replace(endpoint, secrets=_rotated(endpoint.secrets, secret_id, at), updated_at=at)
        case _:
            raise AssertionError(f"impossible: {type(event)}")


def _rotated(secrets: tuple[Secret, ...], secret_id: str, at: int) -> tuple[Secret, ...]:
    """Put a secret first; give the one before it a day, and leave out those whose time is over."""
    newest, *older = secrets
    good = [secret for secret in older if secret.expires_at is not None and secret.expires_at > at]
    return (Secret(secret_id), Secret(newest.secret_id, at + OVERLAP_MS), *good)[:SECRETS_MAX]


def answer(state: State, command: Command, events: list[Event]) -> Answer | None:
    """Say what the sender learns."""
    match command:
        case Register(endpoint):
            return View(state.endpoints[endpoint.webhook_id])
        case Revise(webhook_id) | RotateSecret(webhook_id) | Describe(webhook_id):
            return View(state.endpoints[webhook_id])
        case ListEndpoints():
            return Endpoints(tuple(state.endpoints.values()))
        case _:
            return None


def wants(patterns: Collection[str], name: str) -> bool:
    """Say whether an event of this name, such as `order.completed`, is among those that these stand for."""
    return not {"*", name, f"{name.partition('.')[0]}.*"}.isdisjoint(patterns)


WEBHOOK: Final[Aggregate[State, Command, Event]] = Aggregate(
    "webhook", Board(), decide, evolve, answer, Command, Event, State, Reason, QUESTIONS
)
