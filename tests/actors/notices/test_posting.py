"""Requests to endpoints of strangers: to nowhere but where they may go, and no longer than they may take."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from marketd.actors.notices import posting
from marketd.actors.notices.posting import BODY_BYTES_MAX, NOWHERE, Answered, Line, LineLimits, Unreached
from tests.actors.notices.receiver import FLOOD, Receiver, hangs, hangs_up, repeats, says, status

pytestmark = pytest.mark.asyncio

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ALLOWED = LineLimits(allow_private=True, allow_http=True, wait_s_max=1)
STRICT = LineLimits(allow_http=True, wait_s_max=1)
NOT_PUBLIC = Unreached("the address is not allowed: expected a public address")


@pytest_asyncio.fixture
async def line() -> AsyncIterator[Line]:
    async with Line(ALLOWED) as line:
        yield line


@pytest_asyncio.fixture
async def strict_line() -> AsyncIterator[Line]:
    """One that may go to public addresses alone."""
    async with Line(STRICT) as line:
        yield line


async def posted(line: Line, receiver: Receiver) -> Answered | Unreached:
    async with receiver.up():
        return await line.post(receiver.url, {"webhook-id": "m1"}, b'{"a":1}')


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Have every name stand for these addresses; give the list of the names that are looked up."""
    asked: list[str] = []

    def look_up(host: str, port: int, **options: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


# What comes back.


async def test_what_is_posted_arrives(line: Line) -> None:
    receiver = Receiver()
    await posted(line, receiver)

    ((path, headers, body),) = receiver.posts
    assert ("/hook", "m1", b'{"a":1}') == (path, headers["webhook-id"], body)


async def test_the_answer_comes_back(line: Line) -> None:
    assert Answered(200, b"thanks") == await posted(line, Receiver())


@pytest.mark.parametrize(("code", "expected"), [(200, True), (204, True), (299, True), (302, False), (404, False)])
async def test_two_hundred_and_its_like_is_success(line: Line, code: int, expected: bool) -> None:
    answer = await posted(line, Receiver(status(code)))

    assert isinstance(answer, Answered) and (code, expected) == (answer.status, answer.is_success)


@pytest.mark.parametrize(
    ("header", "expected"),
    [("120", 120), ("0", 0), ("999999", 86_400), ("9" * 50, 0), ("-1", 0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0)],
)
async def test_it_is_heard_when_to_come_again(line: Line, header: str, expected: float) -> None:
    answer = await posted(line, Receiver(status(503, f"Retry-After: {header}")))

    assert Answered(503, b"", expected) == answer


async def test_no_redirect_is_followed(line: Line) -> None:
    elsewhere = Receiver()
    async with elsewhere.up():
        answer = await posted(line, Receiver(status(307, f"Location: {elsewhere.url}")))

    assert (Answered(307), 0) == (answer, elsewhere.connections)


async def test_a_connection_is_used_again(line: Line) -> None:
    receiver = Receiver()
    async with receiver.up():
        for _ in range(3):
            await line.post(receiver.url, {}, b"{}")

    assert (3, 1) == (len(receiver.posts), receiver.connections)


async def test_no_cookie_is_kept(line: Line) -> None:
    receiver = Receiver(status(200, "Set-Cookie: a=b; Path=/"))
    async with receiver.up():
        for _ in range(2):
            await line.post(receiver.url, {}, b"{}")

    assert [None, None] == [post.headers.get("cookie") for post in receiver.posts]


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Receiver()
    async with proxy.up():
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with Line(ALLOWED) as line:
            assert Answered(200, b"thanks") == await posted(line, Receiver())

    assert [] == proxy.posts


# Receivers that mean no good.


@pytest.mark.parametrize(
    "behave",
    [
        repeats(CHUNKED, b"10000\r\n" + FLOOD + b"\r\n"),
        repeats(b"HTTP/1.1 200 OK\r\n\r\n", FLOOD),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n" + FLOOD),
    ],
    ids=["endless chunks", "until it closes", "larger than it is"],
)
async def test_of_an_endless_body_no_more_is_read_than_is_shown(line: Line, behave: Any) -> None:
    assert Answered(200, FLOOD[:BODY_BYTES_MAX]) == await posted(line, Receiver(behave))


async def test_a_body_that_comes_drop_by_drop_is_not_waited_for(line: Line) -> None:
    begun_s = time.monotonic()
    answer = await posted(line, Receiver(repeats(CHUNKED, b"1\r\nx\r\n", 0.1)))

    assert isinstance(answer, Answered) and answer.body.startswith(b"xxx") and time.monotonic() - begun_s < 4


async def test_a_body_that_breaks_off_is_shown_as_far_as_it_came(line: Line) -> None:
    answer = await posted(
        line, Receiver(says(b"HTTP/1.1 500 No\r\nContent-Length: 9\r\nConnection: close\r\n\r\nsorr"))
    )

    assert isinstance(answer, Answered) and (500, b"sorr") == (answer.status, answer.body)


async def test_what_is_packed_is_not_unpacked(line: Line) -> None:
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"

    assert Answered(200, b"\x1f\x8b\x08\x00") == await posted(line, Receiver(says(packed)))


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (hangs, "there was no answer within 1 s"),
        (repeats(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), "its answer is not HTTP"),
        (repeats(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05), "there was no answer within 1 s"),
        (says(b"HTTP/1.1 200 OK\r\nX: " + FLOOD), "its answer is not HTTP"),
        (says(b"220 mail.example ESMTP\r\n"), "its answer is not HTTP"),
        (hangs_up, "the connection broke off before an answer"),
    ],
    ids=["hangs", "endless head", "endless interim answers", "long header", "mail server", "hangs up"],
)
async def test_what_is_no_answer_is_told_in_our_own_words(line: Line, behave: Any, why: str) -> None:
    assert Unreached(why) == await posted(line, Receiver(behave))


async def test_where_nobody_listens_there_is_no_answer(line: Line) -> None:
    receiver = Receiver()
    async with receiver.up():
        pass

    assert Unreached("it could not be connected to: Connection refused") == await line.post(receiver.url, {}, b"{}")


# Where it goes.


async def test_http_is_not_spoken_where_it_is_not_allowed() -> None:
    async with Line(LineLimits(allow_private=True)) as line:
        answer = await posted(line, Receiver())

    assert Unreached("the address is not allowed: expected https") == answer


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0x7f000001"])
async def test_nothing_goes_to_this_machine(strict_line: Line, host: str) -> None:
    receiver = Receiver()
    async with receiver.up():
        answer = await strict_line.post(f"http://{host}:{receiver.port}/", {}, b"{}")

    assert (NOT_PUBLIC, 0) == (answer, receiver.connections)


@pytest.mark.parametrize(
    "addresses",
    [("127.0.0.1",), ("::1",), ("::ffff:127.0.0.1",), ("169.254.169.254",), ("1.1.1.1", "127.0.0.1")],
)
async def test_nothing_goes_to_a_name_one_of_whose_addresses_is_ours(
    strict_line: Line, monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    resolving(monkeypatch, *addresses)
    receiver = Receiver()
    async with receiver.up():
        answer = await strict_line.post(f"http://books.example:{receiver.port}/", {}, b"{}")

    assert (Unreached(NOWHERE), 0) == (answer, receiver.connections)


async def test_a_name_that_there_is_not_looks_the_same(strict_line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*asked: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "there is no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)

    assert Unreached(NOWHERE) == await strict_line.post("http://books.example/", {}, b"{}")


async def test_what_is_connected_to_is_checked_again(strict_line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever says otherwise before: an address in the URL never comes by the look-up."""
    monkeypatch.setattr(posting, "fault_of", lambda url, **allowed: None)
    receiver = Receiver()
    async with receiver.up():
        answer = await strict_line.post(receiver.url, {}, b"{}")

    assert (Unreached(NOWHERE), 0) == (answer, receiver.connections)


async def test_a_name_is_looked_up_once_for_a_request(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that stands for something else the second time (DNS rebinding) has no second time."""
    asked = resolving(monkeypatch, "127.0.0.1")
    receiver = Receiver()
    async with receiver.up():
        answer = await line.post(f"http://books.example:{receiver.port}/", {}, b"{}")

    assert (Answered(200, b"thanks"), ["books.example"]) == (answer, asked)


async def test_a_silent_name_server_holds_up_nobody_elses_threads_and_not_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[tuple[str, bool]] = []

    def look_up(host: str, port: int, **options: Any) -> Any:
        threads.append((threading.current_thread().name, threading.current_thread().daemon))
        raise socket.gaierror(socket.EAI_AGAIN, "come again")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with Line(STRICT) as line:
        await line.post("http://books.example/", {}, b"{}")

    assert [("webhooks", True)] == threads


async def test_where_no_thread_is_to_be_had_nobody_has_to_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    near = LineLimits(allow_private=True, allow_http=True, wait_s_max=1, lookups_max=1)
    async with Receiver().up() as receiver, Line(near) as line:
        url = receiver.url.replace("127.0.0.1", "localhost")
        with monkeypatch.context() as patched:
            patched.setattr("marketd.actors.notices.posting.Thread.start", cannot_start)
            refused = await line.post(url, {}, b"")
        answered = await line.post(url, {}, b"")

    assert isinstance(refused, Unreached) and isinstance(answered, Answered)


def cannot_start(thread: object) -> None:
    raise RuntimeError("can't start new thread")


async def test_only_so_many_names_are_looked_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    is_over, asked = threading.Event(), list[str]()

    def look_up(host: str, port: int, **options: Any) -> Any:
        asked.append(host)
        is_over.wait(20)
        raise socket.gaierror(socket.EAI_NONAME, "there is no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    async with Line(LineLimits(allow_http=True, wait_s_max=0.5, lookups_max=2)) as line:
        answers = await asyncio.gather(*(line.post(f"http://{n}.example/", {}, b"{}") for n in range(5)))
        silent = list(asked)
        is_over.set()
        await line.post("http://last.example/", {}, b"{}")

    assert ([Unreached("there was no answer within 0.5 s")] * 5, 2, "last.example") == (answers, len(silent), asked[-1])


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example", ".", "-"])
async def test_a_name_that_can_not_be_one_leads_nowhere(strict_line: Line, host: str) -> None:
    assert isinstance(await strict_line.post(f"http://{host}/", {}, b"{}"), Unreached)


# TLS.


def certificate(folder: Path, *names: x509.GeneralName) -> Path:
    """A certificate for these, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "books.example")])
    day, today = datetime.timedelta(days=1), datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - day)
        .not_valid_after(today + day)
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "books.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return file


OURS = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
ANOTHERS = x509.DNSName("books.example")
BAD = Unreached("its certificate is not good for this host")


@pytest.mark.parametrize(
    ("name", "is_known", "expected"),
    [(OURS, True, Answered(200, b"thanks")), (OURS, False, BAD), (ANOTHERS, True, BAD)],
    ids=["its own", "of nobody known", "of another host"],
)
async def test_a_receiver_has_to_prove_who_it_is(
    tmp_path: Path, name: x509.GeneralName, is_known: bool, expected: Answered | Unreached
) -> None:
    file = certificate(tmp_path, name)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    receiver, ca_file = Receiver(), str(file) if is_known else None
    async with receiver.up(tls=context), Line(LineLimits(allow_private=True, ca_file=ca_file)) as line:
        assert expected == await line.post(receiver.url, {}, b"{}")


async def test_a_receiver_without_tls_is_not_spoken_to_as_one_with_it(line: Line) -> None:
    receiver = Receiver()
    async with receiver.up():
        answer = await line.post(receiver.url.replace("http:", "https:"), {}, b"{}")

    assert isinstance(answer, Unreached)
