"""The stream in JetStream: how it is made and changed, what becomes of consumers, and a line that breaks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import nats
import pytest
from nats.js.client import JetStreamContext

from marketd.bus.jetstream import JetStream
from marketd.bus.nats import CarrierLost
from marketd.bus.server import NatsServer
from marketd.bus.stream import Last, Message, StreamAway, StreamLimits, StreamRefused
from marketd.bus.subjects import EVENTS, EVENTS_STREAM
from tests.bus.post import kill, server_at, wait_until
from tests.bus.test_stream import LIMITS, jetstream_at, messages

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

ORDERS = [f"{EVENTS}.order.>"]
SOME = [f"{EVENTS}.order.paid.*", f"{EVENTS}.product.>"]


@asynccontextmanager
async def operating(server: NatsServer) -> AsyncIterator[JetStreamContext]:
    """Look at the server as its operator does."""
    client = await nats.connect(server.url, user=server.user, password=server.password)
    try:
        yield client.jetstream()
    finally:
        await client.close()


@asynccontextmanager
async def prepared(folder: Path, limits: StreamLimits = LIMITS) -> AsyncIterator[tuple[NatsServer, JetStream]]:
    async with server_at(folder) as server, jetstream_at(server, limits) as stream:
        await stream.prepare({})
        yield server, stream


async def test_it_keeps_what_the_limits_say(tmp_path: Path) -> None:
    limits = StreamLimits(keep_s=3600, keep_bytes_max=2**20, duplicate_window_s=60)
    async with prepared(tmp_path, limits) as (server, _), operating(server) as api:
        config = (await api.stream_info(EVENTS_STREAM)).config

        assert ([f"{EVENTS}.>"], 3600, 2**20, 60) == (
            config.subjects,
            config.max_age,
            config.max_bytes,
            config.duplicate_window,
        )


async def test_other_limits_are_taken_up_without_losing_anything(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, stream), operating(server) as api:
        await stream.publish(messages(1, 2), 0)
        async with jetstream_at(server, msgspec.structs.replace(LIMITS, keep_s=7200)) as again:
            await again.prepare({})

        info = await api.stream_info(EVENTS_STREAM)
        assert (7200, 2) == (info.config.max_age, info.state.messages)


async def test_what_the_operator_has_set_beside_our_limits_stays(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, _), operating(server) as api:
        config = (await api.stream_info(EVENTS_STREAM)).config
        await api.update_stream(config.evolve(description="ours"))
        async with jetstream_at(server, msgspec.structs.replace(LIMITS, keep_s=7200)) as again:
            await again.prepare({})

        assert "ours" == (await api.stream_info(EVENTS_STREAM)).config.description


async def test_a_window_longer_than_what_is_kept_is_cut(tmp_path: Path) -> None:
    async with prepared(tmp_path, msgspec.structs.replace(LIMITS, keep_s=5)) as (_, stream):
        assert Last(0, None) == await stream.last()


async def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    async with prepared(tmp_path, StreamLimits(keep_bytes_max=2048)) as (server, stream), operating(server) as api:
        await stream.publish(messages(*range(1, 101)), 0)

        state = (await api.stream_info(EVENTS_STREAM)).state
        assert (True, 100) == (state.first_seq > 1, state.last_seq)


async def test_a_last_message_that_is_gone_has_no_id(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, stream), operating(server) as api:
        await stream.publish(messages(1, 2), 0)
        await api.purge_stream(EVENTS_STREAM)

        assert Last(2, None) == await stream.last()


async def test_a_deleted_last_message_has_no_id(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, stream), operating(server) as api:
        await stream.publish(messages(1, 2), 0)
        await api.delete_msg(EVENTS_STREAM, 2)

        assert None is (await stream.last()).id


async def test_into_a_stream_that_was_deleted_nothing_goes(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, stream), operating(server) as api:
        await api.delete_stream(EVENTS_STREAM)

        with pytest.raises(StreamRefused, match="there is no stream that takes it"):
            await stream.publish(messages(1, 2), 0)


# Consumers.


async def test_everybody_gets_a_consumer_of_their_events(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, stream), operating(server) as api:
        await stream.prepare({"acme": ORDERS, "books": SOME})

        infos = {info.name: info.config for info in await api.consumers_info(EVENTS_STREAM)}
        assert {"acme": (ORDERS[0], None), "books": (None, SOME)} == {
            name: (config.filter_subject, config.filter_subjects) for name, config in infos.items()
        }


async def test_a_consumer_stays_where_it_was(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, stream), operating(server) as api:
        await stream.prepare({"acme": ORDERS})
        await stream.publish(messages(1, 2, 3), 0)
        (first, *_) = await (await api.pull_subscribe_bind("acme", EVENTS_STREAM)).fetch(1)
        await first.ack_sync()
        await stream.prepare({"acme": ORDERS})

        assert 1 == (await api.consumer_info(EVENTS_STREAM, "acme")).ack_floor.stream_seq


async def test_a_consumer_keeps_to_other_limits_from_where_it_was(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, stream), operating(server) as api:
        await stream.prepare({"acme": ORDERS})
        await stream.publish(messages(1, 2, 3), 0)
        (first, *_) = await (await api.pull_subscribe_bind("acme", EVENTS_STREAM)).fetch(1)
        await first.ack_sync()
        other = msgspec.structs.replace(LIMITS, ack_wait_s=7, unacknowledged_max=3)
        async with jetstream_at(server, other) as again:
            await again.prepare({"acme": ORDERS})
        info = await api.consumer_info(EVENTS_STREAM, "acme")

        assert (7, 3, 1) == (info.config.ack_wait, info.config.max_ack_pending, info.ack_floor.stream_seq)


async def test_a_consumer_of_nobody_goes(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, stream), operating(server) as api:
        await stream.prepare({"acme": ORDERS, "books": ORDERS})
        await stream.prepare({"books": ORDERS})

        assert ["books"] == [info.name for info in await api.consumers_info(EVENTS_STREAM)]


async def test_a_consumer_that_we_did_not_make_stays(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, stream), operating(server) as api:
        await api.add_consumer(EVENTS_STREAM, durable_name="theirs")
        await stream.prepare({})

        assert "theirs" == (await api.consumer_info(EVENTS_STREAM, "theirs")).name


async def test_what_is_not_acknowledged_comes_again(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(LIMITS, ack_wait_s=0.1)
    async with prepared(tmp_path, limits) as (server, stream), operating(server) as api:
        await stream.prepare({"acme": ORDERS})
        await stream.publish(messages(1), 0)
        pull = await api.pull_subscribe_bind("acme", EVENTS_STREAM)
        deliveries = [(await pull.fetch(1))[0].metadata.num_delivered for _ in range(3)]

        assert [1, 2, 3] == deliveries


# The line.


async def test_without_a_server_there_is_no_line(tmp_path: Path) -> None:
    async with server_at(tmp_path) as server:
        url, user, password = server.url, server.user, server.password
    with pytest.raises(CarrierLost, match="no connection to NATS"):
        async with JetStream(url, EVENTS_STREAM, EVENTS, LIMITS, user=user, password=password):
            raise AssertionError


async def test_while_the_line_is_down_everything_is_refused_at_once(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, stream):
        kill(server)
        await wait_until(lambda: not stream._connection.is_connected)

        with pytest.raises(StreamAway):
            await stream.publish(messages(1), 0)


async def test_that_the_server_is_back_is_told(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, stream):
        back = asyncio.Event()
        stream.on_back(back.set)
        kill(server)
        async with asyncio.timeout(10):
            await back.wait()


async def test_what_nats_py_cancels_of_its_own_keeps_nobody_from_leaving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def closed() -> None:
        raise asyncio.CancelledError  # as from a writer's close that was awaited when the line broke

    async with prepared(tmp_path) as (_, stream):
        close = stream._connection.close
        monkeypatch.setattr(stream._connection, "close", closed)
        await stream._close()
        monkeypatch.setattr(stream._connection, "close", close)


async def test_a_window_in_the_line_that_breaks_ends_at_once(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, stream):
        await stream.publish(messages(1), 0)
        publishing = asyncio.create_task(stream.publish(messages(*range(2, 30_000)), 1))
        await wait_until(lambda: stream._connection.stats["out_msgs"] > 2_000)
        kill(server)

        with pytest.raises(StreamAway):
            await publishing


@pytest.mark.parametrize(
    "subject", ["market.events.order placed.1", "market.events.order\r\nPUB x 0", "market.events.\t"]
)
async def test_what_is_no_subject_does_not_go_out(tmp_path: Path, subject: str) -> None:
    async with prepared(tmp_path) as (_, stream):
        good = messages(1, 2)
        with pytest.raises(StreamAway):
            await stream.publish([good[0], Message(subject, "2", b"{}")], 0)

        assert 0 == (await stream.last()).sequence


async def test_of_a_window_with_a_message_that_is_too_large_nothing_goes_out(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (_, stream):
        (good,) = messages(1)
        with pytest.raises(StreamAway, match="MaxPayload"):
            await stream.publish([good, Message(good.subject, "2", bytes(64 * 1024 * 1024))], 0)

        assert 0 == (await stream.last()).sequence


async def test_after_a_kill_what_was_taken_is_there_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with prepared(tmp_path) as (server, stream):
        await stream.publish(messages(1, 2), 0)
        kill(server)
        await wait_until(lambda: not stream._connection.is_connected)
        await wait_until(lambda: stream._connection.is_connected)
        last = await stream.last()
        await stream.publish(messages(3, 4), last.sequence)

        assert (Last(2, "2.0.cafe"), Last(4, "4.0.cafe")) == (last, await stream.last())
