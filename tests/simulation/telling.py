"""
Who is told of what happens, over wires that we do not own: the stream of public events, and the devices of people.

What was sent arrives whether or not its sender still lives; and who took it may say nothing, or fail to, so that nobody
knows. The stream may come back without what it took last, as a server does that lost its power.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from marketd.actors.account import address_of
from marketd.actors.address import Address
from marketd.actors.notices.channels import Outcome
from marketd.actors.notices.facts import Facts
from marketd.actors.notices.notifier import FindAccount
from marketd.actors.notices.port import NoticeFailed, Sent
from marketd.actors.notices.triggers import Notice
from marketd.actors.preferences import Channel, Contact
from marketd.bus.stream import Behind, Consumers, Last, MemoryStream, Message, StreamAway, StreamError, StreamMoved

if TYPE_CHECKING:
    from tests.simulation.world import Host, World

Told = tuple[str, str]  # a notice by its id, and the device

TRIP_S_MAX: Final = 0.01
ANSWER_S_MAX: Final = 5.0
LOST_MAX: Final = 8  # of the newest messages, when the power fails
DEVICES: Final = ("phone", "desk")
FATES: Final = ("unheard", "partly", "unanswered")


class KeptStream(MemoryStream):
    """What outlives every process; each message says which one it has to follow, as with JetStream."""

    def take(self, message: Message, after: int, after_id: str | None) -> None:
        """Take one message, or raise `StreamMoved`."""
        if after != len(self.messages) or (after_id is not None and after_id != self.messages[-1].id):
            raise StreamMoved(f"{after} is not the last message")
        self.messages.append(message)


class FarStream:
    """The way of one process to the stream."""

    def __init__(self, world: World, host: Host) -> None:
        self._world, self._host, self._kept = world, host, world.stream
        self._look_again: Callable[[], None] = lambda: None

    def on_back(self, look_again: Callable[[], None]) -> None:
        self._look_again = look_again

    def come_back(self) -> None:
        """Notice that the server was away."""
        self._look_again()

    async def prepare(self, consumers: Consumers) -> None:
        await self._trip()

    async def behind(self) -> Mapping[str, Behind]:
        await self._trip()
        return await self._kept.behind()

    async def last(self) -> Last:
        await self._trip()
        return await self._kept.last()

    async def publish(self, messages: Sequence[Message], after: int) -> None:
        world = self._world
        fate = world.chance.choice(FATES) if world.by_chance(world.weather.stream) else ""
        sent = [] if fate == "unheard" else messages[: len(messages) // 2] if fate == "partly" else messages
        answered = world.loop.create_future()
        world.loop.begin(self._arrive(sent, after, answered), world.loop.nobody)
        if fate:
            await asyncio.sleep(world.chance.uniform(0, ANSWER_S_MAX))
            raise StreamAway("no answer")
        failure: StreamError | None = await answered
        if failure is not None:
            raise failure

    async def _arrive(
        self, messages: Sequence[Message], after: int, answered: asyncio.Future[StreamError | None]
    ) -> None:
        failure: StreamError | None = None
        after_id: str | None = None
        for number, message in enumerate(messages, after):
            await asyncio.sleep(self._world.chance.uniform(0, TRIP_S_MAX))
            try:
                self._kept.take(message, number, after_id)
            except StreamMoved as moved:
                failure = failure or moved
            after_id = message.id
        if not answered.done():
            answered.set_result(failure)

    async def _trip(self) -> None:
        await asyncio.sleep(self._world.chance.uniform(0, TRIP_S_MAX))
        if self._world.by_chance(self._world.weather.stream):
            raise StreamAway("no answer")


class FarDevices:
    """A channel to people: each has two devices, which take what they are sent or do not."""

    name: Channel = "push"
    has_files = False
    is_closed = False

    def __init__(self, world: World) -> None:
        self._world = world

    def copies(self, contact: Contact) -> list[str]:
        return list(DEVICES)

    async def send(self, notice: Notice, copy: str, facts: Facts) -> Outcome:
        world = self._world
        await asyncio.sleep(world.chance.uniform(0, TRIP_S_MAX))
        fails = world.by_chance(world.weather.notice)
        if not fails or world.by_chance(0.5):
            world.judge(lambda laws: laws.on_notice(notice, copy, facts.contact.user_id))
        await asyncio.sleep(world.chance.uniform(0, TRIP_S_MAX))
        if fails:
            world.unsure.add((notice.notice_id, copy))
            raise NoticeFailed("nobody knows")
        return Sent()


class FarBook:
    """What a notifier notes beside the log: it outlives a process, and may be in trouble."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def of(self, notice_id: str) -> set[str]:
        await self._trip()
        return {copy for known, copy in self._world.noted if known == notice_id}

    async def keep(self, notice_id: str, copy: str, position: int) -> None:
        self._world.unsure.add((notice_id, copy))
        await self._trip()
        self._world.unsure.discard((notice_id, copy))
        self._world.noted[notice_id, copy] = position

    async def forget(self, position: int) -> None:
        await self._trip()
        kept = {name: known for name, known in self._world.noted.items() if known > position}
        self._world.noted.clear()
        self._world.noted.update(kept)

    async def _trip(self) -> None:
        await asyncio.sleep(self._world.chance.uniform(0, TRIP_S_MAX))
        if self._world.by_chance(self._world.weather.lost_notes):
            raise NoticeFailed("the disk is in trouble")


def email_of(user_id: str) -> str:
    """Say which address somebody registers with."""
    return f"{user_id}@example.org"


def account_finder(world: World) -> FindAccount:
    """Find those who have registered, as the read model of people does."""

    async def find(user_id: str, position: int) -> Address | None:
        await asyncio.sleep(world.chance.uniform(0, TRIP_S_MAX))
        address = address_of(email_of(user_id))
        return address if str(address) in world.disk.replayed() else None

    return find
