"""Orders: buying, watching, refunding, and who may see what of them."""

from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from marketd.actors import buyer, order, product
from marketd.actors.account import Role
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.money import Money
from marketd.actors.watch import AwaitOutcome
from marketd.bus.port import Busy, NoAnswer
from marketd.bus.subjects import command_subject
from marketd.clock import instant
from marketd.http.tokens import DownloadGrant
from marketd.storage.history import Happening, History, ReadHistory
from marketd.storage.orders import ListOrders, OrderEntry, OrderPage
from marketd.storage.pages import Page
from tests.http.stage import HEAD, Reply, Stage
from tests.http.things import AT, AT_TEXT, DESCRIBED, PENDING, QUOTED, VIEW

pytestmark = pytest.mark.asyncio

WISH = {"productId": "lamp", "paymentMethodId": "pm_card_visa"}


async def place(stage: Stage, is_counted: bool = False, /, **refusals: Exception) -> Reply:
    stage.bus.answers(product.Quote, refusals.get("quote", replace(QUOTED, is_counted=is_counted)))
    stage.bus.answers(buyer.Claim, refusals.get("claim"))
    stage.bus.answers(product.Hold, refusals.get("hold"))
    for giving_back in (product.Unhold, buyer.Unclaim):
        stage.bus.answers(giving_back, None)
    stage.bus.answers(order.Place, refusals.get("place", PENDING))
    return await stage.call("POST", "/orders", WISH, user="ann")


async def show(stage: Stage, user: str = "ann", role: Role = "buyer", **options: Any) -> Reply:
    return await stage.call("GET", "/orders/o1", user=user, role=role, **options)


# Buying.


async def test_product_and_buyer_are_asked_before_the_order(stage: Stage) -> None:
    order_id = (await place(stage)).json()["orderId"]

    (sold, quote), (self, claim), (_, placed) = stage.bus.messages
    assert (command_subject(Address("product", "lamp")), product.Quote("ann", order_id)) == (sold, quote)
    assert (command_subject(Address("buyer", "ann")), buyer.Claim(order_id, "lamp")) == (self, claim)
    assert order.Place("ann", "sam", "lamp", "Lamp", Money(1999, "USD"), "pm_card_visa", AT, is_counted=False) == placed


async def test_a_unit_is_held_once_the_buyer_has_claimed_it(stage: Stage) -> None:
    order_id = (await place(stage, True)).json()["orderId"]

    asked: list[Struct] = [message for _, message in stage.bus.messages[1:3]]
    assert [buyer.Claim(order_id, "lamp"), product.Hold(order_id)] == asked


async def test_an_order_says_whether_a_unit_is_sold_to_it(stage: Stage) -> None:
    await place(stage, True)

    placed = stage.bus.messages[-1][1]
    assert isinstance(placed, order.Place)
    assert placed.is_counted


async def test_all_who_are_asked_learn_who_is_behind_it(stage: Stage) -> None:
    await place(stage)

    assert ["ann"] * 3 == [envelope.principal for _, envelope in stage.bus.asked]


async def test_an_order_is_accepted_at_its_own_address(stage: Stage) -> None:
    answer = await place(stage)

    order_id = answer.json()["orderId"]
    assert {"message": "the order is placed", "orderId": order_id, "status": "pending"} == answer.json()
    assert (202, f"/orders/{order_id}") == (answer.status, answer.headers["Location"])
    assert command_subject(Address("order", order_id)) == stage.bus.messages[-1][0]


@pytest.mark.parametrize(
    ("refusals", "status", "asked"),
    [
        ({"quote": Refused(product.Reason.NO_SUCH_PRODUCT)}, 404, 1),
        ({"quote": Refused(product.Reason.WITHDRAWN)}, 409, 1),
        ({"quote": Refused(product.Reason.SOLD_OUT)}, 409, 1),
        ({"quote": Refused(product.Reason.OWN_PRODUCT)}, 409, 1),
        ({"claim": Refused(buyer.Reason.ALREADY_OWNED)}, 409, 2),
        ({"claim": Refused(buyer.Reason.UNDER_WAY)}, 409, 2),
        ({"place": NoAnswer("silence")}, 503, 3),
    ],
)
async def test_after_a_refusal_nobody_else_is_asked(
    stage: Stage, refusals: dict[str, Exception], status: int, asked: int
) -> None:
    answer = await place(stage, **refusals)

    assert (status, asked) == (answer.status, len(stage.bus.asked))


@pytest.mark.parametrize(
    ("refusals", "status"),
    [
        ({"claim": NoAnswer("silence")}, 503),
        ({"hold": Refused(product.Reason.SOLD_OUT)}, 409),
        ({"hold": Refused(product.Reason.TOO_MANY_HOLDS)}, 503),
        ({"hold": NoAnswer("silence")}, 503),
        ({"place": Busy("full")}, 503),
    ],
)
async def test_what_was_set_aside_for_an_order_that_is_not_placed_is_given_back(
    stage: Stage, refusals: dict[str, Exception], status: int
) -> None:
    answer = await place(stage, True, **refusals)

    back = [type(message) for _, message in stage.bus.messages[-2:]]
    assert (status, [product.Unhold, buyer.Unclaim]) == (answer.status, back)


async def test_of_an_order_that_may_be_placed_nothing_is_given_back(stage: Stage) -> None:
    await place(stage, True, place=NoAnswer("silence"))

    assert order.Place is type(stage.bus.last.message)


@pytest.mark.parametrize("error", [Busy("full"), NoAnswer("silence")])
async def test_of_an_order_that_is_placed_and_not_to_be_seen_yet_nothing_is_given_back(
    stage: Stage, error: Exception
) -> None:
    stage.bus.not_seen = error
    answer = await place(stage, True)

    assert (503, [HEAD], order.Place) == (answer.status, stage.bus.awaited, type(stage.bus.last.message))
    assert "/problems/unavailable" == answer.json()["type"]  # overloaded would mean that nothing was done


async def test_a_product_that_can_not_be_is_not_asked(stage: Stage) -> None:
    answer = await stage.call("POST", "/orders", WISH | {"productId": "a.b.>"}, user="ann")

    assert (404, []) == (answer.status, stage.bus.asked)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({}, ["/paymentMethodId", "/productId"]),
        ({"productId": "", "paymentMethodId": ""}, ["/paymentMethodId", "/productId"]),
        ({"productId": "x" * 65, "paymentMethodId": "x" * 256}, ["/paymentMethodId", "/productId"]),
        (WISH | {"price": 0.01}, ["/price"]),
    ],
)
async def test_a_wish_that_does_not_fit_is_refused(stage: Stage, wish: dict[str, Any], expected: list[str]) -> None:
    assert expected == (await stage.call("POST", "/orders", wish, user="ann")).faults


# Looking.


async def test_an_order_is_shown_as_it_is(stage: Stage) -> None:
    stage.bus.answers(order.Describe, VIEW)

    expected = {
        "id": "o1",
        "buyerId": "ann",
        "sellerId": "sam",
        "productId": "lamp",
        "productTitle": "Lamp",
        "price": 19.99,
        "currency": "USD",
        "status": "completed",
        "paymentStatus": "captured",
        "deliveryStatus": "delivered",
        "createdAt": AT_TEXT,
        "updatedAt": AT_TEXT,
        "licenceKey": "KEY-1",
    }
    assert expected == (await show(stage)).json()


@pytest.mark.parametrize(
    ("user", "role", "status"),
    [
        ("ann", "buyer", 200),
        ("sam", "seller", 200),
        ("root", "admin", 200),
        ("eve", "buyer", 404),
        ("eve", "seller", 404),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/orders/o1"), ("GET", "/orders/o1/events"), ("GET", "/orders/o1/downloads")]
)
async def test_an_order_is_hidden_from_strangers(
    stage: Stage, method: str, path: str, user: str, role: Role, status: int
) -> None:
    stage.bus.answers(order.Describe, VIEW)
    stage.bus.answers(ReadHistory, History([]))
    stage.bus.answers(product.Describe, DESCRIBED)

    answer = await stage.call(method, path, user=user, role=role)

    may_not_download = path.endswith("downloads") and user in ("sam", "root")
    assert (403 if may_not_download else status) == answer.status


async def test_a_stranger_is_told_just_what_is_told_of_no_order(stage: Stage) -> None:
    stage.bus.answers(order.Describe, VIEW)
    hidden = await show(stage, "eve")
    stage.bus.answers(order.Describe, Refused(order.Reason.NO_SUCH_ORDER))
    missing = await show(stage, "eve")

    own = {"instance"}
    assert {n: v for n, v in hidden.json().items() if n not in own} == {
        n: v for n, v in missing.json().items() if n not in own
    }


@pytest.mark.parametrize(("user", "role"), [("sam", "seller"), ("root", "admin")])
async def test_the_licence_key_is_for_the_buyer_alone(stage: Stage, user: str, role: Role) -> None:
    stage.bus.answers(order.Describe, VIEW)
    stage.bus.answers(ListOrders, OrderPage(1, [OrderEntry("o1", VIEW)]))

    shown = await show(stage, user, role)
    listed = await stage.call("GET", "/orders?as=seller", user=user, role=role)

    assert (False, False) == (b"KEY-1" in shown.body, b"KEY-1" in listed.body)


async def test_a_failed_order_says_why(stage: Stage) -> None:
    stage.bus.answers(order.Describe, replace(VIEW, status="failed", failure_reason="the card was declined"))

    assert "the card was declined" == (await show(stage)).json()["failureReason"]


@pytest.mark.parametrize("key", ["a.b", "*", "%3E", "x" * 65])
async def test_a_key_that_can_be_no_address_is_no_order(stage: Stage, key: str) -> None:
    answer = await stage.call("GET", f"/orders/{key}", user="ann")

    assert (404, []) == (answer.status, stage.bus.asked)


# Waiting.


@pytest.mark.parametrize(
    ("prefer", "wait_s"),
    [
        ("wait=5", 5),
        ("Wait = 5", 5),
        ("respond-async, wait=5", 5),
        ('wait=5; foo="bar"', 5),
        ("wait=5, wait=9", 5),
        ("wait=31", 30),
        ("wait=999999", 30),
    ],
)
async def test_who_prefers_to_wait_is_answered_later(stage: Stage, prefer: str, wait_s: int) -> None:
    stage.bus.answers(order.Describe, PENDING)
    stage.bus.answers(AwaitOutcome, VIEW)

    answer = await show(stage, headers={"Prefer": prefer})

    assert ("completed", f"wait={wait_s}") == (answer.json()["status"], answer.headers["Preference-Applied"])
    assert ("market.query.order-outcome", AwaitOutcome("o1", AT + wait_s * 1000)) == stage.bus.messages[-1]


@pytest.mark.parametrize("prefer", ["", "wait", "wait=", "wait=x", "wait=-1", "wait=1.5", "wait=1234567", "waiting=5"])
async def test_a_preference_that_makes_no_sense_is_ignored(stage: Stage, prefer: str) -> None:
    stage.bus.answers(order.Describe, PENDING)

    answer = await show(stage, headers={"Prefer": prefer})

    assert (200, "pending", False) == (answer.status, answer.json()["status"], "Preference-Applied" in answer.headers)


async def test_the_wait_is_added_to_the_deadline(stage: Stage) -> None:
    stage.bus.answers(order.Describe, PENDING)
    stage.bus.answers(AwaitOutcome, VIEW)

    await show(stage, headers={"Prefer": "wait=5"})

    assert AT + 15_000 == stage.bus.last.deadline


@pytest.mark.parametrize(("view", "prefer"), [(VIEW, "wait=5"), (PENDING, "wait=0")])
async def test_who_need_not_wait_does_not(stage: Stage, view: order.View, prefer: str) -> None:
    stage.bus.answers(order.Describe, view)

    answer = await show(stage, headers={"Prefer": prefer})

    assert prefer == answer.headers["Preference-Applied"]
    assert {order.Describe} == {type(message) for _, message in stage.bus.messages}


# Lists.


@pytest.mark.parametrize(("query", "role"), [("", "buyer"), ("?as=buyer", "buyer"), ("?as=seller", "seller")])
async def test_one_lists_what_one_bought_or_sold(stage: Stage, query: str, role: Any) -> None:
    stage.bus.answers(ListOrders, OrderPage(1, [OrderEntry("o1", VIEW)]))

    body = (await stage.call("GET", f"/orders{query}", user="ann")).json()

    assert (1, 1, 20, ["o1"]) == (body["total"], body["page"], body["size"], [o["id"] for o in body["orders"]])
    assert [("market.query.orders", ListOrders("ann", role, Page()))] == stage.bus.messages


async def test_one_is_either_buyer_or_seller(stage: Stage) -> None:
    assert ["/as", "/as_"] == (await stage.call("GET", "/orders?as=admin&as_=buyer", user="ann")).faults


async def test_a_list_of_orders_links_to_its_pages(stage: Stage) -> None:
    stage.bus.answers(ListOrders, OrderPage(30, []))

    answer = await stage.call("GET", "/orders?as=seller&size=10&page=2", user="sam", role="seller")

    expected = '</orders?as=seller&size=10&page=3>; rel="next"'
    assert expected in answer.headers.getall("Link")


async def test_the_history_of_an_order_is_told(stage: Stage) -> None:
    stage.bus.answers(order.Describe, VIEW)
    facts = {"title": "Lamp", "price": {"minor": 1990, "currency": "USD"}}
    stage.bus.answers(ReadHistory, History([Happening("order.placed", instant(AT), facts, 3)]))

    answer = await stage.call("GET", "/orders/o1/events", user="ann")

    told = {"productTitle": "Lamp", "price": 19.9, "currency": "USD"}
    event = {"type": "order.placed", "at": AT_TEXT, "data": told, "position": 3}
    assert {"events": [event]} == answer.json()


# Downloads.


async def test_each_file_has_a_link_that_ends(stage: Stage) -> None:
    stage.bus.answers(order.Describe, VIEW)
    stage.bus.answers(product.Describe, DESCRIBED)

    (file,) = (await stage.call("GET", "/orders/o1/downloads", user="ann")).json()["downloads"]

    token = file.pop("url").removeprefix(f"{stage.client.make_url('/downloads/')}")
    assert {"name": "lamp.zip", "type": "application/zip", "size": 3, "expiresAt": "2023-11-14T22:28:20Z"} == file
    expected = DownloadGrant("o1", "lamp.zip", "application/zip", "https://files.example/lamp.zip")
    assert expected == stage.links.verify(token)


async def test_links_are_kept_by_no_cache(stage: Stage) -> None:
    stage.bus.answers(order.Describe, VIEW)
    stage.bus.answers(product.Describe, DESCRIBED)

    answer = await stage.call("GET", "/orders/o1/downloads", user="ann")

    assert "no-store" == answer.headers["Cache-Control"]


@pytest.mark.parametrize(
    "view",
    [
        PENDING,
        replace(VIEW, delivery_status="revoked"),
        replace(VIEW, status="refunded", delivery_status="revoked"),
        replace(VIEW, status="failed", delivery_status="failed"),
    ],
    ids=lambda view: f"{view.status}-{view.delivery_status}",
)
async def test_there_are_no_links_to_what_one_does_not_own(stage: Stage, view: order.View) -> None:
    stage.bus.answers(order.Describe, view)

    assert 409 == (await stage.call("GET", "/orders/o1/downloads", user="ann")).status


@pytest.mark.parametrize("host", ["a b", "[::1", "x:y", "a/b", "x@y:1"])
async def test_a_host_that_can_not_be_is_no_defect(stage: Stage, host: str) -> None:
    stage.bus.answers(order.Describe, VIEW)
    stage.bus.answers(product.Describe, DESCRIBED)
    token = stage.bearer("ann")["Authorization"]
    head = f"GET /orders/o1/downloads HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\nConnection: close\r\n\r\n"

    assert b"500" != (await stage.raw(head.encode()))[9:12]
