"""Accounts: registering, signing in, who one is, and what guessing a password costs."""

import asyncio
import hashlib
import threading
from typing import Any

import pytest

from marketd.actors import account
from marketd.actors.aggregate import Refused
from marketd.bus.port import Busy
from marketd.bus.subjects import command_subject
from marketd.http.tokens import Principal
from tests.http.stage import Reply, Stage
from tests.http.things import KEY, PROFILE, REGISTRATION

pytestmark = pytest.mark.asyncio

ANNS = command_subject(account.address_of("ann@example.org"))
DAY_MS = 24 * 60 * 60 * 1000
NO_SUCH = Refused(account.Reason.NO_SUCH_ACCOUNT)


async def give_account(stage: Stage, password: str = "Passw0rd") -> None:
    """Let Ann have an account, and nobody else."""
    hashed = await stage.passwords.hash(password)
    stage.bus.answers(account.ReadCredentials, account.Credentials("ann", "buyer", hashed))
    stage.bus.answers(account.OpenSession, account.SessionState("ann", "buyer", True))


async def login(stage: Stage, password: str = "Passw0rd", email: str = "ann@example.org") -> Reply:
    return await stage.call("POST", "/auth/login", {"email": email, "password": password})


async def refresh(stage: Stage, token: str) -> Reply:
    return await stage.call("POST", "/auth/refresh", {"refreshToken": token})


def secretless(reply: Reply) -> dict[str, Any]:
    return {name: value for name, value in reply.json().items() if name != "instance"}


# Registering.


async def test_a_registration_is_asked_of_the_account_of_its_address(stage: Stage) -> None:
    stage.bus.answers(account.Register, PROFILE)

    await stage.call("POST", "/auth/register", REGISTRATION)

    assert [ANNS] == [subject for subject, _ in stage.bus.messages]


async def test_the_case_of_an_address_does_not_make_another_account(stage: Stage) -> None:
    stage.bus.answers(account.Register, PROFILE)

    await stage.call("POST", "/auth/register", REGISTRATION | {"email": "ANN@Example.ORG"})

    assert [ANNS] == [subject for subject, _ in stage.bus.messages]


async def test_a_registration_is_answered_with_the_users_id(stage: Stage) -> None:
    stage.bus.answers(account.Register, PROFILE)

    answer = await stage.call("POST", "/auth/register", REGISTRATION)

    assert (201, {"message": "the account is made", "userId": "ann"}) == (answer.status, answer.json())


async def test_who_registers_is_sent_a_mail_that_is_good_for_two_days(stage: Stage) -> None:
    stage.bus.answers(account.Register, PROFILE)

    await stage.call("POST", "/auth/register", REGISTRATION)

    command, now = stage.bus.last.message, stage.clock.now_ms()
    assert isinstance(command, account.Register) and command.verification
    ticket = command.verification
    assert ("verify-email", now, now + 2 * DAY_MS) == (ticket.purpose, ticket.issued_at, ticket.expires_at)


@pytest.mark.parametrize("email", ["=?utf-8?q?ann?=@example.org", "ann@example.org\n", "ann", "ann@ex ample.org"])
async def test_what_a_mail_can_not_be_sent_to_is_refused(stage: Stage, email: str) -> None:
    assert ["/email"] == (await stage.call("POST", "/auth/register", REGISTRATION | {"email": email})).faults


async def test_a_password_is_handed_on_as_a_hash_only(stage: Stage) -> None:
    stage.bus.answers(account.Register, PROFILE)

    await stage.call("POST", "/auth/register", REGISTRATION)

    command = stage.bus.last.message
    assert isinstance(command, account.Register) and command.password_hash.startswith("$argon2id$")
    assert "Passw0rd" not in str(command)


async def test_a_taken_address_is_a_conflict(stage: Stage) -> None:
    stage.bus.answers(account.Register, Refused(account.Reason.EMAIL_TAKEN))

    answer = await stage.call("POST", "/auth/register", REGISTRATION)

    assert (409, "/problems/email-taken") == (answer.status, answer.json()["type"])


# Signing in.


async def test_who_signs_in_is_given_a_pair_of_tokens(stage: Stage) -> None:
    await give_account(stage)

    pair = (await login(stage)).json()

    assert ["accessToken", "expiresIn", "refreshToken", "tokenType", "userId"] == sorted(pair)
    assert ("Bearer", 900, "ann") == (pair["tokenType"], pair["expiresIn"], pair["userId"])


async def test_the_access_token_stands_for_who_signed_in(stage: Stage) -> None:
    await give_account(stage)

    pair = (await login(stage)).json()

    session_id = pair["refreshToken"].split(".")[1]
    assert Principal("ann", "buyer", session_id) == stage.tokens.verify(pair["accessToken"])


async def test_no_cache_keeps_a_pair_of_tokens(stage: Stage) -> None:
    await give_account(stage)

    assert "no-store" == (await login(stage)).headers["Cache-Control"]


async def test_a_session_is_opened_under_the_digest_of_its_secret(stage: Stage) -> None:
    await give_account(stage)

    key, session_id, secret = (await login(stage)).json()["refreshToken"].split(".")

    now = stage.clock.now_ms()
    session = account.Session(session_id, hashlib.sha256(secret.encode()).hexdigest(), now + 30 * DAY_MS, now, now)
    assert (f"{ANNS.rpartition('.')[0]}.{key}", account.OpenSession(session, now)) == stage.bus.messages[-1]


async def test_an_unknown_address_and_a_wrong_password_are_told_in_the_same_words(stage: Stage) -> None:
    await give_account(stage)
    wrong = await login(stage, "Passw0rd?")
    stage.bus.answers(account.ReadCredentials, NO_SUCH)
    unknown = await login(stage, email="bob@example.org")

    assert (401, secretless(wrong)) == (unknown.status, secretless(unknown))


async def test_an_unknown_address_and_a_wrong_password_have_the_same_headers(stage: Stage) -> None:
    await give_account(stage)
    wrong = await login(stage, "Passw0rd?")
    stage.bus.answers(account.ReadCredentials, NO_SUCH)
    unknown = await login(stage, email="bob@example.org")

    own = {"X-Request-ID", "Date"}
    assert {n: v for n, v in wrong.headers.items() if n not in own} == {
        n: v for n, v in unknown.headers.items() if n not in own
    }


async def test_an_unknown_address_and_a_wrong_password_ask_the_same_questions(stage: Stage) -> None:
    await give_account(stage)
    await login(stage, "Passw0rd?")
    stage.bus.answers(account.ReadCredentials, NO_SUCH)
    await login(stage)

    assert ([(ANNS, account.ReadCredentials())] * 2, []) == (stage.bus.messages, stage.bus.awaited)


async def test_a_password_is_hashed_for_an_unknown_address_too(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str | None] = []
    verify = stage.passwords.verify

    async def noting(password: str, hashed: str | None) -> bool:
        verified.append(hashed)
        return await verify(password, hashed)

    monkeypatch.setattr(stage.passwords, "verify", noting)
    stage.bus.answers(account.ReadCredentials, NO_SUCH)
    await login(stage)

    assert [None] == verified


async def test_too_many_who_sign_in_at_once_are_told_to_come_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(password: str, hashed: str | None) -> bool:
        raise Busy("full")

    await give_account(stage)
    monkeypatch.setattr(stage.passwords, "verify", full)
    answer = await login(stage)

    assert (503, "1") == (answer.status, answer.headers["Retry-After"])


async def test_when_the_queue_for_passwords_is_full_the_next_is_told_so_at_once(stage: Stage) -> None:
    await give_account(stage)
    held = threading.Event()
    stage.passwords._pool.submit(held.wait)
    places = stage.passwords._places
    waiting = [asyncio.ensure_future(login(stage, email=f"p{number}@example.org")) for number in range(places)]
    try:
        while stage.passwords._waiting < places:
            await asyncio.sleep(0)
        answer = await login(stage)
    finally:
        held.set()
        answers = await asyncio.gather(*waiting)

    assert (503, "1", "/problems/overloaded") == (answer.status, answer.headers["Retry-After"], answer.json()["type"])
    assert {200} == {answer.status for answer in answers}


# The lockout.


@pytest.mark.parametrize("is_known", [True, False])
async def test_after_the_last_allowed_failure_one_has_to_wait(stage: Stage, is_known: bool) -> None:
    await give_account(stage)
    if not is_known:
        stage.bus.answers(account.ReadCredentials, NO_SUCH)

    answers = [await login(stage, "wrong") for _ in range(5)]

    assert [401, 401, 401, 429, 429] == [answer.status for answer in answers]
    assert "60" == answers[-1].headers["Retry-After"]


async def test_the_right_password_does_not_help_who_is_locked_out(stage: Stage) -> None:
    await give_account(stage)
    for _ in range(3):
        await login(stage, "wrong")

    assert 429 == (await login(stage)).status


async def test_a_lockout_ends(stage: Stage) -> None:
    await give_account(stage)
    for _ in range(3):
        await login(stage, "wrong")
    await stage.clock.advance(60)

    assert 200 == (await login(stage)).status


async def test_each_lockout_is_longer_than_the_one_before(stage: Stage) -> None:
    await give_account(stage)
    waits = []
    for _ in range(2):
        await login(stage, "wrong")
    for _ in range(4):
        await login(stage, "wrong")
        waits.append((await login(stage)).headers["Retry-After"])
        await stage.clock.advance(200)

    assert ["60", "120", "200", "200"] == waits


async def test_a_success_forgets_the_failures(stage: Stage) -> None:
    await give_account(stage)
    for password in ("wrong", "wrong", "Passw0rd", "wrong", "wrong"):
        await login(stage, password)

    assert 200 == (await login(stage)).status


async def test_other_accounts_are_not_locked_out(stage: Stage) -> None:
    await give_account(stage)
    for _ in range(4):
        await login(stage, "wrong", email="bob@example.org")

    assert 200 == (await login(stage)).status


async def test_the_case_of_an_address_does_not_get_around_the_lockout(stage: Stage) -> None:
    await give_account(stage)
    for email in ("ann@example.org", "Ann@example.org", " ANN@EXAMPLE.ORG "):
        await login(stage, "wrong", email=email)

    assert 429 == (await login(stage)).status


async def test_who_fails_at_many_accounts_is_locked_out_by_the_network_address(stage: Stage) -> None:
    stage.bus.answers(account.ReadCredentials, NO_SUCH)
    answers = [await login(stage, "wrong", email=f"p{number}@example.org") for number in range(21)]
    await give_account(stage)

    assert ([401] * 20, 429, 429) == (
        [answer.status for answer in answers[:20]],
        answers[20].status,
        (await login(stage)).status,
    )


async def test_a_success_does_not_forget_the_failures_of_a_network_address(stage: Stage) -> None:
    await give_account(stage)
    for number in range(20):
        await login(stage, "wrong", email=f"p{number}@example.org")
        if number < 19:
            assert 200 == (await login(stage)).status

    assert 429 == (await login(stage)).status


async def test_the_lockout_of_a_network_address_ends(stage: Stage) -> None:
    await give_account(stage)
    for number in range(20):
        await login(stage, "wrong", email=f"p{number}@example.org")
    await stage.clock.advance(60)

    assert 200 == (await login(stage)).status


async def test_who_is_locked_out_costs_no_hash(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await give_account(stage)
    for _ in range(3):
        await login(stage, "wrong")
    verified: list[str] = []

    async def noting(password: str, hashed: str | None) -> bool:
        verified.append(password)
        return False

    monkeypatch.setattr(stage.passwords, "verify", noting)
    await login(stage)

    assert [] == verified


# Refreshing.


async def test_a_refresh_token_is_exchanged_for_a_new_pair_of_the_same_session(stage: Stage) -> None:
    stage.bus.answers(account.RefreshSession, account.SessionState("ann", "seller", True))

    pair = (await refresh(stage, f"{KEY}.s1.old")).json()

    key, session_id, secret = pair["refreshToken"].split(".")
    assert (KEY, "s1", True) == (key, session_id, secret not in ("", "old"))
    assert Principal("ann", "seller", "s1") == stage.tokens.verify(pair["accessToken"])


async def test_a_refresh_shows_the_old_secret_and_gives_the_new_one_by_their_digests(stage: Stage) -> None:
    stage.bus.answers(account.RefreshSession, account.SessionState("ann", "seller", True))

    new = (await refresh(stage, f"{KEY}.s1.old")).json()["refreshToken"].rpartition(".")[2]

    now = stage.clock.now_ms()
    session = account.Session("s1", hashlib.sha256(new.encode()).hexdigest(), now + 30 * DAY_MS, now, now)
    expected = account.RefreshSession(hashlib.sha256(b"old").hexdigest(), session, now)
    assert expected == stage.bus.last.message


async def test_a_refresh_token_used_twice_is_no_good(stage: Stage) -> None:
    stage.bus.answers(account.RefreshSession, account.SessionState("ann", "buyer", False))

    assert 401 == (await refresh(stage, f"{KEY}.s1.old")).status


async def test_a_refresh_token_of_no_account_is_no_good(stage: Stage) -> None:
    stage.bus.answers(account.RefreshSession, NO_SUCH)

    assert 401 == (await refresh(stage, f"{KEY}.s1.old")).status


@pytest.mark.parametrize("token", ["x", "a.b", "a.b.c.d", "..", ".s.x", "a/b.s.x", "a*.s.x", "\x00.s.x", "ä.s.x"])
async def test_what_never_was_a_refresh_token_is_no_good_and_nobody_is_asked(stage: Stage, token: str) -> None:
    answer = await refresh(stage, token)

    assert (401, []) == (answer.status, stage.bus.asked)


async def test_a_refresh_token_is_text_of_a_length_that_we_give_out(stage: Stage) -> None:
    assert ["/refreshToken"] == (await refresh(stage, "x" * 513)).faults


# Signing out.


async def test_signing_out_ends_the_session_of_the_token(stage: Stage) -> None:
    stage.bus.answers(account.EndSession, None)

    answer = await stage.call("POST", "/auth/logout", {"refreshToken": f"{KEY}.s1.old"})

    expected = account.EndSession("s1", hashlib.sha256(b"old").hexdigest())
    assert (204, b"", expected) == (answer.status, answer.body, stage.bus.last.message)


@pytest.mark.parametrize("token", ["nonsense", f"{KEY}.s1.old"])
async def test_signing_out_tells_nobody_whether_there_was_a_session(stage: Stage, token: str) -> None:
    stage.bus.answers(account.EndSession, NO_SUCH)

    assert 204 == (await stage.call("POST", "/auth/logout", {"refreshToken": token})).status


async def test_signing_out_is_not_said_to_be_done_where_it_may_not_be(stage: Stage) -> None:
    stage.bus.answers(account.EndSession, Busy("full"))

    assert 503 == (await stage.call("POST", "/auth/logout", {"refreshToken": f"{KEY}.s1.old"})).status
