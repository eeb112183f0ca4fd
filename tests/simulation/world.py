"""
One run: a seed, and everything that follows from it.

The processes of the service, made of the real parts on memory twins; what outlives them (the disk, the processor's
ledger); the network between; and a clock that nobody but the loop moves.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

from marketd.actors.aggregate import Refused
from marketd.actors.fulfilment import Fulfilment, FulfilmentLimits
from marketd.actors.house import House, HouseLimits
from marketd.actors.notices.courier import Courier
from marketd.actors.notices.notifier import Notifier, NotifierLimits
from marketd.actors.notices.signing import WebhookSigner
from marketd.actors.payments.memory import MemoryProcessor
from marketd.actors.runtime import ActorLimits
from marketd.actors.watch import OrderWatch
from marketd.bus.memory import attend
from marketd.bus.port import Answer, BusError
from marketd.bus.relay import Relay, RelayLimits
from marketd.config.codecs import AGGREGATES, MODELS, log_codec, message_codec
from marketd.config.webhooking import teller
from marketd.storage.deliveries import Deliveries
from marketd.storage.log import Recorded
from marketd.storage.projector import Projector
from tests.simulation.disk import Disk, HostLog
from tests.simulation.hooks import LIMITS, FarLine
from tests.simulation.laws import Broken, Laws
from tests.simulation.loop import Owner, SeededLoop
from tests.simulation.network import SimulatedBus
from tests.simulation.outside import FarNotices, FarProcessor
from tests.simulation.people import People
from tests.simulation.shelves import Shelves
from tests.simulation.telling import LOST_MAX, FarBook, FarDevices, FarStream, KeptStream, Told, account_finder
from tests.simulation.weather import CALM, CALM_S, Weather, drawn

SOURCE: Final = "/shop"
BOOKS: Final = Path("webhooks.db")
START_MS: Final = 1_700_000_000_000
TRIP_S_MAX: Final = 0.005  # of a message, when nothing is wrong
RESTART_S_MAX: Final = 5.0
OVERLAP_S_MAX: Final = 10.0
CLAIM_S: Final = 60.0
PATIENCES_S: Final = (5, 60)
QUIET_CHECK_S: Final = 10.0
# What is not at its end so long after the last fault never will be. A deadline is a time of day: where the clock was
# set back while its message was on the way, whoever got no answer waits for as much longer; so does a webhook whose
# next try is five hours off already.
END_S_MAX: Final = 43_200.0

MESSAGES: Final = message_codec()
RECORDS: Final = log_codec()


class Limits(NamedTuple):
    """The settings of one run: small ones, where a limit is met, and the usual ones."""

    house: HouseLimits
    actor: ActorLimits
    fulfilment: FulfilmentLimits
    relay: RelayLimits
    notifier: NotifierLimits


class SimulatedClock:
    """The loop's time, and a wall clock that may be set."""

    def __init__(self, loop: SeededLoop, chance: Random) -> None:
        self._loop, self._chance = loop, chance
        self.set_by_ms = 0

    def now_ms(self) -> int:
        return START_MS + int(self._loop.time() * 1000) + self.set_by_ms

    def monotonic_s(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def random_bytes(self, count: int) -> bytes:
        return self._chance.randbytes(count)


class Host(Owner):
    """One process of the service."""

    def __init__(self, world: World, number: int, shelves: Shelves) -> None:
        super().__init__()
        self.world, self.number, self.shelves = world, number, shelves
        self.is_serving = False
        log, clock, limits = HostLog(world, self), world.clock, world.limits
        self.bus = SimulatedBus(world, MESSAGES)
        self.house = House(AGGREGATES, log, clock, limits.house, limits.actor)
        self.watch = OrderWatch(self.bus, log, clock)
        self.fulfilment = Fulfilment(self.bus, log, FarProcessor(world), FarNotices(world), clock, limits.fulfilment)
        self.projector = Projector(shelves.path, log, MODELS, files=shelves.opener(self))
        self.stream = FarStream(world, self)
        self.relay = Relay(log, self.stream, SOURCE, partial(self.stream.prepare, {}), clock, limits.relay)
        self.deliveries = Deliveries(BOOKS, files=world.books.opener(self))
        tell, line, signer = teller(log, SOURCE), FarLine(world), WebhookSigner(bytes(32))
        self.courier = Courier(self.bus, log, tell, self.deliveries, line, signer, clock, LIMITS)
        finding, devices = account_finder(world), FarDevices(world)
        self.notifier = Notifier(self.bus, log, devices, FarBook(world), finding, clock, limits.notifier)

    async def run(self) -> None:
        """Run until it dies."""
        async with AsyncExitStack() as stack:
            if self.world.has_read_models:
                await stack.enter_async_context(self.projector)
                await self.projector.open(self.bus)
            if self.world.has_hooks:
                await self.courier.open()
            await stack.enter_async_context(self.house)
            await self.house.open(self.bus)
            await self.watch.open()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.fulfilment.run())
                tasks.create_task(self.watch.run())
                if self.world.has_read_models:
                    tasks.create_task(self.projector.run())
                if self.world.has_told:
                    tasks.create_task(self.relay.run())
                    tasks.create_task(self.notifier.run())
                if self.world.has_hooks:
                    tasks.create_task(self.courier.run())
                self.is_serving = True

    async def attend(self, subject: str, packed: bytes, answered: asyncio.Future[bytes]) -> None:
        """Answer one message that arrived, as the NATS carrier does: until its deadline."""
        envelope = MESSAGES.unpack(packed)
        handler = self.bus.handler_of(subject)
        assert handler is not None, f"nobody serves {subject}"
        left_s = (envelope.deadline - self.world.clock.now_ms()) / 1000
        if left_s <= 0:
            return
        outcome: Answer | Refused | BusError
        try:
            async with asyncio.timeout(left_s):
                outcome = await attend(handler, subject, envelope, self.bus.tally)
            reply = MESSAGES.pack_answer(outcome)
        except TimeoutError:
            return
        except (Refused, BusError) as error:
            outcome, reply = error, MESSAGES.pack_error(error)
        self.world.judge(lambda laws: laws.on_answer(subject, envelope, outcome))
        self.world.note("answer", subject, envelope.id, type(outcome).__name__)
        for delay_s in self.world.copies():
            self.world.loop.call_later(delay_s, _settle, answered, reply)

    @property
    def is_quiet(self) -> bool:
        """Say whether it has nothing left to do."""
        head = self.world.disk.head
        read = self.projector.position if self.world.has_read_models else head
        waiting = (
            self.watch.statistics()["waiting"] + self.house.statistics()["mailbox_depth"] + self.fulfilment.waiting
        )
        is_over = self.fulfilment.statistics() == {"position": head, "open_orders": 0, "claims": 0}
        if self.world.has_told:
            notices = self.notifier.statistics()
            waiting += self.relay.statistics()["behind"] + head - notices["position"] + notices["waiting"]
        if self.world.has_hooks:
            waiting += head - self.courier.heard + self.courier.statistics()["rounds"]
        return is_over and read == head and not waiting


class Hearer(logging.Handler):
    """Shows each line of the service's own log to the laws."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def handle(self, record: logging.LogRecord) -> bool:
        self._world.judge(lambda laws: laws.on_line(record))
        return True


class World:
    """Everything there is."""

    def __init__(self, seed: int) -> None:
        self.seed, self.chance = seed, Random(f"world {seed}")
        afar = Random(f"afar {seed}")
        self.weather: Weather = drawn(self.chance, afar)
        self.limits = _limits(self.chance, afar)
        self.has_read_models = self.by_chance(0.3)
        self.has_told = afar.random() < 0.4
        self.has_hooks = afar.random() < 0.3 and not self.weather.overlap  # which need a file to themselves
        self.loop = SeededLoop(seed, self.weather.disorder)
        self.clock = SimulatedClock(self.loop, self.chance)
        self.log_codec = RECORDS
        self.disk, self.bank, self.told = Disk(self), MemoryProcessor(), set[str]()
        self.stream, self.noted, self.unsure = KeptStream(), dict[Told, int](), set[Told]()
        self.shelves, self.books = Shelves(self), Shelves(self)
        self.is_bank_down = False
        self.laws = Laws(self)
        self.people = People(self, SimulatedBus(self, MESSAGES))
        self.hosts: list[Host] = []
        self.strikes = Owner()
        self.has_overlaps = self.weather.overlap > 0
        self.started = 0
        self.crashes: list[float] = []
        self.trace: list[tuple[Any, ...]] = []
        self.broken: Broken | None = None

    def run(self) -> None:
        """Live through it; what was broken is in `broken`."""
        with self._listening():
            try:
                self.loop.run(self._live())
            except Broken as broken:
                self.broken = self.broken or broken
            except Exception as error:
                self.broken = self.broken or Broken("nothing fails in a way that nobody foresaw", repr(error))
            if self.broken is None and self.loop.mishaps:
                self.broken = Broken("no callback fails", self.loop.mishaps[0])
            self.loop.bury(self.strikes, *self.hosts)

    def digest(self) -> str:
        """Name this run by everything that happened in it."""
        return blake2b(repr((self.trace, self.disk.records)).encode(), digest_size=16).hexdigest()

    # What everybody asks of the world.

    def by_chance(self, probability: float) -> bool:
        """Say whether it happens this time."""
        return probability > 0 and self.chance.random() < probability

    def copies(self) -> list[float]:
        """Say how often a message arrives, and after what time each."""
        weather = self.weather
        if self.by_chance(weather.drop):
            return []
        count = 2 if self.by_chance(weather.double) else 1
        uniform = self.chance.uniform
        return [uniform(0.0001, weather.slow_s if self.by_chance(weather.slow) else TRIP_S_MAX) for _ in range(count)]

    def arrive(self, subject: str, packed: bytes, answered: asyncio.Future[bytes]) -> None:
        """Hand a message to one of those that serve; where there is none it is lost."""
        serving = [host for host in self.hosts if host.is_serving]
        if serving:
            host = self.chance.choice(serving)
            self.loop.begin(host.attend(subject, packed, answered), host)

    def note(self, *facts: Any) -> None:
        """Write down what happened."""
        self.trace.append((round(self.loop.time(), 6), *facts))

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Hear what the service writes into its own log."""
        log, hearer = logging.getLogger("marketd"), Hearer(self)
        log.addHandler(hearer)
        try:
            yield
        finally:
            log.removeHandler(hearer)

    def judge(self, question: Callable[[Laws], None]) -> None:
        """Hold something against the laws; where one is broken, everything stops."""
        try:
            question(self.laws)
        except Broken as broken:
            self.note("broken", str(broken))
            self.broken = self.broken or broken
            self.loop.halt()

    def on_taken(self, records: Sequence[Recorded]) -> None:
        """See what the disk has taken."""
        for record in records:
            self.note("record", record.position, record.stream, record.version, record.commit.command_id)
            self.judge(partial(Laws.on_record, record=record))

    # What befalls the hosts.

    def start(self) -> None:
        """Start a process; one beside another has a file of its own to make read models in."""
        self.started += 1
        if self.hosts:
            self.shelves = Shelves(self)
        host = Host(self, self.started, self.shelves)
        self.hosts.append(host)
        self.note("start", host.number)
        self.loop.begin(self._watch_over(host), host)

    def crash(self, host: Host) -> None:
        """Let a process die where it stands, and another one take its place after a while."""
        if host.is_alive:
            self.note("crash", host.number)
            self.crashes.append(self.loop.time())
            self.hosts.remove(host)
            host.is_serving = False
            host.die()
            self.loop.call_later(self.chance.uniform(0.1, RESTART_S_MAX), self._start_if_none)

    def _start_if_none(self) -> None:
        if not self.hosts:
            self.start()

    async def _watch_over(self, host: Host) -> None:
        try:
            await host.run()
        except Exception as error:
            why = f"host {host.number}: {error!r}"
            self.judge(lambda laws: laws.on_failure(why))

    # The course of a run.

    async def _live(self) -> None:
        self.start()
        weather = self.weather
        for every_s, deed in (
            (weather.crash_every_s, self._crash_one),
            (weather.jump_every_s, self._set_clock),
            (weather.bank_down_every_s, self._close_bank),
            (weather.stream_lost_every_s, self._lose_events),
        ):
            if every_s:
                self.loop.begin(self._strike(every_s, deed), self.strikes)
        crowd = [self.loop.begin(person, self.loop.nobody) for person in self.people.everybody()]
        await asyncio.sleep(CALM_S)
        self.strikes.die()
        self.weather, self.is_bank_down = CALM, False
        for person in crowd:
            await person
        for errand in self.people.errands:
            await errand
        await self._wait_quiet()
        await self.people.look_at_all()
        self.laws.check_end()

    async def _strike(self, every_s: float, deed: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / every_s))
            deed()

    def _crash_one(self) -> None:
        if len(self.hosts) != 1:
            return
        (host,) = self.hosts
        if self.by_chance(self.weather.overlap):
            self.start()
            self.loop.call_later(self.chance.uniform(0, OVERLAP_S_MAX), self.crash, host)
        else:
            self.crash(host)

    def _set_clock(self) -> None:
        jump_ms = int(self.chance.uniform(-1, 1) * self.weather.jump_s * 1000)
        self.note("jump", jump_ms)
        self.clock.set_by_ms += jump_ms

    def _close_bank(self) -> None:
        self.is_bank_down = True
        self.note("bank", "down")
        self.loop.call_later(self.weather.bank_down_s, self._open_bank)

    def _open_bank(self) -> None:
        self.is_bank_down = False

    def _lose_events(self) -> None:
        """Let the stream's server lose its power."""
        self.stream.lose(self.chance.randint(0, LOST_MAX))
        self.note("stream", len(self.stream.messages))
        for host in self.hosts:
            host.stream.come_back()

    async def _wait_quiet(self) -> None:
        await asyncio.sleep(QUIET_CHECK_S)  # who has just lost something has to notice it first
        end_s = self.loop.time() + END_S_MAX
        while not (len(self.hosts) == 1 and self.hosts[0].is_serving and self.hosts[0].is_quiet):
            if self.loop.time() > end_s:
                raise Broken("5 everything comes to an end", ", ".join(self.laws.open_orders()) or "somebody waits")
            await asyncio.sleep(QUIET_CHECK_S)


def _limits(chance: Random, afar: Random) -> Limits:
    return Limits(
        HouseLimits(chance.choice([2, 5, 5_000]), chance.choice([1, 300]), chance.choice([1, 30])),
        ActorLimits(
            mailbox_depth_max=chance.choice([2, 4_096]),
            turn_messages_max=chance.choice([1, 3, 128]),
            redecide_max=chance.choice([1, 4]),
            snapshot_every=chance.choice([1, 3, 100]),
        ),
        FulfilmentLimits(
            retry_s=0.2,
            retry_s_max=8,
            patience_s=chance.choice(PATIENCES_S),
            claim_s=CLAIM_S,
            orders_max=chance.choice([1, 256]),
            checkpoint_every=chance.choice([1, 20]),
        ),
        RelayLimits(window_events_max=afar.choice([1, 3, 128]), checkpoint_every=afar.choice([1, 20])),
        NotifierLimits(
            retry_s=0.2,
            retry_s_max=8,
            reply_wait_s_max=afar.choice([1, 10]),
            at_once_max=afar.choice([1, 4]),
            waiting_max=afar.choice([1, 1_000]),
            second_max=afar.choice([5, 1_000]),
            checkpoint_every=afar.choice([1, 20]),
        ),
    )


def _settle(answered: asyncio.Future[bytes], reply: bytes) -> None:
    if not answered.done():
        answered.set_result(reply)
