"""
What people were told: every answer that the service gave, as far as it may be held to it.

What got no answer may have happened or not; so whoever asked for it is remembered as well.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class Listing(NamedTuple):
    """A product that is on sale: what a seller was told, and what they gave with it."""

    product_id: str
    seller_id: str
    title: str
    minor: int
    stock: int | None
    keys: frozenset[str]
    digest: str


class Bought(NamedTuple):
    """An order that was accepted."""

    order_id: str
    buyer_id: str
    product_id: str


class Reviewed(NamedTuple):
    """A review that was taken."""

    review_id: str
    product_id: str
    rating: int
    body: str


class Repeat(NamedTuple):
    """A request that was sent twice under one key: its name, and both answers, status and bytes."""

    key: str
    first: tuple[int, bytes]
    second: tuple[int, bytes]


class Text:
    """What a text may be: what was acknowledged last, or anything that was tried since."""

    def __init__(self, known: Iterable[str]) -> None:
        self.may_be = set(known)

    def try_(self, text: str) -> None:
        self.may_be.add(text)

    def hold(self, text: str) -> None:
        """Know that it is this, because somebody was told, or has looked."""
        self.may_be = {text}


@dataclass
class Told:
    """All of it, of one data directory."""

    accounts: dict[str, str] = field(default_factory=dict)  # user ids by e-mail
    listings: dict[str, Listing] = field(default_factory=dict)
    orders: dict[str, Bought] = field(default_factory=dict)
    refunds: set[str] = field(default_factory=set)
    reviews: dict[str, Reviewed] = field(default_factory=dict)
    names: dict[str, Text] = field(default_factory=dict)  # by user
    descriptions: dict[str, Text] = field(default_factory=dict)  # by product
    asked_refunds: set[str] = field(default_factory=set)
    unanswered: Counter[str] = field(default_factory=Counter)  # orders without a key that got no answer, by buyer
    repeats: list[Repeat] = field(default_factory=list)
    defects: list[str] = field(default_factory=list)  # answers that nobody may ever get
    answers: Counter[int] = field(default_factory=Counter)  # by status, 0 for none

    def defect(self, what: str) -> None:
        """Note what is wrong whatever happens next."""
        self.defects.append(what)
