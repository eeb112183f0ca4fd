"""What every log promises, asked of each."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from marketd.actors import order, product
from marketd.actors.address import Address
from marketd.actors.money import Money
from marketd.actors.steps import Denied, Step
from marketd.storage.log import Appended, Conflict, Done, EventLog, Meta, Recorded, Refusal, Repeats, Snapshot
from tests.storage.history import START_MS, Writer, append, commit, random_history
from tests.storage.logs import LogMaker, followed, ids, logs, positions

pytestmark = pytest.mark.asyncio

A, B = "order/a", "order/b"


@pytest.fixture(params=["memory", "sqlite", "sqlite-forgetful"])
def make_log(request: pytest.FixtureRequest, tmp_path: Path) -> LogMaker:
    return logs(tmp_path)[request.param]


def snapshot(version: int, position: int, fingerprint: str = "f1", state: bytes = b"state") -> Snapshot:
    return Snapshot(A, version, position, fingerprint, state)


async def kept_snapshot(log: EventLog, offered: Snapshot) -> None:
    """Offer it, and wait until it is kept: it is at the latest with the next append."""
    log.offer_snapshot(offered)
    await append(log, B, "beside-it")


async def test_a_new_log_is_empty(make_log: LogMaker) -> None:
    async with make_log() as log:
        assert (0, []) == (log.head, await log.read(A))


async def test_what_was_appended_can_be_read(make_log: LogMaker) -> None:
    written = commit(
        "command-1",
        order.Placed("ann", "sam", "lamp", "Lämp ⚡", Money(2**53 + 1, "USD"), "pm_1", START_MS),
        order.Paid(START_MS + 1),
        reply=Done(product.Reservation("KEY")),
        correlation="request-1",
        cause="command-0",
        principal="ann",
        trace="00-1-2-01",
    )
    async with make_log() as log:
        await log.append(A, 0, [written])

        assert [Recorded(1, A, 1, written)] == await log.read(A)


async def test_an_append_tells_the_position_of_its_last_commit(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, B, "b1")

        assert Appended(4) == await append(log, A, "a1", "a2", "a3")


async def test_the_head_is_the_last_position(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1", "a2")

        assert 2 == log.head


async def test_positions_count_all_and_versions_those_of_the_stream(make_log: LogMaker) -> None:
    async with make_log() as log:
        for stream, id in ((A, "1"), (B, "2"), (A, "3"), (B, "4")):
            await append(log, stream, id)

        assert [(2, 1), (4, 2)] == [(r.position, r.version) for r in await log.read(B)]


async def test_a_wrong_version_is_a_conflict(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1", "a2")

        assert Conflict(2) == await append(log, A, "a3", version=1)


async def test_a_version_beyond_the_end_is_a_conflict(make_log: LogMaker) -> None:
    async with make_log() as log:
        assert Conflict(0) == await append(log, A, "a1", version=1)


async def test_a_conflict_writes_nothing(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1")
        await append(log, A, "a2", version=0)
        await append(log, A, "a3", version=1)

        assert ["a1", "a3"] == ids(await followed(log, 0, log.head))


async def test_a_repeat_finds_the_first_result(make_log: LogMaker) -> None:
    first = commit("a1", reply=Done(product.Reservation("KEY-1")))
    async with make_log() as log:
        await log.append(A, 0, [first])
        again = commit("a1", reply=Done(product.Reservation("KEY-2")))

        assert Repeats({"a1": Recorded(1, A, 1, first)}) == await log.append(A, 1, [again])


async def test_a_repeat_writes_nothing(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1")
        await append(log, A, "a1", "a2")

        assert ["a1"] == ids(await log.read(A))


async def test_a_repeat_is_found_though_its_version_is_old(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1", "a2")
        repeated = await append(log, A, "a1", version=0)

        assert isinstance(repeated, Repeats) and ["a1"] == list(repeated.known)


async def test_of_several_commits_the_repeated_ones_are_named(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1", "a2")
        repeated = await append(log, A, "a2", "a3", "a1")

        assert isinstance(repeated, Repeats) and {"a1", "a2"} == set(repeated.known)


async def test_an_id_may_be_used_again_in_another_stream(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "one")

        assert Appended(2) == await append(log, B, "one")


async def test_several_commits_are_taken_in_their_order(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1", "a2", "a3")

        assert ["a1", "a2", "a3"] == ids(await log.read(A))


async def test_an_append_of_nothing_changes_nothing(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, B, "b1")
        await log.append(A, 0, [])

        assert Appended(2) == await append(log, A, "a1")


async def test_an_answer_that_cannot_be_written_stops_nobody_else(make_log: LogMaker) -> None:
    async with make_log() as log:
        with pytest.raises(TypeError):
            await log.append(A, 0, [commit("a1", reply=Done(object()))])

        assert Appended(1) == await append(log, B, "b1")


async def test_reading_can_begin_after_a_version(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1", "a2", "a3")

        assert ["a3"] == ids(await log.read(A, 2))


@pytest.mark.parametrize(("until", "expected"), [(0, []), (1, []), (2, ["a2"]), (3, ["a2", "a3"]), (9, ["a2", "a3"])])
async def test_reading_can_end_with_a_version(make_log: LogMaker, until: int, expected: list[str]) -> None:
    async with make_log() as log:
        await append(log, A, "a1", "a2", "a3")

        assert expected == ids(await log.read(A, 1, until))


async def test_after_the_last_version_there_is_nothing(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1")

        assert [] == await log.read(A, 1)


async def test_the_refusal_of_a_step_is_kept(make_log: LogMaker) -> None:
    refusal = Refusal("product.SOLD_OUT")
    async with make_log() as log:
        refused = msgspec.structs.replace(commit("a1", reply=refusal), events=())
        await log.append(A, 0, [refused])
        repeated = await log.append(A, 1, [refused])

        assert isinstance(repeated, Repeats) and refusal == repeated.known["a1"].commit.reply


async def test_a_tail_from_the_beginning_gives_everything(make_log: LogMaker) -> None:
    async with make_log() as log:
        for n in range(10):
            await append(log, f"order/{n % 3}", str(n))

        assert list(range(1, 11)) == positions(await followed(log, 0, 10))


async def test_a_tail_from_the_middle_gives_the_rest(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, *map(str, range(10)))

        assert [7, 8, 9, 10] == positions(await followed(log, 6, 10))


async def test_a_tail_waits_for_what_comes(make_log: LogMaker) -> None:
    async with make_log() as log, asyncio.TaskGroup() as tasks:
        following = tasks.create_task(followed(log, 0, 20))
        for n in range(20):
            await append(log, A, str(n))

        assert [str(n) for n in range(20)] == ids(await following)


async def test_many_tails_give_the_same(make_log: LogMaker) -> None:
    async with make_log() as log, asyncio.TaskGroup() as tasks:
        following = [tasks.create_task(followed(log, 0, 30)) for _ in range(20)]
        for n in range(30):
            await append(log, f"order/{n % 4}", str(n))

        assert [list(range(1, 31))] * 20 == [positions(await task) for task in following]


async def test_a_tail_that_fell_behind_misses_nothing(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "first")
        tail = log.tail(0)
        records = list(await anext(tail))
        await append(log, A, *map(str, range(2_500)))
        while records[-1].position < log.head:
            records += await anext(tail)
        await tail.aclose()

        assert list(range(1, 2_502)) == positions(records)


async def test_a_tail_gives_what_reading_gives(make_log: LogMaker) -> None:
    async with make_log() as log:
        await random_history(Writer(log), seed=1, commands=100)
        records = await followed(log, 0, log.head)
        streams = {record.stream for record in records}
        read = [record for stream in streams for record in await log.read(stream)]

        assert sorted(read, key=lambda record: record.position) == records


async def test_all_that_the_aggregates_do_is_replayed_to_where_they_are(make_log: LogMaker) -> None:
    async with make_log() as log:
        writer = Writer(log)
        await writer.list_product("lamp", stock=2, keys=("K1", "K2"))
        await writer.sell("lamp")
        await writer.place("order-2", buyer="bob")
        await writer.advance("order-2", (Step.PROCESS_PAYMENT, Denied("no funds")))
        streams = {Address.parse(record.stream) for record in await followed(log, 0, log.head)}
        replayed = {}
        for address in streams:
            events = [event for record in await log.read(str(address)) for event in record.commit.events]
            replayed[address] = writer.kinds[address.kind].replay(events)

        assert writer.states == replayed


async def test_without_a_snapshot_an_actor_wakes_from_its_whole_stream(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1", "a2")
        found, records = await log.wake(A, "f1")

        assert (None, ["a1", "a2"]) == (found, ids(records))


async def test_with_a_snapshot_an_actor_wakes_from_it_and_what_follows(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1", "a2")
        await kept_snapshot(log, snapshot(2, 2))
        await append(log, A, "a3")
        found, records = await log.wake(A, "f1")

        assert (snapshot(2, 2), ["a3"]) == (found, ids(records))


async def test_a_snapshot_of_other_code_is_passed_over(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1", "a2")
        await kept_snapshot(log, snapshot(2, 2, "f1"))
        found, records = await log.wake(A, "f2")

        assert (None, ["a1", "a2"]) == (found, ids(records))


async def test_the_newest_snapshot_is_kept(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1", "a2")
        log.offer_snapshot(snapshot(1, 1))
        await kept_snapshot(log, snapshot(2, 2, state=b"newer"))
        found, _ = await log.wake(A, "f1")

        assert snapshot(2, 2, state=b"newer") == found


async def test_nobody_wakes_from_the_snapshot_of_another(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1")
        await kept_snapshot(log, snapshot(1, 1))
        found, _ = await log.wake(B, "f1")

        assert found is None


async def test_a_follower_who_never_said_anything_begins_at_nothing(make_log: LogMaker) -> None:
    async with make_log() as log:
        assert 0 == await log.checkpoint("relay")


async def test_a_follower_finds_how_far_it_has_come(make_log: LogMaker) -> None:
    async with make_log() as log:
        log.offer_checkpoint("relay", 3)
        log.offer_checkpoint("relay", 5)
        log.offer_checkpoint("other", 4)
        await append(log, A, "a1")

        assert (5, 4) == (await log.checkpoint("relay"), await log.checkpoint("other"))


async def test_1000_appends_to_50_streams_at_once_leave_no_gap(make_log: LogMaker) -> None:
    async def fill(log: EventLog, stream: str) -> None:
        for version in range(20):
            assert isinstance(await log.append(stream, version, [commit(f"{stream}@{version}")]), Appended)

    async with make_log() as log:
        await asyncio.gather(*(fill(log, f"order/{n}") for n in range(50)))
        records = await followed(log, 0, 1_000)

        assert list(range(1, 1_001)) == positions(records)


async def test_of_many_who_expect_the_same_version_one_is_taken(make_log: LogMaker) -> None:
    async with make_log() as log:
        outcomes = await asyncio.gather(*(log.append(A, 0, [commit(str(n))]) for n in range(50)))

        assert [Appended(1)] + [Conflict(1)] * 49 == sorted(outcomes, key=lambda outcome: isinstance(outcome, Conflict))


async def test_metadata_that_is_not_there_is_empty(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "a1")
        (record,) = await log.read(A)

        assert Meta("", "", "", "") == record.commit.meta


async def test_what_a_command_led_to_is_found(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "command-1")

        assert (await log.read(A))[0] == await log.find(A, "command-1")


async def test_what_another_stream_was_told_is_not_found(make_log: LogMaker) -> None:
    async with make_log() as log:
        await append(log, A, "command-1")

        assert await log.find(B, "command-1") is None
