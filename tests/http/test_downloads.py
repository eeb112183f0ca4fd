"""Downloads: the link is the permission, for as long as it is good and the sale stands."""

import hashlib
import re
from collections.abc import AsyncIterator
from urllib.parse import unquote

import jwt
import pytest
from msgspec import structs

from marketd.actors import order
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.bus.port import NoAnswer
from marketd.bus.subjects import command_subject
from marketd.http.downloads import attachment
from marketd.http.tokens import DownloadGrant
from tests.http.stage import Stage
from tests.http.things import VIEW

pytestmark = pytest.mark.asyncio

DATA = bytes(range(100))
TAG = f'"{hashlib.sha256(DATA).hexdigest()}"'


async def link(stage: Stage, name: str = "lamp.zip", url: str = "", media_type: str = "application/zip") -> str:
    async def chunks() -> AsyncIterator[bytes]:
        yield DATA

    stage.bus.answers(order.Describe, VIEW)
    stored = await stage.files.receive(chunks(), 1_000)
    token, _ = stage.links.issue(DownloadGrant("o1", name, media_type, url or stored.url))
    return f"/downloads/{token}"


async def test_a_link_gives_the_file_as_what_it_is(stage: Stage) -> None:
    answer = await stage.call("GET", await link(stage))

    assert (200, DATA, "application/zip") == (answer.status, answer.body, answer.headers["Content-Type"])


async def test_the_order_is_asked_whether_the_sale_stands(stage: Stage) -> None:
    await stage.call("GET", await link(stage))

    assert [(command_subject(Address("order", "o1")), order.Describe())] == stage.bus.messages


async def test_a_file_is_saved_and_never_run(stage: Stage) -> None:
    headers = (await stage.call("GET", await link(stage, "page.html", media_type="text/html"))).headers

    assert headers["Content-Disposition"].startswith("attachment;")
    assert ["default-src 'none'; sandbox; frame-ancestors 'none'"] == headers.getall("Content-Security-Policy")
    assert ("nosniff", "private, no-transform") == (headers["X-Content-Type-Options"], headers["Cache-Control"])


async def test_the_head_of_a_file_is_without_its_bytes(stage: Stage) -> None:
    answer = await stage.call("HEAD", await link(stage))

    assert (200, b"", "100", "bytes") == (
        answer.status,
        answer.body,
        answer.headers["Content-Length"],
        answer.headers["Accept-Ranges"],
    )


@pytest.mark.parametrize(
    ("wanted", "expected", "content_range"),
    [
        ("bytes=0-9", DATA[:10], "bytes 0-9/100"),
        ("bytes=90-", DATA[90:], "bytes 90-99/100"),
        ("bytes=-5", DATA[-5:], "bytes 95-99/100"),
        ("bytes=90-1000", DATA[90:], "bytes 90-99/100"),
    ],
)
async def test_a_part_of_a_file_may_be_had(stage: Stage, wanted: str, expected: bytes, content_range: str) -> None:
    answer = await stage.call("GET", await link(stage), headers={"Range": wanted})

    assert (206, expected, content_range) == (answer.status, answer.body, answer.headers["Content-Range"])


@pytest.mark.parametrize("wanted", ["bytes=100-", "bytes=100-200", "bytes=999999999999999999-", "bytes=-0"])
async def test_a_part_beyond_the_end_is_not_to_be_had(stage: Stage, wanted: str) -> None:
    answer = await stage.call("GET", await link(stage), headers={"Range": wanted})

    assert (416, "bytes */100") == (answer.status, answer.headers["Content-Range"])
    assert ("application/problem+json", "/problems/range-not-satisfiable") == (answer.media_type, answer.json()["type"])


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5-2",
        "bytes=a-b",
        "bytes=0-1,5-6",
        "lines=1-2",
        "bytes=--5",
        "bytes=1-2x",
    ],
)
async def test_what_is_no_single_range_of_bytes_is_as_if_it_had_not_been_said(stage: Stage, wanted: str) -> None:
    answer = await stage.call("GET", await link(stage), headers={"Range": wanted})

    assert (200, DATA, False) == (answer.status, answer.body, "Content-Range" in answer.headers)


async def test_the_head_of_a_part_is_the_head_of_the_whole(stage: Stage) -> None:
    answer = await stage.call("HEAD", await link(stage), headers={"Range": "bytes=0-9"})

    assert (200, "100") == (answer.status, answer.headers["Content-Length"])


async def test_the_validator_of_a_file_is_its_digest(stage: Stage) -> None:
    headers = (await stage.call("GET", await link(stage))).headers

    assert ([TAG], False) == (headers.getall("ETag"), "Last-Modified" in headers)


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (TAG, 206),
        (f"W/{TAG}", 200),
        ('"other"', 200),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 200),
        ("nonsense", 200),
    ],
)
async def test_a_part_is_had_only_of_the_file_that_one_has_the_rest_of(
    stage: Stage, condition: str, status: int
) -> None:
    answer = await stage.call("GET", await link(stage), headers={"Range": "bytes=0-9", "If-Range": condition})

    assert (status, DATA[:10] if status == 206 else DATA) == (answer.status, answer.body)


@pytest.mark.parametrize(
    ("header", "condition", "status"),
    [
        ("If-None-Match", f'"other", W/{TAG}', 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", '"other"', 200),
        ("If-Match", TAG, 200),
        ("If-Match", "*", 200),
        ("If-Match", f"W/{TAG}", 412),
        ("If-Match", '"other"', 412),
        ("If-Modified-Since", "Thu, 01 Jan 2099 00:00:00 GMT", 200),
        ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT", 200),
    ],
)
async def test_a_condition_is_held_against_the_digest(stage: Stage, header: str, condition: str, status: int) -> None:
    answer = await stage.call("GET", await link(stage), headers={header: condition})

    assert status == answer.status
    assert (TAG if status != 412 else None) == answer.headers.get("ETag")


async def test_a_file_that_is_known_is_not_sent_again(stage: Stage) -> None:
    path = await link(stage)
    etag = (await stage.call("GET", path)).headers["ETag"]

    assert (304, b"") == (await stage.call("GET", path, headers={"If-None-Match": etag}))[::2]


async def test_a_file_that_lies_elsewhere_is_sent_on_to(stage: Stage) -> None:
    answer = await stage.call("GET", await link(stage, url="https://files.example/lamp.zip?sig=a%2Fb"))

    assert (302, "https://files.example/lamp.zip?sig=a%2Fb") == (answer.status, answer.headers["Location"])


async def test_an_address_beyond_ascii_is_sent_on_to_all_the_same(stage: Stage) -> None:
    answer = await stage.call("GET", await link(stage, url="https://files.example/ä%20日?q=ü&r=%2F#é"))

    expected = "https://files.example/%C3%A4%20%E6%97%A5?q=%C3%BC&r=%2F#%C3%A9"
    assert (302, expected) == (answer.status, answer.headers["Location"])


# Links that are no good.


async def test_a_tampered_link_is_forbidden_and_nobody_is_asked(stage: Stage) -> None:
    path = await link(stage)
    head, payload, signature = path.rpartition("/")[2].split(".")
    forged = [
        f"{head}.{payload}.{'A' * len(signature)}",
        f"{head}.{payload[:-2]}AA.{signature}",
        f"{head}.{payload}.",
        f"{head}.{payload}",
        "x",
        "%FF",
        "x" * 5000,
    ]

    assert [403] * len(forged) == [(await stage.call("GET", f"/downloads/{token}")).status for token in forged]
    assert [] == stage.bus.asked


async def test_a_link_that_somebody_else_signed_is_forbidden(stage: Stage) -> None:
    claims = {"sub": "o1", "name": "a", "type": "a/b", "url": "https://e.example", "exp": 2**33}
    audience = {"aud": "marketd-download"}
    good = (stage.keys / "links.key").read_bytes()
    forged = [
        jwt.encode(claims | audience, bytes(32), algorithm="HS256"),
        jwt.encode(claims | audience, "", algorithm="none"),
        jwt.encode(claims | {"aud": "marketd-api"}, good, algorithm="HS256"),
        jwt.encode(claims, good, algorithm="HS256"),
    ]

    assert [403] * 4 == [(await stage.call("GET", f"/downloads/{token}")).status for token in forged]


async def test_an_access_token_is_no_link(stage: Stage) -> None:
    token = stage.bearer("ann")["Authorization"].removeprefix("Bearer ")

    assert 403 == (await stage.call("GET", f"/downloads/{token}")).status


async def test_bytes_that_are_no_text_are_no_link(stage: Stage) -> None:
    answer = await stage.raw(b"GET /downloads/\xff\xfe HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert answer[9:12] in (b"400", b"403")


async def test_a_link_ends(stage: Stage) -> None:
    path = await link(stage)
    await stage.clock.advance(15 * 60)

    assert (410, []) == ((await stage.call("GET", path)).status, stage.bus.asked)


@pytest.mark.parametrize(
    "changes",
    [
        {"delivery_status": "revoked"},
        {"status": "refunded", "delivery_status": "revoked"},
        {"status": "pending"},
    ],
)
async def test_a_link_ends_with_the_sale(stage: Stage, changes: dict[str, str]) -> None:
    path = await link(stage)
    stage.bus.answers(order.Describe, structs.replace(VIEW, **changes))

    assert 410 == (await stage.call("GET", path)).status


@pytest.mark.parametrize(("error", "status"), [(NoAnswer("silence"), 503), (Refused(order.Reason.NO_SUCH_ORDER), 404)])
async def test_where_nobody_knows_whether_the_sale_stands_there_is_no_file(
    stage: Stage, error: Exception, status: int
) -> None:
    path = await link(stage)
    stage.bus.answers(order.Describe, error)

    assert status == (await stage.call("GET", path)).status


async def test_a_file_that_is_gone_from_the_disk_is_a_problem_like_any_other(stage: Stage) -> None:
    path = await link(stage)
    (file,) = (found for found in stage.keys.parent.glob("files/*/*") if found.is_file())
    file.unlink()

    answer = await stage.call("GET", path)

    assert (500, "application/problem+json") == (answer.status, answer.media_type)


async def test_a_defect_behind_a_link_is_logged_once_also_where_a_page_could_say_so(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    path = await link(stage)
    stage.bus.answers(order.Describe, RuntimeError("boom"))

    answer = await stage.call("GET", path, headers={"Accept": "text/html"})

    assert (500, 1) == (answer.status, len([record for record in caplog.records if record.exc_info]))


# Names.


@pytest.mark.parametrize(
    "name",
    [
        "lamp.zip",
        "two words.zip",
        "Über 100% größe.zip",
        "日本語 🐻.zip",
        'quo"te.zip',
        "back\\slash.zip",
        "semi;colon=x.zip",
        "a\r\nSet-Cookie: a=b",
        "'single'.zip",
        "../../etc/passwd",
        "%2e%2e%2f",
        "\x00\x7f\u202e",
        "*",
    ],
)
async def test_any_name_goes_through_the_header_and_back(name: str) -> None:
    header = attachment(name)

    plain = r"[^\"\\%\x00-\x1f\x7f-\U0010ffff]*"
    found = re.fullmatch(rf"attachment; filename=\"({plain})\"; filename\*=UTF-8''(.*)", header)
    assert found and name == unquote(found[2])
    assert re.fullmatch(r"(%[0-9A-F]{2}|[A-Za-z0-9!#$&+.^_`|~-])*", found[2])


async def test_a_hostile_name_arrives_in_one_header(stage: Stage) -> None:
    answer = await stage.call("GET", await link(stage, 'a"; filename="b.exe\r\nX: y'))

    assert (200, False) == (answer.status, "X" in answer.headers)
    assert 1 == len(answer.headers.getall("Content-Disposition"))


async def test_an_old_client_is_given_a_plain_name() -> None:
    assert attachment('Ü"%\\b.zip').startswith('attachment; filename="____b.zip"; ')
