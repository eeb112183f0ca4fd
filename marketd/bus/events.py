"""
The public events: what the outside may know of what has happened, as CloudEvents 1.0 in JSON.

The one rule: nothing passes but what is named here, field by field. `DECISIONS` has a line for every event of the log:
how it is told, or None where it is nobody's business. Text that somebody typed for a few eyes (why a refund was asked
for, why a payment failed, what a review says, which may be hidden later) is nobody's; whoever may see it asks for it.

A record is always told in the same words, under the same ids: what its own events lack comes from the records of its
stream before it, and from nowhere else.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from marketd.actors import account, buyer, order, preferences, product, webhook
from marketd.actors.address import Address
from marketd.bus.subjects import event_subject
from marketd.clock import Instant, instant
from marketd.storage.log import Recorded

D = TypeVar("D")

DIGEST_DIGITS: Final = 8
NEEDING: Final = frozenset({order.ORDER.kind, product.PRODUCT.kind})  # what came before is needed to tell these

# What is told of each thing. Names and meanings are as in the answers over HTTP.


class FileData(Struct, frozen=True):
    """A file that buyers get; its size in bytes."""

    name: str
    type: str
    size: int


class ProductData(Struct, frozen=True, rename="camel"):
    """A product as it is from now on; `stock` null means unlimited."""

    product_id: str
    seller_id: str
    title: str
    description: str
    price: Decimal
    currency: str
    category: str
    files: list[FileData]
    stock: int | None


class WithdrawnData(Struct, frozen=True, rename="camel"):
    """A product that is not on sale any more."""

    product_id: str
    seller_id: str


class ReviewData(Struct, frozen=True, rename="camel"):
    """A review that was written, changed or replied to, without its text: `GET /products/{id}/reviews` has that."""

    product_id: str
    seller_id: str
    review_id: str
    author_id: str
    rating: int
    has_reply: bool


class OrderData(Struct, frozen=True, rename="camel"):
    """An order as it is after the event; `createdAt` is when it was placed."""

    order_id: str
    product_id: str
    product_title: str
    price: Decimal
    currency: str
    buyer_id: str
    seller_id: str
    status: order.Status
    payment_status: order.PaymentStatus
    delivery_status: order.DeliveryStatus
    created_at: Instant


class BuyerData(Struct, frozen=True, rename="camel"):
    """Somebody who came to buy."""

    buyer_id: str


class SellerData(Struct, frozen=True, rename="camel"):
    """Somebody who came to sell, under the name that is on their products' pages."""

    seller_id: str
    name: str


Data = ProductData | WithdrawnData | ReviewData | OrderData | BuyerData | SellerData

DATA: Final[Mapping[str, type[Struct]]] = {
    "product.listed": ProductData,
    "product.revised": ProductData,
    "product.withdrawn": WithdrawnData,
    "product.reviewed": ReviewData,
    "order.placed": OrderData,
    "order.paid": OrderData,
    "order.completed": OrderData,
    "order.failed": OrderData,
    "order.refunded": OrderData,
    "buyer.registered": BuyerData,
    "seller.registered": SellerData,
}


class CloudEvent(Struct, Generic[D], frozen=True):
    """
    The envelope (CloudEvents 1.0.2, JSON format): `source` is the shop, `subject` the id of what it is about;
    `traceparent` (its Distributed Tracing extension) is there where the request that caused it had one.
    """

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str
    time: Instant
    datacontenttype: Literal["application/json"]
    data: D
    traceparent: str | UnsetType = UNSET


class PublicEvent(Struct, frozen=True):
    """
    One event for the outside: its name as `order.completed`, the log position that it comes from, whose sale or
    product it is about, if anybody's, and what is sent.
    """

    name: str
    position: int
    seller_id: str | None
    body: CloudEvent[Data]

    @property
    def subject(self) -> str:
        """Where on NATS it is told."""
        return event_subject(self.name, self.body.subject)


class _Told(NamedTuple):
    name: str
    about: str
    at: int
    seller_id: str | None
    data: Data


Known = order.State | str | None  # of an order its state; of a product whose it is
_Tell = Callable[[Any, str, Any], _Told | None]  # of an event, the key of its actor, and what is known after the event


def _registered(event: account.Registered, key: str, known: None) -> _Told | None:
    match event.role:
        case "buyer":
            return _Told("buyer.registered", event.user_id, event.at, None, BuyerData(event.user_id))
        case "seller":
            data = SellerData(event.user_id, event.name)
            return _Told("seller.registered", event.user_id, event.at, event.user_id, data)
        case _:
            return None


def _listed(event: product.Listed, key: str, seller_id: str) -> _Told:
    return _Told("product.listed", key, event.at, seller_id, _offered(event, key, seller_id))


def _revised(event: product.Revised, key: str, seller_id: str) -> _Told:
    return _Told("product.revised", key, event.at, seller_id, _offered(event, key, seller_id))


def _offered(event: product.Listed | product.Revised, key: str, seller_id: str) -> ProductData:
    offer = event.offer
    return ProductData(
        product_id=key,
        seller_id=seller_id,
        title=offer.title,
        description=offer.description,
        price=offer.price.amount,
        currency=offer.price.currency,
        category=offer.category,
        files=[FileData(file.name, file.type, file.size) for file in offer.files],
        stock=event.stock,
    )


def _withdrawn(event: product.Withdrawn, key: str, seller_id: str) -> _Told:
    return _Told("product.withdrawn", key, event.at, seller_id, WithdrawnData(key, seller_id))


def _reviewed(event: buyer.Reviewed, key: str, known: None) -> _Told:
    review = event.review
    data = ReviewData(
        product_id=event.product_id,
        seller_id=event.seller_id,
        review_id=review.review_id,
        author_id=key,
        rating=review.rating,
        has_reply=review.reply is not None,
    )
    return _Told("product.reviewed", event.product_id, event.at, event.seller_id, data)


def _order(name: str) -> _Tell:
    def tell(event: Any, key: str, state: order.Existing) -> _Told:
        view = order.view(state)
        data = OrderData(
            order_id=key,
            product_id=view.product_id,
            product_title=view.title,
            price=view.price.amount,
            currency=view.price.currency,
            buyer_id=view.buyer_id,
            seller_id=view.seller_id,
            status=view.status,
            payment_status=view.payment_status,
            delivery_status=view.delivery_status,
            created_at=instant(view.created_at),
        )
        return _Told(name, key, event.at, view.seller_id, data)

    return tell


DECISIONS: Final[Mapping[type[Struct], _Tell | None]] = {
    account.Registered: _registered,
    account.Renamed: None,
    preferences.ZoneChosen: None,
    account.SessionOpened: None,
    account.SessionRefreshed: None,
    account.SessionEnded: None,
    account.TicketIssued: None,
    account.EmailVerified: None,
    account.PasswordReset: None,
    account.LetterEnded: None,
    preferences.NoticesChosen: None,
    preferences.PushSubscribed: None,
    preferences.PushEnded: None,
    product.Listed: _listed,
    product.Revised: _revised,
    product.Withdrawn: _withdrawn,
    product.Held: None,
    product.Unheld: None,
    product.Reserved: None,
    product.Released: None,
    order.Placed: _order("order.placed"),
    order.Paid: _order("order.paid"),
    order.PaymentDeclined: None,
    order.PaymentUnanswered: None,
    order.StockReserved: None,
    order.StockRefused: None,
    order.Delivered: None,
    order.DeliveryRefused: None,
    order.BuyerNotified: None,
    order.NoticeFailed: None,
    order.NoticeAbandoned: None,
    order.Completed: _order("order.completed"),
    order.StockReleased: None,
    order.PaymentRefunded: None,
    order.PaymentRefundFailed: None,
    order.ClaimsEnded: None,
    order.Failed: _order("order.failed"),
    order.FailedWithAlert: _order("order.failed"),
    order.RefundRequested: None,
    order.DeliveryRevoked: None,
    order.Refunded: _order("order.refunded"),
    order.AlertResolved: None,
    buyer.Claimed: None,
    buyer.Unclaimed: None,
    buyer.Granted: None,
    buyer.Revoked: None,
    buyer.Reviewed: _reviewed,
    buyer.ReviewDeleted: None,
    buyer.ReviewHidden: None,
    buyer.ReviewShown: None,
    webhook.Registered: None,
    webhook.Revised: None,
    webhook.Disabled: None,
    webhook.Enabled: None,
    webhook.SecretRotated: None,
    webhook.Removed: None,
}


def public(record: Recorded, known: Known, source: str) -> tuple[list[PublicEvent], Known]:
    """Tell a record to the outside, given what was known of its stream before it; give what is known after it too."""
    (kind, key), events = Address.parse(record.stream), []
    for index, event in enumerate(record.commit.events):
        known = _learnt(kind, known, event)
        tell = DECISIONS.get(type(event))
        told = tell(event, key, known) if tell else None
        if told is not None:
            body = _wrapped(record, index, told, source)
            events.append(PublicEvent(told.name, record.position, told.seller_id, body))
    return events, known


def _learnt(kind: str, known: Any, event: Any) -> Known:
    """Take in the next event of a stream; of most nothing has to be known."""
    match kind:
        case order.ORDER.kind:
            return order.evolve(known or order.ORDER.initial, event)
        case product.PRODUCT.kind:
            return event.seller_id if isinstance(event, product.Listed) else known
        case _:
            return None


def _wrapped(record: Recorded, index: int, told: _Told, source: str) -> CloudEvent[Data]:
    return CloudEvent(
        specversion="1.0",
        id=_id_of(record, index),
        source=source,
        type=f"market.{told.name}",
        subject=told.about,
        time=instant(told.at),
        datacontenttype="application/json",
        data=told.data,
        traceparent=record.commit.meta.trace or UNSET,
    )


def _id_of(record: Recorded, index: int) -> str:
    """
    Name an event by its place in the log, and by the command that it came from: after a restore of an older backup the
    place will be another event's. It has no full stop in it, because webhooks are signed over `id.time.body`.
    """
    command = f"{record.stream} {record.version} {record.commit.command_id}"
    return f"{record.position}-{index}-{sha256(command.encode()).hexdigest()[:DIGEST_DIGITS]}"


def position_of(id: str) -> int | None:
    """Read off an event's id which record it comes from; None where it is not one of ours."""
    position, *rest = id.split("-")
    return int(position) if len(rest) == 2 and position.isdecimal() and position != "0" else None


_encoder: Final = msgspec.json.Encoder(decimal_format="number")


def encode(event: PublicEvent) -> bytes:
    """Write the CloudEvent as it is sent."""
    return _encoder.encode(event.body)


def chosen(patterns: Iterable[str]) -> list[str]:
    """Give the names that these patterns stand for: `order.completed`, `order.*` or `*`; raise `ValueError`."""
    names: dict[str, None] = {}
    for pattern in patterns:
        start, star, rest = pattern.partition("*")
        found = [name for name in DATA if name == pattern or (star and not rest and name.startswith(start))]
        if not found or (start and star and not start.endswith(".")):
            raise ValueError(f"there are no public events {pattern}")
        names.update(dict.fromkeys(found))
    return list(names)


class Streams(Protocol):
    """What streams are read from: the log, or its file."""

    async def read(self, stream: str, after_version: int = 0, until_version: int | None = None) -> list[Recorded]:
        """Read a stream, or a part of it, in order; raise `CorruptLog`."""
        ...


class PublicEvents:
    """
    Tells record after record, for one who follows the log. What came before is read from the log where it did not go by
    here of late.
    """

    def __init__(self, events: Streams, source: str, *, known_max: int = 4_096) -> None:
        self._log, self._source, self._known_max = events, source, known_max
        self._known: dict[str, tuple[int, Known]] = {}  # by stream: up to which version what is known; the latest last

    async def of(self, record: Recorded) -> list[PublicEvent]:
        """Tell one record; raise `CorruptLog` where what came before it can't be read."""
        known: Known = None
        if Address.parse(record.stream).kind in NEEDING and record.version > 1:
            version, known = self._known.pop(record.stream, (0, None))
            if version != record.version - 1:
                if not any(DECISIONS.get(type(event)) for event in record.commit.events):
                    return []
                known = await self._read(record)
        events, known = public(record, known, self._source)
        if known is not None:
            self._keep(record, known)
        return events

    async def _read(self, record: Recorded) -> Known:
        """Learn what was known before a record; whose a product is, the first of its stream says once and for all."""
        kind = Address.parse(record.stream).kind
        until = 1 if kind == product.PRODUCT.kind else record.version - 1
        known: Known = None
        for before in await self._log.read(record.stream, until_version=until):
            for event in before.commit.events:
                known = _learnt(kind, known, event)
        return known

    def _keep(self, record: Recorded, known: Known) -> None:
        self._known[record.stream] = (record.version, known)
        if len(self._known) > self._known_max:
            del self._known[next(iter(self._known))]
