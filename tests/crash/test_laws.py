"""Each law can be broken: something wrong is planted in what was seen or told, and the law that is about it says so."""

from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.crash.laws import LAWS, breaches
from tests.crash.seen import Charge, PaidBack, Seen
from tests.crash.told import Bought, Listing, Repeat, Reviewed, Text, Told
from tests.journeys.people import Json

Wrong = Callable[[Told, Seen], object]

ENDS = {
    "good": ("completed", "captured", "delivered"),
    "declined": ("failed", "declined", "failed"),
    "late": ("failed", "refunded", "failed"),
    "back": ("refunded", "refunded", "revoked"),
    "owing": ("failed", "refund_failed", "revoked"),
}


def order(order_id: str, product_id: str, buyer_id: str = "ben") -> Json:
    status, payment, delivery = ENDS[order_id]
    body = {"id": order_id, "buyerId": buyer_id, "sellerId": "sue", "productId": product_id, "price": 19.99}
    body |= {"currency": "USD", "status": status, "paymentStatus": payment, "deliveryStatus": delivery}
    return body | ({"failureReason": "so"} if status == "failed" else {})


def town() -> tuple[Told, Seen]:
    """A small town in which all is as it must be: one order of each end, two of them by nobody's answer."""
    told, seen = Told(), Seen()
    told.listings = {
        "keyed": Listing("keyed", "sue", "Serif", 1999, 2, frozenset({"k1", "k2"}), "d1"),
        "free": Listing("free", "sue", "Wind", 1999, None, frozenset(), "d1"),
        "few": Listing("few", "sue", "Rain", 1999, 2, frozenset(), "d1"),
    }
    for listing in told.listings.values():
        body = {"title": listing.title, "price": 19.99, "sellerId": "sue", "description": "So.", "stock": listing.stock}
        seen.products[listing.product_id] = body
        told.descriptions[listing.product_id] = Text(["So."])
        seen.found.add(listing.product_id)
    seen.products["keyed"]["stock"], seen.products["few"]["stock"] = 1, 0
    orders = [order("good", "keyed"), order("declined", "free"), order("late", "few")]
    orders += [order("back", "few"), order("owing", "few")]
    seen.sold = {"sue": deepcopy(orders)}
    orders[0]["licenceKey"] = "k1"
    seen.bought = {"ben": orders, "sue": []}
    told.orders = {o["id"]: Bought(o["id"], "ben", o["productId"]) for o in orders if o["id"] != "late"}
    told.unanswered["ben"] = 1
    seen.libraries = {"ben": [{"productId": "keyed", "orderId": "good"}]}
    seen.actors = {"good": deepcopy(orders[0])}
    seen.histories = {"good": [{"type": "order.placed", "position": 3}, {"type": "order.paid", "position": 4}]}
    outcomes = {"good": "captured", "declined": "declined", "late": "captured", "back": "captured", "owing": "captured"}
    seen.charges = [Charge(order_id, 1999, "USD", outcome) for order_id, outcome in outcomes.items()]
    seen.paid_back = [PaidBack("late", "paid back"), PaidBack("back", "paid back"), PaidBack("owing", "denied")]
    seen.alerts = {"owing": "open"}
    told.asked_refunds, told.refunds = {"back", "owing"}, {"back", "owing"}
    told.reviews, seen.reviews = {"r1": Reviewed("r1", "keyed", 5, "Bright.")}, {"r1": {"rating": 5, "body": "Bright."}}
    told.names, seen.names = {"ben": Text(["Ben"]), "sue": Text(["Sue"])}, {"ben": "Ben", "sue": "Sue"}
    told.accounts, seen.accounts = {"new@example.org": "u1"}, {"new@example.org": "u1"}
    told.repeats = [Repeat("/orders k1", (202, b"{}"), (202, b"{}"))]
    return told, seen


def plant(told: Told, seen: Seen, wrong: Wrong) -> list[str]:
    wrong(told, seen)
    return breaches(told, seen)


def test_where_all_is_as_it_must_be_nothing_is_found() -> None:
    assert [] == breaches(*town())


# Name of the law, and what breaks it: several, where it speaks of several things.
WRONGS: list[tuple[str, Wrong]] = [
    ("what was told is there", lambda _, seen: seen.bought["ben"].pop(1)),
    ("what was told is there", lambda _, seen: seen.bought["ben"][1].update(productId="few")),
    ("what was told is there", lambda _, seen: seen.products.pop("free")),
    ("what was told is there", lambda _, seen: seen.products["free"].update(price=0.01)),
    ("what was told is there", lambda _, seen: seen.reviews.pop("r1")),
    ("what was told is there", lambda _, seen: seen.reviews["r1"].update(rating=1)),
    ("what was told is there", lambda _, seen: seen.accounts.update({"new@example.org": "401"})),
    ("texts are the last ones", lambda _, seen: seen.names.update(ben="Bert")),
    ("texts are the last ones", lambda _, seen: seen.products["few"].update(description="Older.")),
    ("orders are at an end", lambda _, seen: seen.bought["ben"][0].update(status="pending", paymentStatus="pending")),
    (
        "orders are at an end",
        lambda _, seen: seen.bought["ben"][0].update(status="completed", paymentStatus="refunded"),
    ),
    ("no order comes of itself", lambda told, _: told.orders.pop("back")),
    ("what fails has a reason", lambda _, seen: seen.bought["ben"][1].pop("failureReason")),
    ("what fails has a reason", lambda _, seen: seen.bought["ben"][2].update(productId="free", id="late")),
    ("refunds are as asked", lambda told, _: told.asked_refunds.clear()),
    ("refunds are as asked", lambda told, _: told.refunds.add("good")),
    ("every order is charged once", lambda _, seen: seen.charges.pop(0)),
    ("every order is charged once", lambda _, seen: seen.charges.append(seen.charges[0])),
    ("every order is charged once", lambda _, seen: seen.charges.append(seen.charges[1])),
    ("every order is charged once", lambda _, seen: seen.paid_back.pop()),
    ("every order is charged once", lambda _, seen: seen.paid_back.append(PaidBack("good", "paid back"))),
    ("every order is charged once", lambda _, seen: seen.paid_back.append(seen.paid_back[0])),
    ("every order is charged once", lambda _, seen: seen.charges.__setitem__(0, Charge("good", 1, "USD", "captured"))),
    (
        "every order is charged once",
        lambda _, seen: seen.charges.__setitem__(0, Charge("good", 1999, "EUR", "captured")),
    ),
    ("no charge is without an order", lambda _, seen: seen.charges.append(Charge("nobody", 1, "USD", "captured"))),
    ("no charge is without an order", lambda _, seen: seen.paid_back.append(PaidBack("nobody", "paid back"))),
    ("refunds that failed have an alert", lambda _, seen: seen.alerts.clear()),
    ("refunds that failed have an alert", lambda _, seen: seen.alerts.update(owing="resolved")),
    ("refunds that failed have an alert", lambda _, seen: seen.alerts.update(good="open")),
    ("sold and left are the stock", lambda _, seen: seen.products["keyed"].update(stock=2)),
    ("sold and left are the stock", lambda _, seen: seen.products["free"].update(stock=7)),
    ("sold and left are the stock", lambda told, seen: oversell(told, seen)),
    ("a licence key has one buyer", lambda _, seen: seen.bought["ben"][1].update(licenceKey="k1")),
    ("a licence key has one buyer", lambda _, seen: seen.bought["ben"][0].pop("licenceKey")),
    ("a licence key has one buyer", lambda _, seen: seen.bought["ben"][0].update(licenceKey="made-up")),
    ("the library is what was bought", lambda _, seen: seen.libraries["ben"].clear()),
    ("the library is what was bought", lambda _, seen: seen.libraries["ben"].append(seen.libraries["ben"][0])),
    (
        "the library is what was bought",
        lambda _, seen: seen.libraries["ben"].append({"productId": "few", "orderId": "back"}),
    ),
    ("the library is what was bought", lambda _, seen: own_twice(seen)),
    ("sellers see the same orders", lambda _, seen: seen.sold["sue"].pop()),
    ("sellers see the same orders", lambda _, seen: seen.sold["sue"][0].update(status="failed")),
    ("lists say what orders say", lambda _, seen: seen.actors["good"].update(status="pending")),
    ("histories go forward", lambda _, seen: seen.histories["good"].reverse()),
    ("histories go forward", lambda _, seen: seen.histories["good"].clear()),
    ("the index finds what is on sale", lambda _, seen: seen.found.discard("few")),
    ("a repeat gets the first answer", lambda told, _: told.repeats.append(Repeat("k", (202, b"1"), (202, b"2")))),
    ("a repeat gets the first answer", lambda told, _: told.repeats.append(Repeat("k", (202, b"1"), (409, b"1")))),
    ("nobody meets a defect", lambda told, _: told.defect("500")),
    ("the service is ready and its store whole", lambda _, seen: seen.unready.append("/readyz: 503")),
    ("the service is ready and its store whole", lambda _, seen: seen.verified.append("a gap at 7")),
]


def oversell(told: Told, seen: Seen) -> None:
    """Sell a third copy of two, and agree on it everywhere."""
    told.listings["few"] = told.listings["few"]._replace(stock=1)
    seen.products["few"]["stock"] = -1


def own_twice(seen: Seen) -> None:
    """Complete a second order of the same thing, and agree on it in the library."""
    seen.bought["ben"][3].update(status="completed", productId="keyed")
    seen.libraries["ben"].append({"productId": "keyed", "orderId": "back"})


@pytest.mark.parametrize(("law", "wrong"), WRONGS, ids=[f"{n}-{law}" for n, (law, _) in enumerate(WRONGS)])
def test_what_is_wrong_is_found(law: str, wrong: Wrong) -> None:
    assert law in {breach.partition(":")[0] for breach in plant(*town(), wrong)}


def test_every_law_has_been_broken() -> None:
    assert {law.__name__.replace("_", " ") for law in LAWS} == {law for law, _ in WRONGS}


def test_an_older_text_that_was_tried_since_may_stand() -> None:
    told, seen = town()
    told.names["ben"].try_("Benjamin")
    seen.names["ben"] = "Benjamin"

    assert [] == breaches(told, seen)


def test_what_was_acknowledged_last_is_all_that_a_text_may_be() -> None:
    told, seen = town()
    told.names["ben"].hold("Benjamin")

    assert ["texts are the last ones: user ben is called 'Ben', not one of {'Benjamin'}"] == breaches(told, seen)
