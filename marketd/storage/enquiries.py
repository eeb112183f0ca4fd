"""What may be asked of the deliveries of webhooks, by way of the bus, and what is answered."""

from typing import Literal

from msgspec import Struct

from marketd.storage.pages import Page

State = Literal["pending", "delivered", "failed"]
Source = Literal["event", "replay", "test"]


# What may be asked.


class ListDeliveries(Struct, frozen=True, tag="deliveries"):
    """What was sent or is to be sent to an endpoint, the newest first; None for all states."""

    webhook_id: str
    state: State | None = None
    page: Page = Page()


class ReadDelivery(Struct, frozen=True, tag="delivery"):
    webhook_id: str
    delivery_id: str


class Resend(Struct, frozen=True, tag="resend-delivery"):
    """Send a delivery once more, and again until it arrives, whatever has become of it."""

    webhook_id: str
    delivery_id: str


class SendTest(Struct, frozen=True, tag="send-test-delivery"):
    """Send an event that says no more than that it is one, once."""

    owner_id: str
    webhook_id: str
    delivery_id: str


class Replay(Struct, frozen=True, tag="replay-deliveries"):
    """
    Send what happened from `since` on and before `until` (ms since the epoch), of it what `events` names and the
    endpoint may be told. Asked again under the same id, nothing is sent a second time.
    """

    owner_id: str
    webhook_id: str
    replay_id: str
    since: int
    until: int
    events: tuple[str, ...]


class ReadStandings(Struct, frozen=True, tag="webhook-standings"):
    """Ask how all endpoints fare, at most so many of them, first those that are in trouble."""

    count_max: int


# What is answered.


class Attempt(Struct, frozen=True):
    """One request: when it was made, how long it took, and the answer's status and beginning, or why there was none."""

    at: int
    ms: int
    status: int | None
    error: str | None
    answer: bytes


class Delivery(Struct, frozen=True, tag="webhook.delivery"):
    """
    One event for one endpoint, by its name as `order.completed` and its own id; `next_at` is when a pending one is
    tried next, None for at once. The attempts and the body are there where one delivery was asked for.
    """

    delivery_id: str
    message_id: str
    name: str
    source: Source
    state: State
    created_at: int
    attempt_count: int
    next_at: int | None
    attempts: tuple[Attempt, ...] = ()
    body: bytes = b""


class DeliveryPage(Struct, frozen=True, tag="webhook.delivery-page"):
    total: int
    deliveries: tuple[Delivery, ...]


class Standing(Struct, frozen=True):
    """
    How one endpoint fares: whose and where it is, as a host and nothing that may be a secret; why nothing is sent, how
    many deliveries wait, since when none has arrived, and how an attempt last failed since the service started.
    """

    webhook_id: str
    owner_id: str
    host: str
    disabled: str | None
    waiting: int
    failing_since: int | None
    last_failure: str | None


class Standings(Struct, frozen=True, tag="webhook.standings"):
    total: int
    standings: tuple[Standing, ...]


class Replayed(Struct, frozen=True, tag="webhook.replayed"):
    """How many events are sent; none of them where there are more than may be (`is_too_much`)."""

    events: int
    is_too_much: bool = False
