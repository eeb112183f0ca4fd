"""The whole of an account: its mails, its passwords, its sessions and the keys that its tokens are signed with."""

import asyncio
import re
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import jwt
import pytest
from aiohttp import ClientSession

from tests.actors.notices.mail_server import MailServer
from tests.journeys.people import CHANGE_S_MAX, PASSWORD, Person, Visitor
from tests.journeys.process import Service, marketd, running

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

NEW_PASSWORD = "Passw0rd-of-tomorrow"
NO_MAIL_SERVER = {"MARKETD_MAIL__HOST": "127.0.0.1", "MARKETD_MAIL__PORT": "1", "MARKETD_MAIL__ENCRYPTION": "none"}
WATCHFUL = {"MARKETD_AUTH__KEYS_CHECK_S": "0.1"}


async def mail(reader: Visitor, kind: str, email: str) -> EmailMessage:
    """Look into the folder of mails until there is one of this kind to this address."""
    async with asyncio.timeout(CHANGE_S_MAX):
        while True:
            for path in sorted((reader.service.data / "mail").glob(f"*.{kind}.eml"), reverse=True):
                message = message_from_bytes(path.read_bytes(), policy=default)
                assert isinstance(message, EmailMessage)
                if message["To"] == email:
                    return message
            await reader.get("/healthz")


def text_of(message: EmailMessage) -> str:
    body = message.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


def token_in(message: EmailMessage) -> str:
    (token,) = re.findall(r"^[\w-]{70}\r?$", text_of(message), re.MULTILINE)
    return str(token).strip()


async def reset(visitor: Visitor, email: str) -> str:
    """Forget the password, and give the token that comes by mail."""
    (await visitor.post("/auth/password-reset", {"email": email})).expect(202)
    return token_in(await mail(visitor, "password-reset", email))


async def sessions(person: Person) -> list[str]:
    return [session["id"] for session in (await person.get("/auth/sessions")).expect(200)["sessions"]]


def kid_of(person: Person) -> str:
    return str(jwt.get_unverified_header(person.access_token)["kid"])


# Mails.


async def test_a_new_account_is_confirmed_by_the_token_of_its_mail(buyer: Person) -> None:
    token = token_in(await mail(buyer, "verify-email", buyer.email))
    before = (await buyer.get("/auth/me")).expect(200)["emailVerified"]
    (await buyer.post("/auth/verify-email", {"token": token})).expect(204)

    assert (False, True) == (before, (await buyer.get("/auth/me")).expect(200)["emailVerified"])


async def test_a_token_is_good_once(buyer: Person) -> None:
    token = token_in(await mail(buyer, "verify-email", buyer.email))
    (await buyer.post("/auth/verify-email", {"token": token})).expect(204)

    assert 400 == (await buyer.post("/auth/verify-email", {"token": token})).status


async def test_the_mail_that_is_sent_again_has_another_token(buyer: Person) -> None:
    first = token_in(await mail(buyer, "verify-email", buyer.email))
    (await buyer.post("/auth/verify-email/resend")).expect(202)
    async with asyncio.timeout(CHANGE_S_MAX):
        while (second := token_in(await mail(buyer, "verify-email", buyer.email))) == first:
            await buyer.get("/healthz")

    statuses = [(await buyer.post("/auth/verify-email", {"token": token})).status for token in (first, second)]
    assert [400, 204] == statuses


async def test_the_link_of_a_mail_leads_to_a_page(buyer: Person) -> None:
    text = text_of(await mail(buyer, "verify-email", buyer.email))
    (link,) = re.findall(r"http://\S+#token=\S+", text)

    assert (True, 200) == (
        link.startswith(buyer.service.url),
        (await buyer.get(link.removeprefix(buyer.service.url))).status,
    )


async def test_no_token_is_kept_but_in_its_mail_and_no_address_is_in_the_log(service: Service, buyer: Person) -> None:
    token = token_in(await mail(buyer, "verify-email", buyer.email))
    kept = [path for path in service.data.rglob("*") if path.is_file() and path.parent.name != "mail"]

    assert [] == [
        path for path in kept if token.encode() in path.read_bytes() or token[36:].encode() in path.read_bytes()
    ]
    assert (False, False) == (token in service.log, buyer.email in service.log)


async def test_a_kill_before_the_mail_went_out_loses_no_mail(tmp_path: Path, session: ClientSession) -> None:
    async with running(tmp_path / "data", settings=NO_MAIL_SERVER) as service:
        buyer = await Visitor(service, session).joins("buyer")
        await service.wait_said("a letter waits")
        service.kill()
        await service.wait_ended()

    async with running(tmp_path / "data") as service:
        token = token_in(await mail(buyer.at(service), "verify-email", buyer.email))

        assert 204 == (await buyer.at(service).post("/auth/verify-email", {"token": token})).status


async def test_a_mail_goes_out_once_also_after_a_kill(tmp_path: Path, session: ClientSession) -> None:
    server = MailServer()
    async with server.up():
        settings = NO_MAIL_SERVER | {"MARKETD_MAIL__PORT": str(server.port), "MARKETD_LOG__LEVEL": "debug"}
        async with running(tmp_path / "data", settings=settings) as service:
            first = await Visitor(service, session).joins("buyer")
            await service.wait_said("verify-email: sent")
            await first.get("/auth/me")
            service.kill()
            await service.wait_ended()
        async with running(tmp_path / "data", settings=settings) as service:
            await Visitor(service, session).joins("buyer")
            await service.wait_said("verify-email: sent")

    assert (2, 2) == (len(server.ids), len(set(server.ids)))


async def test_a_mail_server_that_is_down_delays_nobody_and_gets_the_mail_when_it_is_back(
    tmp_path: Path, session: ClientSession
) -> None:
    server = MailServer()
    async with server.up():  # it gets its port
        pass
    settings = NO_MAIL_SERVER | {
        "MARKETD_MAIL__PORT": str(server.port),
        "MARKETD_MAIL__RETRY_S": "0.05",
        "MARKETD_MAIL__RETRY_S_MAX": "0.2",
        "MARKETD_BREAKERS__OPEN_S": "0.5",
        "MARKETD_LOG__LEVEL": "debug",  # which says that a mail went out
    }
    data = tmp_path / "data"
    async with running(data, settings=settings) as service:
        visitor = Visitor(service, session)
        done = await marketd(
            "admin", "create", "root@example.org", "--data", str(data), "--password-stdin", given=PASSWORD
        )
        assert 0 == done.code, done.err
        admin = await visitor.signs_in("root@example.org", PASSWORD)
        await visitor.joins("buyer")
        async with asyncio.timeout(CHANGE_S_MAX):
            while not await _opened(admin):
                pass
        async with server.up(port=server.port):
            await service.wait_said("verify-email: sent")

    assert 1 == len(server.taken)


async def _opened(admin: Person) -> int:
    """How often the breaker before the mail server has opened."""
    circuits = (await admin.get("/admin/circuits")).expect(200)["circuits"]
    return next(int(circuit["opened"]) for circuit in circuits if circuit["name"] == "mail")


# Passwords.


async def test_a_forgotten_password_is_replaced(buyer: Person) -> None:
    token = await reset(buyer, buyer.email)
    (await buyer.post("/auth/password-reset/confirm", {"token": token, "password": NEW_PASSWORD})).expect(204)
    old = await buyer.post("/auth/login", {"email": buyer.email, "password": PASSWORD})

    assert (401, buyer.user_id) == (old.status, (await buyer.signs_in(buyer.email, NEW_PASSWORD)).user_id)


async def test_a_new_password_ends_every_session_at_once(visitor: Visitor, buyer: Person) -> None:
    other = await visitor.signs_in(buyer.email, PASSWORD)
    token = await reset(visitor, buyer.email)
    (await visitor.post("/auth/password-reset/confirm", {"token": token, "password": NEW_PASSWORD})).expect(204)

    access = [(await person.get("/auth/me")).status for person in (buyer, other)]
    fresh = [(await person.refreshes()).status for person in (buyer, other)]
    assert ([401, 401], [401, 401]) == (access, fresh)


async def test_a_new_password_is_told_by_mail(buyer: Person) -> None:
    token = await reset(buyer, buyer.email)
    (await buyer.post("/auth/password-reset/confirm", {"token": token, "password": NEW_PASSWORD})).expect(204)

    assert "Your password was changed" == (await mail(buyer, "password-changed", buyer.email))["Subject"]


async def test_for_a_stranger_no_mail_is_made(visitor: Visitor, buyer: Person) -> None:
    (await visitor.post("/auth/password-reset", {"email": "nobody@example.org"})).expect(202)
    await reset(visitor, buyer.email)

    assert 1 == len(list((visitor.service.data / "mail").glob("*.password-reset.eml")))


# Sessions.


async def test_a_session_that_is_ended_elsewhere_is_over_at_once(visitor: Visitor, buyer: Person) -> None:
    other = await visitor.signs_in(buyer.email, PASSWORD)
    (this,) = [s["id"] for s in (await other.get("/auth/sessions")).expect(200)["sessions"] if s.get("current")]
    (first,) = set(await sessions(other)) - {this}
    (await other.ask("DELETE", f"/auth/sessions/{first}")).expect(204)

    assert (401, [this]) == ((await buyer.get("/auth/me")).status, await sessions(other))


async def test_signing_out_everywhere_is_over_at_once_and_after_the_next_start(
    tmp_path: Path, session: ClientSession
) -> None:
    async with running(tmp_path / "data") as service:
        buyer = await Visitor(service, session).joins("buyer")
        (await buyer.ask("DELETE", "/auth/sessions")).expect(204)
        before = (await buyer.get("/auth/me")).status
        service.kill()
        await service.wait_ended()
    async with running(tmp_path / "data") as service:
        assert (401, 401) == (before, (await buyer.at(service).get("/auth/me")).status)


async def test_who_signs_out_takes_the_access_token_along(buyer: Person) -> None:
    (await buyer.post("/auth/logout", {"refreshToken": buyer.refresh_token})).expect(204)

    assert 401 == (await buyer.get("/auth/me")).status


# Keys.


async def test_keys_rotate_while_the_service_runs_and_nobody_is_signed_out(
    tmp_path: Path, session: ClientSession
) -> None:
    data = tmp_path / "data"
    async with running(data, settings=WATCHFUL) as service:
        visitor = Visitor(service, session)
        buyer = await visitor.joins("buyer")
        done = await marketd("keys", "rotate", "--data", str(data))
        await service.wait_said("signing with the key")
        again = await visitor.signs_in(buyer.email, PASSWORD)
        public = [key["kid"] for key in (await visitor.get("/.well-known/jwks.json")).expect(200)["keys"]]

        assert f"made the key {kid_of(again)}\n" == done.out
        assert [kid_of(buyer), kid_of(again)] == public
        assert [200, 200] == [(await person.get("/auth/me")).status for person in (buyer, again)]
        assert 200 == (await buyer.refreshes()).status


async def test_keys_are_listed_the_one_that_signs_last(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    made = [(await marketd("keys", "rotate", "--data", str(data))).out.split()[-1] for _ in range(2)]
    lines = (await marketd("keys", "list", "--data", str(data))).out.splitlines()

    assert [(made[0], "signed"), (made[1], "signs")] == [(line.split()[0], line.split()[-1]) for line in lines]
