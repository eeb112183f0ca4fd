"""Webhooks of the real service, taken by real receivers: good ones, dead ones, and those that mean no good."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import ClientSession
from standardwebhooks.webhooks import Webhook

from tests.actors.notices.receiver import FLOOD, Receiver, hangs, hangs_up, repeats, status
from tests.journeys.people import PASSWORD, Json, Person, Visitor, together
from tests.journeys.process import marketd, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

ALLOWED: Final = {
    "MARKETD_WEBHOOKS__ALLOW_HTTP": "true",
    "MARKETD_WEBHOOKS__ALLOW_PRIVATE": "true",
    "MARKETD_WEBHOOKS__WAIT_S_MAX": "2",
}
QUICK: Final = ALLOWED | {"MARKETD_WEBHOOKS__RETRIES_S": "0.2, 0.5, 1, 2, 5", "MARKETD_BREAKERS__OPEN_S": "0.3"}
ORDERED: Final = ["market.order.placed", "market.order.paid", "market.order.completed"]
SEEN_S_MAX: Final = 15


async def hooked(person: Person, receiver: Receiver, *events: str) -> Json:
    """Have what happens posted to a receiver."""
    wanted = {"url": receiver.url, "events": list(events) or ["order.*"]}
    return (await person.post("/webhooks", wanted)).expect(201)


async def deliveries(person: Person, hook: Json) -> list[Json]:
    return await person.lists(f"/webhooks/{hook['id']}/deliveries", "deliveries")


async def sees_all(person: Person, hook: Json, state: str, count: int) -> list[Json]:
    """Look at a webhook's deliveries until there are so many, all in this state."""
    async with asyncio.timeout(SEEN_S_MAX):
        while True:
            found = await deliveries(person, hook)
            if len(found) >= count and {delivery["state"] for delivery in found} == {state}:
                return found
            await asyncio.sleep(0.05)


async def attempt_of(person: Person, hook: Json) -> Json:
    """Give the first attempt of a webhook's oldest delivery, once there is one."""
    async with asyncio.timeout(SEEN_S_MAX):
        while True:
            for delivery in reversed(await deliveries(person, hook)):
                whole = (await person.get(f"/webhooks/{hook['id']}/deliveries/{delivery['id']}")).expect(200)
                if whole["attempts"]:
                    first: Json = whole["attempts"][0]
                    return first
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("in_process", ["true", "false"])
async def test_a_sale_arrives_signed(tmp_path: Path, session: ClientSession, in_process: str) -> None:
    settings = ALLOWED | {"MARKETD_NATS__IN_PROCESS": in_process}
    async with running(tmp_path / "data", settings=settings) as service, Receiver().up() as receiver:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        hook = await hooked(seller, receiver)
        order = await buyer.buys(await seller.offers())
        await receiver.wait_posts(3)
        found = await sees_all(seller, hook, "delivered", 3)

    events = [Webhook(hook["secret"]).verify(post.body, post.headers) for post in receiver.posts]
    assert sorted(ORDERED) == sorted(event["type"] for event in events)
    assert {order["id"]} == {event["subject"] for event in events}
    assert {post.id for post in receiver.posts} == {delivery["messageId"] for delivery in found}


async def test_a_receiver_knows_no_more_than_the_public_may(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings=ALLOWED) as service, Receiver().up() as receiver:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        await hooked(seller, receiver, "*")
        await buyer.buys(await seller.offers(licenceKeys=["LICENCE-4711"]))
        await receiver.wait_posts(4)

    sent = b"".join(post.body for post in receiver.posts)
    private = [seller.email, buyer.email, "LICENCE-4711", "pm_card_visa", "upload://"]
    assert [] == [secret for secret in private if secret.encode() in sent]


async def test_an_admin_is_told_of_all_sellers(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings=ALLOWED) as service, Receiver().up() as receiver:
        visitor, email = Visitor(service, session), "admin@example.org"
        given = ("admin", "create", email, "--password-stdin", "--data", str(service.data))
        assert 0 == (await marketd(*given, given=f"{PASSWORD}\n")).code
        await hooked(await visitor.signs_in(email, PASSWORD), receiver, "product.listed", "seller.*")
        for _ in range(2):
            await (await visitor.joins("seller")).offers()
        await receiver.wait_posts(4)

    assert ["market.product.listed"] * 2 + ["market.seller.registered"] * 2 == sorted(receiver.types)


async def test_both_secrets_are_good_after_a_rotation(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings=ALLOWED) as service, Receiver().up() as receiver:
        seller = await Visitor(service, session).joins("seller")
        hook = await hooked(seller, receiver, "product.*")
        fresh = (await seller.post(f"/webhooks/{hook['id']}/rotate-secret")).expect(200)
        await seller.offers()
        await receiver.wait_posts(1)

    for secret in (hook["secret"], fresh["secret"]):
        Webhook(secret).verify(receiver.posts[0].body, receiver.posts[0].headers)


HOSTILE: Final[dict[str, tuple[Any, dict[str, object]]]] = {
    "hangs": (hangs, {"status": None, "error": "there was no answer within 2 s"}),
    "hangs up": (hangs_up, {"status": None, "error": "the connection broke off before an answer"}),
    "fails": (status(500), {"status": 500, "error": None}),
    "redirects": (status(302, "Location: http://127.0.0.1:1/"), {"status": 302, "error": None}),
    "drips": (
        repeats(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.2),
        {"status": 500, "error": None},
    ),
    "floods": (repeats(b"HTTP/1.1 500 No\r\n\r\n", FLOOD), {"status": 500, "error": None}),
}


async def test_receivers_that_mean_no_good_delay_nobody(tmp_path: Path, session: ClientSession) -> None:
    good, dead = Receiver(), Receiver()
    bad = {name: Receiver(behave) for name, (behave, _) in HOSTILE.items()}
    async with dead.up():
        pass
    async with running(tmp_path / "data", settings=QUICK) as service, AsyncExitStack() as stack:
        for receiver in (good, *bad.values()):
            await stack.enter_async_context(receiver.up())
        seller = await Visitor(service, session).joins("seller")
        hooks = {name: await hooked(seller, receiver, "product.*") for name, receiver in {**bad, "dead": dead}.items()}
        await hooked(seller, good, "product.*")
        await together(seller.offers() for _ in range(20))
        await good.wait_posts(20, wait_s=5)
        attempts = {name: await attempt_of(seller, hook) for name, hook in hooks.items()}

    expected = {name: facts for name, (_, facts) in HOSTILE.items()}
    expected["dead"] = {"status": None, "error": "it could not be connected to: Connection refused"}
    assert expected == {
        name: {"status": attempt["status"], "error": attempt["error"]} for name, attempt in attempts.items()
    }
    assert 20 == len(set(good.ids))


async def test_what_failed_arrives_when_the_receiver_is_back(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings=QUICK) as service, Receiver(status(503)).up() as receiver:
        seller = await Visitor(service, session).joins("seller")
        hook = await hooked(seller, receiver, "product.*")
        await seller.offers()
        await receiver.wait_posts(1)
        receiver.behave = status(204)
        (found,) = await sees_all(seller, hook, "delivered", 1)

    assert found["attemptCount"] >= 2 and {found["messageId"]} == set(receiver.ids)


async def test_nothing_goes_to_this_machine_unless_it_is_allowed(tmp_path: Path, session: ClientSession) -> None:
    """It was allowed when the webhook was registered, and is not any more."""
    async with Receiver().up() as receiver:
        async with running(tmp_path / "data", settings=ALLOWED) as service:
            seller = await Visitor(service, session).joins("seller")
            hook = await hooked(seller, receiver, "product.*")
        async with running(tmp_path / "data") as service:
            seller = seller.at(service)
            refused = await seller.post("/webhooks", {"url": receiver.url, "events": ["*"]})
            await seller.offers()
            attempt = await attempt_of(seller, hook)

    assert (400, None, 0) == (refused.status, attempt["status"], receiver.connections)


async def test_what_is_sent_by_hand_arrives(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings=ALLOWED) as service, Receiver().up() as receiver:
        seller = await Visitor(service, session).joins("seller")
        listed = [await seller.offers() for _ in range(3)]
        hook = await hooked(seller, receiver)
        path = f"/webhooks/{hook['id']}"
        wanted = {"since": listed[0]["createdAt"], "events": ["product.*"]}
        replayed = (await seller.post(f"{path}/replay", wanted)).expect(202)
        await receiver.wait_posts(3)
        test = (await seller.post(f"{path}/test")).expect(202)
        await receiver.wait_posts(4)
        again = receiver.posts[0].id
        (delivery,) = [d for d in await sees_all(seller, hook, "delivered", 4) if d["messageId"] == again]
        (await seller.post(f"{path}/deliveries/{delivery['id']}/resend")).expect(202)
        await receiver.wait_posts(5)

    assert (3, [product["id"] for product in listed]) == (
        replayed["events"],
        sorted(post.event["subject"] for post in receiver.posts[:3]),
    )
    assert [test["messageId"], again] == receiver.ids[3:]


class Crowd:
    """Sellers who list one product after the other until nobody answers any more."""

    def __init__(self, sellers: list[Person]) -> None:
        self._sellers = sellers
        self.listed: set[str] = set()

    async def run(self) -> None:
        await asyncio.gather(*(self._list(seller) for seller in self._sellers), return_exceptions=True)

    async def _list(self, seller: Person) -> None:
        while True:
            self.listed.add((await seller.offers())["id"])


async def test_after_a_kill_in_the_middle_all_arrive_under_their_ids(tmp_path: Path, session: ClientSession) -> None:
    async with Receiver().up() as receiver:
        async with running(tmp_path / "data", settings=QUICK) as service:
            visitor = Visitor(service, session)
            sellers: list[Person] = await together(visitor.joins("seller") for _ in range(4))
            for seller in sellers:
                await hooked(seller, receiver, "product.listed")
            crowd = Crowd(sellers)
            listing = asyncio.create_task(crowd.run())
            await receiver.wait_posts(60)
            service.kill()
            await service.wait_ended()
            await listing
        async with running(tmp_path / "data", settings=QUICK) as service:
            async with asyncio.timeout(SEEN_S_MAX):
                while crowd.listed - {post.event["subject"] for post in receiver.posts}:
                    await asyncio.sleep(0.05)
            verified = await marketd("verify", "--data", str(service.data))

    bodies: dict[str, set[bytes]] = {}
    for post in receiver.posts:
        bodies.setdefault(post.id, set()).add(post.body)
    assert {1} == {len(same) for same in bodies.values()} and 0 == verified.code, verified
