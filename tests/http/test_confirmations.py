"""What is proved by reading one's mail: the tokens, their use, and that nobody learns who has an account."""

import asyncio
from typing import Any

import pytest

from marketd.actors import account
from marketd.actors.account import IssueTicket, Purpose, ResetPassword, TicketState, VerifyEmail
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.notices.tokens import Claim
from marketd.bus.port import Busy
from marketd.bus.subjects import command_subject
from marketd.storage.people import FindPerson
from tests.http.stage import Reply, Stage
from tests.http.things import KEY, PERSON

pytestmark = pytest.mark.asyncio

ANNS = command_subject(account.address_of("ann@example.org"))
TICKET = "018bcfe5-6800-7000-8000-000000000001"
MINUTE_MS = 60_000
NOT_GOOD = Refused(account.Reason.TICKET_NOT_GOOD)
CONFIRM = {"verify-email": "/auth/verify-email", "password-reset": "/auth/password-reset/confirm"}
PURPOSES: tuple[Purpose, ...] = ("verify-email", "password-reset")


def token(stage: Stage, purpose: Purpose) -> str:
    return stage.mail_tokens.token(purpose, Claim(KEY, TICKET))


def body(purpose: Purpose, given: object) -> dict[str, Any]:
    return {"token": given} | ({"password": "Passw0rd-new"} if purpose == "password-reset" else {})


async def confirm(stage: Stage, purpose: Purpose, given: object) -> Reply:
    return await stage.call("POST", CONFIRM[purpose], body(purpose, given))


async def reset(stage: Stage, email: str = "ann@example.org") -> Reply:
    """Ask for a new password, and let the time pass that the answer takes."""
    asking = asyncio.ensure_future(stage.call("POST", "/auth/password-reset", {"email": email}))
    while not stage.clock.sleepers and not asking.done():
        await asyncio.sleep(0)
    await stage.clock.advance(0.25)
    return await asking


# Confirming an address.


async def test_a_token_from_a_mail_is_handed_to_its_account(stage: Stage) -> None:
    stage.bus.answers(VerifyEmail, None)

    answer = await confirm(stage, "verify-email", token(stage, "verify-email"))

    asked = (command_subject(Address("account", KEY)), VerifyEmail(TICKET, stage.clock.now_ms()))
    assert (204, b"", [asked]) == (answer.status, answer.body, stage.bus.messages)


async def test_the_mail_is_sent_again_to_who_is_signed_in(stage: Stage) -> None:
    stage.bus.answers(FindPerson, PERSON)
    stage.bus.answers(IssueTicket, TicketState(0))

    answer = await stage.call("POST", "/auth/verify-email/resend", user="ann")

    command, now = stage.bus.last.message, stage.clock.now_ms()
    assert isinstance(command, IssueTicket)
    assert (202, "verify-email", now + 48 * 60 * MINUTE_MS, 5) == (
        answer.status,
        command.ticket.purpose,
        command.ticket.expires_at,
        command.hourly_max,
    )


async def test_too_many_mails_are_not_sent(stage: Stage) -> None:
    stage.bus.answers(FindPerson, PERSON)
    stage.bus.answers(IssueTicket, TicketState(stage.clock.now_ms() + 90_000))

    answer = await stage.call("POST", "/auth/verify-email/resend", user="ann")

    assert (429, "/problems/too-many-mails", "90") == (
        answer.status,
        answer.json()["type"],
        answer.headers["Retry-After"],
    )


# Choosing a new password.


async def test_who_has_forgotten_their_password_is_sent_a_ticket_for_an_hour(stage: Stage) -> None:
    stage.bus.answers(IssueTicket, TicketState(0))
    now = stage.clock.now_ms()

    await reset(stage)

    subject, command = stage.bus.messages[-1]
    assert isinstance(command, IssueTicket)
    ticket = command.ticket
    assert (ANNS, "password-reset", now + 60 * MINUTE_MS) == (subject, ticket.purpose, ticket.expires_at)


@pytest.mark.parametrize(
    "other", [Refused(account.Reason.NO_SUCH_ACCOUNT), TicketState(1_800_000_000_000)], ids=["unknown", "too many"]
)
async def test_the_answer_does_not_tell_whether_there_is_an_account_that_is_sent_a_mail(
    stage: Stage, other: TicketState | Exception
) -> None:
    stage.bus.answers(IssueTicket, TicketState(0))
    known = await reset(stage)
    stage.bus.answers(IssueTicket, other)
    unknown = await reset(stage)

    own = {"X-Request-ID", "Date"}
    shown = [{n: v for n, v in answer.headers.items() if n not in own} for answer in (known, unknown)]
    assert (202, known.body, shown[0]) == (unknown.status, unknown.body, shown[1])


@pytest.mark.parametrize("said", [TicketState(0), Refused(account.Reason.NO_SUCH_ACCOUNT)], ids=["known", "unknown"])
async def test_the_answer_comes_at_its_time_and_not_before(stage: Stage, said: TicketState | Exception) -> None:
    stage.bus.answers(IssueTicket, said)
    asking = asyncio.ensure_future(stage.call("POST", "/auth/password-reset", {"email": "ann@example.org"}))
    while not stage.clock.sleepers:
        await asyncio.sleep(0)
    await stage.clock.advance(0.24)
    before = asking.done()
    await stage.clock.advance(0.01)

    assert (False, 202) == (before, (await asking).status)


async def test_nobody_waits_for_what_only_a_known_account_would_wait_for(stage: Stage) -> None:
    stage.bus.answers(IssueTicket, TicketState(0))

    await reset(stage)

    assert [] == stage.bus.awaited


async def test_a_mail_that_may_never_go_out_is_not_promised(stage: Stage) -> None:
    stage.bus.answers(IssueTicket, Busy("full"))

    assert 503 == (await reset(stage)).status


async def test_a_new_password_is_handed_on_as_a_hash_only(stage: Stage) -> None:
    stage.bus.answers(ResetPassword, None)

    answer = await confirm(stage, "password-reset", token(stage, "password-reset"))

    command = stage.bus.last.message
    assert 204 == answer.status and isinstance(command, ResetPassword)
    assert (TICKET, True) == (command.ticket_id, command.password_hash.startswith("$argon2id$"))


async def test_a_new_password_keeps_the_rules_of_the_first(stage: Stage) -> None:
    answer = await stage.call(
        "POST", CONFIRM["password-reset"], {"token": token(stage, "password-reset"), "password": "short"}
    )

    assert (["/password"], []) == (answer.faults, stage.bus.asked)


async def test_who_has_a_new_password_is_not_locked_out_any_more(stage: Stage) -> None:
    stage.bus.answers(ResetPassword, None)
    for _ in range(5):
        stage.lockout.failed(KEY)

    await confirm(stage, "password-reset", token(stage, "password-reset"))

    assert 0 == stage.lockout.wait_s(KEY)


# Tokens that are no good.


@pytest.mark.parametrize("purpose", PURPOSES)
async def test_a_token_that_the_account_refuses_is_a_fault_of_the_request(stage: Stage, purpose: Purpose) -> None:
    stage.bus.answers(VerifyEmail, NOT_GOOD)
    stage.bus.answers(ResetPassword, NOT_GOOD)

    assert ["/token"] == (await confirm(stage, purpose, token(stage, purpose))).faults


@pytest.mark.parametrize("purpose", PURPOSES)
async def test_a_token_for_another_purpose_is_refused_and_nobody_is_asked(stage: Stage, purpose: Purpose) -> None:
    (other,) = set(PURPOSES) - {purpose}

    answer = await confirm(stage, purpose, token(stage, other))

    assert (["/token"], []) == (answer.faults, stage.bus.asked)


@pytest.mark.parametrize("given", ["x", "A" * 70, "A" * 512, "ä" * 70, "=" * 70, f"{KEY}.{TICKET}.x", "\x00"])
@pytest.mark.parametrize("purpose", PURPOSES)
async def test_what_never_was_a_token_is_refused_and_nobody_is_asked(
    stage: Stage, purpose: Purpose, given: str
) -> None:
    answer = await confirm(stage, purpose, given)

    assert (["/token"], []) == (answer.faults, stage.bus.asked)


async def test_a_guessed_token_costs_no_hash(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    async def noting(password: str) -> str:
        hashed.append(password)
        return "$argon2id$"

    monkeypatch.setattr(stage.passwords, "hash", noting)
    await confirm(stage, "password-reset", "A" * 70)

    assert [] == hashed


@pytest.mark.parametrize("path", [*CONFIRM.values(), "/auth/password-reset"])
async def test_every_missing_field_is_named(stage: Stage, path: str) -> None:
    expected = {"/auth/verify-email": ["/token"], "/auth/password-reset": ["/email"]}

    assert expected.get(path, ["/password", "/token"]) == (await stage.call("POST", path, {})).faults
