"""What the parts of a real service count: each part moves its own metrics, and each metric is in the docs."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from docs.make_pages import FOLDER
from marketd.bus.breaker import Breaker, BreakerOpen
from marketd.clock import SystemClock
from marketd.config.fronting import front
from marketd.config.settings import Analytics, Breakers, Data, Limits, Metrics, Search, Settings, Storage
from marketd.config.telling import Mail
from marketd.config.webhook_settings import Webhooks
from marketd.config.wiring import Service, running
from marketd.measures import Measure, Sample
from marketd.storage.views import Visit
from tests.actors.notices.receiver import Receiver, status
from tests.journeys.people import PASSWORD

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

WITH_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7|@|[0-9a-f]{32}")
Values = dict[tuple[str, ...], float]


class Shop:
    """A service within the test, and somebody who scrapes it."""

    def __init__(self, service: Service, session: ClientSession, url: str) -> None:
        self.service, self._session, self._url = service, session, url

    async def ask(self, method: str, path: str, body: object = None, token: str = "") -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self._session.request(method, self._url + path, json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None) if path != "/metrics" else await answer.text()

    async def scraped(self) -> dict[str, Values]:
        """Every sample by its name, under the values of its labels."""
        status, text = await self.ask("GET", "/metrics")
        assert 200 == status
        found: dict[str, Values] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
        return found

    async def joins(self, role: str) -> str:
        account = {"email": f"{role}@example.org", "password": PASSWORD, "name": role, "role": role}
        await self.ask("POST", "/auth/register", account)
        _, session = await self.ask("POST", "/auth/login", {"email": account["email"], "password": PASSWORD})
        return str(session["accessToken"])

    async def sells(self) -> str:
        """Have somebody buy something; give the order's id."""
        seller, buyer = await self.joins("seller"), await self.joins("buyer")
        file = {"name": "a.zip", "type": "application/zip", "size": 1, "url": "https://files.example/a.zip"}
        offer = {"title": "Rain", "description": "On tin.", "price": 5, "category": "sound", "files": [file]}
        _, product = await self.ask("POST", "/products", offer, seller)
        order = {"productId": product["id"], "paymentMethodId": "pm_card_visa"}
        _, placed = await self.ask("POST", "/orders", order, buyer)
        async with asyncio.timeout(10):
            while (await self.ask("GET", f"/orders/{placed['orderId']}", None, buyer))[1]["status"] == "pending":
                await asyncio.sleep(0.01)
        return str(placed["orderId"])


@asynccontextmanager
async def shop_with(data: Path, **sections: Any) -> AsyncIterator[Shop]:
    settings = Settings(
        data=Data(str(data)),
        storage=Storage(free_bytes_min=0),
        search=Search(enabled=False),
        limits=Limits(enabled=False),
        breakers=Breakers(failures_max=1, open_s=60),
        **sections,
    )
    clock = SystemClock()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with running(settings, clock) as service, front(service, listener), ClientSession() as session:
        yield Shop(service, session, url)


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with shop_with(tmp_path / "data") as shop:
        yield shop


async def fails() -> None:
    raise ConnectionError("no line")


async def succeeds() -> None:
    return None


async def states(shop: Shop, name: str) -> dict[str, float]:
    found = (await shop.scraped())["marketd_circuit_breaker_state"]
    return {state: value for (breaker, state), value in found.items() if breaker == name}


@pytest.mark.parametrize("name", ["search", "mail", "payments"])
async def test_a_breaker_moves_in_the_metrics_as_it_opens_and_closes(shop: Shop, name: str) -> None:
    (breaker,) = (b for b in shop.service.breakers if isinstance(b, Breaker) and b.name == name)
    seen = [await states(shop, name)]
    with pytest.raises(ConnectionError):
        await breaker.call(fails, ConnectionError)
    with pytest.raises(BreakerOpen):
        await breaker.call(succeeds, ConnectionError)
    seen.append(await states(shop, name))
    breaker.probe()
    seen.append(await states(shop, name))
    await breaker.call(succeeds, ConnectionError)
    seen.append(await states(shop, name))

    assert ["closed", "open", "half-open", "closed"] == [
        next(state for state, value in each.items() if value) for each in seen
    ]
    assert {1.0} == {sum(each.values()) for each in seen}
    calls = (await shop.scraped())["marketd_circuit_breaker_calls_total"]
    assert [1, 1, 1] == [calls[name, outcome] for outcome in ("success", "failure", "rejected")]


async def test_a_breaker_that_comes_later_is_in_the_metrics(shop: Shop) -> None:
    shop.service.breakers.append(Breaker("push", shop.service.clock))

    assert {"closed": 1, "open": 0, "half-open": 0} == await states(shop, "push")


async def test_a_part_that_comes_later_tells_of_itself(shop: Shop) -> None:
    lag = Measure("gauge", "marketd_relay_lag_commits", "told", (), [Sample((), 7)])
    shop.service.measures.add(lambda: [lag])

    assert {(): 7} == (await shop.scraped())["marketd_relay_lag_commits"]


async def test_a_sale_moves_what_it_went_through(shop: Shop) -> None:
    await shop.sells()
    found = await shop.scraped()

    assert 1 == found["marketd_events_total"]["order.completed",]
    steps = ("ProcessPayment", "UpdateInventory", "PrepareDelivery", "NotifyBuyer")
    assert [1] * 4 == [found["marketd_saga_steps_total"]["succeeded", step] for step in steps]
    assert 1 == found["marketd_bus_asks_total"]["order.place", "answered"]
    assert 1 == found["marketd_bus_ask_duration_seconds_count"]["order.place",]
    assert found["marketd_actor_turn_duration_seconds_count"]["order",] >= 2
    assert found["marketd_actor_turn_messages_sum"]["order",] >= 2
    assert found["marketd_log_append_commits_sum"][()] == found["marketd_log_position"][()]
    assert found["marketd_log_append_duration_seconds_count"][()] == found["marketd_log_append_commits_count"][()]
    assert 1 == found["marketd_http_requests_total"]["POST", "/orders", "202"]


async def test_each_read_model_says_how_far_it_is_behind(shop: Shop) -> None:
    await shop.sells()
    async with asyncio.timeout(5):
        while any((found := await shop.scraped())["marketd_read_model_lag_commits"].values()):
            await asyncio.sleep(0.01)

    models = {(name,) for name in shop.service.projector.statistics()}
    assert models == found["marketd_read_model_lag_commits"].keys() == found["marketd_read_model_halted"].keys()


async def test_alerts_that_are_open_are_counted(shop: Shop) -> None:
    assert {(): 0} == (await shop.scraped())["marketd_alerts_open"]


async def test_no_id_and_no_address_is_ever_a_label(shop: Shop) -> None:
    await shop.sells()
    found = await shop.scraped()

    labels = {value for values in found.values() for key in values for value in key}
    assert set() == {label for label in labels if WITH_ID.search(label)}


async def test_the_metrics_can_be_switched_off(tmp_path: Path) -> None:
    async with shop_with(tmp_path / "data", metrics=Metrics(enabled=False)) as shop:
        status, _ = await shop.ask("GET", "/metrics")

    assert 404 == status


async def test_posts_to_webhooks_are_counted_by_how_they_ended(tmp_path: Path) -> None:
    wanted = Webhooks(allow_http=True, allow_private=True)
    async with Receiver().up() as receiver, shop_with(tmp_path / "data", webhooks=wanted) as shop:
        seller = await shop.joins("seller")
        _, hook = await shop.ask("POST", "/webhooks", {"url": receiver.url, "events": ["*"]}, seller)
        await shop.ask("POST", f"/webhooks/{hook['id']}/test", None, seller)
        await receiver.wait_posts(1)
        async with asyncio.timeout(10):
            while not (found := await shop.scraped())["marketd_webhook_posts_total"][("delivered",)]:
                await asyncio.sleep(0.01)

    assert (1, 0) == (found["marketd_webhook_endpoints"][("enabled",)], found["marketd_webhook_posts_in_hand"][()])
    assert 1 == found["marketd_circuit_breaker_state"][("webhooks", "closed")]


async def test_what_is_due_and_can_not_be_posted_is_counted(tmp_path: Path) -> None:
    wanted = Webhooks(allow_http=True, allow_private=True, retries_s=(0.0,))
    async with Receiver(status(503)).up() as receiver, shop_with(tmp_path / "data", webhooks=wanted) as shop:
        seller = await shop.joins("seller")
        await shop.ask("POST", "/webhooks", {"url": receiver.url, "events": ["product.*"]}, seller)
        await shop.sells()
        async with asyncio.timeout(10):
            while not (found := await shop.scraped())["marketd_webhook_waiting_deliveries"][("enabled",)]:
                await asyncio.sleep(0.01)

    assert 0 == found["marketd_webhook_waiting_deliveries"][("disabled",)]


async def test_public_events_are_counted_and_how_far_the_relay_is_behind(shop: Shop) -> None:
    await shop.sells()
    async with asyncio.timeout(10):
        while (found := await shop.scraped())["marketd_events_published_total"][()] < 6:
            await asyncio.sleep(0.01)

    assert (0, 1) == (found["marketd_follower_lag_commits"][("events",)], found["marketd_events_relay_up"][()])


async def test_visits_that_were_not_counted_for_want_of_room_are(tmp_path: Path) -> None:
    async with shop_with(tmp_path / "data", analytics=Analytics(visitors_day_max=1)) as shop:
        for name in ("ann", "bob", "cid"):
            shop.service.views.note(Visit("sam", "lamp", name))
        await shop.service.views.flush()

        assert {(): 2} == (await shop.scraped())["marketd_views_uncounted_total"]


async def test_a_notice_that_waits_grows_old(tmp_path: Path) -> None:
    closed = Mail(host="127.0.0.1", port=1)
    async with shop_with(tmp_path / "data", mail=closed) as shop:
        await shop.sells()
        async with asyncio.timeout(10):
            while True:  # until the one waits, and the other has told what it had to tell
                found = (await shop.scraped())["marketd_follower_oldest_seconds"]
                if found["notices by email",] and not found["notices by push",]:
                    break
                await asyncio.sleep(0.01)


# The documentation.


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:marketd|process|python)_[a-z_]+[a-z]\b", text))


async def test_every_metric_is_in_the_docs_and_every_one_in_the_docs_is_there(shop: Shop) -> None:
    await shop.sells()
    _, text = await shop.ask("GET", "/metrics")
    there = set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))
    described = names_in((FOLDER / "metrics.md").read_text(encoding="utf-8"))

    ours = {name for name in there if name.startswith("marketd_")}
    assert (set(), set()) == (ours - described, described - there)


async def test_every_metric_of_the_dashboard_is_there(shop: Shop) -> None:
    await shop.sells()
    there = {*(await shop.scraped())}
    dashboard = json.loads((FOLDER / "grafana.json").read_text(encoding="utf-8"))

    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        for name in names_in(target["expr"])
    }
    assert (set(), True) == (asked - there, len(asked) > 20)
