"""The history of an order: all that happened, and nothing of what is nobody's business."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from marketd.actors import order
from marketd.actors.steps import Denied, Step, Succeeded, Unanswered
from marketd.clock import instant
from marketd.storage.history import Happening, History, ReadHistory
from tests.storage.history import Market, market

pytestmark = pytest.mark.asyncio

SHOWN = {"buyerId", "sellerId", "productId", "title", "price", "why", "by"}


async def history(m: Market, order_id: str = "o1") -> list[Happening]:
    found = await m.ask(ReadHistory(order_id))
    assert isinstance(found, History)
    return found.happenings


async def test_every_event_is_shown_in_its_order(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", keys=("KEY-1",))
        await m.sell("lamp", order_id="o1")

        assert [
            "order.placed",
            "order.paid",
            "order.stock-reserved",
            "order.delivered",
            "order.buyer-notified",
            "order.completed",
        ] == [happening.type for happening in await history(m)]


async def test_an_event_is_shown_with_its_time_position_and_facts(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("saw")
        await m.place("o1", "lamp")
        facts = {
            "buyerId": "ann",
            "sellerId": "seller",
            "productId": "lamp",
            "title": "Lamp",
            "price": {"minor": 1999, "currency": "USD"},
        }

        assert [Happening("order.placed", instant(m.now_ms), facts, 2)] == await history(m)


async def test_an_order_that_never_was_has_no_history(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        assert [] == await history(m)


async def test_nobody_sees_the_history_of_another_order(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.place("o1")
        await m.place("o2", buyer="bob")

        assert ["ann"] == [happening.data["buyerId"] for happening in await history(m)]


async def test_neither_licence_key_nor_payment_method_is_shown(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("lamp", keys=("SECRET-KEY",))
        await m.refund(await m.sell("lamp", order_id="o1"), is_owing=True)
        await m.resolve_alert("o1")
        shown = msgspec.json.encode(await history(m))

        assert b"SECRET-KEY" not in shown and b"pm_secret" not in shown


@pytest.mark.parametrize("event", get_args(order.Event), ids=lambda event: str(event.__struct_config__.tag))
async def test_of_every_event_only_what_is_listed_here_may_be_shown(event: type[msgspec.Struct]) -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(event)}
    private = {"payment_method_id", "licence_key", "at", "is_counted"}

    assert {field.replace("_id", "Id") for field in fields - private} <= SHOWN


async def test_what_went_wrong_is_shown(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.place("o1")
        await m.advance(
            "o1",
            (Step.PROCESS_PAYMENT, Succeeded()),
            (Step.UPDATE_INVENTORY, Denied("sold out")),
            (Step.REFUND_PAYMENT, Unanswered()),
            (Step.END_CLAIMS, Succeeded()),
        )

        assert [
            ("order.stock-refused", {"why": "sold out"}),
            ("order.payment-refund-failed", {"why": "the payment processor did not answer"}),
            ("order.claims-ended", {}),
            ("order.failed-with-alert", {"why": "sold out"}),
        ] == [(happening.type, happening.data) for happening in (await history(m))[2:]]
