"""A NATS server that somebody else runs, with the configuration of docs/nats.md, and with less than it needs."""

import asyncio
import json
import re
import ssl
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import nats
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError

from marketd.bus.server import find_executable, reserve_port
from tests.certificates import Files, write_certificate
from tests.journeys.people import Person, Visitor
from tests.journeys.process import Service, marketd, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "nats.md"
SOON_S: Final = 20
OURS: Final = ("market", "what marketd says")
THEIRS: Final = ("books", "what books says")
SALE: Final = ["market.order.placed", "market.order.paid", "market.order.completed"]


class Outside:
    """A nats-server that marketd did not start."""

    def __init__(self, folder: Path, conf: str, *, proof: Files | None = None) -> None:
        """Speak TLS where there is a certificate to prove by who it is."""
        self.port, self._proof = reserve_port(folder), proof
        self.url = f"{'tls' if proof else 'nats'}://127.0.0.1:{self.port}"
        conf = f'tls {{ cert_file: "{proof.chain}", key_file: "{proof.key}" }}\n{conf}' if proof else conf
        self._conf = folder / "nats-server.conf"
        conf = conf.replace("127.0.0.1:4222", f"127.0.0.1:{self.port}").replace("/var/lib/nats", str(folder / "store"))
        self._conf.write_text(conf, encoding="utf-8")

    @property
    def settings(self) -> dict[str, str]:
        return {"MARKETD_NATS__URL": self.url, "MARKETD_NATS__USER": OURS[0], "MARKETD_NATS__PASSWORD": OURS[1]}

    @asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        command = (str(find_executable()), "-c", str(self._conf))
        process = await asyncio.create_subprocess_exec(*command, stdout=DEVNULL, stderr=DEVNULL)
        try:
            async with self.client(*OURS):  # which waits until it is ready
                pass
            yield
        finally:
            process.kill()
            await process.wait()

    @asynccontextmanager
    async def client(self, user: str, password: str) -> AsyncIterator[Client]:
        async def silent(error: Exception) -> None:
            pass

        trusting = ssl.create_default_context(cafile=self._proof.chain) if self._proof else None
        options: dict[str, Any] = {
            "tls": trusting,
            "inbox_prefix": f"_INBOX_{user}",
            "max_reconnect_attempts": -1,
            "error_cb": silent,
        }
        async with asyncio.timeout(SOON_S):
            client = await nats.connect(
                self.url, user=user, password=password, allow_reconnect=True, reconnect_time_wait=0.05, **options
            )
        try:
            yield client
        finally:
            await client.close()

    async def kept(self, count: int) -> list[str]:
        """Read the types of the first so many events of the stream, once they are there."""
        types: list[str] = []
        async with self.client(*OURS) as client, asyncio.timeout(SOON_S):
            while len(types) < count:
                try:
                    message = await client.jetstream().get_msg("MARKET_EVENTS", seq=len(types) + 1)
                except NotFoundError:  # not yet
                    continue
                types.append(json.loads(message.data or b"")["type"])
        return types


def without(text: str, pattern: str) -> str:
    return re.sub(pattern, "", text, count=1, flags=re.M | re.S)


def documented() -> str:
    (conf,) = re.findall(r"^```\n(listen: .*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    return str(conf)


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path, documented())


@pytest_asyncio.fixture
async def service(outside: Outside, tmp_path: Path) -> AsyncIterator[Service]:
    async with outside.up(), running(tmp_path / "data", settings=outside.settings) as service:
        yield service


async def people(service: Service, session: ClientSession) -> tuple[Person, Person]:
    visitor = Visitor(service, session)
    return await visitor.joins("seller"), await visitor.joins("buyer")


async def test_what_is_sold_is_told_there(service: Service, outside: Outside, session: ClientSession) -> None:
    seller, buyer = await people(service, session)
    await buyer.buys(await seller.offers())

    joined = ["market.seller.registered", "market.buyer.registered", "market.product.listed"]
    assert [*joined, *SALE] == await outside.kept(6)


@pytest.mark.parametrize("is_known", [True, False])
async def test_over_tls_it_has_to_prove_who_it_is(tmp_path: Path, session: ClientSession, is_known: bool) -> None:
    proof = write_certificate(tmp_path)
    outside = Outside(tmp_path, documented(), proof=proof)
    settings = outside.settings | {"MARKETD_NATS__START_S_MAX": "2"}
    async with outside.up():
        if is_known:
            async with running(tmp_path / "data", settings=settings | {"SSL_CERT_FILE": str(proof.chain)}) as service:
                await people(service, session)
                assert 2 == len(await outside.kept(2))
        else:
            ended = await marketd("serve", "--data", str(tmp_path / "data"), "--port", "0", settings=settings)
            assert (1, True) == (ended.code, "certificate verify failed" in ended.err.splitlines()[-1]), ended


async def test_a_password_in_its_address_is_told_nobody(tmp_path: Path) -> None:
    ours = f'password: "{OURS[1]}" }}'
    outside = Outside(tmp_path, documented().replace(ours, f'{ours}, {{ user: "ann", password: "hunter2" }}'))
    settings = {"MARKETD_NATS__URL": f"nats://ann:hunter2@127.0.0.1:{outside.port}"}
    async with outside.up(), running(tmp_path / "data", settings=settings) as service:
        assert f"nats://********@127.0.0.1:{outside.port}" == service.nats_url

    assert "hunter2" not in service.log


async def test_who_may_read_it_reads_just_what_is_theirs(
    service: Service, outside: Outside, session: ClientSession
) -> None:
    seller, buyer = await people(service, session)
    await outside.kept(2)
    async with outside.client(*OURS) as client:
        config = ConsumerConfig(
            durable_name="books", filter_subject="market.events.order.>", ack_policy=AckPolicy.EXPLICIT
        )
        await client.jetstream().add_consumer("MARKET_EVENTS", config)
    await buyer.buys(await seller.offers())
    async with outside.client(*THEIRS) as client:
        pull = await client.jetstream(domain="market").pull_subscribe_bind("books", stream="MARKET_EVENTS")
        types: list[str] = []
        async with asyncio.timeout(SOON_S):
            while len(types) < 3:
                for message in await pull.fetch(3 - len(types), timeout=5):
                    types.append(json.loads(message.data)["type"])
                    await message.ack()

    assert SALE == types


async def test_a_consumer_that_its_operator_has_made_stays(
    outside: Outside, tmp_path: Path, session: ClientSession
) -> None:
    async with outside.up():
        async with running(tmp_path / "data", settings=outside.settings) as service:
            await people(service, session)
            await outside.kept(2)
            async with outside.client(*OURS) as client:
                await client.jetstream().add_consumer("MARKET_EVENTS", ConsumerConfig(durable_name="books"))
        async with running(tmp_path / "data", settings=outside.settings) as service:
            await Visitor(service, session).joins("seller")
            await outside.kept(3)
            async with outside.client(*OURS) as client:
                info = await client.jetstream().consumer_info("MARKET_EVENTS", "books")

    assert "books" == info.name


async def test_it_is_shown_what_is_asked_there(service: Service, outside: Outside) -> None:
    async with outside.client(*OURS) as client:
        answer = await client.request("$SRV.PING.market-order", timeout=SOON_S)

    assert "market-order" == json.loads(answer.data)["name"]


async def test_an_integrator_can_not_be_made_there_and_it_says_so_in_one_line(
    service: Service, outside: Outside
) -> None:
    done = await marketd(
        "integrator", "add", "acme", "--events", "*", "--data", str(service.data), settings=outside.settings
    )

    assert (1, "", 1) == (done.code, done.out, len(done.err.splitlines())), done
    assert f"this service uses the NATS server at {outside.url}" in done.err and "docs/nats.md" in done.err


async def test_what_was_before_is_told_again_there(service: Service, outside: Outside, session: ClientSession) -> None:
    await people(service, session)
    await outside.kept(2)
    done = await marketd(
        "events", "replay", "--since", "2020-01-01", "--data", str(service.data), settings=outside.settings
    )
    async with outside.client(*OURS) as client:
        info = await client.jetstream().stream_info("MARKET_REPLAY")

    assert (0, 2) == (done.code, info.state.messages), done


async def test_orders_go_on_while_it_is_away_and_what_they_told_comes_after(
    outside: Outside, tmp_path: Path, session: ClientSession
) -> None:
    async with outside.up():
        started = running(tmp_path / "data", settings=outside.settings)
        service = await started.__aenter__()
        seller, buyer = await people(service, session)
        product = await seller.offers()
    order = await buyer.buys(product)
    async with outside.up():
        told = await outside.kept(6)
        await started.__aexit__(None, None, None)

    assert ("completed", SALE) == (order["status"], told[3:])


LACKING: Final = {
    "no JetStream": (without(documented(), r"^jetstream .*?^}$"), "has no JetStream"),
    "none for the account": (documented().replace("jetstream: enabled\n", ""), "JetStream not enabled for account"),
    "no room": (documented().replace("max_file_store: 2GB", "max_file_store: 1MB"), "insufficient storage resources"),
}


@pytest.mark.parametrize("name", LACKING)
async def test_what_the_server_lacks_is_said_and_keeps_nobody_from_selling(
    tmp_path: Path, session: ClientSession, name: str
) -> None:
    conf, said = LACKING[name]
    outside = Outside(tmp_path, conf)
    async with outside.up(), running(tmp_path / "data", settings=outside.settings) as service:
        await service.wait_said(said)
        seller, buyer = await people(service, session)
        order = await buyer.buys(await seller.offers())
        parts = (await seller.get("/readyz")).expect(200)["parts"]

    lines = [line for line in service.log.splitlines() if "public events wait in the log" in line]
    assert ("completed", "down", 1) == (order["status"], parts["events"]["state"], len(lines)), service.log


async def test_where_it_is_not_there_the_start_says_so_in_one_line(outside: Outside, tmp_path: Path) -> None:
    settings = outside.settings | {"MARKETD_NATS__START_S_MAX": "1"}
    ended = await marketd("serve", "--data", str(tmp_path / "data"), "--port", "0", settings=settings)

    assert (1, True) == (
        ended.code,
        ended.err.splitlines()[-1].startswith(f"marketd: no connection to NATS at {outside.url}: "),
    ), ended


async def test_a_leaf_of_a_server_that_is_not_ours_can_not_be_set(outside: Outside, tmp_path: Path) -> None:
    settings = outside.settings | {"MARKETD_NATS__LEAF_URL": "nats-leaf://hub.example:7422"}
    ended = await marketd("serve", "--data", str(tmp_path / "data"), "--port", "0", settings=settings)

    assert (2, 1, True) == (
        ended.code,
        len(ended.err.splitlines()),
        ended.err.startswith("marketd: nats.leaf_url = ") and "is not ours" in ended.err,
    ), ended
