"""Every address has one actor, which is awake when it is asked and asleep when it is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec import Struct

from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.buyer import BUYER, OWNED_BYTES, Access, CheckAccess, Grant
from marketd.actors.house import BULKY_SHARE, PLACE_BYTES, RESTING_SHARE, House, HouseLimits
from marketd.actors.product import KEY_BYTES, PRODUCT, Describe, Reservation, Reserve
from marketd.actors.runtime import ActorLimits
from marketd.bus.memory import MemoryBus
from marketd.bus.port import Answer, Busy, Envelope, NobodyServes, Undecodable
from marketd.bus.subjects import command_subject
from tests.actors.desk import description, listing
from tests.actors.watched import WatchedLog
from tests.clock import TestClock, settle

pytestmark = pytest.mark.asyncio

P1, P2, P3 = (Address("product", f"p{n}") for n in (1, 2, 3))


class Ways:
    """A house, and the way into it."""

    def __init__(self, log: WatchedLog, clock: TestClock, limits: HouseLimits, actor_limits: ActorLimits) -> None:
        self.log, self.clock = log, clock
        self.house = House([PRODUCT, BUYER], log, clock, limits, actor_limits)
        self.bus = MemoryBus(clock)
        self.count = 0

    async def ask(self, address: Address, message: Struct) -> Answer:
        self.count += 1
        envelope = Envelope(f"c{self.count}", message, "r1", self.clock.now_ms() + 10_000)
        return await self.bus.ask(command_subject(address), envelope)

    @property
    def awake(self) -> int:
        return self.house.statistics()["awake"]


@asynccontextmanager
async def opened(
    log: WatchedLog,
    clock: TestClock,
    limits: HouseLimits | None = None,
    actor_limits: ActorLimits | None = None,
) -> AsyncIterator[Ways]:
    ways = Ways(log, clock, limits or HouseLimits(), actor_limits or ActorLimits())
    async with ways.house:
        await ways.house.open(ways.bus)
        yield ways


# Who is asked.


async def test_a_command_finds_the_actor_of_its_address(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock) as ways:
        await ways.ask(P1, listing(5))
        await ways.ask(P2, listing(7))

        assert [Answer(description(5), 1), Answer(description(7), 2)] == [
            await ways.ask(P1, Describe()),
            await ways.ask(P2, Describe()),
        ]


async def test_a_command_finds_the_kind_of_its_address(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock) as ways:
        await ways.ask(P1, listing())
        ann = Address("buyer", "p1")
        await ways.ask(ann, Grant("o1", "p1", "sue"))

        assert Access(True) == (await ways.ask(ann, CheckAccess("p1"))).value


async def test_all_partitions_are_served(log: WatchedLog, clock: TestClock) -> None:
    everybody = [Address("buyer", f"b{n}") for n in range(300)]
    async with opened(log, clock) as ways:
        answers = [await ways.ask(address, CheckAccess("p1")) for address in everybody]

    assert [Answer(Access(False), 0)] * 300 == answers


@pytest.mark.parametrize("address", [Address("ghost", "p1"), Address("product", "p*"), Address("product", "x" * 65)])
async def test_there_are_no_actors_at_such_an_address(log: WatchedLog, clock: TestClock, address: Address) -> None:
    async with opened(log, clock) as ways:
        with pytest.raises(Undecodable) as caught:
            await ways.ask(address, Describe())

    assert f"there are no actors at {address}" == str(caught.value)


@pytest.mark.parametrize("key", ["a.b", "a.b.c", ""])
async def test_a_key_that_is_no_word_of_a_subject_has_no_actor(log: WatchedLog, clock: TestClock, key: str) -> None:
    async with opened(log, clock) as ways:
        with pytest.raises(Undecodable):
            await ways.house.handle(command_subject(Address("product", key)), Envelope("c1", Describe(), "r1", 2**62))


async def test_nobody_wakes_at_an_address_without_actors(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock) as ways:
        with pytest.raises(Undecodable):
            await ways.ask(Address("ghost", "p1"), Describe())

        assert 0 == ways.awake


# Many at once.


async def test_a_thousand_at_once_are_all_answered_in_order(log: WatchedLog, clock: TestClock) -> None:
    keys = tuple(f"k{n}" for n in range(1000))
    async with opened(log, clock) as ways:
        await ways.ask(P1, listing(None, keys))
        answers = await asyncio.gather(*(ways.ask(P1, Reserve(f"o{n}")) for n in range(1000)))

    assert [Answer(Reservation(key), n) for n, key in enumerate(keys, 2)] == answers


async def test_a_thousand_at_once_need_few_appends(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, actor_limits=ActorLimits(turn_messages_max=200)) as ways:
        await ways.ask(P1, listing())
        await asyncio.gather(*(ways.ask(P1, Reserve(f"o{n}")) for n in range(1000)))

    assert [1, 200, 200, 200, 200, 200] == log.appends


async def test_who_comes_while_a_turn_is_taken_is_in_the_next(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock) as ways, asyncio.TaskGroup() as tasks:
        await ways.ask(P1, listing())
        log.gate.clear()
        tasks.create_task(ways.ask(P1, Reserve("o1")))
        await settle()
        tasks.create_task(ways.ask(P1, Reserve("o2")))
        tasks.create_task(ways.ask(P1, Reserve("o3")))
        await settle()
        log.gate.set()

    assert [1, 1, 2] == log.appends


async def test_one_actor_does_not_wait_for_another(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock) as ways, asyncio.TaskGroup() as tasks:
        await ways.ask(P2, listing(3))
        log.gate.clear()
        tasks.create_task(ways.ask(P1, listing()))
        await settle()

        assert Answer(description(3), 1) == await ways.ask(P2, Describe())
        log.gate.set()


async def test_a_question_to_who_has_nothing_else_to_do_takes_no_turn(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock) as ways:
        await ways.ask(P1, listing(3))
        turns = len(ways.house.kinds()["product"].turn_times)

        assert Answer(description(3), 1) == await ways.ask(P1, Describe())
        assert turns == len(ways.house.kinds()["product"].turn_times)


async def test_a_question_waits_for_what_was_asked_before(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock) as ways, asyncio.TaskGroup() as tasks:
        await ways.ask(P1, listing(3))
        log.gate.clear()
        tasks.create_task(ways.ask(P1, Reserve("o1")))
        await settle()
        asked = tasks.create_task(ways.ask(P1, Describe()))
        await settle()
        log.gate.set()

    assert 2 == asked.result().position


async def test_a_full_mailbox_is_the_business_of_its_actor_alone(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, actor_limits=ActorLimits(mailbox_depth_max=1)) as ways, asyncio.TaskGroup() as tasks:
        log.gate.clear()
        tasks.create_task(ways.ask(P1, listing()))
        await settle()
        tasks.create_task(ways.ask(P1, Reserve("o1")))
        await settle()
        with pytest.raises(Busy):
            await ways.ask(P1, Reserve("o2"))
        log.gate.set()

        assert Answer(Access(False), 0) == await ways.ask(Address("buyer", "ann"), CheckAccess("p1"))


async def test_the_turns_in_hand_are_finished_at_the_end(log: WatchedLog, clock: TestClock) -> None:
    async with asyncio.TaskGroup() as tasks, opened(log, clock) as ways:
        log.gate.clear()
        asked = tasks.create_task(ways.ask(P1, listing()))
        await settle()
        log.gate.set()

    assert Answer(None, 1) == asked.result()


# Who is awake.


async def test_whom_nobody_asks_is_not_awake(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock) as ways:
        assert 0 == ways.awake


async def test_whom_was_asked_stays_awake(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock) as ways:
        await ways.ask(P1, listing())
        await ways.ask(P1, Describe())

    assert ["product/p1"] == log.woken


async def test_there_are_never_more_awake_than_the_limit(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(awake_max=2)) as ways:
        for address in (P1, P2, P3):
            await ways.ask(address, listing())

        assert 2 == ways.awake


async def test_who_has_collected_much_takes_several_places(log: WatchedLog, clock: TestClock) -> None:
    ann, many = Address("buyer", "ann"), PLACE_BYTES // OWNED_BYTES
    async with opened(log, clock, HouseLimits(awake_max=2 * BULKY_SHARE)) as ways:
        for n in range(2 * BULKY_SHARE - 1):
            await ways.ask(Address("product", f"p{n}"), listing())
        places = []
        for n in range(3 * many):
            await ways.ask(ann, Grant(f"o{n}", f"p{n}", "sue"))
            await settle()
            places.append(2 * BULKY_SHARE - ways.awake + 1)  # who makes room for ann takes one each
        await ways.ask(Address("product", "new"), listing())
        statistics = ways.house.statistics()

    assert [1] * (many - 1) + [2] * many + [3] * (many + 1) == places  # and no more: that is the largest share
    assert {"awake": 2 * BULKY_SHARE - 2, "places": 2 * BULKY_SHARE} == {k: statistics[k] for k in ("awake", "places")}


async def test_who_sleeps_gives_all_places_back(log: WatchedLog, clock: TestClock) -> None:
    keys = tuple(f"k{n}" for n in range(PLACE_BYTES // KEY_BYTES))
    async with opened(log, clock, HouseLimits(awake_max=4 * BULKY_SHARE, idle_s=1, sweep_s=1)) as ways:
        await ways.ask(P1, listing(None, keys))
        before = ways.house.statistics()["places"]
        await clock.advance(3)

        assert (3, 0) == (before, ways.house.statistics()["places"])  # one for the keys, one for their digests


async def test_who_was_asked_longest_ago_sleeps_first(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(awake_max=2)) as ways:
        for address in (P1, P2, P1, P3, P1, P2):
            await ways.ask(address, listing())

    assert ["product/p1", "product/p2", "product/p3", "product/p2"] == log.woken


async def test_before_anybody_else_those_sleep_of_whom_no_more_is_expected(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(awake_max=2)) as ways:
        await ways.ask(P1, listing())
        with pytest.raises(Refused):
            await ways.ask(P2, Describe())  # there is no such product
        await ways.ask(P3, listing())
        await ways.ask(P1, Describe())

    assert ["product/p1", "product/p2", "product/p3"] == log.woken


async def test_who_was_at_rest_stays_awake_once_there_is_more(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(awake_max=2)) as ways:
        with pytest.raises(Refused):
            await ways.ask(P1, Describe())
        for address in (P2, P1, P3, P1):
            await ways.ask(address, listing())

    assert ["product/p1", "product/p2", "product/p3"] == log.woken


async def test_of_those_at_rest_some_stay_awake(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(awake_max=RESTING_SHARE)) as ways:
        for n in range(RESTING_SHARE):
            await ways.ask(Address("product", f"busy{n}"), listing())
        for address in (P1, P2, P2):
            with pytest.raises(Refused):
                await ways.ask(address, Describe())  # there are no such products

    assert ["product/p1", "product/p2"] == log.woken[RESTING_SHARE:]


async def test_of_those_at_rest_who_was_asked_longest_ago_sleeps_first(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(awake_max=2)) as ways:
        for address in (P1, P2, P1, P3, P1):
            with pytest.raises(Refused):
                await ways.ask(address, Describe())  # there are no such products

    assert ["product/p1", "product/p2", "product/p3"] == log.woken


async def test_where_all_at_rest_are_busy_another_sleeps(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(awake_max=2)) as ways:
        await ways.ask(P1, listing())
        with pytest.raises(Refused):
            await ways.ask(P2, Describe())
        log.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ways.ask(P2, listing()))
            await settle()
            tasks.create_task(ways.ask(P3, listing()))
            await settle()
            awake = ways.awake
            log.gate.set()

    assert 2 == awake


async def test_sleeping_loses_nothing(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(awake_max=1)) as ways:
        await ways.ask(P1, listing(5))
        await ways.ask(P2, listing(7))

        assert Answer(description(5), 1) == await ways.ask(P1, Describe())


async def test_who_is_busy_does_not_sleep(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(awake_max=1)) as ways:
        async with asyncio.TaskGroup() as tasks:
            log.gate.clear()
            tasks.create_task(ways.ask(P1, listing()))
            await settle()
            await ways.ask(Address("buyer", "ann"), CheckAccess("p1"))
            log.gate.set()
        await ways.ask(P1, Describe())

    assert ["product/p1", "buyer/ann"] == log.woken


async def test_who_is_awake_beyond_the_places_sleeps_when_its_work_is_done(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(awake_max=2)) as ways:
        log.gate.clear()
        asked = [asyncio.create_task(ways.ask(Address("product", f"p{n}"), listing())) for n in range(20)]
        await settle()
        in_between = ways.awake
        log.gate.set()
        await asyncio.gather(*asked)
        await settle()

        assert (20, 2) == (in_between, ways.awake)


async def test_who_comes_when_the_house_closes_is_told_that_nobody_serves(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits()) as ways:
        await ways.ask(P1, listing())
        await ways.house.__aexit__(None, None, None)
        with pytest.raises(NobodyServes):
            await ways.house.handle(command_subject(P1), Envelope("c0", Describe(), "r1", clock.now_ms() + 10_000))


async def test_when_all_are_busy_one_more_wakes_all_the_same(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(awake_max=1)) as ways, asyncio.TaskGroup() as tasks:
        log.gate.clear()
        for address in (P1, P2, P3):
            tasks.create_task(ways.ask(address, listing()))
        await settle()
        awake = ways.awake
        log.gate.set()

    assert 3 == awake


async def test_who_is_idle_for_long_sleeps(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(idle_s=300, sweep_s=30)) as ways:
        await ways.ask(P1, listing())
        await clock.advance(331)

        assert 0 == ways.awake


async def test_who_was_asked_of_late_does_not_sleep(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(idle_s=300, sweep_s=30)) as ways:
        await ways.ask(P1, listing())
        await clock.advance(200)
        await ways.ask(P1, Describe())
        await clock.advance(131)

        assert 1 == ways.awake


async def test_who_is_busy_for_long_does_not_sleep(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock, HouseLimits(idle_s=300, sweep_s=30)) as ways, asyncio.TaskGroup() as tasks:
        log.gate.clear()
        tasks.create_task(ways.ask(P1, listing()))
        await clock.advance(1000)
        awake = ways.awake
        log.gate.set()

    assert 1 == awake


async def test_statistics_tell_what_waits(log: WatchedLog, clock: TestClock) -> None:
    async with opened(log, clock) as ways, asyncio.TaskGroup() as tasks:
        log.gate.clear()
        for address in (P1, P2):
            tasks.create_task(ways.ask(address, listing()))
        await settle()
        for address in (P1, P1, P2):
            tasks.create_task(ways.ask(address, Describe()))
        await settle()
        statistics = ways.house.statistics()
        log.gate.set()

    assert {"awake": 2, "places": 2, "mailbox_depth": 3, "mailbox_depth_deepest": 2} == statistics
