"""Orders in lists: whose they are, how they stand, and which need a hand."""

from pathlib import Path
from typing import Literal

import pytest

from marketd.actors import order
from marketd.actors.steps import Denied, Step, Succeeded
from marketd.storage.orders import ListAlerts, ListOrders, OrderPage
from marketd.storage.pages import Page
from tests.storage.history import PRICE, Market, market

pytestmark = pytest.mark.asyncio

Role = Literal["buyer", "seller"]


async def orders(m: Market, user: str, role: Role = "buyer", page: Page | None = None) -> list[str]:
    found = await m.ask(ListOrders(user, role, page or Page()))
    assert isinstance(found, OrderPage)
    return [entry.order_id for entry in found.orders]


async def alerts(m: Market) -> list[tuple[str, bool]]:
    found = await m.ask(ListAlerts())
    return [(entry.order_id, entry.view.has_open_alert) for entry in found.orders]


async def owe(m: Market, buyer: str) -> None:
    """Sell, take back, and fail to pay back."""
    order_id = await m.sell("lamp", buyer=buyer)
    await m.refund(order_id, buyer=buyer, is_owing=True)


async def test_an_order_is_shown_as_its_actor_sees_it(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", keys=("KEY-1",))
        placed_at = m.now_ms
        await m.sell("lamp", order_id="o1")
        (entry,) = (await m.ask(ListOrders("ann", "buyer"))).orders

        assert (
            order.View(
                buyer_id="ann",
                seller_id="seller",
                product_id="lamp",
                title="Lamp",
                price=PRICE,
                status="completed",
                payment_status="captured",
                delivery_status="delivered",
                failure_reason=None,
                licence_key="KEY-1",
                alert=None,
                created_at=placed_at,
                updated_at=entry.view.updated_at,
            )
            == entry.view
        )


async def test_the_view_is_that_of_the_actor_at_every_step(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.place("o1")
        seen = []
        for step in (Step.PROCESS_PAYMENT, Step.UPDATE_INVENTORY, Step.PREPARE_DELIVERY, Step.NOTIFY_BUYER):
            (entry,) = (await m.ask(ListOrders("ann", "buyer"))).orders
            seen.append((entry.view.status, entry.view.payment_status, entry.view.delivery_status))
            await m.advance("o1", (step, Succeeded()))

        assert [
            ("pending", "pending", "pending"),
            ("pending", "captured", "pending"),
            ("pending", "captured", "pending"),
            ("pending", "captured", "delivered"),
        ] == seen


async def test_a_declined_order_says_why(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.place("o1")
        await m.advance("o1", (Step.PROCESS_PAYMENT, Denied("no funds")), (Step.END_CLAIMS, Succeeded()))
        (entry,) = (await m.ask(ListOrders("ann", "buyer"))).orders

        assert ("failed", "no funds") == (entry.view.status, entry.view.failure_reason)


async def test_a_buyer_sees_what_they_bought_the_newest_first(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        for id, buyer in (("o1", "ann"), ("o2", "bob"), ("o3", "ann")):
            await m.place(id, buyer=buyer)

        assert ["o3", "o1"] == await orders(m, "ann")


async def test_a_seller_sees_what_they_sold_the_newest_first(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        for id, seller in (("o1", "sam"), ("o2", "sue"), ("o3", "sam")):
            await m.place(id, seller=seller)

        assert ["o3", "o1"] == await orders(m, "sam", "seller")


async def test_what_somebody_sold_is_not_what_they_bought(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.place("o1", buyer="ann", seller="sam")

        assert ([], []) == (await orders(m, "sam"), await orders(m, "ann", "seller"))


async def test_pages_have_no_gap_and_no_repeat(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        for n in range(7):
            await m.place(f"o{n}")
        pages = [await orders(m, "ann", page=Page(number, 3)) for number in (1, 2, 3, 4)]

        assert [["o6", "o5", "o4"], ["o3", "o2", "o1"], ["o0"], []] == pages


async def test_every_page_tells_the_whole_count(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        for n in range(3):
            await m.place(f"o{n}")

        assert 3 == (await m.ask(ListOrders("ann", "buyer", Page(2, 2)))).total


async def test_an_order_without_trouble_is_no_alert(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await m.refund(await m.sell("lamp"))

        assert [] == await alerts(m)


async def test_open_alerts_come_first_then_the_newest(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        for buyer in ("ann", "bob", "cid"):
            await owe(m, buyer)
        await m.resolve_alert("order-lamp-cid")

        assert [("order-lamp-bob", True), ("order-lamp-ann", True), ("order-lamp-cid", False)] == await alerts(m)


async def test_an_order_that_owes_has_failed_and_says_why(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp")
        await owe(m, "ann")
        (entry,) = (await m.ask(ListAlerts())).orders

        assert ("failed", "refund_failed", "revoked", "broken") == (
            entry.view.status,
            entry.view.payment_status,
            entry.view.delivery_status,
            entry.view.failure_reason,
        )
