"""Who follows the log begins after a checkpoint that lies before everything that is open."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from marketd.actors import product
from marketd.storage.follower import Follower
from marketd.storage.log import Commit, Done, Meta, Recorded
from tests.actors.watched import WatchedLog
from tests.clock import settle
from tests.storage.history import append

pytestmark = pytest.mark.asyncio

NAME = "somebody"


async def log_of(count: int) -> WatchedLog:
    log = WatchedLog()
    for number in range(1, count + 1):
        await append(log, f"account/a{number}", f"c{number}")
    return log


@asynccontextmanager
async def following(follower: Follower, count: int) -> AsyncIterator[list[Recorded]]:
    """Hear so many records; while the block lasts the last one is not taken in."""
    heard: list[Recorded] = []
    async with aclosing(follower.records()) as records:
        async for record in records:
            heard.append(record)
            if len(heard) == count:
                yield heard
                break


def follower_of(log: WatchedLog, checkpoint_every: int = 1) -> Follower:
    return Follower(log, NAME, checkpoint_every=checkpoint_every)


async def test_it_hears_every_record_in_order() -> None:
    async with following(follower_of(await log_of(3)), 3) as heard:
        assert [1, 2, 3] == [record.position for record in heard]


async def test_it_begins_after_its_checkpoint() -> None:
    log = await log_of(3)
    log.offer_checkpoint(NAME, 2)

    async with following(follower_of(log), 1) as heard:
        assert [3] == [record.position for record in heard]


async def test_it_passes_over_records_that_tell_it_nothing() -> None:
    log = await log_of(2)
    await log.append("product/p1", 0, [Commit("c3", 3, (product.Withdrawn(3),), Done(), Meta())])
    follower = Follower(log, NAME, checkpoint_every=1, telling={product.Withdrawn})
    async with following(follower, 1) as heard:
        assert ([3], 2) == ([record.position for record in heard], follower.heard)


async def test_what_is_passed_over_is_heard() -> None:
    log = await log_of(5)
    follower = Follower(log, NAME, checkpoint_every=1, telling={product.Withdrawn})
    records = follower.records()
    hearing = asyncio.ensure_future(anext(records))
    await settle()
    hearing.cancel()
    await asyncio.wait([hearing])

    assert (5, 5) == (follower.heard, log.checkpoints[-1])


async def test_a_record_is_heard_when_the_next_one_is_asked_for() -> None:
    follower = follower_of(await log_of(3))
    async with following(follower, 2):
        assert 1 == follower.heard


async def test_the_checkpoint_is_what_was_heard_where_nothing_is_open() -> None:
    follower = follower_of(await log_of(3))
    async with following(follower, 3):
        assert 2 == follower.checkpoint


async def test_the_checkpoint_lies_before_the_oldest_that_is_open() -> None:
    follower = follower_of(await log_of(4))
    async with following(follower, 4) as heard:
        follower.take_up("b", heard[1])
        follower.take_up("c", heard[2])

        assert 1 == follower.checkpoint


async def test_the_age_of_the_oldest_is_that_of_the_record_it_was_first_heard_of_by() -> None:
    follower = follower_of(await log_of(4))
    async with following(follower, 4) as heard:
        ages = [follower.oldest_at]
        follower.take_up("b", heard[1])
        follower.take_up("c", heard[2])
        follower.take_up("b", heard[3])
        ages.append(follower.oldest_at)
        follower.close("b")

        assert [None, heard[1].commit.at, heard[2].commit.at] == [*ages, follower.oldest_at]


async def test_the_oldest_is_known_by_the_record_it_was_first_heard_of_by() -> None:
    follower = follower_of(await log_of(4))
    async with following(follower, 4) as heard:
        follower.take_up("b", heard[1])
        follower.take_up("c", heard[2])
        follower.take_up("b", heard[3])

        assert (1, 2, 4) == (follower.checkpoint, follower.open["b"].first, follower.open["b"].newest)


async def test_what_is_closed_holds_the_checkpoint_no_longer() -> None:
    follower = follower_of(await log_of(4))
    async with following(follower, 4) as heard:
        follower.take_up("b", heard[1])
        follower.take_up("c", heard[2])
        follower.close("b")

        assert (2, ["c"]) == (follower.checkpoint, list(follower.open))


async def test_what_is_taken_up_again_after_its_end_begins_anew() -> None:
    follower = follower_of(await log_of(4))
    async with following(follower, 4) as heard:
        follower.take_up("b", heard[1])
        follower.take_up("c", heard[2])
        follower.close("b")
        follower.take_up("b", heard[3])

        assert ["c", "b"] == list(follower.open)


async def test_the_checkpoint_is_noted_after_each_batch() -> None:
    log = await log_of(3)
    follower = follower_of(log)
    async with following(follower, 3):
        pass
    async with aclosing(follower.records()) as records:
        for _ in range(3):
            await anext(records)
        await append(log, "account/a4", "c4")
        await anext(records)

    assert [3] == log.checkpoints


async def test_a_checkpoint_is_not_noted_for_few_records() -> None:
    log = await log_of(3)
    follower = follower_of(log, checkpoint_every=3)
    async with following(follower, 3):
        follower.note()

    assert [] == log.checkpoints


async def test_a_checkpoint_is_noted_for_enough_records() -> None:
    log = await log_of(3)
    follower = follower_of(log, checkpoint_every=2)
    async with following(follower, 3):
        follower.note()

    assert [2] == log.checkpoints


async def test_a_work_knows_what_caused_the_newest() -> None:
    follower = follower_of(await log_of(1))
    async with following(follower, 1) as heard:
        follower.take_up("a", heard[0])

        assert heard[0].commit.meta == follower.open["a"].meta
