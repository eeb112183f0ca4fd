"""
Sees to it that every letter that an account awaits goes out, and that the account hears how it ended.

The one rule: only the log starts a letter. Each record that makes one due wakes the account's round, which reads from
the account itself, as new as that record, what is due; sends it; and reports the end, which is the next record. At the
start the log is followed from a checkpoint that lies before every account still on a round, so neither a crash nor a
dead mail server loses a letter, and what went out before is known not to be due. A crash between sending and
reporting sends one again, under the same Message-ID.
"""

import asyncio
import logging
from contextlib import aclosing
from typing import Final

from msgspec import Struct

from marketd.actors import account
from marketd.actors.account import EndLetter, Letter, LetterEnd, LettersDue, PasswordReset, ReadLetters, TicketIssued
from marketd.actors.address import Address
from marketd.actors.notices.letters import Writer
from marketd.actors.notices.port import Carrier, NoticeFailed, Rejected, Sent
from marketd.bus.breaker import Breaker, BreakerOpen
from marketd.bus.port import Answer, Bus, BusError
from marketd.bus.subjects import command_subject
from marketd.clock import Clock
from marketd.rests import BackOff
from marketd.storage.follower import Follower, because_of
from marketd.storage.log import EventLog, Recorded
from marketd.trace import doing_for

CHECKPOINT: Final = "postman"
TELLING: Final = frozenset({TicketIssued, PasswordReset})  # by which an account comes to await a mail

log = logging.getLogger("marketd.notices")


class PostmanLimits(Struct, frozen=True):
    """How long and how often a letter is tried, how many at once, and how many accounts may wait; seconds."""

    retry_s: float = 1
    retry_s_max: float = 60
    patience_s: float = 259_200
    reply_wait_s_max: float = 10
    at_once_max: int = 4
    waiting_max: int = 10_000
    checkpoint_every: int = 256


class Postman:
    """Follows the log; run it for as long as the service lives."""

    def __init__(
        self,
        bus: Bus,
        events: EventLog,
        carrier: Carrier,
        writer: Writer,
        breaker: Breaker,
        clock: Clock,
        limits: PostmanLimits,
    ) -> None:
        self._bus, self._clock, self._limits = bus, clock, limits
        self._carrier, self._writer, self._breaker = carrier, writer, breaker
        self._follower = Follower(events, CHECKPOINT, checkpoint_every=limits.checkpoint_every, telling=TELLING)
        self._room = asyncio.Semaphore(limits.waiting_max)
        self._hands = asyncio.Semaphore(limits.at_once_max)

    def statistics(self) -> dict[str, int]:
        """How far the log was heard, and how many accounts may await letters."""
        return {"position": self._follower.heard, "waiting": len(self._follower.open)}

    @property
    def oldest_at(self) -> int | None:
        """When what is in hand longest was begun, in ms since the epoch; None where nothing is."""
        return self._follower.oldest_at

    async def run(self) -> None:
        """Follow the log for ever."""
        async with asyncio.TaskGroup() as tasks, aclosing(self._follower.records()) as records:
            async for record in records:
                await self._hear(record, tasks)

    async def _hear(self, record: Recorded, tasks: asyncio.TaskGroup) -> None:
        key = Address.parse(record.stream).key
        is_known = key in self._follower.open
        if not is_known:
            await self._room.acquire()  # until then the log stays unread: it keeps what is due better than we do
        self._follower.take_up(key, record)
        if not is_known:
            tasks.create_task(self._go_round(Address(account.ACCOUNT.kind, key)))

    async def _go_round(self, address: Address) -> None:
        """Send what the account awaits until it awaits nothing more."""
        waits = BackOff(self._clock, self._limits.retry_s, self._limits.retry_s_max)
        newest, since_s = 0, 0.0
        ended: dict[Letter, LetterEnd] = {}
        while True:
            work = self._follower.open[address.key]
            if work.newest != newest:
                newest, since_s = work.newest, self._clock.monotonic_s()
            with doing_for(work.cause):
                is_done = await self._try_all(address, ended, since_s)
            if not is_done:
                await waits.rest()
            elif self._follower.open[address.key].newest == work.newest:
                self._follower.close(address.key)
                self._room.release()
                self._follower.note()
                return

    async def _try_all(self, address: Address, ended: dict[Letter, LetterEnd], since_s: float) -> bool:
        """Give back whether every letter has come to an end; not even ask where nobody is let through."""
        try:
            async with self._hands:
                if self._breaker.state != "open":
                    await self._send_all(address, ended)
                    return True
        except BreakerOpen:  # somebody else is trying whether the mail server is back
            pass
        except NoticeFailed as error:
            log.warning("%s: a letter waits: %s", address, error)
        except BusError as error:
            log.warning("%s: what letters are due can't be told: %s: %s", address, type(error).__name__, error)
            return self._has_given_up(address, since_s)
        except Exception:  # a defect in one letter must not stop the others
            log.exception("%s: a letter crashed", address)
            return self._has_given_up(address, since_s)
        return False

    def _has_given_up(self, address: Address, since_s: float) -> bool:
        """Say whether patience is at its end with an account whose letters do not even get as far as a mail server."""
        is_over = self._clock.monotonic_s() - since_s >= self._limits.patience_s
        if is_over:  # or the checkpoint would stay before it for ever
            log.error("%s: its letters are given up", address)
        return is_over

    async def _send_all(self, address: Address, ended: dict[Letter, LetterEnd]) -> None:
        """Send what is due and is not among those that ended; what can't be reported is not sent again for that."""
        due = (await self._ask(address, ReadLetters())).value
        assert isinstance(due, LettersDue), f"{address} answered {due!r}"
        for letter in due.letters:
            if letter not in ended:
                ended[letter] = await self._send(address, letter, due.email)
                level = logging.DEBUG if ended[letter] == "sent" else logging.WARNING
                log.log(level, "%s: the letter %s.%s: %s", address, letter.letter_id, letter.kind, ended[letter])
            await self._ask(address, EndLetter(letter.letter_id, letter.kind, ended[letter]))

    async def _send(self, address: Address, letter: Letter, to: str) -> LetterEnd:
        now_ms = self._clock.now_ms()
        if letter.expires_at <= now_ms:
            return "expired"
        if letter.due_at + self._limits.patience_s * 1000 <= now_ms:
            return "given up"
        mail = self._writer.write(address, letter, to)
        match await self._breaker.call(lambda: self._carrier.send(mail), NoticeFailed):
            case Sent():
                return "sent"
            case Rejected(why):
                log.warning("%s: the mail server refused for good: %s", address, why)
                return "rejected"

    async def _ask(self, address: Address, message: Struct) -> Answer:
        work, wait_s_max = self._follower.open[address.key], self._limits.reply_wait_s_max
        envelope = because_of(
            work.meta, message, self._clock, principal="postman", wait_s_max=wait_s_max, at_least=work.newest
        )
        return await self._bus.ask(command_subject(address), envelope)
