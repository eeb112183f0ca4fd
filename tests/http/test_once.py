"""Idempotency-Key: the first answer again, byte for byte, and nothing done twice."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from marketd.actors import account, buyer, order, product
from marketd.actors.aggregate import Refused
from marketd.bus.port import Busy, NoAnswer, Unsure
from marketd.http.answers import written
from marketd.http.once import AT_ONCE_MAX
from marketd.storage.answers import FirstAnswers
from marketd.storage.cards import ReadProduct
from marketd.storage.database import DiskTrouble
from tests.http.stage import Reply, Stage, staged
from tests.http.things import AT, CARD, DESCRIBED, ENCODED, LISTING, PENDING, PROFILE, QUOTED, REGISTRATION, VIEW

pytestmark = pytest.mark.asyncio

HOUR_S = 3600
WISH = {"productId": "lamp", "paymentMethodId": "pm_card_visa"}
LOGIN = {"email": "ann@example.org", "password": "Passw0rd"}


def sells(stage: Stage) -> None:
    stage.bus.answers(product.Quote, QUOTED)
    stage.bus.answers(buyer.Claim, None)
    stage.bus.answers(product.Unhold, None)
    stage.bus.answers(order.Place, PENDING)
    stage.bus.answers(order.Describe, Refused(order.Reason.NO_SUCH_ORDER))


async def place(stage: Stage, key: str = "k1", user: str = "ann", **changes: object) -> Reply:
    return await post(stage, "/orders", WISH | changes, key, user=user)


async def post(stage: Stage, path: str, body: object, key: str = "k1", **options: Any) -> Reply:
    headers = {"Idempotency-Key": key, **options.pop("headers", {})}
    return await stage.call("POST", path, body, headers=headers, **options)


def placed(stage: Stage) -> list[order.Place]:
    return [message for _, message in stage.bus.messages if isinstance(message, order.Place)]


def ids_of(stage: Stage, kind: type) -> list[tuple[str, str]]:
    """To whom, and under which id, each command of this kind went."""
    return [(subject, e.id) for subject, e in stage.bus.asked if isinstance(e.message, kind)]


def same(*replies: Reply) -> bool:
    """Whether all but what is each request's own is the same."""
    own = ("x-request-id", "date")
    shown = [(r.status, sorted(h for h in r.headers.items() if h[0].lower() not in own), r.body) for r in replies]
    return all(one == shown[0] for one in shown)


async def knows_ann(stage: Stage) -> None:
    hashed = await stage.passwords.hash("Passw0rd")
    stage.bus.answers(account.ReadCredentials, account.Credentials("ann", "buyer", hashed))
    stage.bus.answers(account.OpenSession, account.SessionState("ann", "buyer", True))


# The same again.


async def test_the_same_request_gets_the_same_answer(stage: Stage) -> None:
    sells(stage)
    first, second = await place(stage), await place(stage)

    assert (202, True) == (first.status, same(first, second))


async def test_the_work_is_done_once(stage: Stage) -> None:
    sells(stage)
    await place(stage)
    await place(stage)

    assert 1 == len(placed(stage))


async def test_each_answer_names_its_own_request(stage: Stage) -> None:
    sells(stage)
    first, second = await place(stage), await place(stage)

    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]


async def test_of_twenty_at_once_one_is_worked_on_and_all_get_its_answer(stage: Stage) -> None:
    sells(stage)
    answers = await asyncio.gather(*(place(stage) for _ in range(20)))

    assert (202, True, 1) == (answers[0].status, same(*answers), len(placed(stage)))


async def test_what_was_held_while_units_were_counted_is_given_back_where_they_are_no_more(stage: Stage) -> None:
    sells(stage)
    stage.bus.answers(product.Quote, replace(QUOTED, is_counted=True))
    stage.bus.answers(product.Hold, None)
    stage.bus.answers(order.Place, NoAnswer("silence"))
    first = await place(stage)
    sells(stage)
    second = await place(stage)

    assert (503, 202) == (first.status, second.status)
    assert [product.Unhold] == [
        type(message) for _, message in stage.bus.messages if isinstance(message, product.Unhold)
    ]
    assert [True, False] == [command.is_counted for command in placed(stage)]


async def test_without_a_key_everything_is_done_again(stage: Stage) -> None:
    sells(stage)
    for _ in range(2):
        await stage.call("POST", "/orders", WISH, user="ann")

    assert 2 == len(placed(stage))


async def test_another_key_is_another_request(stage: Stage) -> None:
    sells(stage)
    first, second = await place(stage, "k1"), await place(stage, "k2")

    assert (2, False) == (len(placed(stage)), first.json() == second.json())


async def test_somebody_else_may_have_the_same_key(stage: Stage) -> None:
    sells(stage)
    first, second = await place(stage, user="ann"), await place(stage, user="bob", productId="desk")

    assert (202, 202, 2) == (first.status, second.status, len(placed(stage)))


async def test_the_answer_outlives_the_service(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        sells(stage)
        first = await place(stage)
    async with staged(tmp_path) as stage:
        second = await place(stage)

        assert (True, []) == (same(first, second), stage.bus.asked)


async def test_the_answer_is_there_for_a_day(stage: Stage) -> None:
    sells(stage)
    await place(stage)
    await stage.clock.advance(24 * HOUR_S - 1)
    await place(stage)
    within = len(placed(stage))
    await stage.clock.advance(2)
    await place(stage)

    assert (1, 2) == (within, len(placed(stage)))


async def test_an_answer_too_large_to_be_kept_is_made_again_under_the_same_ids(stage: Stage) -> None:
    stage.bus.answers(product.List, DESCRIBED)
    stage.bus.answers(ReadProduct, replace(ENCODED, own=written(replace(CARD, description="x" * 2_000))))
    for _ in range(2):
        await post(stage, "/products", LISTING, user="sam", role="seller")

    first, second = ids_of(stage, product.List)
    assert first == second


async def test_a_get_has_no_use_for_a_key(stage: Stage) -> None:
    stage.bus.answers(ReadProduct, ENCODED)
    for _ in range(2):
        await stage.call("GET", "/products/lamp", headers={"Idempotency-Key": "not a key"})

    assert 2 == len(stage.bus.asked)


# Another request under the same key.


async def test_another_body_under_the_same_key_is_refused(stage: Stage) -> None:
    sells(stage)
    await place(stage)
    answer = await place(stage, productId="desk")

    assert (422, "/problems/key-used-differently", 1) == (answer.status, answer.json()["type"], len(placed(stage)))


async def test_another_path_under_the_same_key_is_refused(stage: Stage) -> None:
    sells(stage)
    await place(stage)

    assert 422 == (await post(stage, "/products/lamp/reviews", WISH, user="ann")).status


async def test_the_first_answer_stays_after_another_request(stage: Stage) -> None:
    sells(stage)
    first = await place(stage)
    await place(stage, productId="desk")

    assert same(first, await place(stage))


# Keys.


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, "schlüssel", "a\tb"])
async def test_a_key_is_up_to_255_visible_characters(stage: Stage, key: str) -> None:
    answer = await place(stage, key)

    assert ["/Idempotency-Key"] == answer.faults


@pytest.mark.parametrize("key", ["1", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "!~"])
async def test_any_visible_characters_make_a_key(stage: Stage, key: str) -> None:
    sells(stage)

    assert same(await place(stage, key), await place(stage, key))


async def test_two_keys_are_none(stage: Stage) -> None:
    body = b'{"productId":"lamp","paymentMethodId":"pm"}'
    head = b"POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    keys = b"Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: %d\r\n\r\n" % len(body)

    assert (await stage.raw(head + keys + body)).startswith(b"HTTP/1.1 400 ")


# What is kept and what is not.


async def test_a_refusal_is_kept(stage: Stage) -> None:
    stage.bus.answers(product.Quote, Refused(product.Reason.SOLD_OUT))
    first = await place(stage)
    sells(stage)
    second = await place(stage)

    assert (409, True) == (first.status, same(first, second))


async def test_a_fault_in_the_body_is_kept(stage: Stage) -> None:
    first, second = await place(stage, productId=7), await place(stage, productId=7)

    assert (400, True) == (first.status, same(first, second))


@pytest.mark.parametrize("error", [NoAnswer("silence"), Unsure("the log"), RuntimeError("a defect")])
async def test_what_failed_is_tried_again(stage: Stage, error: Exception) -> None:
    sells(stage)
    stage.bus.answers(order.Place, error)
    first = await place(stage)
    sells(stage)
    second = await place(stage)

    assert (True, 202) == (first.status >= 500, second.status)


async def test_what_failed_is_tried_again_under_the_same_ids(stage: Stage) -> None:
    sells(stage)
    stage.bus.answers(order.Place, NoAnswer("silence"))
    await place(stage)
    await stage.clock.advance(60)
    sells(stage)
    await place(stage)

    first, second = ids_of(stage, order.Place)
    assert (True, AT, AT) == (first == second, *(message.at for message in placed(stage)))


async def test_a_wrong_password_is_not_kept(stage: Stage) -> None:
    await knows_ann(stage)
    stage.bus.answers(account.ReadCredentials, Refused(account.Reason.NO_SUCH_ACCOUNT))
    first = await post(stage, "/auth/login", LOGIN)
    await knows_ann(stage)
    second = await post(stage, "/auth/login", LOGIN)

    assert (401, 200) == (first.status, second.status)


async def test_after_a_wrong_password_the_right_one_may_come_under_the_same_key(stage: Stage) -> None:
    await knows_ann(stage)
    await post(stage, "/auth/login", LOGIN | {"password": "wrong"})

    assert 200 == (await post(stage, "/auth/login", LOGIN)).status


async def test_a_lockout_is_not_kept(stage: Stage) -> None:
    await knows_ann(stage)
    for _ in range(3):
        stage.lockout.failed(account.address_of("ann@example.org").key)
    first = await post(stage, "/auth/login", LOGIN)
    await stage.clock.advance(100)
    second = await post(stage, "/auth/login", LOGIN)

    assert (429, 200) == (first.status, second.status)


async def test_who_is_not_signed_in_leaves_no_answer(stage: Stage) -> None:
    sells(stage)

    assert (401, 202) == ((await place(stage, user="")).status, (await place(stage)).status)


# A crash between the work and the answer.


def forgets_once(monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
    """Let the first answer be lost: the work was done, and nobody knows."""
    keep = FirstAnswers.keep

    async def lost(self: FirstAnswers, *arguments: bytes) -> None:
        monkeypatch.setattr(FirstAnswers, "keep", keep)
        raise error or DiskTrouble("the disk is full")

    monkeypatch.setattr(FirstAnswers, "keep", lost)


@pytest.mark.parametrize("error", [DiskTrouble("the disk is full"), Busy("too many wait"), Unsure("given up")])
async def test_an_answer_that_can_not_be_kept_does_not_go_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    sells(stage)
    forgets_once(monkeypatch, error)
    answer = await place(stage)

    assert (503, "/problems/unavailable") == (answer.status, answer.json()["type"])  # and not that nothing was done


async def test_an_order_whose_answer_was_lost_is_found_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    sells(stage)
    forgets_once(monkeypatch)
    await place(stage)
    stage.bus.answers(product.Quote, Refused(product.Reason.SOLD_OUT))  # to this very order
    stage.bus.answers(order.Describe, VIEW)
    answer = await place(stage)

    ((subject, _),) = ids_of(stage, order.Place)
    assert (202, subject.rpartition(".")[2]) == (answer.status, answer.json()["orderId"])


@pytest.mark.parametrize(
    ("path", "body", "role", "command", "answer"),
    [
        ("/orders", WISH, "buyer", order.Place, PENDING),
        ("/products", LISTING, "seller", product.List, DESCRIBED),
        ("/orders/o1/refund", {"reason": "no"}, "seller", order.RequestRefund, VIEW),
        ("/auth/register", REGISTRATION, "buyer", account.Register, PROFILE),
    ],
)
async def test_what_is_done_again_goes_to_the_same_actor_under_the_same_id(
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: object,
    role: Any,
    command: type,
    answer: Any,
) -> None:
    sells(stage)
    stage.bus.answers(ReadProduct, ENCODED)
    stage.bus.answers(command, answer)
    if path.endswith("refund"):
        stage.bus.answers(order.Describe, VIEW)
    forgets_once(monkeypatch)
    first = await post(stage, path, body, user="sam", role=role)
    await stage.clock.advance(5)
    second = await post(stage, path, body, user="sam", role=role)

    known, again = ids_of(stage, command)
    assert (503, True, known) == (first.status, second.status < 300, again)


async def test_who_signs_in_again_after_a_lost_answer_gets_a_session_that_is_known(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await knows_ann(stage)
    forgets_once(monkeypatch)
    await post(stage, "/auth/login", LOGIN)
    await post(stage, "/auth/login", LOGIN)

    first, second = [m for _, m in stage.bus.messages if isinstance(m, account.OpenSession)]
    assert first == second


# Secrets.


async def test_who_signs_in_again_gets_the_same_tokens(stage: Stage) -> None:
    await knows_ann(stage)
    first, second = await post(stage, "/auth/login", LOGIN), await post(stage, "/auth/login", LOGIN)

    assert (200, True) == (first.status, same(first, second))


async def test_nothing_of_a_login_can_be_read_in_the_file(stage: Stage, tmp_path: Path) -> None:
    await knows_ann(stage)
    pair = (await post(stage, "/auth/login", LOGIN, "a-key-of-anns")).json()
    stored = (tmp_path / "answers.db").read_bytes() + (tmp_path / "answers.db-wal").read_bytes()

    secrets = [
        pair["accessToken"],
        pair["refreshToken"],
        pair["userId"],
        "Passw0rd",
        "ann@example.org",
        "a-key-of-anns",
    ]
    assert (True, []) == (len(stored) > 1_000, [secret for secret in secrets if secret.encode() in stored])


async def test_the_key_alone_opens_nothing(stage: Stage) -> None:
    await knows_ann(stage)
    await post(stage, "/auth/login", LOGIN)

    assert 422 == (await post(stage, "/auth/login", LOGIN | {"password": "a guess"})).status


# Uploads.


async def upload(stage: Stage, data: bytes, name: str = "a.zip", key: str = "k1") -> Reply:
    return await stage.call(
        "POST", f"/uploads?name={name}", user="sam", role="seller", data=data, headers={"Idempotency-Key": key}
    )


async def test_the_same_upload_gets_the_same_answer(stage: Stage) -> None:
    first, second = await upload(stage, b"abc"), await upload(stage, b"abc")

    assert (201, True) == (first.status, same(first, second))


async def test_the_same_upload_is_stored_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[str] = []
    receive = stage.files.receive

    async def counted(*arguments: Any) -> Any:
        received.append("once")
        return await receive(*arguments)

    monkeypatch.setattr(stage.files, "receive", counted)
    await asyncio.gather(*(upload(stage, b"abc") for _ in range(5)))

    assert ["once"] == received


@pytest.mark.parametrize(("data", "name"), [(b"abd", "a.zip"), (b"abc", "b.zip"), (b"", "a.zip")])
async def test_another_upload_under_the_same_key_is_refused(stage: Stage, data: bytes, name: str) -> None:
    await upload(stage, b"abc")

    assert 422 == (await upload(stage, data, name)).status


async def test_an_upload_refused_before_it_was_here_leaves_no_answer(stage: Stage) -> None:
    first = await stage.call(
        "POST", "/uploads?name=a", user="sam", data=b"x" * 200_000, headers={"Idempotency-Key": "k1"}
    )

    assert (403, 201) == (first.status, (await upload(stage, b"abc")).status)


async def test_an_upload_too_large_for_its_key_is_refused_too(stage: Stage) -> None:
    await upload(stage, b"abc")

    async def endless() -> Any:
        for _ in range(100):
            yield b"x" * 100

    answer = await stage.call(
        "POST", "/uploads?name=a.zip", user="sam", role="seller", data=endless(), headers={"Idempotency-Key": "k1"}
    )
    assert 413 == answer.status


# Limits.


def gated(stage: Stage) -> Callable[[], None]:
    """Let orders wait until the gate opens."""
    gate = asyncio.Event()
    ask = stage.bus.ask

    async def waiting(subject: str, envelope: Any) -> Any:
        if isinstance(envelope.message, order.Place):
            await gate.wait()
        return await ask(subject, envelope)

    stage.bus.ask = waiting  # type: ignore[method-assign]
    return gate.set


async def test_who_waits_too_long_for_the_first_is_told_so(stage: Stage) -> None:
    sells(stage)
    opens = gated(stage)
    stage.once._wait_s_max = 0.05
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(place(stage))
        while not stage.bus.asked:
            await asyncio.sleep(0.01)
        second = await place(stage)
        opens()

    said = (second.status, second.json()["type"], second.headers["Retry-After"])
    assert (202, (409, "/problems/in-hand-already", "1")) == (first.result().status, said)


async def test_only_so_many_wait_under_one_key(stage: Stage) -> None:
    sells(stage)
    opens = gated(stage)
    async with asyncio.TaskGroup() as tasks:
        all_of_them = [tasks.create_task(place(stage)) for _ in range(AT_ONCE_MAX + 1)]
        await asyncio.wait(all_of_them, return_when=asyncio.FIRST_COMPLETED)
        opens()

    assert [202] * AT_ONCE_MAX + [503] == sorted(task.result().status for task in all_of_them)


async def test_a_file_that_fails_costs_those_with_keys_alone(stage: Stage, tmp_path: Path) -> None:
    sells(stage)
    with sqlite3.connect(tmp_path / "answers.db") as other:
        other.execute("DROP TABLE answers")
    other.close()

    assert (503, 202) == ((await place(stage)).status, (await stage.call("POST", "/orders", WISH, user="ann")).status)
