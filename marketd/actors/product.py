"""
A product: what one seller offers, and how much of it is left.

Stock counts what is neither sold nor set aside. An order that is about to be placed has a unit held for it, with the
next licence key where there are keys, so that nobody pays for what is gone; its reservation makes the hold a sale.
Which orders have bought is the orders' business (each remembers its own), so a bestseller's state is as small as a
newcomer's; that no sale is counted twice is kept by the log, where a command id takes effect once in a stream.
"""

from enum import StrEnum
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from marketd.actors.aggregate import Aggregate, Expected, Refused, version_of
from marketd.actors.money import Money

DIGEST_DIGITS: Final = 16
HOLDS_MAX: Final = 10_000  # for orders under way, of one product
KEYS_MAX: Final = 100_000  # that were ever given for one product, whose state has all their digests
OFFER_BYTES_MAX: Final = 128 * 1024  # as JSON: each change of it is on record whole, and each list shows it
KEY_BYTES: Final = 100  # in memory, for each licence key, and for each of their digests


class File(Struct, frozen=True):
    """What a buyer may download: its name, media type, size in bytes, and where it is kept."""

    name: str
    type: str
    size: int
    url: str


class Preview(Struct, frozen=True):
    """What anyone may look at before buying."""

    name: str
    type: str
    url: str


class Offer(Struct, frozen=True):
    """What the seller says of the product."""

    title: str
    description: str
    price: Money
    category: str
    files: tuple[File, ...]
    previews: tuple[Preview, ...] = ()


# Commands: what may be asked of a product.


class List(Struct, frozen=True, tag="product.list"):
    """Put it on sale. `stock` None means unlimited; with licence keys there are never more units than keys."""

    seller_id: str
    offer: Offer
    stock: int | None
    licence_keys: tuple[str, ...]
    at: int


class Revise(Struct, frozen=True, tag="product.revise"):
    """Change what is given; `stock` sets what is left, `licence_keys` are added to those left."""

    seller_id: str
    at: int
    title: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    price: Money | UnsetType = UNSET
    category: str | UnsetType = UNSET
    files: tuple[File, ...] | UnsetType = UNSET
    previews: tuple[Preview, ...] | UnsetType = UNSET
    stock: int | None | UnsetType = UNSET
    licence_keys: tuple[str, ...] = ()
    expected: Expected = None


class Withdraw(Struct, frozen=True, tag="product.withdraw"):
    seller_id: str
    at: int
    expected: Expected = None


class Describe(Struct, frozen=True, tag="product.describe"):
    pass


class Quote(Struct, frozen=True, tag="product.quote"):
    """Ask whether this buyer could buy it now by this order, and at what price."""

    buyer_id: str
    order_id: str = ""


class Hold(Struct, frozen=True, tag="product.hold"):
    """Set a unit aside for an order that is about to be placed, where units are counted."""

    order_id: str


class Unhold(Struct, frozen=True, tag="product.unhold"):
    """Give up what is held for an order, if anything is."""

    order_id: str


class Reserve(Struct, frozen=True, tag="product.reserve"):
    """Sell a unit to an order: the one that is held for it, else the next."""

    order_id: str


class Release(Struct, frozen=True, tag="product.release"):
    """Take back the reservation of an order, with the licence key that it was given."""

    order_id: str
    licence_key: str | None


# Events: what has happened. Tags and fields are the storage format: they may be added to, but not renamed.


class Listed(Struct, frozen=True, tag="product.listed"):
    seller_id: str
    offer: Offer
    stock: int | None
    licence_keys: tuple[str, ...]
    at: int


class Revised(Struct, frozen=True, tag="product.revised"):
    """The whole offer and stock as they are from now on, and the keys that were added."""

    offer: Offer
    stock: int | None
    licence_keys: tuple[str, ...]
    at: int


class Withdrawn(Struct, frozen=True, tag="product.withdrawn"):
    at: int


class Held(Struct, frozen=True, tag="product.held"):
    order_id: str
    licence_key: str | None


class Unheld(Struct, frozen=True, tag="product.unheld"):
    """As with `Released`, the unit can be sold again, unless keys have come since."""

    order_id: str
    licence_key: str | None
    restocked: bool = True


class Reserved(Struct, frozen=True, tag="product.reserved", omit_defaults=True):
    order_id: str
    licence_key: str | None
    was_held: bool = False


class Released(Struct, frozen=True, tag="product.released"):
    """The unit can be sold again, unless it is one without a key of a product that has keys by now."""

    order_id: str
    licence_key: str | None
    restocked: bool = True


# States: what a product can be.


class Absent(Struct, frozen=True, tag="product.absent"):
    pass


class Active(Struct, frozen=True, tag="product.active"):
    listed: Listed
    offer: Offer
    stock: int | None
    keys: tuple[str, ...] | None  # None where the product has no licence keys
    updated_at: int
    known: tuple[str, ...] = ()  # short digests of all keys ever given, so that none is handed out twice
    holds: dict[str, str | None] = {}  # what is set aside for orders under way, each with its key


class Gone(Struct, frozen=True, tag="product.gone"):
    """Withdrawn: not sold any more, but its buyers keep what they have."""

    last: Active
    withdrawn_at: int


# Answers: what the sender learns.


class Description(Struct, frozen=True, tag="product.description"):
    seller_id: str
    offer: Offer
    stock: int | None
    is_active: bool
    created_at: int
    updated_at: int

    @property
    def version(self) -> str:
        """Name what the seller has said of it, and after a dot the stock, which sales change too."""
        said = version_of(self.offer, self.is_active, self.updated_at)
        return said if self.stock is None else f"{said}.{self.stock}"


class Quoted(Struct, frozen=True, tag="product.quoted"):
    seller_id: str
    title: str
    price: Money
    is_counted: bool = False  # so that a unit has to be held


class Reservation(Struct, frozen=True, tag="product.reservation"):
    licence_key: str | None


Command = List | Revise | Withdraw | Describe | Quote | Hold | Unhold | Reserve | Release
Event = Listed | Revised | Withdrawn | Held | Unheld | Reserved | Released
State = Absent | Active | Gone
Answer = Description | Quoted | Reservation
QUESTIONS: Final = frozenset({Describe, Quote})


class Reason(StrEnum):
    NO_SUCH_PRODUCT = "no such product"
    LISTED_DIFFERENTLY = "another product was listed under this id"
    MORE_STOCK_THAN_KEYS = "there are fewer licence keys than units in stock"
    NOT_YOUR_PRODUCT = "the product belongs to another seller"
    WITHDRAWN = "the product is withdrawn"
    OWN_PRODUCT = "a seller can't buy their own product"
    SOLD_OUT = "the product is sold out"
    TOO_MANY_HOLDS = "too many orders for the product are under way"
    CHANGED = "it has changed since it was looked at"
    TOO_MANY_KEYS = f"a product can't be given more than {KEYS_MAX:,} licence keys"
    OFFER_TOO_LARGE = f"title, description, files and previews are more than {OFFER_BYTES_MAX:,} bytes together"


def decide(state: State, command: Command) -> list[Event]:
    """Say what follows from the command; what already holds follows silently."""
    match state, command:
        case Absent(), List(seller_id, offer, stock, keys, at):
            _check_size(offer, len(keys))
            return [Listed(seller_id, offer, _checked(stock, len(keys)) if keys else stock, keys, at)]
        case Absent(), _:
            raise Refused(Reason.NO_SUCH_PRODUCT)
        case Active(listed) | Gone(Active(listed)), List(seller_id, offer):
            if (listed.seller_id, listed.offer) != (seller_id, offer):
                raise Refused(Reason.LISTED_DIFFERENTLY)
            return []
        case _, Describe():
            return []
        case ((Active(listed) | Gone(Active(listed))), (Revise() | Withdraw())) if (
            listed.seller_id != command.seller_id
        ):
            raise Refused(Reason.NOT_YOUR_PRODUCT)
        case Gone(), Revise():
            raise Refused(Reason.WITHDRAWN)
        case ((Active() | Gone()), (Revise() | Withdraw())) if _is_outdated(state, command):
            raise Refused(Reason.CHANGED)
        case Active(), Revise():
            return _revise(state, command)
        case Active(), Withdraw(at=at):
            return [Withdrawn(at)]
        case Active(listed), Quote(buyer_id) if listed.seller_id == buyer_id:
            raise Refused(Reason.OWN_PRODUCT)
        case Active(holds=holds), Quote(order_id=order_id) | Hold(order_id) if order_id in holds:
            return []
        case Active(stock=0), Quote() | Hold():
            raise Refused(Reason.SOLD_OUT)
        case (Active(), Quote()) | (Active(stock=None), Hold()):
            return []
        case Active(holds=holds), Hold() if len(holds) >= HOLDS_MAX:
            raise Refused(Reason.TOO_MANY_HOLDS)
        case Active(keys=keys), Hold(order_id):
            return [Held(order_id, keys[0] if keys else None)]
        case Gone(), Withdraw():
            return []
        case Gone(), Quote() | Hold():
            raise Refused(Reason.WITHDRAWN)
        case ((Active() | Gone()), Unhold(order_id)):
            holds = _last(state).holds
            return [Unheld(order_id, holds[order_id], _restocks(state, holds[order_id]))] if order_id in holds else []
        case ((Active() | Gone()), Reserve(order_id)):  # of an order that was accepted while it was on sale
            return [_reserve(_last(state), order_id)]
        case ((Active() | Gone()), Release(order_id, licence_key)):
            return [Released(order_id, licence_key, _restocks(state, licence_key))]
        case _:
            raise AssertionError(f"undecided: {type(command)} on {type(state)}")


def _last(state: Active | Gone) -> Active:
    return state.last if isinstance(state, Gone) else state


def _restocks(state: Active | Gone, licence_key: str | None) -> bool:
    """Say whether a unit that comes back, with this key or none, can be sold again."""
    return licence_key is not None or _last(state).keys is None


def _reserve(state: Active, order_id: str) -> Reserved:
    if order_id in state.holds:
        return Reserved(order_id, state.holds[order_id], was_held=True)
    if state.stock == 0:
        raise Refused(Reason.SOLD_OUT)
    return Reserved(order_id, state.keys[0] if state.keys else None)


def _is_outdated(state: Active | Gone, command: Revise | Withdraw) -> bool:
    """Say whether it is meant for another state. Sales in between matter to who sets the stock, and to nobody else."""
    if command.expected is None:
        return False
    version, expected = _described(state).version, command.expected
    if isinstance(command, Revise) and command.stock is not UNSET:
        return version not in expected
    return _said(version) not in map(_said, expected)


def _said(version: str) -> str:
    return version.partition(".")[0]


def _revise(state: Active, command: Revise) -> list[Event]:
    given = {name: getattr(command, name) for name in Offer.__struct_fields__}
    offer = replace(state.offer, **{name: value for name, value in given.items() if value is not UNSET})
    known = set(state.known)
    added = tuple(key for key in command.licence_keys if _digest(key) not in known)  # sold or not, a key comes once
    stock = _units(state, command.stock, len(added))
    if (offer, stock, added) == (state.offer, state.stock, ()):
        return []
    _check_size(offer, len(known) + len(added) if added else 0)
    return [Revised(offer, stock, added, command.at)]


def _check_size(offer: Offer, keys: int) -> None:
    if len(msgspec.json.encode(offer)) > OFFER_BYTES_MAX:
        raise Refused(Reason.OFFER_TOO_LARGE)
    if keys > KEYS_MAX:
        raise Refused(Reason.TOO_MANY_KEYS)


def _units(state: Active, wanted: int | None | UnsetType, added: int) -> int | None:
    """Say how many units are left: as many as are wanted, else as many as there were and one for each added key."""
    if state.keys is None and not added:
        return state.stock if wanted is UNSET else wanted
    if state.keys is not None and wanted is UNSET:
        return (state.stock or 0) + added
    return _checked(None if wanted is UNSET else wanted, len(state.keys or ()) + added)


def _checked(stock: int | None, keys_left: int) -> int:
    """Say how many units there are where each needs a licence key."""
    if stock is not None and stock > keys_left:
        raise Refused(Reason.MORE_STOCK_THAN_KEYS)
    return keys_left if stock is None else stock


def evolve(state: State, event: Event) -> State:
    """Take in one fact."""
    match state, event:
        case Absent(), Listed(_, offer, stock, keys, at):
            return Active(replace(event, licence_keys=()), offer, stock, keys or None, at, _digests(keys))
        case Active(keys=keys), Revised(offer, stock, added, at):
            return replace(
                state,
                offer=offer,
                stock=stock,
                keys=((keys or ()) + added) or keys,
                updated_at=at,
                known=state.known + _digests(added),
            )
        case Active(), Withdrawn(at):
            return Gone(state, at)
        case Active(holds=holds), Held(order_id, licence_key):
            return replace(_less_one(state), holds={**holds, order_id: licence_key})
        case Active(holds=holds), Unheld(order_id, licence_key, restocked):
            rest = {other: key for other, key in holds.items() if other != order_id}
            return replace(_and_one(state, licence_key) if restocked else state, holds=rest)
        case Active(holds=holds), Reserved(order_id, was_held=True):
            return replace(state, holds={other: key for other, key in holds.items() if other != order_id})
        case Active(), Reserved():
            return _less_one(state)
        case (Active(), Released(restocked=False)) | (Active(keys=tuple()), Released(licence_key=None)):
            return state  # sold before there were keys: where each unit needs one, it can't be sold again
        case Active(), Released(_, licence_key):
            return _and_one(state, licence_key)
        case Gone(last), Released() | Reserved() | Unheld():
            return replace(state, last=evolve(last, event))
        case _:
            raise AssertionError(f"impossible: {type(event)} on {type(state)}")


def _less_one(state: Active) -> Active:
    return replace(state, stock=state.stock and state.stock - 1, keys=state.keys and state.keys[1:])


def _and_one(state: Active, licence_key: str | None) -> Active:
    back = (*(state.keys or ()), licence_key) if licence_key else state.keys
    return replace(state, stock=state.stock if state.stock is None else state.stock + 1, keys=back)


def _digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:DIGEST_DIGITS]


def _digests(keys: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(_digest, keys))


def answer(state: State, command: Command, events: list[Event]) -> Answer | None:
    """Say what the sender learns; file addresses are for the front to show or to hide."""
    match state, command:
        case _, Reserve():
            return next(Reservation(e.licence_key) for e in events if isinstance(e, Reserved))
        case ((Active() | Gone()), Describe()):
            return _described(state)
        case Active(listed, offer), Quote():
            return Quoted(listed.seller_id, offer.title, offer.price, state.stock is not None)
        case _:
            return None


def _described(state: Active | Gone) -> Description:
    match state:
        case Active(listed, offer, stock, _, updated_at):
            return Description(listed.seller_id, offer, stock, True, listed.at, updated_at)
        case Gone(Active(listed, offer, stock), withdrawn_at):
            return Description(listed.seller_id, offer, stock, False, listed.at, withdrawn_at)


def _bulk(state: State) -> int:
    if isinstance(state, Absent):
        return 0
    last = state.last if isinstance(state, Gone) else state
    offer, counted = last.offer, len(last.keys or ()) + len(last.known) + len(last.holds)
    addresses = sum([len(it.url) for it in offer.files]) + sum([len(it.url) for it in offer.previews])
    return KEY_BYTES * counted + len(offer.description) + addresses


PRODUCT: Final[Aggregate[State, Command, Event]] = Aggregate(
    "product",
    Absent(),
    decide,
    evolve,
    answer,
    Command,
    Event,
    State,
    Reason,
    QUESTIONS,
    at_rest=frozenset({Absent}),
    bulk=_bulk,
)
