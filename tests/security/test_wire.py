"""
What comes over a connection that is no honest request: smuggling (RFC 9112, section 11.2), floods and bombs. Each of
them ends in an answer of ours, with every header of ours, and with the connection closed where its frame is in doubt.
"""

import gzip
import re
import zlib
from typing import Final

import pytest

from tests.http.stage import LIMITS_HERE, Stage

pytestmark = pytest.mark.asyncio

JSON: Final = b"Host: x\r\nContent-Type: application/json\r\n"
LOGIN: Final = b"POST /auth/login HTTP/1.1\r\n" + JSON
CHUNKED: Final = LOGIN + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED: Final = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

# The frame is in doubt: one answer, and nothing of what comes after.
DOUBTFUL: Final = {
    "two lengths": LOGIN + b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}",
    "two equal lengths": LOGIN + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": LOGIN + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": LOGIN + b"Content-Length: +2\r\n\r\n{}",
    "a negative length": LOGIN + b"Content-Length: -2\r\n\r\n{}",
    "a length in hex": LOGIN + b"Content-Length: 0x2\r\n\r\n{}",
    "a length with more": LOGIN + b"Content-Length: 2abc\r\n\r\n{}",
    "an empty length": LOGIN + b"Content-Length: \r\n\r\n{}",
    "a length beyond all": LOGIN + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "length and chunks": LOGIN + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": LOGIN + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "chunks of nobody": LOGIN + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunks twice": LOGIN + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunks not last": LOGIN + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunks and another line": LOGIN + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunks under gzip": LOGIN + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "identity": LOGIN + b"Transfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "chunks with a space": LOGIN + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "chunks with a tab in it": LOGIN + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunks of HTTP/1.0": b"POST /auth/login HTTP/1.0\r\n"
    + JSON
    + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a folded line": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
    "a folded first line": b"GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n",
    "bare LF": b"GET /healthz HTTP/1.1\nHost: x\n\n",
    "one bare LF": b"GET /healthz HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "bare CR": b"GET /healthz HTTP/1.1\r\nHost: x\rA: b\r\n\r\n",
    "a NUL": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
    "a name with a space": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n",
    "no name": b"GET /healthz HTTP/1.1\r\nHost: x\r\n: c\r\n\r\n",
    "no colon": b"GET /healthz HTTP/1.1\r\nHost: x\r\nAbc\r\n\r\n",
    "bare LF after a chunk's size": CHUNKED + b"2\n{}\r\n0\r\n\r\n",
    "bare LF in a chunk's extension": CHUNKED + b"2;\n{}\r\n0\r\n\r\n",
    "a negative chunk": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk in 0x": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond all": CHUNKED + b"ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer": CHUNKED + b"2\r\n{}xx0\r\n\r\n",
    "a flood of trailers": CHUNKED + b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "HTTP/2.0": b"GET /healthz HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/0.9": b"GET /healthz\r\n\r\n",
    "HTTP/9.9": b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n",
    "HTTP/2 by prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "a method of nobody": b"FOO /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a method in small letters": b"get /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path in UTF-8": b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a file": b"GET file:///etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
    "no slash": b"GET healthz HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long path": b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long query": b"GET /products?q=" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long header": b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 9_000 + b"\r\n\r\n",
    "a long name of a header": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"a" * 9_000 + b": x\r\n\r\n",
    "a flood of headers": b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 2_000 + b"\r\n",
    "nothing but zeros": bytes(1_000),
}
HOSTS: Final = [
    "a b",
    "a/b",
    "a@b",
    "<script>",
    "a,b",
    "x:y",
    "[::1",
    "a:99999999",
    "\xff",
    "a" * 5_000,
    "a\\b",
    'a"b',
    "#",
]
OURS: Final = (
    b"content-security-policy",
    b"x-content-type-options",
    b"referrer-policy",
    b"x-request-id",
    b"server: marketd",
)


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/\d\.\d (\d{3}) ", answers)]


def missing(answers: bytes) -> list[bytes]:
    """What an answer should have in its head and has not."""
    head = answers.partition(b"\r\n\r\n")[0].lower()
    return [name for name in OURS if name not in head]


@pytest.mark.parametrize("what", DOUBTFUL)
async def test_a_doubtful_frame_is_answered_once_and_ends_the_connection(stage: Stage, what: str) -> None:
    answers = await stage.raw(DOUBTFUL[what] + SMUGGLED)

    assert ([400], [], []) == (statuses(answers), missing(answers), stage.bus.asked)


@pytest.mark.parametrize("host", HOSTS)
async def test_a_host_is_the_name_of_one(stage: Stage, host: str) -> None:
    answers = await stage.raw(b"GET /healthz HTTP/1.1\r\nHost: " + host.encode("latin-1") + b"\r\n\r\n" + SMUGGLED)

    assert [400] == statuses(answers)


@pytest.mark.parametrize("host", ["shop.example", "shop.example:8080", "127.0.0.1:1", "[::1]:8080", "my_box", ""])
async def test_an_honest_host_is_answered(stage: Stage, host: str) -> None:
    answers = await stage.raw(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())

    assert [200] == statuses(answers)


async def test_a_body_of_a_get_is_no_second_request(stage: Stage) -> None:
    hidden = b"GET /auth/me HTTP/1.1\r\nHost: x\r\n\r\n"
    sent = b"GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(hidden)

    assert [200, 200] == statuses(await stage.raw(sent + hidden + SMUGGLED))


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PUT", "LINK", "PROPFIND"])
async def test_a_method_that_no_route_has_mirrors_nothing(stage: Stage, method: str) -> None:
    sent = f"{method} /healthz HTTP/1.1\r\nHost: x\r\nA: mirrored\r\nConnection: close\r\n\r\n".encode()
    answers = await stage.raw(sent)

    assert (True, False) == (statuses(answers) in ([404], [405], [400]), b"mirrored" in answers)


# Bombs.

MANY: Final = 40 * LIMITS_HERE.body_bytes_max


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_body_that_bursts_is_too_large(stage: Stage, coding: str) -> None:
    bomb = gzip.compress(b" " * MANY) if coding == "gzip" else zlib.compress(b" " * MANY)
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    answer = await stage.call("POST", "/auth/login", data=bomb, headers=headers)

    assert (413, True) == (answer.status, len(bomb) < LIMITS_HERE.body_bytes_max)


async def test_many_small_bombs_are_one(stage: Stage) -> None:
    """Of many members each is read by itself, which took the square of their number (CVE-2026-128131)."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    answer = await stage.call("POST", "/auth/login", data=gzip.compress(b"") * 2_000, headers=headers)

    assert 400 == answer.status


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "compress", "gzip, gzip", "x", ""])
async def test_an_upload_comes_as_it_is(stage: Stage, coding: str) -> None:
    """Else a few bytes over the wire would fill the disk."""
    headers = {"Content-Type": "application/zip", "Content-Encoding": coding}
    answer = await stage.call(
        "POST", "/uploads?name=a", data=gzip.compress(b"a"), headers=headers, user="sam", role="seller"
    )

    assert (415, False) == (answer.status, any(path.is_file() for path in stage.keys.parent.rglob("files/*/*")))


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, gzip", "x"])
async def test_a_coding_of_nobody_is_told_without_what_is_installed(stage: Stage, coding: str) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    answer = await stage.call("POST", "/auth/login", data=b"{}", headers=headers)

    assert (415, False) == (answer.status, b"install" in answer.body)
