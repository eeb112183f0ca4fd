"""Programs of others follow the shop: credentials made while it runs, events that outlive every death, replays."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import nats
import pytest
from aiohttp import ClientSession
from nats.aio.client import Client

from tests.journeys.people import Person, Visitor
from tests.journeys.process import Service, marketd, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

EXAMPLES: Final = Path(__file__).parent.parent.parent / "examples"
SOON_S: Final = 45  # what was sent to somebody who has just died comes again 30 s later
SALE: Final = ["market.order.placed", "market.order.paid", "market.order.completed"]

Json = dict[str, Any]


async def added(data: Path, name: str, *arguments: str) -> Json:
    """Make an integrator; give what its client needs."""
    done = await marketd("integrator", "add", name, *arguments, "--json", "--data", str(data))
    assert 0 == done.code, done.err
    made: Json = json.loads(done.out)
    return made


@asynccontextmanager
async def client_of(made: Json) -> AsyncIterator[Client]:
    client = await nats.connect(
        made["url"],
        user=made["user"],
        password=made["password"],
        inbox_prefix=made["inboxPrefix"],
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.1,
        error_cb=silent,
    )
    try:
        yield client
    finally:
        await client.close()


async def silent(error: Exception) -> None:
    pass


async def pulls(client: Client, made: Json, count: int, stream: str = "") -> list[Json]:
    """Read so many events, and acknowledge them."""
    pull = await client.jetstream(domain=made["domain"]).pull_subscribe_bind(
        made["consumer"], stream=stream or made["stream"]
    )
    events: list[Json] = []
    async with asyncio.timeout(SOON_S):
        while len(events) < count:
            try:
                for message in await pull.fetch(count - len(events), timeout=2):
                    events.append(json.loads(message.data))
                    await message.ack()
            except nats.errors.TimeoutError:
                continue
            except nats.js.errors.ServiceUnavailableError:  # its consumer is being made
                await asyncio.sleep(0.1)
    await pull.unsubscribe()
    return events


def types(events: list[Json]) -> list[str]:
    return [event["type"] for event in events]


async def test_who_is_added_while_it_runs_gets_every_sale(service: Service, seller: Person, buyer: Person) -> None:
    made = await added(service.data, "acme", "--events", "order.*")
    order = await buyer.buys(await seller.offers())
    async with client_of(made) as client:
        events = await pulls(client, made, 3)

    assert SALE == types(events)
    assert {
        "orderId": order["id"],
        "productId": order["productId"],
        "productTitle": "Field recordings",
        "price": 19.99,
        "currency": "USD",
        "buyerId": buyer.user_id,
        "sellerId": seller.user_id,
        "status": "completed",
        "paymentStatus": "captured",
        "deliveryStatus": "delivered",
        "createdAt": order["createdAt"],
    } == events[-1]["data"]


async def test_the_credentials_are_all_that_the_contract_names(service: Service) -> None:
    made = await added(service.data, "acme", "--events", "order.*")

    assert {
        "user": "acme",
        "domain": "market",
        "stream": "MARKET_EVENTS",
        "consumer": "acme",
        "inboxPrefix": "_INBOX_acme",
        "subjects": ["market.events.order.>"],
    } == {key: value for key, value in made.items() if key not in ("url", "password")}


async def test_a_sale_is_heard_live(service: Service, seller: Person, buyer: Person) -> None:
    made = await added(service.data, "acme", "--events", "order.completed")
    async with client_of(made) as client:
        heard = await client.subscribe(made["subjects"][0])
        await client.flush()
        order = await buyer.buys(await seller.offers())

        assert f"market.events.order.completed.{order['id']}" == (await heard.next_msg(SOON_S)).subject


async def test_who_is_added_before_the_start_reads_from_it_on(tmp_path: Path, session: ClientSession) -> None:
    (tmp_path / "data").mkdir()
    made = await added(tmp_path / "data", "acme", "--events", "seller.*")
    async with running(tmp_path / "data") as service, client_of(made) as client:
        seller = await Visitor(service, session).joins("seller")
        (event,) = await pulls(client, made, 1)

    assert ("market.seller.registered", seller.user_id) == (event["type"], event["subject"])


async def test_the_printed_program_works_as_it_is(service: Service, seller: Person, buyer: Person) -> None:
    snippet = (await marketd("integrator", "add", "acme", "--events", "order.*", "--data", str(service.data))).out
    order = await buyer.buys(await seller.offers())
    async with program("-c", snippet) as lines:
        events = [json.loads(await lines()) for _ in SALE]

    assert [(name, order["id"]) for name in SALE] == [(event["type"], event["subject"]) for event in events]


@asynccontextmanager
async def program(*arguments: str) -> AsyncIterator[Callable[[], Any]]:
    """Run a Python program until the block ends; gives what reads its next line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )

    async def line() -> str:
        assert process.stdout is not None
        async with asyncio.timeout(SOON_S):
            return (await process.stdout.readline()).decode().rstrip("\n")

    try:
        yield line
    finally:
        process.kill()
        await process.communicate()


async def test_the_list_names_everybody_and_no_password(service: Service) -> None:
    made = await added(service.data, "acme", "--events", "order.*", "--events", "product.listed")
    listed = await marketd("integrator", "list", "--json", "--data", str(service.data))
    (one,) = json.loads(listed.out)

    assert ("acme", ["order.*", "product.listed"], False) == (
        one["name"],
        one["events"],
        made["password"] in listed.out,
    )


async def test_no_file_of_the_store_holds_the_password(service: Service) -> None:
    made = await added(service.data, "acme")
    secret = made["password"].encode()

    assert [] == [path for path in service.data.rglob("*") if path.is_file() and secret in path.read_bytes()]


async def test_who_is_removed_is_out_and_nobody_else(service: Service, seller: Person) -> None:
    acme, books = await added(service.data, "acme"), await added(service.data, "books")
    async with client_of(books) as client:
        await pulls(client, books, 1)
        removed = await marketd("integrator", "remove", "acme", "--data", str(service.data))
        await seller.offers()

        assert (0, ["market.product.listed"]) == (removed.code, types(await pulls(client, books, 1)))
        assert 0 == client.stats["reconnects"]
    refused = Client()
    with pytest.raises(nats.errors.Error, match="Authorization"):
        await refused.connect(
            acme["url"], user="acme", password=acme["password"], allow_reconnect=False, error_cb=silent
        )
    await refused.close()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("add", "acme"), "there is an integrator acme already"),
        (("add", "Acme Inc."), "expected a name of letters, digits, hyphens and underscores"),
        *((("add", name), f"the name {name} is reserved") for name in ("all", "market", "sys")),
        (("add", "books", "--events", "account.*"), "there are no public events account.*"),
        (("remove", "nobody"), "there is no integrator nobody"),
    ],
)
async def test_what_can_not_be_is_one_clear_line(tmp_path: Path, arguments: tuple[str, ...], why: str) -> None:
    await added_to_nothing(tmp_path)
    done = await marketd("integrator", *arguments, "--data", str(tmp_path))

    assert (1, True, 1) == (done.code, why in done.err, done.err.count("\n")), done.err


async def added_to_nothing(data: Path) -> None:
    await added(data, "acme")


async def test_with_a_nats_of_the_operators_own_it_says_who_makes_users(tmp_path: Path) -> None:
    settings = {"MARKETD_NATS__URL": "nats://nats.example:4222"}
    done = await marketd("integrator", "add", "acme", "--data", str(tmp_path), settings=settings)

    assert (1, True) == (done.code, "whose users its operator makes" in done.err)


# What dies, dies without a loss.


async def test_after_kill_9_everybody_goes_on_where_they_were(tmp_path: Path, session: ClientSession) -> None:
    data = tmp_path / "data"
    async with running(data) as first:
        made = await added(data, "acme", "--events", "order.*")
        async with client_of(made) as client:
            seller, buyer = [await Visitor(first, session).joins(role) for role in ("seller", "buyer")]
            await buyer.buys(await seller.offers())
            before = await pulls(client, made, 3)
            product = await seller.offers()
            first.kill()
            await first.wait_ended()
            async with running(data) as second:
                await buyer.at(second).buys(product)
                after = await pulls(client, made, 3)

    assert (SALE, SALE) == (types(before), types(after))


async def test_sales_while_nats_is_away_come_when_it_is_back(
    service: Service, seller: Person, buyer: Person, visitor: Visitor
) -> None:
    made = await added(service.data, "acme", "--events", "order.*")
    products = [await seller.offers() for _ in range(3)]
    (pid,) = service.nats_servers()
    os.kill(pid, signal.SIGSTOP)
    orders = [await buyer.buys(product) for product in products]
    os.kill(pid, signal.SIGKILL)
    async with client_of(made) as client:
        events = await pulls(client, made, 9)

    assert [(name, order["id"]) for order in orders for name in SALE] == sorted(
        ((event["type"], event["subject"]) for event in events),
        key=lambda told: ([order["id"] for order in orders].index(told[1]), SALE.index(told[0])),
    )


async def test_a_lost_store_of_nats_is_filled_again(tmp_path: Path, session: ClientSession) -> None:
    data = tmp_path / "data"
    async with running(data) as first:
        made = await added(data, "acme", "--events", "order.*")
        seller, buyer = [await Visitor(first, session).joins(role) for role in ("seller", "buyer")]
        await buyer.buys(await seller.offers())
    shutil.rmtree(data / "nats" / "jetstream")
    async with running(data), client_of(made) as client:
        assert SALE == types(await pulls(client, made, 3))


async def test_how_far_the_relay_is_can_be_seen(service: Service, seller: Person, visitor: Visitor) -> None:
    await seller.offers()
    async with asyncio.timeout(SOON_S):
        while (events := (await visitor.get("/readyz")).expect(200)["parts"]["events"])["behind"]:
            pass

    assert ("ok", 2) == (events["state"], events["published"])


# Replays.


async def replayed(data: Path, *arguments: str) -> str:
    done = await marketd("events", "replay", "--since", "2020-01-01", *arguments, "--data", str(data))
    assert 0 == done.code, done.err
    return done.out.strip()


async def test_older_events_come_again_in_the_same_words(service: Service, seller: Person, buyer: Person) -> None:
    made = await added(service.data, "acme", "--events", "order.*")
    await buyer.buys(await seller.offers())
    async with client_of(made) as client:
        first = await pulls(client, made, 3)
        said = await replayed(service.data)
        again = await pulls(client, made, 3, "MARKET_REPLAY")

    assert ("replayed 6 events", first) == (said, again)


async def test_what_is_replayed_for_one_only_that_one_gets(service: Service, seller: Person) -> None:
    acme, books = await added(service.data, "acme"), await added(service.data, "books")
    await replayed(service.data, "--to", "market.replay.acme")
    await replayed(service.data, "--to", "market.replay.all")
    async with client_of(acme) as one, client_of(books) as other:
        assert ["market.seller.registered"] * 2 == types(await pulls(one, acme, 2, "MARKET_REPLAY"))
        assert ["market.seller.registered"] == types(await pulls(other, books, 1, "MARKET_REPLAY"))


async def test_for_nobody_nothing_is_replayed(service: Service, seller: Person) -> None:
    done = await marketd(
        *("events", "replay", "--since", "2020-01-01", "--to", "market.replay.nobody", "--data", str(service.data))
    )

    assert (1, "", "marketd: there is no integrator nobody: nobody would read market.replay.nobody\n") == (
        done.code,
        done.out,
        done.err,
    )


async def test_any_subject_can_be_replayed_to(service: Service, seller: Person) -> None:
    endpoint = json.loads((service.data / "nats" / "endpoint.json").read_text())
    client = await nats.connect(endpoint["url"], user=endpoint["user"], password=endpoint["password"])
    heard = await client.subscribe("books.again")
    await client.flush()
    await replayed(service.data, "--to", "books.again")

    assert "market.seller.registered" == json.loads((await heard.next_msg(SOON_S)).data)["type"]
    await client.close()


async def test_what_came_before_is_not_replayed(service: Service, seller: Person) -> None:
    done = await marketd("events", "replay", "--since", "2999-01-01T00:00:00Z", "--data", str(service.data))

    assert "replayed 0 events\n" == done.out


@pytest.mark.parametrize(
    "subject", ["market.events.order.paid.o1", "market.cmd.1.order.o1", "$SYS.x", "a b", "x.*", ""]
)
async def test_nobody_elses_subject_is_replayed_to(service: Service, subject: str) -> None:
    done = await marketd(
        "events", "replay", "--since", "2020-01-01", "--to", subject or ".", "--data", str(service.data)
    )

    assert (1, True) == (done.code, "expected a subject of one's own" in done.err)


async def test_without_a_service_nothing_is_replayed(tmp_path: Path) -> None:
    async with running(tmp_path / "data"):
        pass
    done = await marketd("events", "replay", "--since", "2020-01-01", "--data", str(tmp_path / "data"))

    assert (1, True) == (done.code, "does not run" in done.err)


# The examples.


def saved(made: Json, path: Path) -> str:
    path.write_text(json.dumps(made))
    return str(path)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():
            await asyncio.sleep(0.05)


async def test_the_bookkeeper_writes_each_sale_once_whatever_dies(
    service: Service, seller: Person, buyer: Person, tmp_path: Path
) -> None:
    made = saved(await added(service.data, "books", "--events", "order.*"), tmp_path / "books.json")
    books = tmp_path / "books.csv"
    product = await seller.offers()
    order = await buyer.buys(product)
    run = (str(EXAMPLES / "bookkeeper.py"), made, str(books))

    def lines() -> list[str]:
        return books.read_text().splitlines()[1:] if books.exists() else []

    async with program(*run):
        await until(lambda: len(lines()) == 1)
    with books.open("a") as torn:
        torn.write("half a li")
    (await seller.refunds(order)).expect(202)
    await replayed(service.data)
    async with program(*run):
        await until(lambda: "market.order.refunded" in books.read_text())

    kept = [line.split(",")[2:8] for line in lines()]
    facts = [order["id"], product["id"], "Field recordings"]
    assert [
        ["market.order.completed", *facts, "19.99", "USD"],
        ["market.order.refunded", *facts, "-19.99", "USD"],
    ] == kept


async def test_the_announcer_says_what_is_sold_and_reviewed(
    service: Service, seller: Person, buyer: Person, tmp_path: Path
) -> None:
    events = ("--events", "order.completed,product.reviewed")
    made = saved(await added(service.data, "announcer", *events), tmp_path / "announcer.json")
    async with program(str(EXAMPLES / "announcer.py"), made) as line:
        assert "listening" == await line()
        product = await seller.offers()
        await buyer.buys(product)
        (await buyer.post(f"/products/{product['id']}/reviews", {"rating": 4, "body": "It rains well."})).expect(201)

        assert "Field recordings was sold for 19.99 USD." == await line()
        assert f"Somebody gave ★★★★ to {product['id']}." == await line()


async def test_the_licence_checker_knows_what_is_valid(
    service: Service, seller: Person, buyer: Person, tmp_path: Path
) -> None:
    events = ("--events", "order.completed,order.refunded,order.failed")
    made = saved(await added(service.data, "licences", *events), tmp_path / "licences.json")
    script, db = str(EXAMPLES / "licences.py"), str(tmp_path / "licences.db")

    async def check(order: Json, product_id: str) -> int:
        process = await asyncio.create_subprocess_exec(sys.executable, script, "check", db, order["id"], product_id)
        return await process.wait()

    async def comes_to(order: Json, code: int) -> bool:
        async with asyncio.timeout(SOON_S):
            while await check(order, order["productId"]) != code:
                pass
        return True

    async with program(script, "follow", made, db):
        order = await buyer.buys(await seller.offers())
        assert await comes_to(order, 0)
        assert 1 == await check(order, "another-product")
        (await seller.refunds(order)).expect(202)
        assert await comes_to(order, 1)
