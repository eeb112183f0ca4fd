"""Conditions over the wire: of two who change the same thing at once one has seen it, and the other is told to look."""

import gzip
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from tests.journeys.people import Answer, Person, Visitor, together
from tests.journeys.process import running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

AT_ONCE = 8


async def tag(who: Visitor, path: str) -> str:
    return (await who.get(path)).headers["ETag"]


async def change(who: Visitor, path: str, if_match: str | None, **changes: object) -> Answer:
    return await who.ask("PATCH", path, changes, headers={"If-Match": if_match} if if_match else {})


async def reviewed(seller: Person, buyer: Person, product: dict[str, Any]) -> str:
    await buyer.buys(product)
    review = (await buyer.post(f"/products/{product['id']}/reviews", {"rating": 4, "body": "Rain."})).expect(201)
    return f"/products/{product['id']}/reviews/{review['id']}"


async def test_a_change_goes_through_once_for_a_tag(seller: Person) -> None:
    path = f"/products/{(await seller.offers())['id']}"
    seen = await tag(seller, path)
    first = await change(seller, path, seen, price=5)
    again = await change(seller, path, seen, price=5)
    next_one = await change(seller, path, first.headers["ETag"], price=6)
    careless = await change(seller, path, None, price=7)

    assert [200, 412, 200, 200] == [answer.status for answer in (first, again, next_one, careless)]
    assert careless.headers["ETag"] == await tag(seller, path)


@pytest.mark.parametrize("in_process", ["true", "false"])
async def test_of_many_changes_at_once_for_one_tag_one_is_made(
    tmp_path: Path, session: ClientSession, in_process: str
) -> None:
    async with running(tmp_path / "data", settings={"MARKETD_NATS__IN_PROCESS": in_process}) as service:
        seller = await Visitor(service, session).joins("seller")
        path = f"/products/{(await seller.offers())['id']}"
        seen = await tag(seller, path)
        answers = await together(change(seller, path, seen, price=5 + n) for n in range(AT_ONCE))
        shown = (await seller.get(path)).expect(200)

    assert {200: 1, 412: AT_ONCE - 1} == Counter(answer.status for answer in answers)
    assert [shown["price"]] == [answer.json["price"] for answer in answers if answer.status == 200]


async def test_what_has_changed_is_not_withdrawn(seller: Person) -> None:
    path = f"/products/{(await seller.offers())['id']}"
    seen = await tag(seller, path)
    (await change(seller, path, None, price=5)).expect(200)
    refused = await seller.ask("DELETE", path, headers={"If-Match": seen})
    done = await seller.ask("DELETE", path, headers={"If-Match": await tag(seller, path)})

    assert [412, 204] == [refused.status, done.status]


async def test_a_review_in_between_hinders_no_seller_but_makes_another_tag(
    visitor: Visitor, seller: Person, buyer: Person
) -> None:
    product = await seller.offers()
    path = f"/products/{product['id']}"
    seen = await tag(visitor, path)
    await reviewed(seller, buyer, product)

    assert [200, 200] == [
        (await visitor.get(path, **{"If-None-Match": seen})).status,
        (await change(seller, path, seen, price=5)).status,
    ]


async def test_a_review_and_a_name_are_guarded_too(seller: Person, buyer: Person) -> None:
    review = await reviewed(seller, buyer, await seller.offers())
    seen, name = await tag(buyer, review), await tag(buyer, "/auth/me")
    answers = [
        await change(buyer, review, seen, rating=1),
        await change(buyer, review, seen, rating=2),
        await buyer.ask("DELETE", review, headers={"If-Match": seen}),
        await change(buyer, "/auth/me", name, name="Bea"),
        await change(buyer, "/auth/me", name, name="Bee"),
        await buyer.ask("DELETE", review, headers={"If-Match": "*"}),
    ]

    assert [200, 412, 412, 200, 412, 204] == [answer.status for answer in answers]


async def test_an_order_is_not_sent_again_until_it_changes(seller: Person, buyer: Person) -> None:
    path = f"/orders/{(await buyer.buys(await seller.offers()))['id']}"
    known = await tag(buyer, path)

    assert 304 == (await buyer.get(path, **{"If-None-Match": known})).status


async def test_a_tag_of_a_compressed_answer_guards_as_well(service: Any, seller: Person) -> None:
    path = f"/products/{(await seller.offers(description='rain ' * 400))['id']}"
    async with (
        ClientSession(auto_decompress=False) as session,
        session.get(service.url + path, headers={"Accept-Encoding": "gzip"}) as answer,
    ):
        body, seen = await answer.read(), answer.headers["ETag"]

    assert ("gzip", True) == (answer.headers["Content-Encoding"], b"rain rain" in gzip.decompress(body))
    assert [200, 412] == [(await change(seller, path, seen, price=5)).status for _ in range(2)]
