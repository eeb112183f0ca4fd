"""
Sees to it that people are told what became of their orders and webhooks, over one channel.

The one rule: only the log starts a notice. A record that makes one due opens it here; it is closed when everybody who
is to get it over this channel has got it, or it can't be or need not be told any more. The checkpoint lies before the
first that is open, so a crash or a dead mail server loses none; what went out after the checkpoint is on record in
`sent`, so it does not go out again. A crash between sending and noting repeats one, under the same id.

Orders wait for none of this: the saga's NotifyBuyer has done its part when its record is in the log. And they do not
become slower: notices are looked at no faster than `second_max`, the rest waits in the log.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Protocol

from msgspec import Struct

from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.notices.channels import Channel
from marketd.actors.notices.facts import Facts, gather
from marketd.actors.notices.port import Gone, NoticeFailed, Rejected, Sent
from marketd.actors.notices.triggers import TELLING, Notice, due
from marketd.actors.preferences import EndPush
from marketd.bus.breaker import BreakerOpen
from marketd.bus.port import Bus, BusError
from marketd.bus.subjects import command_subject
from marketd.clock import Clock
from marketd.rests import BackOff
from marketd.storage.follower import Follower, because_of
from marketd.storage.log import EventLog, Recorded
from marketd.trace import doing_for

log = logging.getLogger("marketd.notices")


class NotifierLimits(Struct, frozen=True):
    """How long and how often a notice is tried, how many at once, and how many may wait in memory; seconds."""

    retry_s: float = 1
    retry_s_max: float = 60
    patience_s: float = 259_200
    reply_wait_s_max: float = 10
    at_once_max: int = 4
    waiting_max: int = 1_000
    second_max: float = 10
    checkpoint_every: int = 256


class SentNotices(Protocol):
    """Remembers what went out after the checkpoint; raises `NoticeFailed`."""

    async def of(self, notice_id: str) -> set[str]:
        """Say who has got it."""
        ...

    async def keep(self, notice_id: str, copy: str, position: int) -> None:
        """Note that somebody has got what the record at a position made due."""
        ...

    async def forget(self, position: int) -> None:
        """Strike out what was made due up to a position."""
        ...


# Finds the account of a user id, with read models that have come to a position; None if they know none.
FindAccount = Callable[[str, int], Awaitable[Address | None]]


class Notifier:
    """Follows the log; run it for as long as the service lives."""

    def __init__(
        self,
        bus: Bus,
        events: EventLog,
        channel: Channel,
        sent: SentNotices,
        find_account: FindAccount,
        clock: Clock,
        limits: NotifierLimits,
    ) -> None:
        self._bus, self._log, self._channel, self._sent = bus, events, channel, sent
        self._find_account, self._clock, self._limits = find_account, clock, limits
        self._checkpoint = f"notices.{channel.name}"
        self._follower = Follower(
            events, self._checkpoint, checkpoint_every=limits.checkpoint_every, clock=clock, telling=TELLING
        )
        self._known = 0  # up to here a record may have been heard by another process before
        self._room = asyncio.Semaphore(limits.waiting_max)
        self._hands = asyncio.Semaphore(limits.at_once_max)
        self._turn_s = clock.monotonic_s() - 1
        self._ends: Counter[str] = Counter()

    def statistics(self) -> dict[str, int]:
        """How far the log was heard, how many notices wait, and how those since the start have ended."""
        ends = {"sent": self._ends["sent"], "rejected": self._ends["rejected"], "given_up": self._ends["given up"]}
        return {"position": self._follower.heard, "waiting": len(self._follower.open), **ends}

    @property
    def oldest_at(self) -> int | None:
        """When what is in hand longest was begun, in ms since the epoch; None where nothing is."""
        return self._follower.oldest_at

    async def run(self) -> None:
        """Follow the log for ever."""
        self._known = self._log.head
        await self._forget()
        async with asyncio.TaskGroup() as tasks, aclosing(self._follower.records()) as records:
            async for record in records:
                await self._hear(record, tasks)

    async def _hear(self, record: Recorded, tasks: asyncio.TaskGroup) -> None:
        if self._is_over(record.commit.at):  # then it was over before we were ever there
            return
        for notice in due(record):
            await self._room.acquire()  # until then the log stays unread: it keeps what is due better than we do
            self._follower.take_up(notice.notice_id, record)
            tasks.create_task(self._see_to(notice))

    def _is_over(self, at: int) -> bool:
        return at + self._limits.patience_s * 1000 <= self._clock.now_ms()

    async def _see_to(self, notice: Notice) -> None:
        """Try until it has come to an end."""
        waits, had = BackOff(self._clock, self._limits.retry_s, self._limits.retry_s_max), set[str]()
        with doing_for(self._follower.open[notice.notice_id].cause):
            while not await self._try(notice, had):
                await waits.rest()
        self._follower.close(notice.notice_id)
        self._room.release()
        self._follower.note()

    async def _try(self, notice: Notice, had: set[str]) -> bool:
        """Give back whether it has come to an end; not even ask where nobody is let through."""
        try:
            async with self._hands:
                if self._is_over(notice.at):
                    self._end(notice, "given up")
                    return True
                if self._channel.is_closed:
                    return False
                await self._wait_turn()
                return await self._tell(notice, had)
        except BreakerOpen:  # somebody else is trying whether they are back
            pass
        except (NoticeFailed, BusError, Refused) as error:  # refused by who has not heard yet of what we have read
            log.warning("%s: the notice %s waits: %s", notice.address, self._name(notice), error)
        except Exception:  # a defect in one notice must not stop the others; it is over when patience ends
            log.exception("%s: the notice %s crashed", notice.address, self._name(notice))
        return False

    async def _wait_turn(self) -> None:
        """Wait as long as it takes for no more than `second_max` to be looked at in a second."""
        now_s = self._clock.monotonic_s()
        self._turn_s = max(self._turn_s, now_s - 1) + 1 / self._limits.second_max
        if self._turn_s > now_s:
            await self._clock.sleep(self._turn_s - now_s)

    async def _tell(self, notice: Notice, had: set[str]) -> bool:
        """Tell everybody who is to be told and has not been; give back whether that is all of them."""
        facts = await self._facts(notice)
        if facts is None:
            return True
        copies = self._channel.copies(facts.contact)
        if copies and self._follower.open[notice.notice_id].first <= self._known:
            had |= await self._sent.of(notice.notice_id)
        failure: NoticeFailed | BreakerOpen | None = None
        for copy in copies:
            try:
                if copy not in had:
                    await self._send(notice, copy, facts)
                    had.add(copy)
                    await self._note(notice, copy)
            except (NoticeFailed, BreakerOpen) as error:
                failure = error
        if failure is not None:
            raise failure
        return True

    async def _send(self, notice: Notice, copy: str, facts: Facts) -> None:
        match await self._channel.send(notice, copy, facts):
            case Sent():
                self._end(notice, "sent")
            case Rejected(why):
                log.warning("%s: %s was refused for good: %s", notice.address, self._name(notice), why)
                self._end(notice, "rejected")
            case Gone():
                user_id = facts.contact.user_id
                address = await self._account(user_id)
                await self._ask(notice, address, EndPush(copy, "the push service knows it no more"))
                log.info("%s: a browser of user %s is there no more", notice.address, user_id)

    async def _note(self, notice: Notice, copy: str) -> None:
        """Note that it went out; what can't be noted does not go out again for that, unless there is a crash."""
        try:
            await self._sent.keep(notice.notice_id, copy, self._follower.open[notice.notice_id].first)
            if self._ends["sent"] % self._limits.checkpoint_every == 0:
                await self._forget()
        except NoticeFailed as error:
            log.warning("%s: that %s went out can't be noted: %s", notice.address, self._name(notice), error)

    async def _forget(self) -> None:
        """Forget what nobody will hear of again: the checkpoint as it is in the log, not as it was offered."""
        try:
            await self._sent.forget(await self._log.checkpoint(self._checkpoint))
        except NoticeFailed as error:
            log.warning("what went out long ago is not forgotten: %s", error)

    def _end(self, notice: Notice, how: str) -> None:
        self._ends[how] += 1
        level = logging.WARNING if how == "given up" else logging.DEBUG
        log.log(level, "%s: the notice %s: %s", notice.address, self._name(notice), how)

    def _name(self, notice: Notice) -> str:
        return f"{notice.trigger.kind} by {self._channel.name}"

    # What a notice is written of.

    async def _facts(self, notice: Notice) -> Facts | None:
        """Ask for it; None where it is true no more, or nobody wants to hear it."""
        position = self._follower.open[notice.notice_id].first
        return await gather(
            notice,
            self._channel.name,
            partial(self._ask, notice),
            partial(self._account, position=position),
            has_files=self._channel.has_files,
        )

    async def _account(self, user_id: str, position: int = 0) -> Address:
        address = await self._find_account(user_id, position)
        if address is None:
            raise NoticeFailed("the read models do not know the person yet")
        return address

    async def _ask(self, notice: Notice, address: Address, message: Struct) -> Struct | None:
        work, wait_s_max = self._follower.open[notice.notice_id], self._limits.reply_wait_s_max
        at_least = work.newest if address == notice.address else 0
        envelope = because_of(
            work.meta, message, self._clock, principal="notifier", wait_s_max=wait_s_max, at_least=at_least
        )
        return (await self._bus.ask(command_subject(address), envelope)).value
