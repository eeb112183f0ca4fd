"""Every letter goes out, whatever dies in between; none is sent twice but after a crash, and then recognisably."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, Self
from unittest.mock import AsyncMock

import pytest
import pytest_asyncio
from msgspec import Struct

from marketd.actors import account
from marketd.actors.account import IssueTicket, LetterEnded, Purpose, Register, ResetPassword, Ticket, VerifyEmail
from marketd.actors.house import House, HouseLimits
from marketd.actors.notices.letters import Writer
from marketd.actors.notices.mime import Sender
from marketd.actors.notices.port import Carrier, Mail, NoticeFailed, Rejected, Sent
from marketd.actors.notices.postman import Postman, PostmanLimits
from marketd.actors.notices.smtp import SmtpCarrier, SmtpServer
from marketd.actors.notices.templates import Templates
from marketd.actors.notices.tokens import MailTokens
from marketd.actors.runtime import ActorLimits
from marketd.bus.breaker import Breaker
from marketd.bus.memory import MemoryBus
from marketd.bus.port import Envelope, NoAnswer
from marketd.bus.subjects import command_subject
from marketd.clock import new_id
from marketd.config.codecs import AGGREGATES, message_codec
from tests.actors.notices.mail_server import MailServer
from tests.actors.notices.rest import come_to_rest
from tests.actors.watched import Trouble, WatchedLog
from tests.clock import TestClock, settle

pytestmark = pytest.mark.asyncio

DAY_MS: Final = 24 * 60 * 60 * 1000
CODEC: Final = message_codec()
TEMPLATES: Final = Templates("Shop")
UNSURE_AFTER: Final = 1 + ActorLimits().redecide_max  # appends whose outcome nobody knows
LIMITS: Final = PostmanLimits(retry_s=1, retry_s_max=8, patience_s=3600, checkpoint_every=1)


class FakeCarrier:
    """Takes mails, unless the test says otherwise; `sent` survives a crash of the service."""

    def __init__(self) -> None:
        self.sent: list[Mail] = []
        self.tried = 0
        self.is_down = self.is_broken = False
        self.refuses: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, mail: Mail) -> Sent | Rejected:
        self.tried += 1
        await self.gate.wait()
        if self.is_down:
            raise NoticeFailed("no connection")
        if self.is_broken:
            raise ZeroDivisionError("a defect")
        if mail.to in self.refuses:
            return Rejected("550")
        self.sent.append(mail)
        return Sent()

    @property
    def ids(self) -> list[str]:
        return [mail.mail_id for mail in self.sent]


class Office:
    """One process; its log and whom it hands mails to may outlive it."""

    def __init__(self, log: WatchedLog, clock: TestClock, carrier: Carrier, limits: PostmanLimits = LIMITS) -> None:
        self.log, self.clock = log, clock
        self.bus = MemoryBus(clock, CODEC)
        self.house = House(AGGREGATES, log, clock, HouseLimits(), ActorLimits())
        self.breaker = Breaker("mail", clock, failures_max=3, open_s=30)
        writer = Writer("https://shop.example", MailTokens(bytes(32)), TEMPLATES)
        self.postman = Postman(self.bus, log, carrier, writer, self.breaker, clock, limits)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.house)
        await self.house.open(self.bus)
        self._run = asyncio.create_task(self.postman.run())
        return self

    async def __aexit__(self, *raised: object) -> None:
        """The process dies: nothing is finished."""
        self._run.cancel()
        await asyncio.wait([self._run])
        await self._stack.aclose()

    async def tell(self, who: str, command: Struct) -> None:
        envelope = Envelope(new_id(self.clock), command, "r1", self.clock.now_ms() + 10_000)
        await self.bus.ask(command_subject(account.address_of(f"{who}@example.org")), envelope)

    def ticket(self, purpose: Purpose = "verify-email", good_ms: int = 2 * DAY_MS) -> Ticket:
        now = self.clock.now_ms()
        return Ticket(new_id(self.clock), purpose, now, now + good_ms)

    async def register(self, who: str = "ann", good_ms: int = 2 * DAY_MS) -> Ticket:
        ticket = self.ticket(good_ms=good_ms)
        await self.tell(who, Register(who, f"{who}@example.org", who, "buyer", "argon2", 1, ticket))
        return ticket

    async def issue(self, purpose: Purpose, who: str = "ann") -> Ticket:
        ticket = self.ticket(purpose)
        await self.tell(who, IssueTicket(ticket, 10))
        return ticket

    async def ends(self, who: str = "ann") -> list[tuple[str, str]]:
        """How the letters of an account ended."""
        records = await self.log.read(str(account.address_of(f"{who}@example.org")))
        events = [event for record in records for event in record.commit.events]
        return [(event.letter_id, event.how) for event in events if isinstance(event, LetterEnded)]


@pytest.fixture
def carrier() -> FakeCarrier:
    return FakeCarrier()


@pytest_asyncio.fixture
async def office(log: WatchedLog, clock: TestClock, carrier: FakeCarrier) -> AsyncIterator[Office]:
    async with Office(log, clock, carrier) as office:
        yield office


async def rest(office: Office, waiting: int = 0) -> None:
    """Let everybody work until so many accounts wait and nothing is on its way."""
    await come_to_rest(office.postman, office.log, waiting)


async def test_who_registers_is_written_to(office: Office, carrier: FakeCarrier) -> None:
    ticket = await office.register()
    await rest(office)

    assert [(f"{ticket.ticket_id}.verify-email", "ann@example.org")] == [(m.mail_id, m.to) for m in carrier.sent]


async def test_that_a_letter_was_sent_is_put_on_record(office: Office) -> None:
    ticket = await office.register()
    await rest(office)

    assert [(ticket.ticket_id, "sent")] == await office.ends()


async def test_no_request_waits_for_the_mail(office: Office, carrier: FakeCarrier) -> None:
    carrier.gate.clear()
    await office.register()
    await rest(office, waiting=1)

    assert ([], 1) == (carrier.sent, carrier.tried)


async def test_a_new_password_is_told(office: Office, carrier: FakeCarrier) -> None:
    await office.register()
    ticket = await office.issue("password-reset")
    await office.tell("ann", ResetPassword(ticket.ticket_id, "argon2-new", office.clock.now_ms()))
    await rest(office)

    assert f"{ticket.ticket_id}.password-changed" == carrier.ids[-1]


async def test_a_letter_that_another_has_replaced_is_not_sent(office: Office, carrier: FakeCarrier) -> None:
    carrier.is_down = True
    await office.register()
    await rest(office, waiting=1)
    carrier.is_down = False
    second = await office.issue("verify-email")
    await office.clock.advance(10)
    await rest(office)

    assert [f"{second.ticket_id}.verify-email"] == carrier.ids


async def test_a_letter_that_is_not_needed_any_more_is_not_sent(office: Office, carrier: FakeCarrier) -> None:
    carrier.is_down = True
    ticket = await office.register()
    await rest(office, waiting=1)
    carrier.is_down = False
    await office.tell("ann", VerifyEmail(ticket.ticket_id, office.clock.now_ms()))
    await office.clock.advance(10)
    await rest(office)

    assert ([], []) == (carrier.sent, await office.ends())


async def test_what_fails_is_tried_again_until_it_goes_out(office: Office, carrier: FakeCarrier) -> None:
    carrier.is_down = True
    ticket = await office.register()
    await rest(office, waiting=1)
    await office.clock.advance(2)
    carrier.is_down = False
    await office.clock.advance(60)
    await rest(office)

    assert [f"{ticket.ticket_id}.verify-email"] == carrier.ids


async def test_the_pauses_grow_and_the_breaker_lets_nobody_through(office: Office, carrier: FakeCarrier) -> None:
    carrier.is_down = True
    await office.register()
    await rest(office, waiting=1)
    tried = []
    for _ in range(4):
        await office.clock.advance(29)
        tried.append(carrier.tried)

    assert "open" == office.breaker.state
    assert [3, 4, 5, 6] == tried


async def test_a_dead_mail_server_is_asked_by_one_and_not_by_all(office: Office, carrier: FakeCarrier) -> None:
    carrier.is_down = True
    for number in range(20):
        await office.register(f"p{number}")
    await rest(office, waiting=20)
    before = carrier.tried
    await office.clock.advance(29)

    assert before == carrier.tried <= 3 + LIMITS.at_once_max


async def test_when_the_mail_server_is_back_everybody_gets_their_mail(office: Office, carrier: FakeCarrier) -> None:
    carrier.is_down = True
    for number in range(20):
        await office.register(f"p{number}")
    await rest(office, waiting=20)
    await office.clock.advance(100)
    carrier.is_down = False
    await office.clock.advance(60)
    await rest(office)

    assert (20, 20, "closed") == (len(carrier.sent), len(set(carrier.ids)), office.breaker.state)


async def test_a_mail_that_went_out_is_no_news(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "marketd")
    await office.register()
    await rest(office)
    told = [record.levelname for record in caplog.records if "the letter" in record.getMessage()]

    assert ["DEBUG"] == told


async def test_what_is_refused_for_good_is_not_tried_again(
    office: Office, carrier: FakeCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    carrier.refuses.add("ann@example.org")
    ticket = await office.register()
    await rest(office)
    await office.clock.advance(1000)

    assert (1, [(ticket.ticket_id, "rejected")]) == (carrier.tried, await office.ends())
    assert "the mail server refused for good: 550" in caplog.text


async def test_an_address_that_is_refused_does_not_open_the_breaker(office: Office, carrier: FakeCarrier) -> None:
    for number in range(10):
        carrier.refuses.add(f"p{number}@example.org")
        await office.register(f"p{number}")
    await rest(office)

    assert ("closed", 10) == (office.breaker.state, carrier.tried)


async def test_a_letter_whose_time_is_over_is_not_sent(office: Office, carrier: FakeCarrier) -> None:
    carrier.is_down = True
    ticket = await office.register(good_ms=60_000)
    await rest(office, waiting=1)
    await office.clock.advance(60)
    carrier.is_down = False
    await office.clock.advance(60)
    await rest(office)

    assert ([], [(ticket.ticket_id, "expired")]) == (carrier.sent, await office.ends())


async def test_patience_ends(office: Office, carrier: FakeCarrier) -> None:
    carrier.is_down = True
    ticket = await office.register()
    await rest(office, waiting=1)
    await office.clock.advance(LIMITS.patience_s + 60)
    await rest(office)

    assert [(ticket.ticket_id, "given up")] == await office.ends()


async def test_a_defect_in_one_letter_does_not_stop_the_others(
    office: Office, carrier: FakeCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    carrier.is_broken = True
    await office.register("ann")
    await rest(office, waiting=1)
    carrier.is_broken = False
    bobs = await office.register("bob")
    await rest(office, waiting=1)

    assert ([f"{bobs.ticket_id}.verify-email"], 1) == (carrier.ids, caplog.text.count("ZeroDivisionError: a defect"))


async def test_an_account_that_can_not_be_asked_is_given_up_when_patience_ends(
    office: Office, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await office.register()
    monkeypatch.setattr(office.bus, "ask", AsyncMock(side_effect=NoAnswer("a defect")))
    await office.clock.advance(LIMITS.patience_s + 60)
    await rest(office)

    assert "its letters are given up" in caplog.text
    assert office.log.head == office.log.checkpoints[-1]


async def test_no_line_of_the_log_has_an_address_or_a_token(
    office: Office, carrier: FakeCarrier, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    carrier.is_down = True
    await office.register()
    await rest(office, waiting=1)
    carrier.is_down = False
    await office.clock.advance(10)
    await rest(office)
    (mail,) = carrier.sent
    (token,) = [line for line in mail.text.splitlines() if len(line) == 70 and " " not in line]

    assert (True, False, False) == (len(caplog.records) > 1, token in caplog.text, "@" in caplog.text)


async def test_no_more_mails_are_sent_at_once_than_allowed(office: Office, carrier: FakeCarrier) -> None:
    carrier.gate.clear()
    for number in range(10):
        await office.register(f"p{number}")
    await rest(office, waiting=10)
    at_once = carrier.tried
    carrier.gate.set()
    await rest(office)

    assert (LIMITS.at_once_max, 10) == (at_once, len(carrier.sent))


async def test_no_more_accounts_wait_in_memory_than_allowed(
    log: WatchedLog, clock: TestClock, carrier: FakeCarrier
) -> None:
    carrier.gate.clear()
    async with Office(log, clock, carrier, PostmanLimits(waiting_max=3)) as office:
        for number in range(10):
            await office.register(f"p{number}")
        await settle(200)
        waiting = office.postman.statistics()["waiting"]
        carrier.gate.set()
        await rest(office)

    assert (3, 10) == (waiting, len(carrier.sent))


# Crashes.


async def test_a_letter_that_did_not_go_out_before_a_crash_goes_out_after_it(
    log: WatchedLog, clock: TestClock, carrier: FakeCarrier
) -> None:
    carrier.gate.clear()
    async with Office(log, clock, carrier) as office:
        ticket = await office.register()
        await rest(office, waiting=1)
    carrier.gate.set()
    async with Office(log, clock, carrier) as office:
        await rest(office)

    assert [f"{ticket.ticket_id}.verify-email"] == carrier.ids


async def test_what_went_out_before_a_crash_does_not_go_out_again(
    log: WatchedLog, clock: TestClock, carrier: FakeCarrier
) -> None:
    async with Office(log, clock, carrier, PostmanLimits()) as office:  # which notes its checkpoint too seldom
        for number in range(5):
            await office.register(f"p{number}")
        await rest(office)
    async with Office(log, clock, carrier) as office:
        await rest(office)

    assert 5 == carrier.tried


async def test_a_crash_before_the_report_repeats_the_letter_under_its_name(
    log: WatchedLog, clock: TestClock, carrier: FakeCarrier
) -> None:
    async with Office(log, clock, carrier) as office:
        await office.register()
        log.troubles.extend([Trouble.LOST_UNKNOWN] * UNSURE_AFTER)
        await rest(office, waiting=1)
    async with Office(log, clock, carrier) as office:
        await rest(office)

    assert (2, 1) == (len(carrier.sent), len(set(carrier.ids)))


async def test_a_letter_whose_end_can_not_be_reported_is_not_sent_again_for_that(
    office: Office, carrier: FakeCarrier
) -> None:
    ticket = await office.register()
    office.log.troubles.extend([Trouble.LOST_UNKNOWN] * 3 * UNSURE_AFTER)
    await rest(office, waiting=1)
    await office.clock.advance(60)
    await rest(office)

    assert (1, [(ticket.ticket_id, "sent")]) == (len(carrier.sent), await office.ends())


async def test_one_account_that_waits_makes_nobody_elses_letter_go_out_twice(
    log: WatchedLog, clock: TestClock, carrier: FakeCarrier
) -> None:
    carrier.is_down = True
    async with Office(log, clock, carrier) as office:
        await office.register("ann")
        await rest(office, waiting=1)
        carrier.is_down = False
        for number in range(5):
            await office.register(f"p{number}")
        await rest(office, waiting=1)
        sent = len(carrier.sent)
    async with Office(log, clock, carrier) as office:
        await rest(office)

    assert (5, 6) == (sent, len(carrier.sent))


async def test_the_checkpoint_follows_the_log_where_nobody_waits(office: Office) -> None:
    await office.register()
    await rest(office)

    assert office.log.head == office.log.checkpoints[-1]


async def test_the_checkpoint_stays_before_who_waits(office: Office, carrier: FakeCarrier) -> None:
    await office.register("ann")
    await rest(office)
    carrier.gate.clear()
    head = office.log.head
    await office.register("bob")
    await office.register("cat")
    await rest(office, waiting=2)

    assert head == office.log.checkpoints[-1]


# Over a real mail server.


@asynccontextmanager
async def post(log: WatchedLog, clock: TestClock, server: MailServer) -> AsyncIterator[Office]:
    smtp = SmtpServer("127.0.0.1", server.port, encryption="none", send_s_max=5)
    async with Office(log, clock, SmtpCarrier(smtp, Sender("shop@shop.example", "Shop"))) as office:
        yield office


async def test_a_mail_server_that_comes_back_gets_what_waited(log: WatchedLog, clock: TestClock) -> None:
    server = MailServer()
    async with server.up():  # it gets its port
        pass
    async with post(log, clock, server) as office:
        ticket = await office.register()
        while office.breaker.state != "open":
            await clock.advance(0.1)
        async with server.up(port=server.port), asyncio.timeout(10):
            while office.postman.statistics()["waiting"]:
                await clock.advance(0.1)

    assert [f"<{ticket.ticket_id}.verify-email@shop.example>"] == server.ids


async def test_a_letter_is_sent_for_whoever_caused_it(office: Office, carrier: FakeCarrier) -> None:
    await office.register()
    await rest(office)

    records = await office.log.read(str(account.address_of("ann@example.org")))
    assert ["r1", "r1"] == [record.commit.meta.correlation for record in records]
