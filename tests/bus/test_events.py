"""What the outside is told of what happens, and that a repeat is told in the same words."""

import json
from typing import Any, Final

import msgspec
import pytest

from marketd.actors.money import Money
from marketd.actors.steps import Denied, Step, Succeeded, Unanswered
from marketd.bus.events import PublicEvent, PublicEvents, encode, public
from marketd.config.codecs import log_codec
from marketd.storage.log import Meta, Recorded
from marketd.storage.memory import MemoryLog
from tests.storage.history import START_MS, Writer

pytestmark = pytest.mark.asyncio

SHOP: Final = "https://shop.example"
TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def told(writer: Writer, after: int = 0) -> list[PublicEvent]:
    """All that the outside is told of a log, by one who follows it from the beginning."""
    teller = PublicEvents(writer.log, SHOP)
    return [event for record in await records(writer) for event in await teller.of(record) if event.position > after]


async def records(writer: Writer) -> list[Recorded]:
    everything = [record for address in writer.states for record in await writer.log.read(str(address))]
    return sorted(everything, key=lambda record: record.position)


def sent(event: PublicEvent) -> Any:
    return json.loads(encode(event))


@pytest.fixture
def writer() -> Writer:
    return Writer(MemoryLog(log_codec()))


# What is told.


async def test_an_event_is_a_cloud_event(writer: Writer) -> None:
    await writer.register("sue", role="seller")
    (event,) = await told(writer)

    assert {
        "specversion": "1.0",
        "id": event.body.id,
        "source": SHOP,
        "type": "market.seller.registered",
        "subject": "sue",
        "time": "2023-11-14T22:13:20Z",
        "datacontenttype": "application/json",
        "data": {"sellerId": "sue", "name": "Sue"},
    } == sent(event)


async def test_its_subject_ends_in_its_name_and_what_it_is_about(writer: Writer) -> None:
    await writer.register("ann", role="buyer")

    assert ["market.events.buyer.registered.ann"] == [event.subject for event in await told(writer)]


async def test_the_trace_of_the_request_goes_with_it(writer: Writer) -> None:
    await writer.register("ann", role="buyer")
    (record,) = await records(writer)
    traced = msgspec.structs.replace(record, commit=msgspec.structs.replace(record.commit, meta=Meta(trace=TRACE)))
    ((event,), _) = public(traced, None, SHOP)

    assert TRACE == sent(event)["traceparent"]


async def test_a_sale_is_told_from_its_placing_to_its_end(writer: Writer) -> None:
    await writer.list_product("lamp")
    after = (await records(writer))[-1].position
    await writer.sell("lamp")

    assert ["order.placed", "order.paid", "order.completed"] == [event.name for event in await told(writer, after)]


async def test_of_a_completed_order_is_told_what_its_books_need(writer: Writer) -> None:
    await writer.list_product("lamp", title="A lamp")
    order_id = await writer.sell("lamp")

    assert {
        "orderId": order_id,
        "productId": "lamp",
        "productTitle": "Lamp",
        "price": 19.99,
        "currency": "USD",
        "buyerId": "ann",
        "sellerId": "seller",
        "status": "completed",
        "paymentStatus": "captured",
        "deliveryStatus": "delivered",
        "createdAt": "2023-11-14T22:13:21Z",
    } == sent((await told(writer))[-1])["data"]


async def test_a_price_is_written_as_exactly_as_over_http(writer: Writer) -> None:
    await writer.list_product("lamp", price=Money(1_999_999_999, "KWD"))

    assert b'"price":1999999.999,' in encode((await told(writer))[-1])


async def test_the_time_is_that_of_the_event(writer: Writer) -> None:
    await writer.list_product("lamp")
    writer.now_ms = START_MS + 86_400_123
    await writer.withdraw("lamp")

    assert "2023-11-15T22:13:20.123000Z" == sent((await told(writer))[-1])["time"]


async def statuses(writer: Writer) -> tuple[str, str, str, str]:
    last = (await told(writer))[-1]
    data = sent(last)["data"]
    return last.name, data["status"], data["paymentStatus"], data["deliveryStatus"]


async def test_a_declined_payment_is_a_failed_order(writer: Writer) -> None:
    await writer.place("o1")
    await writer.advance("o1", (Step.PROCESS_PAYMENT, Denied("no money")), (Step.END_CLAIMS, Succeeded()))

    assert ("order.failed", "failed", "declined", "failed") == await statuses(writer)


async def test_an_order_whose_payment_went_back_is_a_failed_one(writer: Writer) -> None:
    await writer.place("o1")
    await writer.advance("o1", (Step.PROCESS_PAYMENT, Unanswered()), (Step.REFUND_PAYMENT, Succeeded()))
    await writer.advance("o1", (Step.END_CLAIMS, Succeeded()))

    assert ("order.failed", "failed", "refunded", "failed") == await statuses(writer)


async def test_a_refund_is_told_once_the_payment_went_back(writer: Writer) -> None:
    await writer.list_product("lamp")
    await writer.refund(await writer.sell("lamp"))

    assert ("order.refunded", "refunded", "refunded", "revoked") == await statuses(writer)


async def test_a_refund_that_failed_is_told_as_a_failed_order(writer: Writer) -> None:
    await writer.list_product("lamp")
    await writer.refund(await writer.sell("lamp"), is_owing=True)

    assert ("order.failed", "failed", "refund_failed", "revoked") == await statuses(writer)


async def test_of_a_revised_product_all_is_told_as_it_is_now(writer: Writer) -> None:
    await writer.list_product("lamp", title="A lamp", stock=3)
    await writer.revise("lamp", title="A better lamp", stock=2)

    assert {
        "productId": "lamp",
        "sellerId": "seller",
        "title": "A better lamp",
        "description": "Ready to use.",
        "price": 19.99,
        "currency": "USD",
        "category": "tools",
        "files": [{"name": "lamp.zip", "type": "application/zip", "size": 1024}],
        "stock": 2,
    } == sent((await told(writer))[-1])["data"]


async def test_of_a_withdrawn_product_is_told_whose_it_was(writer: Writer) -> None:
    await writer.list_product("lamp", seller="sue")
    await writer.withdraw("lamp", seller="sue")

    assert {"productId": "lamp", "sellerId": "sue"} == sent((await told(writer))[-1])["data"]


async def test_of_a_review_the_rating_is_told_and_not_the_text(writer: Writer) -> None:
    await writer.list_product("lamp")
    await writer.sell_and_review("lamp", 4)
    await writer.reply("lamp", "Thanks.")

    assert {
        "productId": "lamp",
        "sellerId": "seller",
        "reviewId": "review-lamp-ann",
        "authorId": "ann",
        "rating": 4,
        "hasReply": True,
    } == sent((await told(writer))[-1])["data"]


async def test_a_review_is_about_its_product(writer: Writer) -> None:
    await writer.list_product("lamp")
    await writer.sell_and_review("lamp", 4)

    assert "market.events.product.reviewed.lamp" == (await told(writer))[-1].subject


async def test_whose_sale_it_is_is_known_of_every_event_about_products_and_orders(writer: Writer) -> None:
    await writer.list_product("lamp", seller="sue")
    await writer.refund(await writer.sell("lamp", seller="sue"))
    await writer.withdraw("lamp", seller="sue")

    assert {"sue"} == {event.seller_id for event in await told(writer)}


# A repeat is the same.


async def test_no_two_events_have_one_id(writer: Writer) -> None:
    await tell_a_story(writer)
    ids = [event.body.id for event in await told(writer)]

    assert sorted(set(ids)) == sorted(ids)


async def tell_a_story(writer: Writer) -> None:
    await writer.register("ann", role="buyer")
    await writer.list_product("lamp", keys=("KEY-1", "KEY-2"))
    await writer.revise("lamp", title="A better lamp")
    await writer.sell_and_review("lamp", 5)
    await writer.refund("order-lamp-ann")
    await writer.sell("lamp", buyer="bob")
    await writer.withdraw("lamp")


async def test_who_begins_anywhere_tells_the_same(writer: Writer) -> None:
    await tell_a_story(writer)
    whole, everything = await told(writer), await records(writer)

    for start in range(len(everything)):
        teller = PublicEvents(writer.log, SHOP)
        rest = [event for record in everything[start:] for event in await teller.of(record)]
        assert [event for event in whole if event.position > start] == rest


async def test_who_forgets_what_went_by_tells_the_same(writer: Writer) -> None:
    await tell_a_story(writer)
    forgetful = PublicEvents(writer.log, SHOP, known_max=1)

    assert await told(writer) == [event for record in await records(writer) for event in await forgetful.of(record)]


async def test_who_is_told_something_twice_tells_the_same(writer: Writer) -> None:
    await tell_a_story(writer)
    teller = PublicEvents(writer.log, SHOP)
    twice = [
        event for record in await records(writer) for event in (*await teller.of(record), *await teller.of(record))
    ]

    assert [event for event in await told(writer) for _ in range(2)] == sorted(twice, key=lambda event: event.position)


async def test_of_a_product_only_the_first_record_is_read(writer: Writer) -> None:
    """A bestseller has a million of them."""

    class Counting(MemoryLog):
        read_count = 0

        async def read(self, stream: str, after_version: int = 0, until_version: int | None = None) -> list[Recorded]:
            found = await super().read(stream, after_version, until_version)
            Counting.read_count += len(found)
            return found

    counting = Writer(Counting(log_codec()))
    await counting.list_product("lamp", stock=100)
    for number in range(50):
        await counting.reserve("lamp", f"o{number}")
    await counting.withdraw("lamp")
    (last,) = await counting.log.read("product/lamp", 51)
    Counting.read_count = 0
    await PublicEvents(counting.log, SHOP).of(last)

    assert 1 == Counting.read_count


async def test_after_a_restore_another_event_at_the_same_place_has_another_id(writer: Writer) -> None:
    await writer.register("ann", role="buyer")
    (record,) = await records(writer)
    other = msgspec.structs.replace(record, commit=msgspec.structs.replace(record.commit, command_id="another"))

    assert public(record, None, SHOP)[0][0].body.id != public(other, None, SHOP)[0][0].body.id
