"""Refunds: asked of the order, by its seller or an admin."""

import pytest
from msgspec import Struct
from msgspec.structs import replace

from marketd.actors import order
from marketd.actors.account import Role
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.bus.subjects import command_subject
from tests.http.stage import Stage
from tests.http.things import AT, VIEW

pytestmark = pytest.mark.asyncio

O1 = command_subject(Address("order", "o1"))


@pytest.mark.parametrize(("user", "role", "is_admin"), [("sam", "seller", False), ("root", "admin", True)])
async def test_a_refund_is_asked_of_the_order(stage: Stage, user: str, role: Role, is_admin: bool) -> None:
    stage.bus.answers(order.Describe, VIEW)
    stage.bus.answers(order.RequestRefund, VIEW)

    answer = await stage.call("POST", "/orders/o1/refund", {"reason": "late"}, user=user, role=role)

    body = {"message": "the refund is under way", "orderId": "o1", "status": "completed"}
    assert (202, body) == (answer.status, answer.json())
    assert (O1, order.RequestRefund(user, is_admin, "late", AT)) == stage.bus.messages[-1]


async def test_of_an_order_that_is_refunded_already_it_is_said(stage: Stage) -> None:
    refunded = replace(VIEW, status="refunded")
    stage.bus.answers(order.Describe, refunded)
    stage.bus.answers(order.RequestRefund, refunded)

    answer = await stage.call("POST", "/orders/o1/refund", user="sam", role="seller")

    body = {"message": "the order is refunded already", "orderId": "o1", "status": "refunded"}
    assert (202, body) == (answer.status, answer.json())


@pytest.mark.parametrize("body", [None, {}, {"reason": None}])
async def test_a_refund_needs_no_reason(stage: Stage, body: object) -> None:
    stage.bus.answers(order.Describe, VIEW)
    stage.bus.answers(order.RequestRefund, VIEW)

    answer = await stage.call("POST", "/orders/o1/refund", body, user="sam", role="seller")

    assert (202, order.RequestRefund("sam", False, "", AT)) == (answer.status, stage.bus.last.message)


async def test_a_reason_that_is_too_long_is_refused(stage: Stage) -> None:
    answer = await stage.call("POST", "/orders/o1/refund", {"reason": "x" * 1001}, user="sam", role="seller")

    assert ["/reason"] == answer.faults


@pytest.mark.parametrize(("reason", "status"), [(order.Reason.NOT_YOUR_SALE, 403), (order.Reason.NOT_COMPLETED, 409)])
async def test_a_refund_may_be_refused(stage: Stage, reason: order.Reason, status: int) -> None:
    stage.bus.answers(order.Describe, VIEW)
    stage.bus.answers(order.RequestRefund, Refused(reason))

    assert status == (await stage.call("POST", "/orders/o1/refund", user="ann")).status


async def test_a_stranger_learns_of_no_order_by_a_refund(stage: Stage) -> None:
    stage.bus.answers(order.Describe, VIEW)

    answer = await stage.call("POST", "/orders/o1/refund", user="eve", role="seller")

    asked: list[Struct] = [message for _, message in stage.bus.messages]
    assert (404, [order.Describe()]) == (answer.status, asked)
