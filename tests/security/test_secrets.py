"""
What must never be written down: a day in the life of the service at its most talkative, and then a look into all that
it said, and into every file of its data directory that somebody could read as text.
"""

import json
from collections.abc import AsyncIterator
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from tests.journeys.people import PASSWORD
from tests.journeys.process import marketd
from tests.journeys.test_accounts import mail, token_in
from tests.security.town import LICENCE_KEY, SECRET_ADDRESS, Town, peopled

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

NEW_PASSWORD: Final = "Passw0rd-chosen-anew"
WRONG_PASSWORD: Final = "Passw0rd-that-was-wrong"
TALKATIVE: Final = {"MARKETD_LOG__LEVEL": "debug", "MARKETD_NATS__IN_PROCESS": "false"}
SECRET_FILES: Final = {"server.conf", "endpoint.json", "sample-password.txt"}  # for the service's own user


class Day:
    """What was said, and what should not have been."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.log = ""
        self.secrets: dict[str, str] = {}


async def busy(town: Town, day: Day) -> None:
    """Do everything that holds a secret, rightly and wrongly."""
    stranger, buyer = town.stranger, town.buyer
    pair = (await stranger.post("/auth/login", {"email": buyer.email, "password": PASSWORD})).expect(200)
    fresh = (await stranger.post("/auth/refresh", {"refreshToken": pair["refreshToken"]})).expect(200)
    await stranger.post("/auth/refresh", {"refreshToken": pair["refreshToken"]})
    await stranger.post("/auth/login", {"email": buyer.email, "password": WRONG_PASSWORD})
    await stranger.post("/auth/register", {"email": buyer.email, "password": PASSWORD, "name": "Me", "role": "buyer"})
    (await stranger.post("/auth/password-reset", {"email": buyer.email})).expect(202)
    verify = token_in(await mail(buyer, "verify-email", buyer.email))
    reset = token_in(await mail(buyer, "password-reset", buyer.email))
    (await stranger.post("/auth/verify-email", {"token": verify})).expect(204)
    for _ in range(2):
        await stranger.post("/auth/password-reset/confirm", {"token": reset, "password": NEW_PASSWORD})
    again = await stranger.signs_in(buyer.email, NEW_PASSWORD)
    once = {"Idempotency-Key": "a-key-of-the-buyer"}
    declined = {"productId": (await town.seller.offers())["id"], "paymentMethodId": "pm_secret_of_the_buyer"}
    await again.sees_end((await again.post("/orders", declined, **once)).expect(202)["orderId"])
    await again.post("/orders", declined, **once)
    for path in (town.link, f"{town.link}x", "/downloads/a.b.c", f"/auth/me?access_token={fresh['accessToken']}"):
        await again.get(path)
    await again.get("/auth/me", Authorization=f"Bearer {fresh['accessToken']}x")
    for broken in (b"\x01", b"\r\n folded"):
        await town.raw(
            b"GET /auth/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + pair["refreshToken"].encode() + broken
        )
    endpoint = json.loads((day.data / "nats" / "endpoint.json").read_text())
    day.secrets = {
        "password": PASSWORD,
        "new password": NEW_PASSWORD,
        "wrong password": WRONG_PASSWORD,
        "hash of a password": "$argon2id$",
        "access token": fresh["accessToken"].rpartition(".")[2],
        "refresh token": pair["refreshToken"].rpartition(".")[2],
        "newer refresh token": fresh["refreshToken"].rpartition(".")[2],
        "token to verify": verify,
        "token to reset": reset,
        "link": town.link.rpartition(".")[2],
        "licence key": LICENCE_KEY,
        "address of a file": SECRET_ADDRESS,
        "e-mail": buyer.email,
        "e-mail of the seller": town.seller.email,
        "payment method": "pm_card_visa",
        "declined payment method": "pm_secret_of_the_buyer",
        "idempotency key": "a-key-of-the-buyer",
        "NATS": endpoint["password"],
        "sys of NATS": json.loads((day.data / "nats" / "server.conf").read_text())["accounts"]["SYS"]["users"][0][
            "password"
        ],
        "signing key": next((day.data / "keys").glob("*.pem")).read_text().splitlines()[1],
    }


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def day(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Day]:
    day = Day(tmp_path_factory.mktemp("day") / "data")
    async with peopled(day.data, TALKATIVE) as town:
        await busy(town, day)
        assert 0 == await town.service.stop()
        await town.service.gone()
        day.log = town.service.log
    yield day


async def test_the_day_was_talkative(day: Day) -> None:
    """Else silence would prove nothing."""
    assert (True, True) == (" debug marketd." in day.log, "sent what is no request" in day.log)


async def test_the_log_holds_no_secret(day: Day) -> None:
    assert [] == [name for name, secret in day.secrets.items() if secret in day.log]


async def test_no_library_tells_of_its_own_doings(day: Day) -> None:
    talking = {line.split(" ", 3)[2] for line in day.log.splitlines() if line.split(" ", 2)[1:2] == ["debug"]}

    assert [] == [name for name in talking if not name.startswith("marketd")]


async def test_no_file_but_the_mails_holds_a_token_or_a_password(day: Day) -> None:
    """The log holds e-mails, hashes and licence keys: it is the store. Nothing holds what opens a door by itself."""
    doors = ("password", "token", "link", "idempotency", "NATS")
    wanted = {name: secret for name, secret in day.secrets.items() if any(door in name for door in doors)}
    wanted.pop("hash of a password")
    found = [
        (path.name, name)
        for path in day.data.rglob("*")
        if path.is_file() and path.suffix != ".eml" and path.name not in SECRET_FILES
        for name, secret in wanted.items()
        if secret.encode() in path.read_bytes()
    ]

    assert [] == found


async def test_a_mail_is_to_one_and_names_nobody(day: Day) -> None:
    mails = [message_from_bytes(path.read_bytes(), policy=default) for path in (day.data / "mail").glob("*.eml")]

    assert mails
    assert [] == [
        mail for mail in mails if mail["Cc"] or mail["Bcc"] or "," in mail["To"] or PASSWORD in mail.as_string()
    ]


async def test_the_command_line_shows_no_secret(tmp_path: Path) -> None:
    settings = {"MARKETD_NATS__PASSWORD": "hunter2", "MARKETD_MAIL__PASSWORD": "hunter3"}
    shown = await marketd("config", "--data", str(tmp_path), settings=settings)

    assert (0, False, False) == (shown.code, "hunter" in shown.out, "hunter" in shown.err)


async def test_a_password_is_no_argument_of_a_command(day: Day) -> None:
    """Arguments are seen by everybody on the machine (ps)."""
    refused = await marketd("admin", "create", "eve@example.org", "--password", "hunter2", "--data", str(day.data))

    assert 2 == refused.code
