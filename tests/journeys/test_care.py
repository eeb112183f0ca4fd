"""The care of data, as its operator knows it: beside a service that sells, and after it was killed."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientSession

from tests.config.stores import BUYER, COMPLETE, old_store
from tests.journeys.people import PASSWORD, Json, Person, Visitor, together
from tests.journeys.process import Service, marketd, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

# Orders are at every step of their way when somebody looks.
SLOW_CHARGES = {"MARKETD_PAYMENTS__SANDBOX_DELAY_MS": "20"}
WORK = b"the work itself " * 1_000


class Shop:
    """A seller with products, and buyers who buy them all and give some back."""

    def __init__(self, seller: Person, buyers: list[Person], products: list[Json]) -> None:
        self.seller, self.buyers, self.products = seller, buyers, products

    async def sell(self) -> None:
        await together(self._buy_all(buyer) for buyer in self.buyers)

    async def _buy_all(self, buyer: Person) -> None:
        with suppress(aiohttp.ClientError, ConnectionError):  # the service may be killed
            for number, product in enumerate(self.products):
                headers = {"Idempotency-Key": f"{buyer.user_id}-{number}"}
                body = {"productId": product["id"], "paymentMethodId": METHODS[number % len(METHODS)]}
                placed = await buyer.post("/orders", body, **headers)
                if number % 4 == 0:
                    order = await buyer.sees_end(placed.expect(202)["orderId"])
                    await self.seller.refunds(order)


METHODS = ["pm_card_visa", "pm_card_mastercard", "pm_card_chargeDeclined", "pm_card_refundFail"]


async def opened(service: Service, session: ClientSession) -> Shop:
    visitor = Visitor(service, session)
    seller = await visitor.joins("seller")
    keys = [f"KEY-{number}" for number in range(100)]
    products = [await seller.offers(WORK, licenceKeys=keys)] + [await seller.offers(WORK, stock=100) for _ in range(7)]
    return Shop(seller, await together(visitor.joins("buyer") for _ in range(12)), products)


@asynccontextmanager
async def selling(shop: Shop) -> AsyncIterator[asyncio.Task[None]]:
    """Sell for as long as the block lasts, at least until everybody has bought everything."""
    async with asyncio.TaskGroup() as tasks:
        yield tasks.create_task(shop.sell())


async def verified(data: Path) -> Any:
    done = await marketd("verify", "--files", "--models", "--json", "--data", str(data))
    report = json.loads(done.out)
    assert (done.code, "") == (0 if report["ok"] else 1, done.err), done
    return report


async def test_a_store_is_as_it_must_be_while_it_sells(service: Service, session: ClientSession) -> None:
    shop = await opened(service, session)
    async with selling(shop) as sale:
        reports = [await verified(service.data)]
        while not sale.done():
            reports.append(await verified(service.data))
    reports.append(await verified(service.data))

    assert [[]] * len(reports) == [report["faults"] for report in reports]


async def test_a_store_is_as_it_must_be_after_a_kill(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings=SLOW_CHARGES) as service:
        shop = await opened(service, session)
        async with selling(shop) as sale:
            await asyncio.wait([sale], timeout=0.7)
            service.kill()
            await service.wait_ended()

    assert [] == (await verified(tmp_path / "data"))["faults"]
    async with running(tmp_path / "data"):
        pass
    assert [] == (await verified(tmp_path / "data"))["faults"]


async def test_backups_that_are_made_while_it_sells_come_back_whole(tmp_path: Path, session: ClientSession) -> None:
    """Each goes on from where it was taken: no charge is lost, none is made twice, and each order comes to its end."""
    backups: list[Path] = []
    async with running(tmp_path / "data", settings=SLOW_CHARGES) as service:
        shop = await opened(service, session)
        async with selling(shop) as sale:
            while not sale.done():
                backups.append(tmp_path / f"{len(backups)}.tar")
                done = await marketd("backup", str(backups[-1]), "--data", str(service.data))
                assert (0, "") == (done.code, done.err), done
    assert backups

    for backup in {backups[0], backups[len(backups) // 2]}:
        data = tmp_path / backup.stem
        assert 0 == (await marketd("restore", str(backup), "--data", str(data))).code
        before = await verified(data)
        async with running(data) as again:
            seller = shop.seller.at(again)
            await together(seller.sees_end(order["id"]) for order in await seller.lists("/orders?as=seller", "orders"))
        after = await verified(data)
        (sums,) = after["money"]
        assert ([], []) == (before["faults"], after["faults"])
        assert sums["keptByOrders"] == sums["captured"] - sums["paidBack"]


async def test_what_comes_back_sells_and_delivers(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data") as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        order = await buyer.buys(await seller.offers(WORK, title="Zephyr"))
        await marketd("backup", str(tmp_path / "store.tar"), "--data", str(service.data))
        lost = await buyer.buys(await seller.offers(WORK, title="What came later"))

    done = await marketd("restore", str(tmp_path / "store.tar"), "--data", str(tmp_path / "again"))
    assert (0, "") == (done.code, done.err)
    async with running(tmp_path / "again") as again:
        buyer, seller = buyer.at(again), seller.at(again)
        assert WORK == (await buyer.get(await buyer.link(order))).body
        assert 404 == (await buyer.get(f"/orders/{lost['id']}")).status
        assert "completed" == (await buyer.buys(await seller.offers(WORK)))["status"]
        found = (await buyer.get("/products?q=zephyr")).expect(200)
        assert ["Zephyr"] == [product["title"] for product in found["products"]]
        (await Visitor(again, session).post("/auth/login", {"email": buyer.email, "password": PASSWORD})).expect(200)


async def test_a_store_of_the_previous_release_goes_on(tmp_path: Path, session: ClientSession) -> None:
    data = old_store(tmp_path / "data")
    async with running(data) as service:
        buyer = await Visitor(service, session).signs_in(BUYER, PASSWORD)
        order = await buyer.sees(COMPLETE)
        assert ("completed", "AAAA-1") == (order["status"], order["licenceKey"])
        assert b"the work" == (await buyer.get(await buyer.link(order))).body
        assert ["Old maps"] == [product["title"] for product in await buyer.library()]
        other = await Visitor(service, session).joins("buyer")
        again = await other.buys({"id": order["productId"]})
        assert ("completed", "AAAA-3") == (again["status"], again["licenceKey"])
    assert [] == (await verified(data))["faults"]


async def test_read_models_are_not_rebuilt_while_the_service_runs(service: Service) -> None:
    done = await marketd("rebuild", "--data", str(service.data))

    assert (1, f"marketd: another marketd is running on {service.data}\n") == (done.code, done.err)


async def test_what_was_rebuilt_is_served(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data") as service:
        seller = await Visitor(service, session).joins("seller")
        await seller.offers(title="Field recordings of rain")
    done = await marketd("rebuild", "--data", str(tmp_path / "data"))
    assert (0, "") == (done.code, done.err)

    async with running(tmp_path / "data") as service:
        found = (await Visitor(service, session).get("/products?q=rain")).expect(200)
    assert ["Field recordings of rain"] == [product["title"] for product in found["products"]]


async def test_events_are_exported_while_the_service_runs(service: Service, seller: Person, buyer: Person) -> None:
    order = await buyer.buys(await seller.offers())
    done = await marketd("export", "--data", str(service.data))

    lines = [json.loads(line) for line in done.out.splitlines()]
    ours = [line["event"]["type"] for line in lines if line["stream"] == f"order/{order['id']}"]
    assert (0, "", "order.placed", "order.completed") == (done.code, done.err, ours[0], ours[-1])


async def test_everything_in_a_data_directory_is_kept_or_made_again(service: Service, seller: Person) -> None:
    """Whoever puts something new there says here what becomes of it."""
    await seller.offers()
    made_again = {"read.db", "search", "nats", "marketd.lock", "mail"}
    kept = {
        "events.db",
        "sandbox.db",
        "stripe.db",
        "answers.db",
        "webhooks.db",
        "notices.db",
        "views.db",
        "files",
        "keys",
    }

    there = {path.name.removesuffix("-wal").removesuffix("-shm") for path in service.data.iterdir()}
    assert set() == there - made_again - kept
