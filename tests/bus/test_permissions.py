"""
What an integrator can do at the real nats-server: read its own events, and nothing else, whatever it tries.

Each test tries one thing as `acme`, who may read `order.*`. Beside it are `books`, who may read everything and has a
consumer of its own, and the service, which listens where it always does.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import bcrypt
import nats
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout

from marketd.bus.integrators import CONNECTIONS_EACH_MAX, Integrator, filters
from marketd.bus.jetstream import JetStream
from marketd.bus.server import NatsServer
from marketd.bus.stream import Message
from marketd.bus.subjects import EVENTS, EVENTS_STREAM, REPLAYS, REPLAYS_STREAM
from tests.bus.post import kill, server_at, wait_until
from tests.bus.test_stream import LIMITS

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

PASSWORD: Final = "a password"
HASH: Final = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()  # as `hashed` makes them, but at once
ACME: Final = Integrator("acme", ("order.*",), HASH, 1)
BOOKS: Final = Integrator("books", ("*",), HASH, 1)
NEXT: Final = json.dumps({"batch": 5, "expires": 200_000_000}).encode()
SHORT_S: Final = 0.3  # what who waits in vain waits


class Town:
    """The server, the service's own line, and what comes to it; `acme`, and what the server tells it off for."""

    def __init__(self, server: NatsServer, service: Client, acme: Client, complaints: list[str]) -> None:
        self.server, self.service, self.acme, self.complaints = server, service, acme, complaints
        self.heard: list[str] = []

    async def complained(self) -> bool:
        """Whether the server told acme off for something, and lets it go on."""
        await wait_until(lambda: any("permissions violation" in complaint for complaint in self.complaints))
        return self.acme.is_connected


@pytest_asyncio.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    complaints: list[str] = []

    async def complain(error: Exception) -> None:
        complaints.append(str(error).lower())

    async with server_at(tmp_path) as server:
        await server.admit([ACME, BOOKS])
        for name, above in ((EVENTS_STREAM, EVENTS), (REPLAYS_STREAM, REPLAYS)):
            async with JetStream(server.url, name, above, LIMITS, user=server.user, password=server.password) as stream:
                await stream.prepare({one.name: filters(one)[name] for one in (ACME, BOOKS)})
                whom = f"{above}.{{}}" if above == EVENTS else f"{above}.acme.{{}}"
                told = ("order.paid.o1", "order.completed.o1", "product.listed.p1")
                await stream.publish([Message(whom.format(end), end, end.encode()) for end in told], 0)
        service = await nats.connect(server.url, user=server.user, password=server.password)
        acme = await connect(server, "acme", error_cb=complain)
        town = Town(server, service, acme, complaints)
        for subject in ("market.cmd.>", "market.query.>"):
            await service.subscribe(subject, cb=hearing(town))
        await service.flush()
        yield town
        await acme.close()
        await service.close()


def hearing(town: Town) -> Callable[[Any], Any]:
    async def hear(message: Any) -> None:
        town.heard.append(message.subject)
        if message.reply:
            await message.respond(b"the service's answer")

    return hear


async def connect(server: NatsServer, name: str, **options: Any) -> Client:
    return await nats.connect(
        server.url,
        user=name,
        password=PASSWORD,
        inbox_prefix=f"_INBOX_{name}",
        reconnect_time_wait=0.02,
        **{"error_cb": silent, **options},
    )


async def silent(error: Exception) -> None:
    pass


async def pulled(client: Client, consumer: str = "acme", stream: str = EVENTS_STREAM) -> list[str]:
    pull = await client.jetstream(domain="market").pull_subscribe_bind(consumer, stream=stream)
    messages = await pull.fetch(5, timeout=SHORT_S)
    for message in messages:
        await message.ack()
    await client.flush()
    return [message.data.decode() for message in messages]


# What it may.


async def test_it_pulls_its_events_and_no_others(town: Town) -> None:
    assert ["order.paid.o1", "order.completed.o1"] == await pulled(town.acme)


async def test_what_it_acknowledged_does_not_come_again(town: Town) -> None:
    await pulled(town.acme)
    with pytest.raises(NatsTimeout):
        await pulled(town.acme)


async def test_it_pulls_what_is_replayed_for_it(town: Town) -> None:
    assert ["order.paid.o1", "order.completed.o1"] == await pulled(town.acme, stream=REPLAYS_STREAM)


async def test_it_hears_its_events_live(town: Town) -> None:
    live = await town.acme.subscribe("market.events.order.>")
    await town.acme.jetstream(domain="market").consumer_info(EVENTS_STREAM, "acme")  # flush() overtakes what it flushes
    await town.service.publish("market.events.product.listed.p2", b"not for acme")
    await town.service.publish("market.events.order.paid.o2", b"live")

    assert b"live" == (await live.next_msg(10)).data


async def test_it_may_ask_how_far_its_consumer_is(town: Town) -> None:
    info = await town.acme.jetstream(domain="market").consumer_info(EVENTS_STREAM, "acme")

    assert ("acme", 2) == (info.name, info.num_pending)


# What it may not.


@pytest.mark.parametrize(
    "subject",
    [
        "market.events.>",
        "market.events.product.>",
        "market.events.*.*.*",
        "market.events.product.listed.*",
        "market.cmd.>",
        "market.query.>",
        "market.replay.>",
        "market.replay.books.>",
        "market.replay.all.product.>",
        "market.>",
        ">",
        "*.*.*.*.*",
        "_INBOX.>",
        "_INBOX_books.>",
        "$SYS.>",
        "$JS.>",
        "$JS.API.>",
        "$JS.ACK.>",
        "$JS.EVENT.>",
        "$KV.>",
        "$SRV.>",
    ],
)
async def test_it_can_not_listen_elsewhere(town: Town, subject: str) -> None:
    await town.acme.subscribe(subject)

    assert await town.complained()


@pytest.mark.parametrize(
    "subject",
    [
        "market.events.order.completed.o9",
        "market.cmd.7.order.o1",
        "market.query.products",
        "market.replay.acme.order.completed.o9",
        "_INBOX.anybody",
        "_INBOX_books.1",
        "$SYS.REQ.SERVER.PING",
        "$SRV.PING",
        "$JS.API.STREAM.CREATE.MINE",
        f"$JS.API.STREAM.DELETE.{EVENTS_STREAM}",
        f"$JS.market.API.STREAM.PURGE.{EVENTS_STREAM}",
        f"$JS.market.API.STREAM.DELETE.{EVENTS_STREAM}",
        f"$JS.market.API.STREAM.INFO.{EVENTS_STREAM}",
        f"$JS.market.API.STREAM.MSG.GET.{EVENTS_STREAM}",
        f"$JS.market.API.DIRECT.GET.{EVENTS_STREAM}",
        "$JS.market.API.STREAM.NAMES",
        f"$JS.market.API.CONSUMER.CREATE.{EVENTS_STREAM}.mine",
        f"$JS.market.API.CONSUMER.DURABLE.CREATE.{EVENTS_STREAM}.mine",
        f"$JS.market.API.CONSUMER.CREATE.{EVENTS_STREAM}.acme.market.events.>",
        f"$JS.market.API.CONSUMER.DELETE.{EVENTS_STREAM}.books",
        f"$JS.market.API.CONSUMER.DELETE.{EVENTS_STREAM}.acme",
        f"$JS.market.API.CONSUMER.LIST.{EVENTS_STREAM}",
        f"$JS.market.API.CONSUMER.INFO.{EVENTS_STREAM}.books",
        f"$JS.market.API.CONSUMER.MSG.NEXT.{EVENTS_STREAM}.books",
        f"$JS.API.CONSUMER.MSG.NEXT.{EVENTS_STREAM}.acme",
        f"$JS.ACK.{EVENTS_STREAM}.books.1.1.1.1.0",
    ],
)
async def test_it_can_publish_nowhere_else(town: Town, subject: str) -> None:
    before = await everything(town)
    await town.acme.publish(subject, NEXT, reply="_INBOX_acme.answer")

    assert (True, before) == (await town.complained(), await everything(town))


async def everything(town: Town) -> list[Any]:
    """What there is to harm: the streams, their consumers, and what the service heard."""
    api = town.service.jetstream()
    found: list[Any] = [list(town.heard)]
    for stream in (EVENTS_STREAM, REPLAYS_STREAM):
        info = await api.stream_info(stream)
        consumers = await api.consumers_info(stream)
        found.append((info.state.messages, sorted((c.name, c.num_pending, c.num_ack_pending) for c in consumers)))
    return found


@pytest.mark.parametrize("verb", ["MSG.NEXT", "INFO"])
@pytest.mark.parametrize("victim", ["market.cmd.7.order.o1", "market.events.order.paid.o9", "_INBOX_books.1"])
async def test_it_can_not_have_an_answer_sent_to_somebody_else(town: Town, verb: str, victim: str) -> None:
    """In one account with the service, the server itself would publish the answer there."""
    before = await everything(town)
    listening = await town.service.subscribe(victim)
    await town.service.flush()
    await town.acme.publish(f"$JS.market.API.CONSUMER.{verb}.{EVENTS_STREAM}.acme", NEXT, reply=victim)
    with pytest.raises(NatsTimeout):
        await listening.next_msg(SHORT_S)

    heard, streams = before[0], [state[0] for state in before[1:]]
    after = await everything(town)
    assert (heard, streams) == (after[0], [state[0] for state in after[1:]])


@pytest.mark.parametrize("verb", ["MSG.NEXT", "INFO"])
async def test_it_can_not_have_an_answer_sent_among_the_events_of_another(town: Town, verb: str) -> None:
    """In one account with the other, the server itself would publish it there, for whoever listens live."""
    books = await connect(town.server, "books")
    live = await books.subscribe("market.events.>")
    await books.flush()
    victim = "market.events.order.completed.o9"
    await town.acme.publish(f"$JS.market.API.CONSUMER.{verb}.{EVENTS_STREAM}.acme", NEXT, reply=victim)
    with pytest.raises(NatsTimeout):
        await live.next_msg(SHORT_S)
    await books.close()


async def test_one_that_takes_all_connections_it_can_leaves_room_for_everybody_else(town: Town) -> None:
    others = [Client() for _ in range(CONNECTIONS_EACH_MAX - 1)]
    for client in others:
        await take(client, town.server)
    books = await connect(town.server, "books")
    await books.close()
    ours = await nats.connect(town.server.url, user=town.server.user, password=town.server.password)
    await ours.close()
    one_more = Client()
    with pytest.raises(nats.errors.Error, match="maximum account active connections"):
        await take(one_more, town.server)
    for client in (*others, one_more):
        await client.close()


async def take(client: Client, server: NatsServer) -> None:
    """Connect as acme, not by nats.connect(), which leaves the socket of a refused connection open."""
    await client.connect(server.url, user="acme", password=PASSWORD, allow_reconnect=False, error_cb=silent)


async def test_it_can_not_make_a_consumer_of_its_own(town: Town) -> None:
    with pytest.raises((NatsTimeout, NoRespondersError, nats.errors.Error)):
        await town.acme.jetstream(domain="market", timeout=SHORT_S).pull_subscribe(
            "market.events.>", durable="mine", stream=EVENTS_STREAM
        )

    names = [info.name for info in await town.service.jetstream().consumers_info(EVENTS_STREAM)]
    assert ["acme", "books"] == sorted(names)


async def test_an_other_integrator_does_not_see_its_answers(town: Town) -> None:
    books = await connect(town.server, "books")
    eaves = await books.subscribe("_INBOX_books.>")
    await pulled(town.acme)

    with pytest.raises(NatsTimeout):
        await eaves.next_msg(SHORT_S)
    await books.close()


@pytest.mark.parametrize(
    ("user", "password"), [("acme", "guess"), ("acme", "the hash"), ("nobody", PASSWORD), ("market", PASSWORD)]
)
async def test_without_the_password_nobody_gets_in(town: Town, user: str, password: str) -> None:
    guessing = Client()  # not nats.connect(), which leaves the socket of a refused connection open
    with pytest.raises(nats.errors.Error, match="Authorization"):
        await guessing.connect(
            town.server.url,
            user=user,
            password=HASH if password == "the hash" else password,
            allow_reconnect=False,
            error_cb=silent,
        )
    await guessing.close()


# They come and go.


async def test_nobody_is_disconnected_when_one_comes(town: Town) -> None:
    lost: list[str] = []

    async def lose() -> None:
        lost.append("a line")

    books = await connect(town.server, "books", disconnected_cb=lose)
    await town.server.admit([ACME, BOOKS, Integrator("third", ("*",), HASH, 1)])
    third = await connect(town.server, "third")
    await third.flush()
    await books.flush()

    assert ([], 0, 0) == (lost, town.acme.stats["reconnects"], town.service.stats["reconnects"])
    await books.close()
    await third.close()


async def test_who_is_removed_is_out_at_once_and_nobody_else(town: Town) -> None:
    out = asyncio.Event()

    async def leave() -> None:
        out.set()

    books = await connect(town.server, "books", disconnected_cb=leave, allow_reconnect=False)
    await town.server.admit([ACME])
    async with asyncio.timeout(5):
        await out.wait()

    assert ["order.paid.o1", "order.completed.o1"] == await pulled(town.acme)
    assert 0 == town.service.stats["reconnects"]
    await books.close()


async def test_after_a_restart_of_the_server_they_are_let_in_again(town: Town) -> None:
    reconnects = town.acme.stats["reconnects"]
    kill(town.server)
    await wait_until(lambda: town.acme.stats["reconnects"] > reconnects and town.acme.is_connected)

    assert ["order.paid.o1", "order.completed.o1"] == await pulled(town.acme)
