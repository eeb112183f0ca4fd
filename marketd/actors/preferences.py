"""
How a person wants to be told of what happens: of which topics, over which channels, on which devices; and in which
time zone they live, where their days begin.

It is a part of their account (account.py) and has its commands and events in a room of its own. Everything is told
unless it was switched off; what an account itself sends, such as a token for a new password, is no topic.
"""

from typing import Final, Literal

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from marketd.actors.aggregate import Expected, version_of

SUBSCRIPTIONS_MAX: Final = 10  # the one that is there longest ends when one more is made

Topic = Literal["receipts", "sales", "refunds", "webhooks"]
Channel = Literal["email", "push"]


class Choice(Struct, frozen=True, order=True):
    """Whether a topic is told over a channel."""

    topic: Topic
    channel: Channel
    is_on: bool


class Subscription(Struct, frozen=True):
    """
    A browser that takes push messages (RFC 8030): where they go, and the keys that they are sealed for (RFC 8291), in
    base64url. Whoever knows the endpoint could send there, so nobody but its owner sees it.
    """

    subscription_id: str
    endpoint: str
    p256dh: str
    auth: str
    at: int


# Commands: what may be asked of an account.


class ChooseNotices(Struct, frozen=True, tag="account.choose-notices"):
    choices: tuple[Choice, ...]
    expected: Expected = None


class SubscribePush(Struct, frozen=True, tag="account.subscribe-push"):
    """A browser that has subscribed before stays what it was, with the newer keys."""

    subscription: Subscription


class EndPush(Struct, frozen=True, tag="account.end-push"):
    subscription_id: str
    why: str


class ReadContact(Struct, frozen=True, tag="account.read-contact"):
    """Ask how the person is told things."""


# Events: what has happened.


class NoticesChosen(Struct, frozen=True, tag="account.notices-chosen"):
    """Only what has changed."""

    choices: tuple[Choice, ...]


class PushSubscribed(Struct, frozen=True, tag="account.push-subscribed"):
    subscription: Subscription


class PushEnded(Struct, frozen=True, tag="account.push-ended"):
    subscription_id: str
    why: str


class ZoneChosen(Struct, frozen=True, tag="account.zone-chosen"):
    """An IANA name, or None for who told us theirs and wants it forgotten."""

    zone: str | None


Command = ChooseNotices | SubscribePush | EndPush
Event = NoticesChosen | PushSubscribed | PushEnded | ZoneChosen


# States and answers.


class Chosen(Struct, frozen=True, tag="account.chosen"):
    """What is switched off."""

    off: tuple[tuple[Topic, Channel], ...] = ()

    @property
    def version(self) -> str:
        """Name what their owner may change."""
        return version_of(sorted(self.off))

    def wants(self, topic: Topic, channel: Channel) -> bool:
        """Say whether the topic is told over the channel."""
        return (topic, channel) not in self.off


class Preferences(Struct, frozen=True):
    """What was chosen, the browsers, the oldest first, and the time zone, None while nobody told it."""

    chosen: Chosen = Chosen()
    subscriptions: tuple[Subscription, ...] = ()
    zone: str | None = None


class Subscribed(Struct, frozen=True, tag="account.subscribed"):
    subscription_id: str
    at: int


class Contact(Struct, frozen=True, tag="account.contact"):
    """How a person is told things. Whoever asks must be the service itself."""

    user_id: str
    email: str
    preferences: Preferences


def decide(state: Preferences, command: Command) -> list[Event]:
    """Say what follows from the command; what already holds follows silently."""
    match command:
        case ChooseNotices(choices):
            changed = tuple(c for c in choices if state.chosen.wants(c.topic, c.channel) != c.is_on)
            return [NoticesChosen(changed)] if changed else []
        case SubscribePush(given):
            known = next((s for s in state.subscriptions if s.endpoint == given.endpoint), None)
            wanted = replace(given, subscription_id=known.subscription_id, at=known.at) if known else given
            if wanted in state.subscriptions:
                return []
            surplus = () if known else state.subscriptions[: max(0, len(state.subscriptions) + 1 - SUBSCRIPTIONS_MAX)]
            ended = (PushEnded(s.subscription_id, "there were too many") for s in surplus)
            return [*ended, PushSubscribed(wanted)]
        case EndPush(subscription_id, why):
            is_there = any(s.subscription_id == subscription_id for s in state.subscriptions)
            return [PushEnded(subscription_id, why)] if is_there else []


def zoned(state: Preferences, zone: str | None | UnsetType) -> list[Event]:
    """Say what follows from another time zone, where one is given at all."""
    return [] if zone is UNSET or zone == state.zone else [ZoneChosen(zone)]


def evolve(state: Preferences, event: Event) -> Preferences:
    """Take in one fact."""
    match event:
        case NoticesChosen(choices):
            off = dict.fromkeys(state.chosen.off, False) | {(c.topic, c.channel): c.is_on for c in choices}
            return replace(state, chosen=Chosen(tuple(pair for pair, is_on in off.items() if not is_on)))
        case PushSubscribed(subscription):
            place = {s.subscription_id: s for s in state.subscriptions} | {subscription.subscription_id: subscription}
            return replace(state, subscriptions=tuple(place.values()))
        case PushEnded(subscription_id):
            kept = tuple(s for s in state.subscriptions if s.subscription_id != subscription_id)
            return replace(state, subscriptions=kept)
        case ZoneChosen(zone):
            return replace(state, zone=zone)


def answer(state: Preferences, command: Command) -> Chosen | Subscribed | None:
    """Say what the sender learns."""
    match command:
        case ChooseNotices():
            return state.chosen
        case SubscribePush(given):
            (made,) = (s for s in state.subscriptions if s.endpoint == given.endpoint)
            return Subscribed(made.subscription_id, made.at)
        case EndPush():
            return None
