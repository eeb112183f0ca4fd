"""The carrier over NATS: a line that breaks and comes back, a server that is not there, too much at once, the end."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from marketd.actors import product
from marketd.bus.codec import Codec
from marketd.bus.nats import ERRORS_KNOWN_MAX, RECONNECT_WAIT_S, TOLD_AGAIN_S, CarrierLost, NatsBus
from marketd.bus.port import Answer, AnswerTooLarge, Busy, Envelope, NoAnswer, Undecodable
from marketd.bus.server import Limits, NatsServer
from marketd.clock import SystemClock
from marketd.config.codecs import message_codec
from tests.bus.post import (
    QUOTED,
    SHORT_MS,
    SUBJECT,
    Ears,
    Gate,
    bus_at,
    envelope,
    kill,
    never,
    outcome,
    quote,
    round_trip,
    server_at,
    wait_until,
)
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio

LARGE = "x" * (Limits().payload_bytes_max + 1)  # more than the embedded server takes


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[tuple[NatsServer, NatsBus, NatsBus]]:
    """A server, somebody who asks, and somebody who serves."""
    async with server_at(folder) as server, bus_at(server) as asking, bus_at(server) as serving:
        yield server, asking, serving


async def put_down(server: NatsServer, *buses: NatsBus) -> None:
    """Kill the server, and wait until everybody has noticed."""
    kill(server)
    await wait_until(lambda: not any(bus.statistics()["connected"] for bus in buses))


async def wait_up(*buses: NatsBus) -> None:
    await wait_until(lambda: all(bus.statistics()["connected"] for bus in buses))
    for bus in buses:
        await round_trip(bus)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def unconnected(url: str, *, password: str = "guess", connect_s_max: float = 0.3) -> NatsBus:
    return NatsBus(url, message_codec(), SystemClock(), user="market", password=password, connect_s_max=connect_s_max)


async def test_one_process_asks_another(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, asking, serving):
        await serving.serve(SUBJECT, quote)

        assert Answer(QUOTED, 42) == await asking.ask(SUBJECT, envelope())


async def test_who_serves_can_be_asked_from_elsewhere_at_once(tmp_path: Path) -> None:
    ears = Ears()
    async with two(tmp_path) as (_, asking, serving):
        for n in range(50):
            await serving.serve(f"{SUBJECT}{n}", ears)
            await asking.ask(f"{SUBJECT}{n}", envelope())

    assert 50 == len(ears.heard)


async def test_where_the_line_is_down_nobody_can_serve(tmp_path: Path) -> None:
    async with server_at(tmp_path) as server, bus_at(server, connect_s_max=0.1) as bus:
        await server.stop()
        await wait_until(lambda: not bus.statistics()["connected"])
        with pytest.raises(CarrierLost, match=f"^{SUBJECT} can't be served by way of {server.url}: "):
            await bus.serve(SUBJECT, quote)


async def test_of_two_who_serve_one_is_asked(tmp_path: Path) -> None:
    ears = Ears()
    async with two(tmp_path) as (_, one, other):
        await one.serve(SUBJECT, ears)
        await other.serve(SUBJECT, ears)
        for n in range(20):
            await one.ask(SUBJECT, envelope(id=str(n)))

    assert [str(n) for n in range(20)] == ears.ids


async def test_who_lives_in_the_same_process_is_asked_there(tmp_path: Path) -> None:
    async with server_at(tmp_path) as server, bus_at(server, in_process=True) as bus:
        await bus.serve(SUBJECT, quote)
        sent = bus.statistics()["out_msgs"]
        await bus.ask(SUBJECT, envelope())

        assert sent == bus.statistics()["out_msgs"]


async def test_who_lives_elsewhere_is_asked_there_even_if_others_live_here(tmp_path: Path) -> None:
    async with (
        server_at(tmp_path) as server,
        bus_at(server, in_process=True) as bus,
        bus_at(server, in_process=True) as other,
    ):
        await bus.serve("market.query.products", Ears())
        await other.serve(SUBJECT, quote)

        assert Answer(QUOTED, 42) == await bus.ask(SUBJECT, envelope())


async def test_after_the_server_was_killed_all_goes_on(tmp_path: Path) -> None:
    async with two(tmp_path) as (server, asking, serving):
        await serving.serve(SUBJECT, quote)
        await put_down(server, asking, serving)
        await wait_up(asking, serving)

        assert Answer(QUOTED, 42) == await asking.ask(SUBJECT, envelope())


async def test_a_request_in_hand_when_the_server_is_killed_ends_at_its_deadline(tmp_path: Path) -> None:
    async with two(tmp_path) as (server, asking, serving), asyncio.TaskGroup() as tasks:
        gate = Gate()
        await serving.serve(SUBJECT, gate)
        asked = tasks.create_task(outcome(asking.ask(SUBJECT, envelope(wait_ms=200))))
        await gate.reached.wait()
        await put_down(server, asking, serving)

        assert NoAnswer is type(await asked)


async def test_an_answer_given_while_the_line_is_down_arrives_when_it_is_up(tmp_path: Path) -> None:
    async with two(tmp_path) as (server, asking, serving), asyncio.TaskGroup() as tasks:
        gate = Gate()
        await serving.serve(SUBJECT, gate)
        asked = tasks.create_task(asking.ask(SUBJECT, envelope()))
        await gate.reached.wait()
        await put_down(server, asking, serving)
        await wait_up(asking, serving)
        gate.opened.set()

        assert Answer(QUOTED, 42) == await asked


async def test_a_request_that_comes_after_its_deadline_is_not_heard(tmp_path: Path) -> None:
    ears = Ears()
    async with two(tmp_path) as (server, asking, serving):
        await serving.serve(SUBJECT, ears)
        await put_down(server, asking, serving)
        with pytest.raises(NoAnswer):
            await asking.ask(SUBJECT, envelope(id="zombie", wait_ms=SHORT_MS))
        await wait_up(asking, serving)
        await asking.ask(SUBJECT, envelope(id="living"))

    assert ["living"] == ears.ids


async def test_where_nobody_listens_there_is_no_carrier() -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    with pytest.raises(CarrierLost, match=f"^no connection to NATS at {url}: .*(Connect call failed|refused)"):
        await unconnected(url).__aenter__()


async def test_an_error_that_stays_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(CarrierLost):
        await unconnected(f"nats://127.0.0.1:{free_port()}", connect_s_max=4 * RECONNECT_WAIT_S).__aenter__()

    assert 1 == len([record for record in caplog.records if record.name == "marketd.bus"])


async def test_an_error_that_stays_is_told_again_when_some_time_has_passed(caplog: pytest.LogCaptureFixture) -> None:
    clock = TestClock()
    bus = NatsBus("nats://127.0.0.1:1", message_codec(), clock)
    for passed_s in (0.0, TOLD_AGAIN_S - 1, 1.0):
        clock.passes(passed_s)
        await bus._on_error(OSError("refused"))
    await bus._on_error(OSError("something else"))

    told = [record.getMessage() for record in caplog.records]
    refused = "NATS: OSError('refused')"
    assert [refused, refused, "NATS: OSError('something else')"] == told


async def test_how_many_errors_are_known_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    bus = NatsBus("nats://127.0.0.1:1", message_codec(), TestClock())
    for number in (*range(ERRORS_KNOWN_MAX + 1), 0):
        await bus._on_error(OSError(number))

    assert (ERRORS_KNOWN_MAX + 2, 2) == (len(caplog.records), len(bus._told_until_s))


async def test_who_listens_but_is_no_nats_server_is_no_carrier() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as mute:
        url = f"nats://127.0.0.1:{mute.sockets[0].getsockname()[1]}"
        with pytest.raises(CarrierLost, match=f"^no connection to NATS at {url}: "):
            await unconnected(url).__aenter__()


async def test_a_connection_is_not_waited_for_beyond_the_limit() -> None:
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(CarrierLost):
        await unconnected(f"nats://127.0.0.1:{free_port()}").__aenter__()

    assert asyncio.get_running_loop().time() - began_s < 2


async def test_with_a_wrong_password_there_is_no_carrier(tmp_path: Path) -> None:
    async with server_at(tmp_path) as server:
        with pytest.raises(CarrierLost) as caught:
            await unconnected(server.url).__aenter__()

    assert f"no connection to NATS at {server.url}: nats: 'Authorization Violation'" == str(caught.value)


async def test_the_password_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with server_at(tmp_path) as server:
        with pytest.raises(CarrierLost) as caught:
            await unconnected(server.url, password="open sesame").__aenter__()

    assert "sesame" not in caplog.text + str(caught.value)


async def test_beyond_the_limit_who_asks_is_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marketd.bus.nats.REQUESTS_IN_HAND_MAX", 2)
    gate = Gate()
    async with two(tmp_path) as (_, asking, serving), asyncio.TaskGroup() as tasks:
        await serving.serve(SUBJECT, gate)
        for n in range(2):
            tasks.create_task(asking.ask(SUBJECT, envelope(id=str(n))))
        await wait_until(lambda: serving.statistics()["in_hand"] == 2)
        with pytest.raises(Busy, match=r"^too many requests in hand$"):
            await asking.ask(SUBJECT, envelope())
        gate.opened.set()


async def test_what_is_answered_is_in_hand_no_more(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, asking, serving):
        await serving.serve(SUBJECT, quote)
        await asking.ask(SUBJECT, envelope())

        assert 0 == serving.statistics()["in_hand"]


async def test_what_nobody_waits_for_any_more_is_in_hand_no_more(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, asking, serving):
        await serving.serve(SUBJECT, never)
        with pytest.raises(NoAnswer):
            await asking.ask(SUBJECT, envelope(wait_ms=SHORT_MS))

        await wait_until(lambda: serving.statistics()["in_hand"] == 0)


# Who is to end.


async def test_who_is_cancelled_as_the_answer_comes_is_cancelled(tmp_path: Path) -> None:
    """Whichever of the two its task hears of first."""
    ended: list[bool] = []
    async with two(tmp_path) as (_, asking, serving), asyncio.TaskGroup() as tasks:
        await serving.serve(SUBJECT, quote)
        for turns in range(8):
            before = asking.statistics()["in_msgs"]
            asked = tasks.create_task(outcome(asking.ask(SUBJECT, envelope())))
            while asking.statistics()["in_msgs"] == before:
                await asyncio.sleep(0)
            for _ in range(turns):
                await asyncio.sleep(0)
            if asked.cancel():
                await asyncio.wait([asked])
                ended.append(asked.cancelled())

    assert True in ended and False not in ended, ended


@asynccontextmanager
async def stopped(server: NatsServer) -> AsyncIterator[None]:
    """A server that takes nothing for a while, though the line is up."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


async def crowd(bus: NatsBus, wait_ms: int) -> list[asyncio.Task[Answer | Exception]]:
    """Ask for more than a line holds that nobody reads from."""
    asked = [
        asyncio.create_task(outcome(bus.ask(SUBJECT, envelope(wait_ms=wait_ms, correlation=LARGE[2048:]))))
        for _ in range(8)
    ]
    await asyncio.sleep(0.1)
    return asked


async def test_who_is_cancelled_while_the_line_is_full_ends_at_once(tmp_path: Path) -> None:
    async with two(tmp_path) as (server, asking, serving):
        await serving.serve(SUBJECT, quote)
        async with stopped(server):
            asked = await crowd(asking, wait_ms=5_000)
            for one in asked:
                one.cancel()
            done, _ = await asyncio.wait(asked, timeout=2)
        await asyncio.wait(asked)

    assert [True] * 8 == [one in done and one.cancelled() for one in asked]


async def test_who_waits_while_the_line_is_full_waits_until_the_deadline_and_no_longer(tmp_path: Path) -> None:
    async with two(tmp_path) as (server, asking, serving):
        await serving.serve(SUBJECT, quote)
        async with stopped(server):
            asked = await crowd(asking, wait_ms=1_000)
            done, _ = await asyncio.wait(asked, timeout=1.5)
        await asyncio.wait(asked)

    assert [(True, NoAnswer)] * 8 == [(one in done, type(one.result())) for one in asked]


# The end.


async def test_who_closes_finishes_what_is_in_hand(tmp_path: Path) -> None:
    gate = Gate()
    async with server_at(tmp_path) as server, bus_at(server) as asking, asyncio.TaskGroup() as tasks:
        async with bus_at(server) as serving:
            await serving.serve(SUBJECT, gate)
            asked = tasks.create_task(asking.ask(SUBJECT, envelope()))
            await gate.reached.wait()
            asyncio.get_running_loop().call_later(0.02, gate.opened.set)

        assert Answer(QUOTED, 42) == await asked


async def test_who_closes_turns_away_what_is_new(tmp_path: Path) -> None:
    gate = Gate()
    async with server_at(tmp_path) as server, bus_at(server) as asking, asyncio.TaskGroup() as tasks:
        serving = await bus_at(server).__aenter__()
        await serving.serve(SUBJECT, gate)
        tasks.create_task(asking.ask(SUBJECT, envelope()))
        await gate.reached.wait()
        closing = tasks.create_task(serving.__aexit__(None, None, None))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await asking.ask(SUBJECT, envelope())
        gate.opened.set()
        await closing


async def test_who_has_waited_too_long_for_the_last_requests_closes_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketd.bus.nats.CLOSE_WAIT_S_MAX", 0.05)
    gate = Gate()
    async with server_at(tmp_path) as server, bus_at(server) as asking, asyncio.TaskGroup() as tasks:
        async with bus_at(server) as serving:
            await serving.serve(SUBJECT, gate)
            asked = tasks.create_task(outcome(asking.ask(SUBJECT, envelope(wait_ms=300))))
            await gate.reached.wait()

        assert NoAnswer is type(await asked)


async def test_who_closes_while_the_line_is_down_is_done_at_once(tmp_path: Path) -> None:
    async with server_at(tmp_path) as server:
        async with bus_at(server) as bus:
            await server.stop()
            await wait_until(lambda: not bus.statistics()["connected"])
            began_s = asyncio.get_running_loop().time()

        assert asyncio.get_running_loop().time() - began_s < 1


async def test_what_nats_py_cancels_of_its_own_is_no_cancellation_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def closed() -> None:
        raise asyncio.CancelledError  # as from a writer's close that was awaited when the line broke

    async with two(tmp_path) as (_, bus, _):
        close = bus._connection.close
        monkeypatch.setattr(bus._connection, "close", closed)
        await bus._cut()
        monkeypatch.setattr(bus._connection, "close", close)


async def test_who_is_cancelled_while_closing_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with two(tmp_path) as (_, bus, _):
        close = bus._connection.close
        monkeypatch.setattr(bus._connection, "close", asyncio.Event().wait)
        closing = asyncio.create_task(bus._cut())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        monkeypatch.setattr(bus._connection, "close", close)


async def test_a_closed_bus_is_not_a_lost_one(tmp_path: Path) -> None:
    async with server_at(tmp_path) as server, asyncio.TaskGroup() as tasks:
        async with bus_at(server) as bus:
            lost = tasks.create_task(bus.wait_lost())
        await asyncio.sleep(0)

        assert not lost.done()
        lost.cancel()


async def test_bytes_that_are_no_message_are_refused_and_cost_nothing(tmp_path: Path) -> None:
    async with server_at(tmp_path) as server, bus_at(server) as serving:
        await serving.serve(SUBJECT, quote)
        codec = message_codec()
        for junk in (b"", b"\xc1", b"\x99" + b"\xa1\x81" * 9, bytes(range(256))):
            reply = await serving._connection.request(SUBJECT, junk, timeout=1)
            with pytest.raises(Undecodable):
                codec.unpack_answer(reply.data)

        assert Answer(QUOTED, 42) == await serving.ask(SUBJECT, envelope())


async def test_a_message_too_large_for_the_carrier_is_refused(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, asking, serving):
        await serving.serve(SUBJECT, quote)
        with pytest.raises(Undecodable, match=f"^the message to {SUBJECT} is larger than the carrier takes$"):
            await asking.ask(SUBJECT, envelope(product.Release(LARGE, None)))


async def test_an_answer_too_large_for_the_carrier_is_an_error_at_once(tmp_path: Path) -> None:
    async def answer(subject: str, envelope: Envelope) -> Answer:
        return Answer(product.Reservation(LARGE), 1)

    async with two(tmp_path) as (_, asking, serving):
        await serving.serve(SUBJECT, answer)
        with pytest.raises(AnswerTooLarge, match=r"^the answer is larger than the carrier takes$"):
            await asking.ask(SUBJECT, envelope())


async def test_what_wants_no_answer_gets_none(tmp_path: Path) -> None:
    ears = Ears()
    async with two(tmp_path) as (_, asking, serving):
        await serving.serve(SUBJECT, ears)
        codec: Codec = message_codec()
        await asking._connection.publish(SUBJECT, codec.pack(envelope()))
        await wait_until(lambda: len(ears.heard) == 1)

        assert ["command-1"] == ears.ids
