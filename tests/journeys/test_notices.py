"""People are told what became of their orders and webhooks: by mail and in browsers, whatever fails in between."""

import asyncio
import re
from collections.abc import Callable
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from aiohttp import ClientSession

from tests.actors.notices.mail_server import MailServer
from tests.actors.notices.push_service import PushService
from tests.actors.notices.receiver import Receiver, status
from tests.journeys.people import CHANGE_S_MAX, PASSWORD, Person, Visitor
from tests.journeys.process import marketd, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

PATIENT: Final = {
    "MARKETD_MAIL__HOST": "127.0.0.1",
    "MARKETD_MAIL__ENCRYPTION": "none",
    "MARKETD_MAIL__RETRY_S": "0.05",
    "MARKETD_MAIL__RETRY_S_MAX": "0.2",
    "MARKETD_PUSH__RETRY_S": "0.05",
    "MARKETD_PUSH__RETRY_S_MAX": "0.2",
    "MARKETD_PUSH__PRIVATE_ALLOWED": "true",
    "MARKETD_BREAKERS__OPEN_S": "0.5",
}

FAILING: Final = {
    "MARKETD_WEBHOOKS__ALLOW_HTTP": "true",
    "MARKETD_WEBHOOKS__ALLOW_PRIVATE": "true",
    "MARKETD_WEBHOOKS__RETRIES_S": "0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2",
    "MARKETD_WEBHOOKS__PATIENCE_S": "0.5",
}


def told(server: MailServer, kind: str) -> list[EmailMessage]:
    """The mails of a kind that the server has."""
    found = [message for _, message in server.taken if f".{kind}@" in str(message["Message-ID"])]
    assert all(isinstance(message, EmailMessage) for message in found)
    return found  # type: ignore[return-value]


def has_told(server: MailServer, count: int) -> bool:
    return len(told(server, "receipt") + told(server, "sale")) >= count


async def wait_until(visitor: Visitor, is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(CHANGE_S_MAX):
        while not is_so():
            await visitor.get("/healthz")


def text_of(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


async def test_a_receipt_comes_with_a_link_that_downloads_until_the_sale_is_taken_back(
    tmp_path: Path, session: ClientSession
) -> None:
    server = MailServer()
    async with server.up(), running(tmp_path / "d", settings=PATIENT | {"MARKETD_MAIL__PORT": str(server.port)}) as it:
        seller, buyer = await Visitor(it, session).joins("seller"), await Visitor(it, session).joins("buyer")
        order = await buyer.buys(await seller.offers(b"an hour of rain"))
        await wait_until(buyer, lambda: told(server, "receipt") and told(server, "sale"))
        (receipt,), (sale,) = told(server, "receipt"), told(server, "sale")
        (link,) = re.findall(r"http://\S+/downloads/\S+", text_of(receipt))
        stranger = Visitor(it, session)
        before = await stranger.get(link.removeprefix(it.url))
        (await seller.refunds(order)).expect(202)
        await wait_until(buyer, lambda: told(server, "refund"))
        after = await stranger.get(link.removeprefix(it.url))

    assert ([buyer.email, seller.email], b"an hour of rain", 410) == (
        [receipt["To"], sale["To"]],
        before.body,
        after.status,
    )


async def test_a_dead_mail_server_delays_no_order_and_a_kill_loses_no_receipt(
    tmp_path: Path, session: ClientSession
) -> None:
    server = MailServer()
    async with server.up():  # it gets its port
        pass
    settings = PATIENT | {"MARKETD_MAIL__PORT": str(server.port)}
    async with running(tmp_path / "d", settings=settings) as it:
        seller, buyer = await Visitor(it, session).joins("seller"), await Visitor(it, session).joins("buyer")
        order = await buyer.buys(await seller.offers())
        await it.wait_said("the notice receipt by email waits")
        parts = (await buyer.get("/readyz")).expect(200)["parts"]
        it.kill()
        await it.wait_ended()
    async with server.up(port=server.port), running(tmp_path / "d", settings=settings) as it:
        await wait_until(buyer.at(it), lambda: told(server, "receipt") and told(server, "sale"))

    assert ("completed", 2) == (order["status"], parts["mail"]["orders"]["waiting"])
    assert len(server.ids) == len(set(server.ids))


async def test_a_receipt_goes_out_once_also_after_kills(tmp_path: Path, session: ClientSession) -> None:
    server = MailServer()
    settings = PATIENT | {"MARKETD_MAIL__PORT": str(server.port)}
    async with server.up():
        settings = PATIENT | {"MARKETD_MAIL__PORT": str(server.port)}
        people: list[Person] = []
        for number in range(1, 4):
            async with running(tmp_path / "d", settings=settings) as it:
                if not people:
                    people = [await Visitor(it, session).joins("seller"), await Visitor(it, session).joins("buyer")]
                seller, buyer = (person.at(it) for person in people)
                await buyer.buys(await seller.offers())
                await wait_until(buyer, partial(has_told, server, 2 * number))
                await asyncio.sleep(0.2)  # for what nothing shows: that it is noted
                it.kill()
                await it.wait_ended()

    assert (8, 8) == (len(server.ids), len(set(server.ids)))


async def test_browsers_are_told_and_those_that_are_gone_are_forgotten(tmp_path: Path, session: ClientSession) -> None:
    push = PushService()
    async with push.up(), running(tmp_path / "d", settings=PATIENT | {"MARKETD_MAIL__PORT": "1"}) as it:
        seller, buyer = await Visitor(it, session).joins("seller"), await Visitor(it, session).joins("buyer")
        for name in ("phone", "desk"):
            (await seller.post("/push/subscriptions", push.body(name))).expect(201)
        push.answers["desk"] = 410
        await buyer.buys(await seller.offers())
        await wait_until(buyer, lambda: push.asked >= 2)
        left: list[str] = []
        async with asyncio.timeout(CHANGE_S_MAX):
            while len(left) != 1:
                answer = (await seller.get("/push/subscriptions")).expect(200)
                left = [one["service"] for one in answer["subscriptions"]]
        key = (await buyer.get("/push/key")).expect(200)["publicKey"]

    (taken,) = push.taken
    assert ("phone", "Sold: Field recordings (USD 19.99)", [push.url]) == (taken.browser, taken.shown["title"], left)
    assert f"k={key}" in taken.headers["Authorization"]


async def test_of_a_webhook_that_took_nothing_for_too_long_its_owner_is_told(
    tmp_path: Path, session: ClientSession
) -> None:
    server = MailServer()
    async with server.up(), Receiver(status(503)).up() as receiver:
        settings = PATIENT | FAILING | {"MARKETD_MAIL__PORT": str(server.port)}
        async with running(tmp_path / "d", settings=settings) as it:
            seller = await Visitor(it, session).joins("seller")
            hook = (await seller.post("/webhooks", {"url": receiver.url, "events": ["product.*"]})).expect(201)
            other = (await seller.post("/webhooks", {"url": receiver.url, "events": ["order.*"]})).expect(201)
            (await seller.ask("PATCH", f"/webhooks/{other['id']}", {"disabled": True})).expect(200)
            await seller.offers()
            await wait_until(seller, lambda: told(server, "webhook-disabled"))
            found = (await seller.get(f"/webhooks/{hook['id']}")).expect(200)

    (mail,) = told(server, "webhook-disabled")
    assert (seller.email, True) == (mail["To"], f"{it.url}/webhooks/{hook['id']}" in text_of(mail))
    assert "failing" == found["disabledReason"]


async def test_an_operator_sees_the_breaker_and_what_waits(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "d", settings=PATIENT | {"MARKETD_MAIL__PORT": "1"}) as it:
        arguments = ("admin", "create", "root@example.org", "--data", str(it.data), "--password-stdin")
        done = await marketd(*arguments, given=f"{PASSWORD}\n")
        admin = await Visitor(it, session).signs_in("root@example.org", PASSWORD)
        circuits = (await admin.get("/admin/circuits")).expect(200)["circuits"]
        parts = (await admin.get("/readyz")).expect(200)["parts"]

    assert (0, {"mail", "push"}) == (done.code, {"mail", "push"} & {circuit["name"] for circuit in circuits})
    assert {"state", "position", "waiting", "sent", "rejected", "given_up"} == parts["push"].keys()


async def test_what_was_switched_off_is_not_told(tmp_path: Path, session: ClientSession) -> None:
    server = MailServer()
    async with server.up(), running(tmp_path / "d", settings=PATIENT | {"MARKETD_MAIL__PORT": str(server.port)}) as it:
        seller, buyer = await Visitor(it, session).joins("seller"), await Visitor(it, session).joins("buyer")
        await seller.ask("PATCH", "/auth/me/notifications", {"sales": {"email": False}})
        await buyer.buys(await seller.offers())
        await buyer.buys(await seller.offers())
        await wait_until(buyer, lambda: len(told(server, "receipt")) == 2)
        async with asyncio.timeout(CHANGE_S_MAX):
            while (await buyer.get("/readyz")).expect(200)["parts"]["mail"]["orders"]["waiting"]:
                pass

    assert [] == told(server, "sale")


async def test_the_link_of_a_mail_ends_such_mails_with_one_click(tmp_path: Path, session: ClientSession) -> None:
    server = MailServer()
    async with server.up(), running(tmp_path / "d", settings=PATIENT | {"MARKETD_MAIL__PORT": str(server.port)}) as it:
        seller, buyer = await Visitor(it, session).joins("seller"), await Visitor(it, session).joins("buyer")
        await buyer.buys(await seller.offers())
        await wait_until(buyer, lambda: told(server, "sale"))
        link = str(told(server, "sale")[0]["List-Unsubscribe"]).strip("<>").removeprefix(it.url)
        page = await Visitor(it, session).get(link)
        done = await Visitor(it, session).ask(
            "POST",
            link,
            data=b"List-Unsubscribe=One-Click",
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        chosen = (await seller.get("/auth/me/notifications")).expect(200)

    assert (200, 200, {"email": False, "push": True}) == (page.status, done.status, chosen["sales"])


async def test_a_template_of_the_operators_takes_the_place_of_ours(tmp_path: Path, session: ClientSession) -> None:
    mine = tmp_path / "templates"
    mine.mkdir()
    (mine / "receipt.txt").write_text("Subject: Danke\n\nFür {{ title }}.\n", encoding="utf-8")
    server = MailServer()
    async with server.up():
        settings = PATIENT | {"MARKETD_MAIL__PORT": str(server.port), "MARKETD_MAIL__TEMPLATES": str(mine)}
        async with running(tmp_path / "d", settings=settings) as it:
            seller, buyer = await Visitor(it, session).joins("seller"), await Visitor(it, session).joins("buyer")
            await buyer.buys(await seller.offers())
            await wait_until(buyer, lambda: told(server, "receipt"))

    (receipt,) = told(server, "receipt")
    assert ("Danke", "Für Field recordings.") == (receipt["Subject"], text_of(receipt).strip())


async def test_a_broken_template_stops_the_start_with_its_file_and_line(tmp_path: Path) -> None:
    mine = tmp_path / "templates"
    mine.mkdir()
    (mine / "receipt.html").write_text("<p>\n{{ titel }}\n", encoding="utf-8")
    ended = await marketd(
        "serve", "--data", str(tmp_path / "d"), "--port", "0", settings={"MARKETD_MAIL__TEMPLATES": str(mine)}
    )

    assert (1, True) == (ended.code, f"{mine}/receipt.html, line 2: 'titel' is undefined" in ended.err), ended
