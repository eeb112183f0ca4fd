"""
A buyer: what one person owns, and what they have said of it.

Reviews live here because only an owner may write one, and one only: both can be checked without asking anybody.
"""

from enum import StrEnum
from typing import Final, TypeVar

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from marketd.actors.aggregate import Aggregate, Expected, Refused, version_of

OWNED_BYTES: Final = 375  # in memory, for each thing owned

T = TypeVar("T")


class Owned(Struct, frozen=True):
    order_id: str
    seller_id: str


class Review(Struct, frozen=True):
    """What the buyer says of a product: `rating` from 1 to 5; `reply` is the seller's."""

    review_id: str
    rating: int
    title: str
    body: str
    reply: str | None = None

    @property
    def version(self) -> str:
        """Name what its author may change; a reply of the seller is none of it."""
        return version_of(self.rating, self.title, self.body)


# Commands: what may be asked of a buyer.


class Claim(Struct, frozen=True, tag="buyer.claim"):
    """Have the product's place on the shelf kept for an order that is about to be placed."""

    order_id: str
    product_id: str


class Unclaim(Struct, frozen=True, tag="buyer.unclaim"):
    """Give up the place that is kept for an order, if one is."""

    order_id: str
    product_id: str


class CheckAccess(Struct, frozen=True, tag="buyer.check-access"):
    product_id: str


class Grant(Struct, frozen=True, tag="buyer.grant"):
    """Give the buyer what an order brings; `needs_claim` where nothing may come any more once its claim is given up."""

    order_id: str
    product_id: str
    seller_id: str
    needs_claim: bool = False


class Revoke(Struct, frozen=True, tag="buyer.revoke"):
    """Take back what an order has brought, or else give up the place that is kept for it."""

    order_id: str
    product_id: str


class WriteReview(Struct, frozen=True, tag="buyer.write-review"):
    product_id: str
    review: Review
    at: int


class EditReview(Struct, frozen=True, tag="buyer.edit-review"):
    product_id: str
    review_id: str
    at: int
    rating: int | UnsetType = UNSET
    title: str | UnsetType = UNSET
    body: str | UnsetType = UNSET
    expected: Expected = None


class DeleteReview(Struct, frozen=True, tag="buyer.delete-review"):
    product_id: str
    review_id: str
    expected: Expected = None


class ReplyToReview(Struct, frozen=True, tag="buyer.reply-to-review"):
    """The seller's answer under a review; a later one takes its place."""

    product_id: str
    review_id: str
    seller_id: str
    body: str
    at: int


class HideReview(Struct, frozen=True, tag="buyer.hide-review"):
    """Take a review from everybody's sight but its author's; a later reason takes the place of an earlier one."""

    product_id: str
    review_id: str
    admin_id: str
    reason: str
    at: int


class ShowReview(Struct, frozen=True, tag="buyer.show-review"):
    """Let everybody see a hidden review again."""

    product_id: str
    review_id: str
    admin_id: str
    at: int


# Events: what has happened. Tags and fields are the storage format: they may be added to, but not renamed.


class Claimed(Struct, frozen=True, tag="buyer.claimed"):
    order_id: str
    product_id: str


class Unclaimed(Struct, frozen=True, tag="buyer.unclaimed"):
    order_id: str
    product_id: str


class Granted(Struct, frozen=True, tag="buyer.granted"):
    order_id: str
    product_id: str
    seller_id: str


class Revoked(Struct, frozen=True, tag="buyer.revoked"):
    order_id: str
    product_id: str


class Reviewed(Struct, frozen=True, tag="buyer.reviewed"):
    """The whole review as it is from now on: written, edited or replied to."""

    product_id: str
    seller_id: str
    review: Review
    at: int


class ReviewDeleted(Struct, frozen=True, tag="buyer.review-deleted"):
    product_id: str
    review_id: str


class ReviewHidden(Struct, frozen=True, tag="buyer.review-hidden"):
    product_id: str
    review_id: str
    admin_id: str
    reason: str
    at: int


class ReviewShown(Struct, frozen=True, tag="buyer.review-shown"):
    product_id: str
    review_id: str
    admin_id: str
    at: int


# States: what a buyer can be. Everybody is one from the start, with nothing on the shelf.


class Shelf(Struct, frozen=True, tag="buyer.shelf"):
    owned: dict[str, Owned] = {}
    reviews: dict[str, Review] = {}
    sellers: dict[str, str] = {}  # whose a reviewed product is, kept beyond a refund
    hidden: dict[str, str] = {}  # why the review of a product is hidden, for those that are
    claims: dict[str, str] = {}  # the one order under way of each product


# Answers: what the sender learns.


class Access(Struct, frozen=True, tag="buyer.access"):
    has_access: bool


class ReviewState(Struct, frozen=True, tag="buyer.review-state"):
    review: Review | None


Writing = WriteReview | EditReview | DeleteReview | ReplyToReview
Command = Claim | Unclaim | CheckAccess | Grant | Revoke | Writing | HideReview | ShowReview
Event = Claimed | Unclaimed | Granted | Revoked | Reviewed | ReviewDeleted | ReviewHidden | ReviewShown
State = Shelf
Answer = Access | ReviewState
QUESTIONS: Final = frozenset({CheckAccess})


class Reason(StrEnum):
    ALREADY_OWNED = "the buyer owns the product already"
    UNDER_WAY = "an order of the buyer for the product is under way already"
    UNCLAIMED = "what was kept for the order is given up"
    NOT_OWNED = "only who has bought the product may review it"
    ALREADY_REVIEWED = "the buyer has reviewed the product already"
    NO_SUCH_REVIEW = "no such review"
    NOT_YOUR_SALE = "the product belongs to another seller"
    CHANGED = "it has changed since it was looked at"


def decide(state: State, command: Command) -> list[Event]:
    """Say what follows from the command; what already holds follows silently."""
    match command:
        case Claim(order_id, product_id):
            is_so = _is_taken(state, order_id, product_id) or state.claims.get(product_id) == order_id
            return [] if is_so else [Claimed(order_id, product_id)]
        case Unclaim(order_id, product_id):
            return [Unclaimed(order_id, product_id)] if state.claims.get(product_id) == order_id else []
        case CheckAccess():
            return []
        case Grant(order_id, product_id, seller_id, needs_claim):
            if _is_taken(state, order_id, product_id):
                return []
            if needs_claim and product_id not in state.claims:
                raise Refused(Reason.UNCLAIMED)
            return [Granted(order_id, product_id, seller_id)]
        case Revoke(order_id, product_id):
            if state.claims.get(product_id) == order_id:
                return [Unclaimed(order_id, product_id)]
            owned = state.owned.get(product_id)
            return [Revoked(order_id, product_id)] if owned and owned.order_id == order_id else []
        case WriteReview(product_id, review, at):
            return _write(state, product_id, review, at)
        case EditReview(product_id, review_id, at):
            old = _find(state, product_id, review_id, command.expected)
            given = {name: getattr(command, name) for name in ("rating", "title", "body")}
            new = replace(old, **{name: value for name, value in given.items() if value is not UNSET})
            return [] if new == old else [Reviewed(product_id, state.sellers[product_id], new, at)]
        case DeleteReview(product_id, review_id, expected):
            _find(state, product_id, review_id, expected)
            return [ReviewDeleted(product_id, review_id)]
        case ReplyToReview(product_id, review_id, seller_id, body, at):
            review = _find(state, product_id, review_id)
            if state.sellers[product_id] != seller_id:
                raise Refused(Reason.NOT_YOUR_SALE)
            replied = replace(review, reply=body)
            return [] if replied == review else [Reviewed(product_id, seller_id, replied, at)]
        case HideReview(product_id, review_id, admin_id, reason, at):
            _find(state, product_id, review_id)
            is_so = state.hidden.get(product_id) == reason
            return [] if is_so else [ReviewHidden(product_id, review_id, admin_id, reason, at)]
        case ShowReview(product_id, review_id, admin_id, at):
            _find(state, product_id, review_id)
            return [ReviewShown(product_id, review_id, admin_id, at)] if product_id in state.hidden else []
        case _:
            raise AssertionError(f"undecided: {type(command)}")


def _is_taken(state: State, order_id: str, product_id: str) -> bool:
    """Say whether the order has brought it to the shelf already; refuse where another has, or is about to."""
    owned = state.owned.get(product_id)
    if owned and owned.order_id != order_id:
        raise Refused(Reason.ALREADY_OWNED)
    if state.claims.get(product_id, order_id) != order_id:
        raise Refused(Reason.UNDER_WAY)
    return owned is not None


def _write(state: State, product_id: str, review: Review, at: int) -> list[Event]:
    written = state.reviews.get(product_id)
    if written is not None and replace(written, reply=review.reply) == review:
        return []
    if written is not None:
        raise Refused(Reason.ALREADY_REVIEWED)
    if product_id not in state.owned:
        raise Refused(Reason.NOT_OWNED)
    return [Reviewed(product_id, state.owned[product_id].seller_id, review, at)]


def _find(state: State, product_id: str, review_id: str, expected: Expected = None) -> Review:
    review = state.reviews.get(product_id)
    if review is None or review.review_id != review_id:
        raise Refused(Reason.NO_SUCH_REVIEW)
    if expected is not None and review.version not in expected:
        raise Refused(Reason.CHANGED)
    return review


def evolve(state: State, event: Event) -> State:
    """Take in one fact."""
    match event:
        case Claimed(order_id, product_id):
            return replace(state, claims={**state.claims, product_id: order_id})
        case Unclaimed(_, product_id):
            return replace(state, claims=_without(state.claims, product_id))
        case Granted(order_id, product_id, seller_id):
            owned = {**state.owned, product_id: Owned(order_id, seller_id)}
            return replace(state, owned=owned, claims=_without(state.claims, product_id))
        case Revoked(_, product_id):
            return replace(state, owned=_without(state.owned, product_id))
        case Reviewed(product_id, seller_id, review):
            return replace(
                state,
                reviews={**state.reviews, product_id: review},
                sellers={**state.sellers, product_id: seller_id},
            )
        case ReviewDeleted(product_id):
            return replace(
                state,
                reviews=_without(state.reviews, product_id),
                sellers=_without(state.sellers, product_id),
                hidden=_without(state.hidden, product_id),
            )
        case ReviewHidden(product_id, _, _, reason):
            return replace(state, hidden={**state.hidden, product_id: reason})
        case ReviewShown(product_id):
            return replace(state, hidden=_without(state.hidden, product_id))
        case _:
            raise AssertionError(f"impossible: {type(event)}")


def answer(state: State, command: Command, events: list[Event]) -> Answer | None:
    """Say what the sender learns."""
    match command:
        case CheckAccess(product_id):
            return Access(product_id in state.owned)
        case WriteReview() | EditReview() | ReplyToReview():
            return ReviewState(state.reviews.get(command.product_id))
        case _:
            return None


def _without(mapping: dict[str, T], key: str) -> dict[str, T]:
    return {k: v for k, v in mapping.items() if k != key}


def _bulk(state: State) -> int:
    return OWNED_BYTES * (len(state.owned) + len(state.reviews))


BUYER: Final[Aggregate[State, Command, Event]] = Aggregate(
    "buyer", Shelf(), decide, evolve, answer, Command, Event, State, Reason, QUESTIONS, bulk=_bulk
)
