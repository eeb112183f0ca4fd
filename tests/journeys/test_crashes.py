"""What dies and comes back: the service in the middle of its work, and the nats-server under it."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest
from aiohttp import ClientSession

from tests.journeys.people import Json, Person, Visitor, together
from tests.journeys.process import Service, ledger_of, running, wait_gone

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

# Every charge takes long enough for the blow to hit orders at every step.
SLOW_CHARGES = {"MARKETD_PAYMENTS__SANDBOX_DELAY_MS": "30"}
# No charge ends before the blow does.
ENDLESS_CHARGES = {"MARKETD_PAYMENTS__SANDBOX_DELAY_MS": "60000"}


class Load:
    """Buyers who order one product after the other until nobody answers any more."""

    def __init__(self, buyers: list[Person], products: list[Json], enough: int) -> None:
        self.buyers, self.acknowledged = buyers, dict[str, Person]()
        self._products, self._enough = products, enough
        self._is_enough = asyncio.Event()

    async def run_until_killed(self, service: Service) -> None:
        """Give the blow when enough orders are acknowledged and the others under way."""
        async with asyncio.TaskGroup() as crowd:
            for buyer in self.buyers:
                crowd.create_task(self._order(buyer))
            await self._is_enough.wait()
            service.kill()

    async def _order(self, buyer: Person) -> None:
        try:
            for product in self._products:
                order_id = (await buyer.orders(product)).expect(202)["orderId"]
                self.acknowledged[order_id] = buyer
                if len(self.acknowledged) >= self._enough:
                    self._is_enough.set()
        except (aiohttp.ClientError, ConnectionError):
            pass


async def test_a_kill_in_the_middle_of_a_load_loses_nothing(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings=SLOW_CHARGES) as service:
        visitor = Visitor(service, session)
        seller = await visitor.joins("seller")
        products = [await seller.offers() for _ in range(4)]
        load = Load(await together(visitor.joins("buyer") for _ in range(25)), products, enough=60)
        await load.run_until_killed(service)
        await service.wait_ended()

    async with running(tmp_path / "data") as service:
        sales = await seller.at(service).lists("/orders?as=seller", "orders")
        ended = await together(seller.at(service).sees_end(order["id"]) for order in sales)
        libraries = await together(buyer.at(service).library() for buyer in load.buyers)

    completed = {order["id"] for order in ended if order["status"] == "completed"}
    assert load.acknowledged.keys() <= completed
    assert completed == {own["orderId"] for library in libraries for own in library}
    assert completed == ledger_of(tmp_path / "data").kept


@pytest.mark.parametrize("is_killed", [True, False], ids=["killed", "stopped"])
async def test_an_order_that_was_being_charged_is_completed_after_the_next_start(
    is_killed: bool, tmp_path: Path, session: ClientSession
) -> None:
    async with running(tmp_path / "data", settings=ENDLESS_CHARGES) as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        order_id = (await buyer.orders(await seller.offers())).expect(202)["orderId"]
        if is_killed:
            service.kill()
            await service.wait_ended()

    async with running(tmp_path / "data") as service:
        assert "completed" == (await buyer.at(service).sees_end(order_id))["status"]


async def test_a_kill_takes_the_nats_server_along(service: Service) -> None:
    (nats,) = service.nats_servers()
    service.kill()
    await service.wait_ended()
    await wait_gone(nats)
    assert [] == service.nats_servers()


async def test_orders_go_on_while_the_nats_server_is_dead(service: Service, seller: Person, buyer: Person) -> None:
    product = await seller.offers()
    (nats,) = service.nats_servers()
    os.kill(nats, signal.SIGKILL)
    assert "completed" == (await buyer.buys(product))["status"]
    await service.wait_said("the line to NATS is up again")


async def test_orders_carried_by_nats_end_when_its_server_is_back(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings={"MARKETD_NATS__IN_PROCESS": "false"} | SLOW_CHARGES) as service:
        visitor = Visitor(service, session)
        seller, buyer = await visitor.joins("seller"), await visitor.joins("buyer")
        products = [await seller.offers() for _ in range(5)]
        placed = [(await buyer.orders(product)).expect(202)["orderId"] for product in products]
        (nats,) = service.nats_servers()
        os.kill(nats, signal.SIGKILL)
        await service.wait_said("the line to NATS is up again")
        assert ["completed"] * 5 == [(await buyer.sees_end(order_id))["status"] for order_id in placed]
