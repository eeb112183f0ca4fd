"""What is set aside, sold and owned is held against what its order says of itself."""

import sqlite3
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from marketd.actors import buyer, order, product
from marketd.actors.aggregate import Aggregate
from marketd.actors.money import Money
from marketd.storage.audit import Ended, Faults
from marketd.storage.balance import Balance

OFFER = product.Offer("Serif", "A typeface.", Money(1999, "USD"), "fonts", ())
LISTED = product.Listed("sue", OFFER, 1, (), 1)
PLACED = order.Placed("ann", "sue", "p1", "Serif", Money(1999, "USD"), "pm_card_visa", 1)
UNCOUNTED = replace(PLACED, is_counted=False)
PAID, SOLD, DELIVERED = order.Paid(2), order.StockReserved(None, 3), order.Delivered(4)
ENDING = order.PaymentDeclined("no funds", 2)
FAILED = (order.ClaimsEnded(3), order.Failed("no funds", 3))
HELD, CLAIMED = product.Held("o1", None), buyer.Claimed("o1", "p1")
TAKEN, GRANTED = product.Reserved("o1", None, was_held=True), buyer.Granted("o1", "p1", "sue")

Streams = dict[str, tuple[object, ...]]


class Look:
    """A balance of these streams."""

    def __init__(self, notes: sqlite3.Connection, streams: Streams, *charges: str | None) -> None:
        """With the outcomes of what a processor was asked to charge for the order, if its ledger is there."""
        self.faults, self._with_ledger = Faults(), bool(charges)
        self._balance = Balance(notes, self.faults)
        kinds: dict[str, Aggregate[object, object, object]] = {
            "order": order.ORDER,  # type: ignore[dict-item]
            "product": product.PRODUCT,  # type: ignore[dict-item]
            "buyer": buyer.BUYER,  # type: ignore[dict-item]
        }
        for name, events in streams.items():
            aggregate = kinds[name.partition("/")[0]]
            state = aggregate.initial
            for version, event in enumerate(events, 1):
                self._balance.meet(name, version, version, state, event)
                state = aggregate.evolve(state, event)
            self._balance.end(Ended(name, len(events), len(events), state))
        self._balance.take_ledger([("o1", 1999, "USD", charge, None) for charge in charges if charge])

    @property
    def details(self) -> list[str]:
        self._balance.check(with_ledger=self._with_ledger, tell=lambda label, done, total: None)
        return [fault.detail for fault in self.faults.listed]


@pytest.fixture
def notes() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    yield connection
    connection.close()


@pytest.mark.parametrize(
    "streams",
    [
        {"product/p1": (LISTED, HELD), "buyer/ann": (CLAIMED,)},
        {"product/p1": (LISTED, HELD), "buyer/ann": (CLAIMED,), "order/o1": (PLACED,)},
        {"product/p1": (LISTED, HELD, TAKEN), "buyer/ann": (CLAIMED,), "order/o1": (PLACED, PAID)},
        {"product/p1": (LISTED, HELD, TAKEN), "buyer/ann": (CLAIMED, GRANTED), "order/o1": (PLACED, PAID, SOLD)},
        {
            "product/p1": (LISTED, HELD, TAKEN),
            "buyer/ann": (CLAIMED, GRANTED),
            "order/o1": (PLACED, PAID, SOLD, DELIVERED),
        },
        {"product/p1": (LISTED, HELD), "buyer/ann": (CLAIMED,), "order/o1": (PLACED, ENDING)},
        {
            "product/p1": (LISTED, HELD, product.Unheld("o1", None)),
            "buyer/ann": (CLAIMED, buyer.Unclaimed("o1", "p1")),
            "order/o1": (PLACED, ENDING, *FAILED),
        },
        {
            "product/p1": (LISTED, product.Withdrawn(2), product.Reserved("o1", None)),
            "buyer/ann": (),
            "order/o1": (PLACED, PAID),
        },
        {"product/p1": (LISTED,), "buyer/ann": (CLAIMED, GRANTED), "order/o1": (UNCOUNTED,)},
        {"product/p1": (LISTED,), "buyer/ann": (CLAIMED, GRANTED), "order/o1": (UNCOUNTED, order.PaymentUnanswered(2))},
        {"product/p1": (LISTED,), "buyer/ann": (CLAIMED, GRANTED), "order/o1": (UNCOUNTED, PAID, SOLD, DELIVERED)},
    ],
    ids=[
        *("claimed", "placed", "sold", "granted", "delivered", "ending", "over", "withdrawn"),
        *("uncounted", "unwinding", "uncounted and delivered"),
    ],
)
def test_at_every_moment_of_a_sale_all_is_well(notes: sqlite3.Connection, streams: Streams) -> None:
    assert [] == Look(notes, streams).details


@pytest.mark.parametrize(
    ("streams", "fault"),
    [
        (
            {"product/p1": (LISTED, HELD), "buyer/ann": (), "order/o1": (PLACED, ENDING, *FAILED)},
            "it is declined, and its product holds 1 units for it",
        ),
        (
            {"product/p1": (LISTED,), "buyer/ann": (CLAIMED,), "order/o1": (PLACED, ENDING, *FAILED)},
            "it is declined, and its buyer still waits for it",
        ),
        (
            {"product/p1": (LISTED, HELD, TAKEN), "buyer/ann": (CLAIMED,), "order/o1": (PLACED,)},
            "it is paying, and its product has sold it 1 units",
        ),
        (
            {"product/p1": (LISTED, HELD), "buyer/ann": (CLAIMED,), "order/o1": (PLACED, PAID, SOLD)},
            "it is delivering, and its product has sold it 0 units",
        ),
        (
            {"product/p1": (LISTED, HELD), "buyer/ann": (CLAIMED, GRANTED), "order/o1": (UNCOUNTED, PAID, SOLD)},
            "it is delivering, and its product holds 1 units for it",
        ),
        (
            {"product/p1": (LISTED,), "buyer/ann": (CLAIMED, GRANTED), "order/o1": (PLACED,)},
            "it is paying, and the product is in its buyer's library",
        ),
        (
            {"product/p1": (LISTED, HELD, product.Held("o2", None)), "buyer/ann": ()},
            "o2 got a unit where none was left",
        ),
        (
            {"product/p1": (LISTED, HELD, TAKEN), "buyer/ann": ()},
            "product/p1 holds a unit for it, and the log has no such order",
        ),
        (
            {"product/p2": (LISTED, HELD), "buyer/ann": (CLAIMED,), "order/o1": (UNCOUNTED,)},
            "product/p2 holds a unit for it, and it is of another product",
        ),
        (
            {
                "product/p1": (LISTED,),
                "buyer/ann": (CLAIMED, buyer.Claimed("o1", "p2")),
                "order/o1": (UNCOUNTED,),
            },
            "buyer/ann waits for a product by it, and it is of another one",
        ),
    ],
)
def test_what_does_not_agree_is_named(notes: sqlite3.Connection, streams: Streams, fault: str) -> None:
    assert [fault] == Look(notes, streams).details


@pytest.mark.parametrize("state", [(UNCOUNTED,), (UNCOUNTED, order.PaymentUnanswered(2))])
@pytest.mark.parametrize(("charge", "is_well"), [("captured", True), ("declined", False), (None, False)])
def test_what_is_in_a_library_before_it_is_known_to_be_paid_was_charged_for(
    notes: sqlite3.Connection, state: tuple[order.Event, ...], charge: str | None, is_well: bool
) -> None:
    streams: Streams = {"product/p1": (LISTED,), "buyer/ann": (CLAIMED, GRANTED), "order/o1": state}
    details = Look(notes, streams, charge).details

    assert is_well is (not [detail for detail in details if "is in its buyer's library with" in detail])
