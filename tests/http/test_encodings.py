"""Answers are compressed for who asks for it, once where they are the same, never where that would tell a secret."""

import asyncio
import gzip
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zstandard
from aiohttp import ClientSession, web
from aiohttp.test_utils import make_mocked_request

from marketd.actors import account
from marketd.http import encodings
from marketd.http.encodings import WITHOUT_SECRET, Encodings, preferred
from marketd.http.etags import tagged
from marketd.http.keys import Readiness
from marketd.http.metrics import OPEN_METRICS
from marketd.storage.cards import ReadProduct
from marketd.storage.catalog import BrowseProducts
from marketd.storage.finding import FoundPage
from marketd.storage.questions import FoundProduct
from tests.http.stage import Stage
from tests.http.things import ENCODED

pytestmark = pytest.mark.asyncio

LONG = FoundPage(1, [FoundProduct("lamp", b'{"id":"lamp","words":"%s"}' % (b"shine " * 300), 1.5)], {}, "index", 7)
UNCODED: dict[str, Callable[[bytes], bytes]] = {
    "zstd": zstandard.ZstdDecompressor().decompress,
    "gzip": gzip.decompress,
}


class Raw(NamedTuple):
    """An answer as it came over the wire."""

    status: int
    headers: Any
    body: bytes


async def raw(stage: Stage, path: str, method: str = "GET", **headers: str) -> Raw:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        ClientSession(auto_decompress=False, skip_auto_headers=["Accept-Encoding"]) as session,
        session.request(method, stage.client.make_url(path), headers=named) as answer,
    ):
        return Raw(answer.status, answer.headers, await answer.read())


def made(body: bytes, media_type: str = "application/json", **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(body=body, content_type=media_type, headers=named)


def asking(accepted: str = "gzip") -> web.Request:
    return make_mocked_request("GET", "/", headers={"Accept-Encoding": accepted})


# What is asked for (RFC 9110, section 12.5.3).


@pytest.mark.parametrize(
    ("line", "coding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("zstd", "zstd"),
        ("br", None),
        ("deflate, gzip;q=1.0, *;q=0.5", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1, zstd;q=0.9", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0.000, zstd;q=0.001", "zstd"),
        ("*", "zstd"),
        ("*;q=0", None),
        ("zstd;q=0, *", "gzip"),
        ("identity", None),
        ("identity;q=0.5, gzip;q=0.4", None),
        ("identity;q=0.5, gzip;q=0.5", "gzip"),
        ("identity;q=0, gzip;q=0.1", "gzip"),
        ("identity;q=0", None),
        (" gzip ; q=0.8 ,\tzstd ; q=0.2", "gzip"),
        ("gzip;q=2", None),
        ("gzip;q=0.1234", None),
        ("gzip;q=-1", None),
        ("gzip;q=nan", None),
        ("gzip;level=9", None),
        ("gzip gzip", None),
        (",,gzip,,", "gzip"),
        ("x" * 2_000 + ", gzip", None),
    ],
)
async def test_the_best_that_is_accepted_is_chosen(line: str, coding: str | None) -> None:
    assert coding == preferred([line])


async def test_several_lines_are_one() -> None:
    assert "zstd" == preferred(["gzip;q=0.5", "zstd"])


# Over the wire.


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_a_long_answer_is_compressed_for_who_asks(stage: Stage, coding: str) -> None:
    stage.bus.answers(BrowseProducts, LONG)
    plain, coded = await raw(stage, "/products"), await raw(stage, "/products", Accept_Encoding=coding)

    assert (coding, str(len(coded.body))) == (coded.headers["Content-Encoding"], coded.headers["Content-Length"])
    assert plain.body == UNCODED[coding](coded.body) and len(coded.body) < len(plain.body) / 4


async def test_who_does_not_ask_gets_it_as_it_is(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, LONG)
    plain = await raw(stage, "/products")

    assert (False, "Accept-Encoding") == ("Content-Encoding" in plain.headers, plain.headers["Vary"])


@pytest.mark.parametrize("coding", ["", "gzip", "zstd"])
async def test_head_has_the_same_headers(stage: Stage, coding: str) -> None:
    stage.bus.answers(BrowseProducts, LONG)
    own = {"Date", "X-Request-ID"}
    got, told = [
        {n: v for n, v in (await raw(stage, "/products", m, Accept_Encoding=coding)).headers.items() if n not in own}
        for m in ("GET", "HEAD")
    ]

    assert got == told


async def test_each_form_has_a_strong_tag_of_its_own(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, LONG)
    tags = [(await raw(stage, "/products", Accept_Encoding=c)).headers["ETag"] for c in ("", "gzip", "zstd")]

    assert [tags[0], f'{tags[0][:-1]}-gzip"', f'{tags[0][:-1]}-zstd"'] == tags


@pytest.mark.parametrize("coding", ["", "gzip", "zstd"])
async def test_who_has_a_form_already_is_told_so(stage: Stage, coding: str) -> None:
    stage.bus.answers(BrowseProducts, LONG)
    known = (await raw(stage, "/products", Accept_Encoding=coding)).headers["ETag"]
    again = await raw(stage, "/products", Accept_Encoding=coding, If_None_Match=known)

    assert (304, b"", known) == (again.status, again.body, again.headers["ETag"])
    assert ("Accept-Encoding", False) == (again.headers["Vary"], "Content-Encoding" in again.headers)


async def test_who_has_another_form_gets_the_one_that_they_can_read(stage: Stage) -> None:
    stage.bus.answers(BrowseProducts, LONG)
    known = (await raw(stage, "/products", Accept_Encoding="gzip")).headers["ETag"]

    assert 200 == (await raw(stage, "/products", If_None_Match=known)).status


async def test_a_short_answer_is_left_as_it_is(stage: Stage) -> None:
    stage.bus.answers(ReadProduct, ENCODED)
    answer = await raw(stage, "/products/lamp", Accept_Encoding="gzip")

    assert (ENCODED.public, False) == (answer.body, "Content-Encoding" in answer.headers)


async def test_a_long_problem_is_compressed_too(stage: Stage) -> None:
    query = "&".join(f"nonsense{n}=1" for n in range(60))
    answer = await raw(stage, f"/products?{query}", Accept_Encoding="gzip")

    assert (400, "gzip", True) == (
        answer.status,
        answer.headers["Content-Encoding"],
        b'"/nonsense59"' in gzip.decompress(answer.body),
    )


async def test_a_file_is_sent_as_it_is(stage: Stage) -> None:
    async def chunks() -> Any:
        yield b"text " * 150

    stored = await stage.files.receive(chunks(), 1_000)
    await stage.files.publish(stored.digest, "text/plain")
    answer = await raw(stage, f"/previews/{stored.digest}", Accept_Encoding="gzip")

    assert (b"text " * 150, False) == (answer.body, "Content-Encoding" in answer.headers)


async def test_tokens_are_not_compressed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.tokens, "issue", lambda principal: "token" * 500)
    stage.bus.answers(account.RefreshSession, account.SessionState("ann", "buyer", True))
    answer = await stage.call(
        "POST", "/auth/refresh", {"refreshToken": f"{'0' * 40}.s1.x"}, headers={"Accept-Encoding": "gzip"}
    )

    assert (True, False) == (len(answer.body) > 2_000, "Content-Encoding" in answer.headers)


# What may be compressed.


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "application/problem+json", "text/html", "text/csv", "application/openapi+json"],
)
async def test_text_is_compressed(media_type: str) -> None:
    assert "gzip" == Encodings().choose(asking(), made(b"x" * 1024, media_type))


@pytest.mark.parametrize(
    "response",
    [
        made(b"x" * 1023),
        made(b"x" * 2000, "image/png"),
        made(b"x" * 2000, "application/zip"),
        made(b"x" * 2000, "text/event-stream"),
        made(b"x" * 2000, Cache_Control="no-store"),
        made(b"x" * 2000, Cache_Control="private, no-transform"),
        made(b"x" * 2000, Content_Encoding="br"),
        web.Response(status=204),
    ],
    ids=["short", "picture", "archive", "stream", "secret", "untouched", "encoded", "empty"],
)
async def test_nothing_else_is(response: web.Response) -> None:
    assert (None, None) == (Encodings().choose(asking(), response), response.headers.get("Vary"))


async def test_what_nobody_is_to_store_is_compressed_where_its_maker_says_it_holds_no_secret() -> None:
    response = made(b"x" * 2000, Cache_Control="no-store")
    response[WITHOUT_SECRET] = True

    assert "gzip" == Encodings().choose(asking(), response)


async def test_the_state_of_all_parts_is_compressed(stage: Stage) -> None:
    stage.readiness = Readiness(True, {"log": {"state": "ok " * 500}})
    answer = await raw(stage, "/readyz", Accept_Encoding="gzip")

    assert ("gzip", "no-store") == (answer.headers["Content-Encoding"], answer.headers["Cache-Control"])


@pytest.mark.parametrize("accepted", ["text/plain", OPEN_METRICS])
async def test_metrics_are_compressed(stage: Stage, accepted: str) -> None:
    answer = await raw(stage, "/metrics", Accept=accepted, Accept_Encoding="gzip")

    assert (True, "gzip") == (accepted in answer.headers["Content-Type"], answer.headers["Content-Encoding"])


async def test_what_else_it_differs_by_stays_named() -> None:
    response = made(b"x" * 2000, Vary="Authorization")
    Encodings().choose(asking(), response)

    assert "Authorization, Accept-Encoding" == response.headers["Vary"]


# What is kept.


async def encode(made: Encodings, body: bytes, coding: str = "gzip") -> web.Response:
    response = tagged(body)
    chosen = made.choose(asking(coding), response)
    assert chosen
    await made.encode(response, chosen)
    return response


async def test_what_has_a_tag_is_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, body = Encodings(), b"x" * 2000
    first = await encode(made, body)
    monkeypatch.setattr(encodings, "_gzip", None)

    assert first.body is (await encode(made, body)).body


async def test_no_form_is_taken_for_another() -> None:
    made, body = Encodings(), b"x" * 2000
    for coding in ("gzip", "zstd", "gzip"):
        coded = (await encode(made, body, coding)).body
        assert isinstance(coded, bytes) and body == UNCODED[coding](coded)


async def test_what_is_kept_has_a_limit() -> None:
    made = Encodings(kept_bytes_max=200)
    for number in range(50):
        await encode(made, b"%d" % number + b"x" * 2000)

    kept = made.statistics()
    assert 0 < kept["kept_bytes"] <= 200 and 0 < kept["kept"] < 10


async def test_what_was_asked_for_longest_ago_goes_first() -> None:
    bodies = [letter * 2000 for letter in (b"a", b"b", b"c")]
    length = len(gzip.compress(bodies[0]))
    made = Encodings(kept_bytes_max=2 * length + 10)
    first = await encode(made, bodies[0])
    for body in (bodies[1], bodies[0], bodies[2]):
        await encode(made, body)

    assert first.body is (await encode(made, bodies[0])).body


async def test_where_there_is_no_room_nothing_is_kept() -> None:
    made = Encodings(kept_bytes_max=0)
    await encode(made, b"x" * 2000)

    assert {"kept": 0, "kept_bytes": 0, "busy": 0} == made.statistics()


# What is large.

LARGE = b"x" * (encodings.IN_LOOP_BYTES_MAX + 1)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
async def test_what_is_large_is_compressed_in_a_thread(monkeypatch: pytest.MonkeyPatch, coding: str) -> None:
    threads: list[threading.Thread] = []
    real = getattr(encodings, f"_{coding}")

    def noting(body: bytes) -> bytes:
        threads.append(threading.current_thread())
        return bytes(real(body))

    monkeypatch.setattr(encodings, f"_{coding}", noting)
    coded = (await encode(Encodings(), LARGE, coding)).body

    assert isinstance(coded, bytes) and LARGE == UNCODED[coding](coded)
    assert [False] == [thread is threading.main_thread() for thread in threads]


async def test_where_all_threads_are_busy_it_goes_out_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(encodings, "_gzip", lambda body: done.wait(5) and b"")
    made = Encodings()
    async with asyncio.TaskGroup() as tasks:
        for number in range(encodings.THREADS_MAX):
            tasks.create_task(encode(made, LARGE + b"%d" % number))
        await asyncio.sleep(0)
        chosen = made.choose(asking(), tagged(LARGE))
        done.set()

    assert (None, 0) == (chosen, made.statistics()["busy"])


async def test_the_limit_is_a_setting(tmp_path: Path) -> None:
    assert "gzip" == Encodings(bytes_min=10).choose(asking(), made(b"x" * 10))
