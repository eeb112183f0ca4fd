"""
API4:2023 Unrestricted Resource Consumption, and API6:2023 Unrestricted Access to Sensitive Business Flows: what one
client may take up, how often one may guess, and what the rules of the shop forbid however one asks.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from marketd.actors.account import SESSIONS_MAX
from marketd.storage.database import DiskTrouble
from marketd.storage.files import FileStore
from tests.journeys.people import PASSWORD, Person
from tests.security.town import Town, peopled

SOON: Final = 5.0
TIGHT: Final = {
    "MARKETD_HTTP__HEAD_READ_S_MAX": "0.5",
    "MARKETD_HTTP__KEEP_ALIVE_S_MAX": "1",
    "MARKETD_HTTP__BODY_READ_S_MAX": "0.5",
    "MARKETD_UPLOADS__WINDOW_S": "0.5",
    "MARKETD_UPLOADS__WINDOW_BYTES_MIN": "1000",
    "MARKETD_AUTH__FAILURES_MAX": "4",
    "MARKETD_AUTH__LOCKOUT_S": "30",
    "MARKETD_AUTH__MAILS_HOUR_MAX": "2",
    "MARKETD_IDEMPOTENCY__OWNER_KEYS_MAX": "5",
}
GUESSES: Final = 12

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def tight(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """A town where nobody is waited for."""
    async with peopled(tmp_path_factory.mktemp("tight") / "data", TIGHT) as town:
        yield town


JSON: Final = b"Host: x\r\nContent-Type: application/json\r\n"
SLOW: Final = {
    "a head": (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: ", b"a"),
    "lines of a head": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n"),
    "empty lines": (b"\r\n", b"\r\n"),
    "silence": (b"", b""),
    "silence after an answer": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b""),
    "the next head": (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /he", b"a"),
}
SLOW_BODIES: Final = {
    "a body": (b"POST /auth/login HTTP/1.1\r\n" + JSON + b"Content-Length: 1000\r\n\r\n", b" "),
    "chunks": (b"POST /auth/login HTTP/1.1\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "a chunk's extension": (b"POST /auth/login HTTP/1.1\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n1;", b"a"),
    "trailers": (b"POST /auth/login HTTP/1.1\r\n" + JSON + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
    "a body that is never sent": (b"POST /auth/login HTTP/1.1\r\n" + JSON + b"Content-Length: 9\r\n\r\n", b""),
    "an upload": (
        b"POST /uploads?name=a HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 9999\r\n\r\n",
        b"x",
    ),
    "an upload under a key": (
        b"POST /uploads?name=a HTTP/1.1\r\nHost: x\r\nIdempotency-Key: slow\r\nAuthorization: %s\r\n"
        b"Content-Length: 9999\r\n\r\n",
        b"x",
    ),
}


async def dripped(town: Town, first: bytes, each: bytes, until: bytes | None = None) -> tuple[float, bytes]:
    """Send, then a little every now and then; say after how long it is answered so, or the service hangs up."""
    host, _, port = town.service.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    began, got = time.monotonic(), b""
    try:
        writer.write(first.replace(b"%s", town.seller._headers["Authorization"].encode()))
        while time.monotonic() - began < SOON and not (until and until in got):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    part = await reader.read(4096)
                    got += part
                    if not part:
                        break
            writer.write(each)
    except ConnectionError:
        pass
    finally:
        writer.transport.abort()
    return time.monotonic() - began, got


@pytest.mark.parametrize("what", SLOW)
async def test_who_sends_slowly_or_nothing_is_hung_up_on(tight: Town, what: str) -> None:
    took_s, _ = await dripped(tight, *SLOW[what])

    assert took_s < SOON


@pytest.mark.parametrize("what", SLOW_BODIES)
async def test_a_body_that_drips_is_given_up(tight: Town, what: str) -> None:
    _, got = await dripped(tight, *SLOW_BODIES[what], until=b" 408 ")

    assert b" 408 " in got


async def test_sessions_of_an_account_are_so_many_and_no_more(tight: Town) -> None:
    person = await tight.stranger.joins("buyer")
    for _ in range(SESSIONS_MAX):
        last = await tight.stranger.signs_in(person.email, PASSWORD)

    assert SESSIONS_MAX == len((await last.get("/auth/sessions")).expect(200)["sessions"])
    assert 401 == (await person.get("/auth/me")).status


async def test_passwords_are_guessed_a_few_times_and_not_more(tight: Town) -> None:
    victim = await tight.stranger.joins("buyer")
    guesses = [
        await tight.stranger.post("/auth/login", {"email": email, "password": f"Passw0rd-{number}"})
        for number in range(GUESSES)
        for email in (victim.email, victim.email.upper())
    ]
    right = await tight.stranger.post("/auth/login", {"email": victim.email, "password": PASSWORD})

    assert ({401, 429}, 429) == ({answer.status for answer in guesses}, right.status)
    assert 4 == sum(answer.status == 401 for answer in guesses)


async def test_many_guesses_at_once_are_no_more_than_one_after_the_other(tight: Town) -> None:
    victim = await tight.stranger.joins("buyer")

    async def guess(number: int) -> int:
        body = {"email": victim.email, "password": f"Passw0rd-{number}"}
        return (await tight.stranger.post("/auth/login", body)).status

    assert 4 == (await asyncio.gather(*(guess(number) for number in range(GUESSES)))).count(401)


async def test_who_is_not_there_is_locked_out_like_who_is(tight: Town) -> None:
    """Else the lockout would tell who has an account."""
    answers = [
        await tight.stranger.post("/auth/login", {"email": "nobody@example.org", "password": f"Passw0rd-{number}"})
        for number in range(6)
    ]

    assert [401] * 4 + [429] * 2 == [answer.status for answer in answers]


@pytest.mark.parametrize("path", ["/auth/verify-email", "/auth/password-reset/confirm"])
async def test_a_mailed_token_can_not_be_guessed(tight: Town, path: str) -> None:
    body = {"password": "Passw0rd-new"} if "reset" in path else {}
    guesses = ["0" * 70, "-" * 70, "A" * 70, "A" * 69, "A" * 71, "é" * 70, "=" * 70, "\0" * 70, "*", "."]
    answers = [await tight.stranger.post(path, body | {"token": guess}) for guess in guesses]

    assert {400} == {answer.status for answer in answers}


async def test_a_mailbox_is_not_flooded(tight: Town) -> None:
    victim = await tight.stranger.joins("buyer")
    answers = [await tight.stranger.post("/auth/password-reset", {"email": victim.email}) for _ in range(6)]

    mails = [
        path for path in (tight.service.data / "mail").glob("*password-reset*") if victim.email in path.read_text()
    ]
    assert ({202}, True) == ({answer.status for answer in answers}, len(mails) <= 2)


async def test_resetting_tells_nobody_who_has_an_account(tight: Town) -> None:
    known = await tight.stranger.post("/auth/password-reset", {"email": tight.other_buyer.email})
    unknown = await tight.stranger.post("/auth/password-reset", {"email": "nobody@example.org"})

    assert (known.status, known.body) == (unknown.status, unknown.body)


async def test_keys_of_one_user_push_out_only_their_own(tight: Town) -> None:
    """Of one who fills the memory for first answers, others notice nothing."""
    path, body = f"/products/{tight.lamp['id']}/reviews", {"rating": 1, "body": "Not bought."}
    first = await tight.other_buyer.post(
        "/orders", {"productId": "none", "paymentMethodId": "x"}, **{"Idempotency-Key": "mine"}
    )
    for number in range(20):
        await tight.other_seller.post(path, body, **{"Idempotency-Key": f"flood-{number}"})
    again = await tight.other_buyer.post(
        "/orders", {"productId": "none", "paymentMethodId": "x"}, **{"Idempotency-Key": "mine"}
    )

    assert (404, first.body) == (first.status, again.body)


async def test_a_key_of_one_user_is_nothing_to_another(tight: Town) -> None:
    product = await tight.seller.offers()
    body, key = {"productId": product["id"], "paymentMethodId": "pm_card_visa"}, {"Idempotency-Key": "guessable"}
    mine = (await tight.buyer.post("/orders", body, **key)).expect(202)
    theirs = (await tight.other_buyer.post("/orders", body, **key)).expect(202)

    assert mine["orderId"] != theirs["orderId"]
    assert 404 == (await tight.other_buyer.get(f"/orders/{mine['orderId']}")).status


async def test_uploads_leave_room_for_everything_else(tmp_path: Path) -> None:
    files = FileStore(tmp_path / "files", free_bytes_min=2**62)
    await files.prepare()

    async def chunks() -> AsyncIterator[bytes]:
        yield b"a"

    with pytest.raises(DiskTrouble):
        await files.receive(chunks(), 10)
    assert [] == await asyncio.to_thread(lambda: [path for path in tmp_path.rglob("*") if path.is_file()])


# The rules of the shop.


async def test_one_copy_is_sold_once_however_many_ask_at_once(tight: Town) -> None:
    product = await tight.seller.offers(stock=1)
    buyers = [await tight.stranger.joins("buyer") for _ in range(6)]

    async def outcome(buyer: Person) -> str:
        answer = await buyer.orders(product)
        return (await buyer.sees_end(answer.json["orderId"]))["status"] if answer.status == 202 else "refused"

    assert 1 == (await asyncio.gather(*map(outcome, buyers))).count("completed")


async def test_nobody_buys_what_is_theirs(tight: Town) -> None:
    product = await tight.seller.offers()
    await tight.buyer.buys(product)

    assert [409, 409] == [(await tight.seller.orders(product)).status, (await tight.buyer.orders(product)).status]


async def test_nobody_reviews_what_they_have_not_bought_nor_twice(tight: Town) -> None:
    path, body = f"/products/{tight.lamp['id']}/reviews", {"rating": 1, "body": "Again."}
    answers = [await who.post(path, body) for who in (tight.other_buyer, tight.seller, tight.other_seller, tight.buyer)]

    assert [403, 403, 403, 409] == [answer.status for answer in answers]


async def test_nobody_refunds_their_own_purchase(tight: Town) -> None:
    order = await tight.buyer.buys(await tight.seller.offers())
    answers = [await who.refunds(order) for who in (tight.buyer, tight.other_buyer, tight.other_seller)]

    assert [403, 404, 404] == [answer.status for answer in answers]
    assert "completed" == (await tight.buyer.sees(order["id"]))["status"]


async def test_the_price_is_the_products(tight: Town) -> None:
    product = await tight.seller.offers(price=12.34)

    assert (12.34, "USD") == ((order := await tight.buyer.buys(product))["price"], order["currency"])
