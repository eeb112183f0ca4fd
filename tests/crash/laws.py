"""
What must be so when all has come to rest: what is there, held against what people were told and against itself.

Nothing in here looks at the service: two records are compared, so that a test can show that each law can be broken.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Final

from tests.crash.seen import Charge, PaidBack, Seen
from tests.crash.told import Told
from tests.journeys.people import Json

Law = Callable[[Told, Seen], Iterator[str]]

# The ledger's charge and refund of an order that is at its end, by `status` and `paymentStatus`.
BOOKED: Final[dict[tuple[str, str], set[tuple[str | None, str | None]]]] = {
    ("completed", "captured"): {("captured", None)},
    ("refunded", "refunded"): {("captured", "paid back")},
    ("failed", "declined"): {("declined", None)},
    ("failed", "refunded"): {("captured", "paid back"), ("declined", "paid back"), ("voided", "paid back")},
    ("failed", "refund_failed"): {("captured", "denied")},
}
HANDED_OVER: Final = ("delivered", "revoked")  # what a sale that was taken back later holds is not sold again


def breaches(told: Told, seen: Seen) -> list[str]:
    """Say what is not as it must be."""
    return [f"{law.__name__.replace('_', ' ')}: {what}" for law in LAWS for what in law(told, seen)]


def what_was_told_is_there(told: Told, seen: Seen) -> Iterator[str]:
    orders = seen.orders
    for bought in told.orders.values():
        order = orders.get(bought.order_id)
        if order is None:
            yield f"order {bought.order_id} is lost"
        elif (order["buyerId"], order["productId"]) != (bought.buyer_id, bought.product_id):
            yield f"order {bought.order_id} is another one: {order}"
    for listing in told.listings.values():
        product = seen.products.get(listing.product_id, {})
        if (product.get("title"), minor(product), product.get("sellerId")) != (
            listing.title,
            listing.minor,
            listing.seller_id,
        ):
            yield f"product {listing.product_id} is not what was listed: {product}"
    for review in told.reviews.values():
        found = seen.reviews.get(review.review_id, {})
        if (found.get("rating"), found.get("body")) != (review.rating, review.body):
            yield f"review {review.review_id} is not what was written: {found}"
    for email, user_id in seen.accounts.items():
        if told.accounts[email] != user_id:
            yield f"{email} can't sign in: {user_id}"


def texts_are_the_last_ones(told: Told, seen: Seen) -> Iterator[str]:
    for user_id, text in told.names.items():
        if user_id in seen.names and seen.names[user_id] not in text.may_be:
            yield f"user {user_id} is called {seen.names[user_id]!r}, not one of {text.may_be}"
    for product_id, text in told.descriptions.items():
        if (said := seen.products.get(product_id, {}).get("description")) not in text.may_be:
            yield f"product {product_id} is described as {said!r}, not one of {text.may_be}"


def orders_are_at_an_end(told: Told, seen: Seen) -> Iterator[str]:
    for order_id, order in seen.orders.items():
        if (order["status"], order["paymentStatus"]) not in BOOKED:
            yield f"order {order_id} is {order['status']}, its payment {order['paymentStatus']}"


def no_order_comes_of_itself(told: Told, seen: Seen) -> Iterator[str]:
    for buyer_id, orders in seen.bought.items():
        unknown = [order["id"] for order in orders if order["id"] not in told.orders]
        if len(unknown) > told.unanswered[buyer_id]:
            yield f"buyer {buyer_id} asked {told.unanswered[buyer_id]} times without an answer, and has {unknown}"


def what_fails_has_a_reason(told: Told, seen: Seen) -> Iterator[str]:
    """A charge that was taken is only paid back where there was nothing left, or nothing to give."""
    for buyer_id, orders in seen.bought.items():
        times = Counter(order["productId"] for order in orders if order["paymentStatus"] != "declined")
        for order in orders:
            listing = told.listings.get(order["productId"])
            is_limited = listing is None or listing.stock is not None
            if order["status"] == "failed" and not order.get("failureReason"):
                yield f"order {order['id']} has no reason"
            took_and_failed = order["deliveryStatus"] == "failed" and order["paymentStatus"] != "declined"
            if took_and_failed and not is_limited and times[order["productId"]] < 2:
                yield f"order {order['id']} of {buyer_id} failed for no reason: {order}"


def refunds_are_as_asked(told: Told, seen: Seen) -> Iterator[str]:
    for order_id, order in seen.orders.items():
        is_taken_back = order["deliveryStatus"] == "revoked"
        if is_taken_back and order_id not in told.asked_refunds:
            yield f"order {order_id} was taken back, and nobody asked"
        if order_id in told.refunds and not is_taken_back:
            yield f"order {order_id} was to be refunded, and is {order['status']}"


def every_order_is_charged_once(told: Told, seen: Seen) -> Iterator[str]:
    charges, paid_back = defaultdict(list), defaultdict(list)
    for charge in seen.charges:
        charges[charge.order_id].append(charge)
    for back in seen.paid_back:
        paid_back[back.order_id].append(back)
    for order_id, order in seen.orders.items():
        booked, returned = charges[order_id], paid_back[order_id]
        outcomes = (booked[0].outcome if booked else None, returned[0].outcome if returned else None)
        if max(len(booked), len(returned)) > 1:
            yield f"order {order_id} was booked more than once: {booked} {returned}"
        elif outcomes not in BOOKED.get((order["status"], order["paymentStatus"]), set()):
            yield f"order {order_id} is {order['status']}/{order['paymentStatus']}, and the ledger has {outcomes}"
        elif outcomes[0] == "captured" and (booked[0].minor, booked[0].currency) != (minor(order), order["currency"]):
            yield f"order {order_id} costs {order['price']}, and {booked[0]} was taken"


def no_charge_is_without_an_order(told: Told, seen: Seen) -> Iterator[str]:
    known = seen.orders.keys()
    lines: list[Charge | PaidBack] = [*seen.charges, *seen.paid_back]
    for line in lines:
        if line.order_id not in known:
            yield str(line)


def refunds_that_failed_have_an_alert(told: Told, seen: Seen) -> Iterator[str]:
    owing = {order_id for order_id, order in seen.orders.items() if order["paymentStatus"] == "refund_failed"}
    for order_id in owing ^ {order_id for order_id, status in seen.alerts.items() if status == "open"}:
        yield f"order {order_id} {'has no alert' if order_id in owing else 'has an alert for nothing'}"


def sold_and_left_are_the_stock(told: Told, seen: Seen) -> Iterator[str]:
    sold = Counter(order["productId"] for order in seen.orders.values() if order["deliveryStatus"] in HANDED_OVER)
    for listing in told.listings.values():
        left = seen.products[listing.product_id]["stock"] if listing.product_id in seen.products else None
        expected = None if listing.stock is None else listing.stock - sold[listing.product_id]
        if left != expected or (left is not None and left < 0):
            yield f"product {listing.product_id}: {listing.stock} stocked, {sold[listing.product_id]} sold, {left} left"


def a_licence_key_has_one_buyer(told: Told, seen: Seen) -> Iterator[str]:
    given = defaultdict(list)
    for order_id, order in seen.orders.items():
        key, listing = order.get("licenceKey"), told.listings.get(order["productId"])
        if key is not None:
            given[key].append(order_id)
        if listing and order["status"] == "completed" and (key not in listing.keys if listing.keys else key):
            yield f"order {order_id} has the key {key}, none of its product's"
    for key, order_ids in given.items():
        if len(order_ids) > 1:
            yield f"{key} was given to {' and '.join(order_ids)}"


def the_library_is_what_was_bought(told: Told, seen: Seen) -> Iterator[str]:
    for buyer_id, orders in seen.bought.items():
        completed = Counter((order["productId"], order["id"]) for order in orders if order["status"] == "completed")
        owned = Counter((own["productId"], own["orderId"]) for own in seen.libraries.get(buyer_id, []))
        if owned != completed:
            yield f"buyer {buyer_id} has {owned - completed} too much and {completed - owned} too little"
        for product_id, times in Counter(product_id for product_id, _ in completed.elements()).items():
            if times > 1:
                yield f"buyer {buyer_id} owns product {product_id} {times} times"


def sellers_see_the_same_orders(told: Told, seen: Seen) -> Iterator[str]:
    sold = {order["id"]: order for orders in seen.sold.values() for order in orders}
    orders = seen.orders
    for order_id in sold.keys() ^ orders.keys():
        yield f"order {order_id} is there for one side only"
    for order_id in sold.keys() & orders.keys():
        if without_key(sold[order_id]) != without_key(orders[order_id]):
            yield f"order {order_id} is {orders[order_id]} to its buyer and {sold[order_id]} to its seller"


def lists_say_what_orders_say(told: Told, seen: Seen) -> Iterator[str]:
    for order_id, order in seen.actors.items():
        if order != seen.orders.get(order_id):
            yield f"order {order_id} says {order}, and the list {seen.orders.get(order_id)}"


def histories_go_forward(told: Told, seen: Seen) -> Iterator[str]:
    for order_id, events in seen.histories.items():
        positions = [event["position"] for event in events]
        if not events or events[0]["type"] != "order.placed" or positions != sorted(positions):
            yield f"order {order_id}: {events}"


def the_index_finds_what_is_on_sale(told: Told, seen: Seen) -> Iterator[str]:
    for product_id in told.listings.keys() - seen.found:
        yield f"product {product_id} is not found"


def a_repeat_gets_the_first_answer(told: Told, seen: Seen) -> Iterator[str]:
    for repeat in told.repeats:
        if repeat.first != repeat.second:
            yield str(repeat)


def nobody_meets_a_defect(told: Told, seen: Seen) -> Iterator[str]:
    yield from told.defects


def the_service_is_ready_and_its_store_whole(told: Told, seen: Seen) -> Iterator[str]:
    yield from seen.unready
    yield from seen.verified


def minor(priced: Json) -> int:
    """Give a price in minor units."""
    return int(Decimal(str(priced.get("price", 0))) * 100)


def without_key(order: Json) -> Json:
    return {name: value for name, value in order.items() if name != "licenceKey"}


LAWS: Final[tuple[Law, ...]] = (
    what_was_told_is_there,
    texts_are_the_last_ones,
    orders_are_at_an_end,
    no_order_comes_of_itself,
    what_fails_has_a_reason,
    refunds_are_as_asked,
    every_order_is_charged_once,
    no_charge_is_without_an_order,
    refunds_that_failed_have_an_alert,
    sold_and_left_are_the_stock,
    a_licence_key_has_one_buyer,
    the_library_is_what_was_bought,
    sellers_see_the_same_orders,
    lists_say_what_orders_say,
    histories_go_forward,
    the_index_finds_what_is_on_sale,
    a_repeat_gets_the_first_answer,
    nobody_meets_a_defect,
    the_service_is_ready_and_its_store_whole,
)
