"""A small town: a running service with somebody of every sort in it, and something of each that is nobody else's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import ClientSession, DummyCookieJar, TCPConnector

from tests.journeys.people import PASSWORD, Json, Person, Visitor
from tests.journeys.process import Service, marketd, running

CONTENT: Final = b"the work that is paid for"
PICTURE: Final = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
LICENCE_KEY: Final = "LICENCE-OF-THE-BUYER"
SECRET_ADDRESS: Final = "https://files.example/known-to-the-seller-alone.zip"
ADMIN: Final = "admin@example.org"
FAILED_S_MAX: Final = 30.0


@dataclass
class Town:
    """`lamp` is bought and reviewed, `loss` could not be refunded."""

    service: Service
    stranger: Visitor
    seller: Person
    other_seller: Person
    buyer: Person
    other_buyer: Person
    admin: Person
    lamp: Json
    order: Json
    review: Json
    loss: Json
    hook: Json
    delivery: Json
    link: str
    preview: str

    def secrets(self) -> list[str]:
        """What nobody but its owner may ever see."""
        return [
            LICENCE_KEY,
            SECRET_ADDRESS,
            self.hook["secret"],
            self.buyer.email,
            self.seller.email,
            "pm_card",
            "password",
        ]

    async def raw(self, sent: bytes, wait_s: float = 5) -> bytes:
        """Send bytes as they are, and read until the service hangs up, or for as long."""
        host, _, port = self.service.url.removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        got = bytearray()
        try:
            writer.write(sent)
            async with asyncio.timeout(wait_s):
                while part := await reader.read(65536):
                    got += part
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.transport.abort()
        return bytes(got)


@asynccontextmanager
async def peopled(data: Path, settings: dict[str, str] | None = None) -> AsyncIterator[Town]:
    """Run a service and let people move in."""
    connector = TCPConnector(limit=0)
    async with (
        running(data, settings=settings) as service,
        ClientSession(connector=connector, cookie_jar=DummyCookieJar()) as session,
    ):
        yield await _moved_in(Visitor(service, session))


async def _moved_in(stranger: Visitor) -> Town:
    service = stranger.service
    made = await marketd(
        "admin", "create", ADMIN, "--password-stdin", "--data", str(service.data), given=f"{PASSWORD}\n"
    )
    assert 0 == made.code, made
    seller, other_seller = await stranger.joins("seller"), await stranger.joins("seller")
    buyer, other_buyer = await stranger.joins("buyer"), await stranger.joins("buyer")
    picture = await seller.uploads(PICTURE, "lamp.svg", "image/svg+xml")
    lamp = await seller.offers(
        files=[
            await seller.uploads(CONTENT),
            {"name": "more.zip", "type": "application/zip", "size": 1, "url": SECRET_ADDRESS},
        ],
        previews=[{"name": "lamp.svg", "type": "image/svg+xml", "url": picture["url"]}],
        licenceKeys=[LICENCE_KEY],
    )
    order = await buyer.buys(lamp)
    written = {"rating": 5, "title": "Bright", "body": "It shines."}
    review = (await buyer.post(f"/products/{lamp['id']}/reviews", written)).expect(201)
    loss = await buyer.buys(await seller.offers(), "pm_card_refundFail")
    (await seller.refunds(loss)).expect(202)
    await buyer.sees_until(loss["id"], lambda seen: seen["paymentStatus"] == "refund_failed")
    hook = (await seller.post("/webhooks", {"url": "https://books.example/", "events": ["order.*"]})).expect(201)
    return Town(
        service=service,
        stranger=stranger,
        seller=seller,
        other_seller=other_seller,
        buyer=buyer,
        other_buyer=other_buyer,
        admin=await stranger.signs_in(ADMIN, PASSWORD),
        lamp=lamp,
        order=order,
        review=review,
        loss=loss,
        hook=hook,
        delivery=await tried(seller, hook),
        link=await buyer.link(order),
        preview=str(picture["url"]).removeprefix("upload://"),
    )


async def tried(seller: Person, hook: Json) -> Json:
    """Have a test sent, and wait until it has failed, as there is no such host: nothing about it changes any more."""
    sent: Json = (await seller.post(f"/webhooks/{hook['id']}/test")).expect(202)
    async with asyncio.timeout(FAILED_S_MAX):
        while (await seller.get(f"/webhooks/{hook['id']}/deliveries/{sent['id']}")).expect(200)["state"] == "pending":
            await asyncio.sleep(0.02)
    return sent
