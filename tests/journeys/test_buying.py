"""The main job: from an account to the bytes that were paid for."""

import random
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.journeys.people import Person, Visitor
from tests.journeys.process import running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

CONTENT = random.Random(7).randbytes(300_000)


async def test_what_was_uploaded_is_what_its_buyer_downloads(visitor: Visitor, seller: Person, buyer: Person) -> None:
    order = await buyer.buys(await seller.offers(CONTENT))
    assert CONTENT == (await visitor.get(await buyer.link(order))).body


async def test_a_download_goes_on_where_it_broke_off(visitor: Visitor, seller: Person, buyer: Person) -> None:
    link = await buyer.link(await buyer.buys(await seller.offers(CONTENT)))
    rest = await visitor.get(link, Range="bytes=100000-")
    assert (206, CONTENT[100_000:]) == (rest.status, rest.body)


async def test_what_was_bought_is_in_the_library(seller: Person, buyer: Person) -> None:
    product = await seller.offers()
    order = await buyer.buys(product)
    assert [(product["id"], order["id"])] == [(own["productId"], own["orderId"]) for own in await buyer.library()]


async def test_each_buyer_has_a_licence_key_of_their_own(visitor: Visitor, seller: Person) -> None:
    keys = [f"KEY-{number}" for number in range(5)]
    product = await seller.offers(licenceKeys=keys)
    orders = [await (await visitor.joins("buyer")).buys(product) for _ in keys]
    assert keys == sorted(order["licenceKey"] for order in orders)


async def test_the_seller_sees_the_sale_without_its_licence_key(seller: Person, buyer: Person) -> None:
    await buyer.buys(await seller.offers(licenceKeys=["KEY-1"]))
    sales = await seller.get("/orders?as=seller")
    assert (1, False) == (sales.json["total"], b"KEY-1" in sales.body)


async def test_who_bought_it_reviews_it_and_the_product_shows_the_rating(seller: Person, buyer: Person) -> None:
    product = await seller.offers()
    await buyer.buys(product)
    (await buyer.post(f"/products/{product['id']}/reviews", {"rating": 4, "body": "It rains well."})).expect(201)
    shown = (await seller.get(f"/products/{product['id']}")).expect(200)
    assert {"average": 4.0, "count": 1} == shown["rating"]


async def test_a_withdrawn_product_stays_with_its_buyers(visitor: Visitor, seller: Person, buyer: Person) -> None:
    product = await seller.offers(CONTENT)
    order = await buyer.buys(product)
    (await seller.ask("DELETE", f"/products/{product['id']}")).expect(204)
    assert CONTENT == (await visitor.get(await buyer.link(order))).body


async def test_the_same_goes_with_every_command_carried_by_nats(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings={"MARKETD_NATS__IN_PROCESS": "false"}) as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        order = await buyer.buys(await seller.offers(CONTENT))
        assert CONTENT == (await visitor.get(await buyer.link(order))).body
