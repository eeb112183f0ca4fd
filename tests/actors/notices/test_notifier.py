"""People are told what became of theirs, whatever dies in between; twice only after a crash, and recognisably."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Final, Self

import pytest
import pytest_asyncio
from msgspec import Struct
from msgspec.structs import replace

from marketd.actors import account, order, product, webhook
from marketd.actors.account import Register
from marketd.actors.address import Address
from marketd.actors.house import House, HouseLimits
from marketd.actors.money import Money
from marketd.actors.notices.channels import ByMail, ByPush, Channel, PushServices
from marketd.actors.notices.notice_letters import NoticeLetters
from marketd.actors.notices.notifier import Notifier, NotifierLimits
from marketd.actors.notices.port import Gone, Mail, NoticeFailed, PushMessage, Rejected, Sent
from marketd.actors.notices.templates import Templates
from marketd.actors.notices.tokens import MailTokens
from marketd.actors.order import Advance, Place, RequestRefund
from marketd.actors.preferences import Choice, ChooseNotices, Contact, ReadContact, SubscribePush, Subscription
from marketd.actors.runtime import ActorLimits
from marketd.actors.steps import Denied, Outcome, Report, Step, Succeeded
from marketd.bus.breaker import Breaker
from marketd.bus.memory import MemoryBus
from marketd.bus.port import Envelope
from marketd.bus.subjects import command_subject
from marketd.clock import new_id
from marketd.config.codecs import AGGREGATES, message_codec
from tests.actors.desk import OFFER
from tests.actors.notices.rest import come_to_rest
from tests.actors.watched import WatchedLog
from tests.clock import TestClock, settle

pytestmark = pytest.mark.asyncio

CODEC: Final = message_codec()
TEMPLATES: Final = Templates("Shop")
LIMITS: Final = NotifierLimits(retry_s=1, retry_s_max=8, patience_s=3600, second_max=1e9, checkpoint_every=1)
URL: Final = "https://hooks.example/1"
COMPLETED: Final = (Step.PROCESS_PAYMENT, Step.UPDATE_INVENTORY, Step.PREPARE_DELIVERY, Step.NOTIFY_BUYER)
REFUNDED: Final = (Step.REVOKE_DELIVERY, Step.REFUND_PAYMENT)


class FakeCarrier:
    """Takes mails and push messages, unless the test says otherwise; `sent` survives a crash of the service."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.tried = 0
        self.is_down = self.is_broken = False
        self.answers: dict[str, Rejected | Gone | NoticeFailed] = {}
        self.gate = asyncio.Event()
        self.gate.set()

    async def take(self, name: str, to: str) -> Sent | Rejected | Gone:
        self.tried += 1
        await self.gate.wait()
        if self.is_down:
            raise NoticeFailed("no connection")
        if self.is_broken:
            raise ZeroDivisionError("a defect")
        answer = self.answers.get(to, Sent())
        if isinstance(answer, NoticeFailed):
            raise answer
        if answer == Sent():
            self.sent.append((name, to))
        return answer

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """What went out, as the kind and to whom, in the order of the alphabet."""
        return sorted((name.rpartition(".")[2], to) for name, to in self.sent)


class FakeMails(FakeCarrier):
    async def send(self, mail: Mail) -> Sent | Rejected:
        outcome = await self.take(mail.mail_id, mail.to)
        assert not isinstance(outcome, Gone)
        return outcome


class FakePushes(FakeCarrier):
    async def send(self, message: PushMessage, subscription: Subscription) -> Sent | Rejected | Gone:
        return await self.take(message.push_id, subscription.endpoint)


class FakeSent:
    """What went out; it survives a crash, and fails when it is told to."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], int] = {}
        self.asked = 0
        self.is_broken = False

    async def of(self, notice_id: str) -> set[str]:
        self.asked += 1
        return {copy for known, copy in self.kept if known == notice_id}

    async def keep(self, notice_id: str, copy: str, position: int) -> None:
        if self.is_broken:
            raise NoticeFailed("the disk is full")
        self.kept[notice_id, copy] = position

    async def forget(self, position: int) -> None:
        self.kept = {name: known for name, known in self.kept.items() if known > position}


class Office:
    """One process; its log, whom it hands things to, and what it has noted may outlive it."""

    def __init__(
        self, log: WatchedLog, clock: TestClock, carrier: FakeCarrier, sent: FakeSent, limits: NotifierLimits = LIMITS
    ) -> None:
        self.log, self.clock, self.sent = log, clock, sent
        self.bus = MemoryBus(clock, CODEC)
        self.house = House(AGGREGATES, log, clock, HouseLimits(), ActorLimits())
        self.breaker = Breaker("mail", clock, failures_max=3, open_s=30)
        self.services = PushServices(lambda name: Breaker(name, clock, failures_max=3, open_s=30))
        self.people = {name: account.address_of(f"{name}@example.org") for name in ("ann", "sam")}
        letters = NoticeLetters(
            "https://shop", MailTokens(bytes(32)), TEMPLATES, lambda *facts: "https://shop/d", link_hours=1
        )
        channel: Channel
        if isinstance(carrier, FakePushes):
            channel = ByPush(carrier, self.services, letters, limits.patience_s)
        else:
            assert isinstance(carrier, FakeMails)
            channel = ByMail(carrier, self.breaker, letters)
        self.notifier = Notifier(self.bus, log, channel, sent, self.find, clock, limits)
        self._stack = AsyncExitStack()

    async def find(self, user_id: str, position: int) -> Address | None:
        return self.people.get(user_id)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.house)
        await self.house.open(self.bus)
        self._run = asyncio.create_task(self.notifier.run())
        return self

    async def __aexit__(self, *raised: object) -> None:
        """The process dies: nothing is finished."""
        self._run.cancel()
        await asyncio.wait([self._run])
        await self._stack.aclose()

    async def tell(self, address: Address, command: Struct) -> Struct | None:
        envelope = Envelope(new_id(self.clock), command, "r1", self.clock.now_ms() + 10_000)
        return (await self.bus.ask(command_subject(address), envelope)).value

    async def opens(self) -> None:
        """Ann, who buys, and Sam, who sells."""
        for name, address in self.people.items():
            role = "seller" if name == "sam" else "buyer"
            await self.tell(address, Register(name, f"{name}@example.org", name, role, "argon2", 1))  # type: ignore[arg-type]
        await self.tell(Address("product", "p1"), product.List("sam", OFFER, None, (), 1))

    async def sells(self, order_id: str = "o1", steps: tuple[Step, ...] = COMPLETED) -> None:
        """Lead an order along its steps, all of them good."""
        place = Place("ann", "sam", "p1", "Rain", Money(999, "USD"), "pm_good", self.clock.now_ms())
        await self.tell(Address("order", order_id), place)
        await self.leads(order_id, *steps)

    async def leads(self, order_id: str, *steps: Step, outcome: Outcome = Succeeded()) -> None:  # noqa: B008
        for step in steps:
            await self.tell(Address("order", order_id), Advance((Report(step, outcome),), self.clock.now_ms()))

    async def refunds(self, order_id: str = "o1") -> None:
        await self.tell(Address("order", order_id), RequestRefund("sam", False, "no good", self.clock.now_ms()))
        await self.leads(order_id, *REFUNDED)

    async def chooses(self, who: str, choice: Choice) -> None:
        await self.tell(self.people[who], ChooseNotices((choice,)))

    async def subscribes(self, who: str, *endpoints: str) -> None:
        for endpoint in endpoints:
            subscription = Subscription(new_id(self.clock), endpoint, "B", "a", self.clock.now_ms())
            await self.tell(self.people[who], SubscribePush(subscription))

    async def has_webhook(self, who: str = "sam") -> None:
        endpoint = webhook.Endpoint("w1", URL, ("*",), "", "own", (webhook.Secret("s1"),), 1, 1)
        await self.tell(Address("webhook", who), webhook.Register(endpoint, 9))

    async def disables(self, why: webhook.Why = "failing", who: str = "sam") -> None:
        await self.tell(Address("webhook", who), webhook.Disable("w1", URL, why, self.clock.now_ms()))

    async def revises(self, *, disabled: bool, who: str = "sam") -> None:
        command = webhook.Revise("w1", self.clock.now_ms(), disabled=disabled)
        await self.tell(Address("webhook", who), command)

    async def browsers(self, who: str) -> list[str]:
        contact = await self.tell(self.people[who], ReadContact())
        assert isinstance(contact, Contact)
        return [subscription.endpoint for subscription in contact.preferences.subscriptions]


@pytest.fixture
def mails() -> FakeMails:
    return FakeMails()


@pytest.fixture
def pushes() -> FakePushes:
    return FakePushes()


@pytest.fixture
def sent() -> FakeSent:
    return FakeSent()


@pytest_asyncio.fixture
async def office(log: WatchedLog, clock: TestClock, mails: FakeMails, sent: FakeSent) -> AsyncIterator[Office]:
    async with Office(log, clock, mails, sent) as office:
        await office.opens()
        yield office


@pytest_asyncio.fixture
async def pushing(log: WatchedLog, clock: TestClock, pushes: FakePushes, sent: FakeSent) -> AsyncIterator[Office]:
    async with Office(log, clock, pushes, sent) as office:
        await office.opens()
        yield office


async def rest(office: Office, waiting: int = 0) -> None:
    """Let everybody work until so many notices wait and nothing is on its way."""
    await come_to_rest(office.notifier, office.log, waiting)


# Who is told what.


async def test_of_a_sale_buyer_and_seller_are_told(office: Office, mails: FakeMails) -> None:
    await office.sells()
    await rest(office)

    assert [("receipt", "ann@example.org"), ("sale", "sam@example.org")] == mails.kinds


async def test_of_a_refund_the_buyer_is_told(office: Office, mails: FakeMails) -> None:
    await office.sells()
    await rest(office)
    mails.sent.clear()
    await office.refunds()
    await rest(office)

    assert [("refund", "ann@example.org")] == mails.kinds


async def test_of_an_order_that_fails_after_it_was_paid_the_buyer_is_told(office: Office, mails: FakeMails) -> None:
    await office.sells(steps=(Step.PROCESS_PAYMENT,))
    await office.leads("o1", Step.UPDATE_INVENTORY, outcome=Denied("sold out"))
    await office.leads("o1", Step.REFUND_PAYMENT, Step.END_CLAIMS)
    await rest(office)

    assert [("order-failed", "ann@example.org")] == mails.kinds


async def test_of_money_that_can_not_go_back_the_buyer_is_told(office: Office, mails: FakeMails) -> None:
    await office.sells(steps=(Step.PROCESS_PAYMENT,))
    await office.leads("o1", Step.UPDATE_INVENTORY, Step.REFUND_PAYMENT, outcome=Denied("no"))
    await office.leads("o1", Step.END_CLAIMS)
    await rest(office)

    assert [("refund-delayed", "ann@example.org")] == mails.kinds


async def test_of_a_payment_that_was_declined_nobody_is_told(office: Office, mails: FakeMails) -> None:
    await office.sells(steps=())
    await office.leads("o1", Step.PROCESS_PAYMENT, outcome=Denied("no funds"))
    await office.leads("o1", Step.END_CLAIMS)
    await rest(office)

    assert [] == mails.kinds


async def test_a_receipt_of_what_was_taken_back_meanwhile_is_not_sent(office: Office, mails: FakeMails) -> None:
    mails.is_down = True
    await office.sells()
    await rest(office, waiting=2)
    await office.refunds()
    await rest(office, waiting=3)
    mails.is_down = False
    await office.clock.advance(60)
    await rest(office)

    assert [("refund", "ann@example.org")] == mails.kinds


async def test_what_was_switched_off_is_not_told(office: Office, mails: FakeMails) -> None:
    await office.chooses("sam", Choice("sales", "email", False))
    await office.sells()
    await rest(office)

    assert [("receipt", "ann@example.org")] == mails.kinds


async def test_what_was_switched_off_for_browsers_comes_by_mail(office: Office, mails: FakeMails) -> None:
    await office.chooses("sam", Choice("sales", "push", False))
    await office.sells()
    await rest(office)

    assert 2 == len(mails.sent)


# Webhooks.


async def test_of_a_webhook_that_was_disabled_its_owner_is_told(office: Office, mails: FakeMails) -> None:
    await office.has_webhook()
    await office.disables()
    await rest(office)

    assert [("webhook-disabled", "sam@example.org")] == mails.kinds


async def test_of_a_webhook_that_its_owner_has_disabled_nobody_is_told(office: Office, mails: FakeMails) -> None:
    await office.has_webhook()
    await office.revises(disabled=True)
    await rest(office)

    assert [] == mails.kinds


@pytest.mark.parametrize("event", ["enabled", "disabled by hand", "removed"])
async def test_of_a_webhook_that_is_another_meanwhile_nobody_is_told(
    office: Office, mails: FakeMails, event: str
) -> None:
    mails.is_down = True
    await office.has_webhook()
    await office.disables()
    await rest(office, waiting=1)
    if event == "removed":
        await office.tell(Address("webhook", "sam"), webhook.Remove("w1", office.clock.now_ms()))
    else:
        await office.revises(disabled=False)
    if event == "disabled by hand":
        await office.revises(disabled=True)
    mails.is_down = False
    await office.clock.advance(60)
    await rest(office)

    assert [] == mails.kinds


async def test_who_does_not_want_to_hear_of_webhooks_is_not_told(office: Office, mails: FakeMails) -> None:
    await office.chooses("sam", Choice("webhooks", "email", False))
    await office.has_webhook()
    await office.disables()
    await rest(office)

    assert [] == mails.kinds


async def test_a_webhook_that_is_disabled_twice_is_told_of_twice(office: Office, mails: FakeMails) -> None:
    await office.has_webhook()
    await office.disables()
    await rest(office)
    await office.revises(disabled=False)
    await office.disables("gone")
    await rest(office)

    assert 2 == len(mails.sent) == len(set(mails.sent))


# What fails.


async def test_no_order_waits_for_a_mail(office: Office, mails: FakeMails) -> None:
    mails.gate.clear()
    await office.sells()
    await rest(office, waiting=2)
    view = await office.tell(Address("order", "o1"), order.Describe())

    assert isinstance(view, order.View)
    assert ("completed", [], 2) == (view.status, mails.sent, mails.tried)


async def test_what_fails_is_tried_again_until_it_goes_out(office: Office, mails: FakeMails) -> None:
    mails.is_down = True
    await office.sells()
    await rest(office, waiting=2)
    await office.clock.advance(2)
    mails.is_down = False
    await office.clock.advance(60)
    await rest(office)

    assert 2 == len(mails.sent) == len(set(mails.sent))


async def test_a_dead_mail_server_is_asked_by_one_and_not_by_all(office: Office, mails: FakeMails) -> None:
    mails.is_down = True
    for number in range(20):
        await office.sells(f"o{number}")
    await rest(office, waiting=40)
    before = mails.tried
    await office.clock.advance(29)

    assert before == mails.tried <= 3 + LIMITS.at_once_max


async def test_what_is_refused_for_good_is_not_tried_again(
    office: Office, mails: FakeMails, caplog: pytest.LogCaptureFixture
) -> None:
    mails.answers["ann@example.org"] = Rejected("550")
    await office.sells()
    await rest(office)
    await office.clock.advance(1000)

    assert (2, 1) == (mails.tried, office.notifier.statistics()["rejected"])
    assert "order/o1: receipt by email was refused for good: 550" in caplog.text


async def test_patience_ends_and_is_told_of(office: Office, mails: FakeMails, caplog: pytest.LogCaptureFixture) -> None:
    mails.is_down = True
    await office.sells()
    await rest(office, waiting=2)
    await office.clock.advance(LIMITS.patience_s + 60)
    await rest(office)

    assert ([], 2) == (mails.sent, office.notifier.statistics()["given_up"])
    assert "order/o1: the notice receipt by email: given up" in caplog.text


async def test_a_person_whom_nobody_knows_yet_is_waited_for(office: Office, mails: FakeMails) -> None:
    sam = office.people.pop("sam")
    await office.sells()
    await rest(office, waiting=1)
    office.people["sam"] = sam
    await office.clock.advance(10)
    await rest(office)

    assert 2 == len(mails.sent)


async def test_a_defect_in_one_notice_does_not_stop_the_others(
    office: Office, mails: FakeMails, caplog: pytest.LogCaptureFixture
) -> None:
    mails.is_broken = True
    await office.sells("o1")
    await rest(office, waiting=2)
    mails.is_broken = False
    await office.sells("o2")
    await rest(office, waiting=2)

    assert (2, 2) == (len(mails.sent), caplog.text.count("ZeroDivisionError: a defect"))


async def test_no_line_of_the_log_has_an_address(
    office: Office, mails: FakeMails, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    mails.is_down = True
    await office.sells()
    await rest(office, waiting=2)
    mails.is_down = False
    await office.clock.advance(10)
    await rest(office)

    assert (True, False) == (len(caplog.records) > 2, "@" in caplog.text)


# How many, and how fast.


async def test_no_more_wait_in_memory_than_allowed(
    log: WatchedLog, clock: TestClock, mails: FakeMails, sent: FakeSent
) -> None:
    mails.gate.clear()
    async with Office(log, clock, mails, sent, replace(LIMITS, waiting_max=3)) as office:
        await office.opens()
        for number in range(10):
            await office.sells(f"o{number}")
        await settle(200)
        waiting = office.notifier.statistics()["waiting"]
        mails.gate.set()
        await rest(office)

    assert (3, 20) == (waiting, len(mails.sent))


async def test_no_more_are_sent_at_once_than_allowed(office: Office, mails: FakeMails) -> None:
    mails.gate.clear()
    for number in range(10):
        await office.sells(f"o{number}")
    await rest(office, waiting=20)
    at_once = mails.tried
    mails.gate.set()
    await rest(office)

    assert (LIMITS.at_once_max, 20) == (at_once, len(mails.sent))


async def test_no_more_are_looked_at_in_a_second_than_allowed(
    log: WatchedLog, clock: TestClock, mails: FakeMails, sent: FakeSent
) -> None:
    async with Office(log, clock, mails, sent, replace(LIMITS, second_max=4)) as office:
        await office.opens()
        for number in range(10):
            await office.sells(f"o{number}")
        gone = []
        for _ in range(3):
            await clock.advance(1)
            await settle(50)
            gone.append(len(mails.sent))

    assert [8, 12, 16] == gone  # those of the second before go out at once


# Crashes.


async def test_what_did_not_go_out_before_a_crash_goes_out_after_it(
    log: WatchedLog, clock: TestClock, mails: FakeMails, sent: FakeSent
) -> None:
    mails.gate.clear()
    async with Office(log, clock, mails, sent) as office:
        await office.opens()
        await office.sells()
        await rest(office, waiting=2)
    mails.gate.set()
    async with Office(log, clock, mails, sent) as office:
        await rest(office)

    assert [("receipt", "ann@example.org"), ("sale", "sam@example.org")] == mails.kinds


async def test_what_went_out_before_a_crash_does_not_go_out_again(
    log: WatchedLog, clock: TestClock, mails: FakeMails, sent: FakeSent
) -> None:
    seldom = replace(LIMITS, checkpoint_every=1_000)
    async with Office(log, clock, mails, sent, seldom) as office:
        await office.opens()
        for number in range(5):
            await office.sells(f"o{number}")
        await rest(office)
    async with Office(log, clock, mails, sent, seldom) as office:
        await rest(office)

    assert 10 == mails.tried


async def test_a_crash_before_it_is_noted_repeats_it_under_its_name(
    log: WatchedLog, clock: TestClock, mails: FakeMails, sent: FakeSent
) -> None:
    seldom, sent.is_broken = replace(LIMITS, checkpoint_every=1_000), True
    async with Office(log, clock, mails, sent, seldom) as office:
        await office.opens()
        await office.sells()
        await rest(office)
    sent.is_broken = False
    async with Office(log, clock, mails, sent, seldom) as office:
        await rest(office)

    assert (4, 2) == (len(mails.sent), len(set(mails.sent)))


async def test_what_can_not_be_noted_is_not_sent_again_for_that(
    office: Office, mails: FakeMails, sent: FakeSent
) -> None:
    sent.is_broken = True
    await office.sells()
    await rest(office)
    await office.clock.advance(60)

    assert 2 == mails.tried


async def test_one_that_waits_makes_nobody_elses_go_out_twice(
    log: WatchedLog, clock: TestClock, mails: FakeMails, sent: FakeSent
) -> None:
    mails.answers["ann@example.org"] = NoticeFailed("the mailbox is full")
    async with Office(log, clock, mails, sent) as office:
        await office.opens()
        await office.sells("o1")
        await rest(office, waiting=1)
        await office.sells("o2")
        await rest(office, waiting=2)
    mails.answers.clear()
    async with Office(log, clock, mails, sent) as office:
        await office.clock.advance(60)
        await rest(office)

    assert (4, 4) == (len(mails.sent), len(set(mails.sent)))


async def test_what_went_out_is_looked_up_only_where_another_life_may_have_sent_it(
    office: Office, sent: FakeSent
) -> None:
    await office.sells()
    await rest(office)

    assert 0 == sent.asked


async def test_what_lies_before_the_checkpoint_is_forgotten(
    log: WatchedLog, clock: TestClock, mails: FakeMails, sent: FakeSent
) -> None:
    async with Office(log, clock, mails, sent) as office:
        await office.opens()
        await office.sells()
        await rest(office)
    noted = len(sent.kept)
    async with Office(log, clock, mails, sent) as office:
        await rest(office)

    assert (2, 0) == (noted, len(sent.kept))


async def test_what_was_over_before_we_were_there_is_not_told(
    log: WatchedLog, clock: TestClock, mails: FakeMails, sent: FakeSent
) -> None:
    """A store of a release that told nobody anything has years of orders in its log."""
    async with Office(log, clock, FakeMails(), FakeSent(), replace(LIMITS, checkpoint_every=10_000)) as office:
        await office.opens()
        await office.sells()
        await rest(office)
    await clock.advance(LIMITS.patience_s)
    async with Office(log, clock, mails, sent) as office:
        await rest(office)

    assert 0 == mails.tried


async def test_a_webhook_that_was_disabled_before_a_crash_is_told_of_after_it_and_once(
    log: WatchedLog, clock: TestClock, mails: FakeMails, sent: FakeSent
) -> None:
    mails.is_down = True
    async with Office(log, clock, mails, sent) as office:
        await office.opens()
        await office.has_webhook()
        await office.disables()
        await rest(office, waiting=1)
    mails.is_down = False
    for _ in range(2):
        async with Office(log, clock, mails, sent) as office:
            await rest(office)

    assert [("webhook-disabled", "sam@example.org")] == mails.kinds


# Browsers.


async def test_of_a_webhook_browsers_are_told_as_well(pushing: Office, pushes: FakePushes) -> None:
    await pushing.subscribes("sam", "https://a.example/1")
    await pushing.has_webhook()
    await pushing.disables()
    await rest(pushing)

    assert [("webhook-disabled", "https://a.example/1")] == pushes.kinds


async def test_every_browser_of_a_person_is_told(pushing: Office, pushes: FakePushes) -> None:
    await pushing.subscribes("sam", "https://a.example/1", "https://b.example/2")
    await pushing.sells()
    await rest(pushing)

    assert [("sale", "https://a.example/1"), ("sale", "https://b.example/2")] == pushes.kinds


async def test_who_has_no_browser_is_not_waited_for(pushing: Office, pushes: FakePushes) -> None:
    await pushing.sells()
    await rest(pushing)

    assert 0 == pushes.tried


async def test_a_browser_that_is_gone_is_forgotten(pushing: Office, pushes: FakePushes) -> None:
    await pushing.subscribes("sam", "https://a.example/1", "https://b.example/2")
    pushes.answers["https://a.example/1"] = Gone()
    await pushing.sells()
    await rest(pushing)

    assert (["https://b.example/2"], 2) == (await pushing.browsers("sam"), pushes.tried)


async def test_one_browser_that_fails_keeps_nothing_from_the_others(pushing: Office, pushes: FakePushes) -> None:
    await pushing.subscribes("sam", "https://a.example/1", "https://b.example/2")
    pushes.answers["https://a.example/1"] = NoticeFailed("503")
    await pushing.sells()
    await rest(pushing, waiting=1)
    first = pushes.kinds
    pushes.answers.clear()
    await pushing.clock.advance(60)
    await rest(pushing)

    assert ([("sale", "https://b.example/2")], 2) == (first, len(pushes.sent))


async def test_a_push_service_that_fails_opens_its_own_circuit_alone(pushing: Office, pushes: FakePushes) -> None:
    await pushing.subscribes("sam", "https://dead.example/1", "https://b.example/2")
    pushes.answers["https://dead.example/1"] = NoticeFailed("503")
    for number in range(5):
        await pushing.sells(f"o{number}")
    await rest(pushing, waiting=5)

    assert ("open", "closed", "closed", 5) == (
        pushing.services.breaker_of("https://dead.example/9").state,
        pushing.services.breaker_of("https://b.example/9").state,
        pushing.services.statistics().state,
        len(pushes.sent),
    )


async def test_browsers_that_were_told_before_a_crash_are_not_told_again(
    log: WatchedLog, clock: TestClock, pushes: FakePushes, sent: FakeSent
) -> None:
    pushes.answers["https://a.example/1"] = NoticeFailed("503")
    async with Office(log, clock, pushes, sent) as office:
        await office.opens()
        await office.subscribes("sam", "https://a.example/1", "https://b.example/2")
        await office.sells()
        await rest(office, waiting=1)
    pushes.answers.clear()
    async with Office(log, clock, pushes, sent) as office:
        await office.clock.advance(60)
        await rest(office)

    assert [("sale", "https://a.example/1"), ("sale", "https://b.example/2")] == pushes.kinds
