"""
API7:2023 Server Side Request Forgery, and what is done with addresses, names and links that strangers make up.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from email.message import Message
from typing import Final
from urllib.parse import quote, unquote

import pytest
from yarl import URL

from marketd.actors import order
from marketd.http.tokens import DownloadGrant
from tests.http.stage import Reply, Stage
from tests.http.things import LISTING, VIEW
from tests.security.town import CONTENT, SECRET_ADDRESS, Town

pytestmark = pytest.mark.asyncio

REFUSED_ADDRESSES: Final = [
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data/",
    "ftp://files.example/a",
    "gopher://127.0.0.1:4222/_PUB%20x",
    "nats://127.0.0.1:4222",
    "unix:///run/docker.sock",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "//files.example/a",
    "https:files.example/a",
    "https:/files.example/a",
    "https:///a",
    "https://",
    "HTTPS://files.example/a",
    " https://files.example/a",
    "https://ann:secret@files.example/a",
    "https://ann@files.example/a",
    "https://files.example\\@evil.example/a",
    "https://files.example/a b",
    "https://files.example/a\tb",
    "https://files.example/\r\nSet-Cookie: a=b",
    "https://files.example/%0d\n",
    "https://files.example/\0",
    "https://files.example/\x7f",
    "https://files.example/\x9b",
    "https://files.example/\u202egpj.exe",
    "https://files.example/\u2028",
    "https://?files.example",
    "https://files.example:99999/a",
    "https://files.example/" + "a" * 2_048,
    "upload://../../keys/links.key",
    "upload://" + "0" * 63,
    "upload://" + "0" * 65,
    "upload://" + "A" * 64,
    "upload://" + "0" * 64,  # nobody's
    "upload://" + "0" * 64 + "/../x",
]
REFUSED_NAMES: Final = [
    "..",
    ".",
    "../../etc/passwd",
    "a/b",
    "a\\b",
    "..\\..\\boot.ini",
    "a\r\nSet-Cookie: a=b",
    "a\nb",
    "a\0.zip",
    "a\x1b[2J",
    "a\x7f",
    "a\x85b",
    "invoice\u202efdp.exe",
    "a\u2066b\u2069",
    "a\u200bb",
    "a\u2028b",
    "\ufeffa",
    "",
    " ",
    "x" * 256,
]
ODD_NAMES: Final = [
    'a".zip',
    'a"; filename="evil.exe',
    "a%22.zip",
    "a%0d%0ab.zip",
    "%2e%2e%2fa",
    "a;b=c.zip",
    "a'b''c.zip",
    "naïve café.pdf",
    "音楽.mp3",
    "👩‍👩‍👧.png",
    "CON",
    "-rf",
    "~root",
    "$(id).zip",
    "<script>.html",
    "é" * 255,
]


async def listed(stage: Stage, **file: object) -> Reply:
    return await stage.call(
        "POST", "/products", LISTING | {"files": [LISTING["files"][0] | file]}, user="sam", role="seller"
    )


async def content() -> AsyncIterator[bytes]:
    yield CONTENT


async def downloaded(stage: Stage, name: str = "a.zip", media_type: str = "application/zip", url: str = "") -> Reply:
    """Follow the link to a file of a completed order."""
    stage.bus.answers(order.Describe, VIEW)
    if not url:
        url = (await stage.files.receive(content(), 1_000)).url
    token, _ = stage.links.issue(DownloadGrant("o1", name, media_type, url))
    return await stage.call("GET", f"/downloads/{token}")


@pytest.mark.parametrize("url", REFUSED_ADDRESSES)
async def test_an_address_that_is_none_of_a_file_is_refused(stage: Stage, url: str) -> None:
    assert (["/files/0/url"], []) == ((await listed(stage, url=url)).faults, stage.bus.asked)


@pytest.mark.parametrize("url", REFUSED_ADDRESSES)
async def test_nor_may_a_preview_have_it(stage: Stage, url: str) -> None:
    preview = {"name": "a.png", "type": "image/png", "url": url}
    answer = await stage.call("POST", "/products", LISTING | {"previews": [preview]}, user="sam", role="seller")

    assert ["/previews/0/url"] == answer.faults


@pytest.mark.parametrize("name", REFUSED_NAMES)
async def test_a_name_that_leads_elsewhere_or_shows_another_is_refused(stage: Stage, name: str) -> None:
    uploaded = await stage.call(
        "POST", URL(f"/uploads?name={quote(name)}", encoded=True), user="sam", role="seller", data=b"a"
    )

    assert (["/files/0/name"], ["/name"]) == ((await listed(stage, name=name)).faults, uploaded.faults)


@pytest.mark.parametrize("media_type", ["a", "../..", "text/html\r\nX: y", "text/html; charset=x", "A/B", "a/b/c", ""])
async def test_a_media_type_is_one_and_nothing_else(stage: Stage, media_type: str) -> None:
    assert ["/files/0/type"] == (await listed(stage, type=media_type)).faults


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_an_odd_name_stays_within_its_header(stage: Stage, name: str) -> None:
    """As RFC 6266 and RFC 8187 have it: in ASCII, one plain name between quotes, and the exact one encoded."""
    line = (await downloaded(stage, name)).headers["Content-Disposition"]
    parsed = Message()
    parsed["Content-Disposition"] = line
    plain, _, exact = line.removeprefix('attachment; filename="').partition("\"; filename*=UTF-8''")

    assert (True, True, name) == (line.isascii(), '"' not in plain and "\\" not in plain, unquote(exact))
    assert "attachment" == parsed.get_content_disposition()


@pytest.mark.parametrize(
    "media_type", ["text/html", "image/svg+xml", "application/javascript", "application/xhtml+xml"]
)
async def test_what_could_run_in_a_browser_is_saved_and_not_run(stage: Stage, media_type: str) -> None:
    headers = (await downloaded(stage, media_type=media_type)).headers

    assert headers["Content-Disposition"].startswith("attachment")
    assert ("nosniff", True) == (headers["X-Content-Type-Options"], "sandbox" in headers["Content-Security-Policy"])


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/a", "https://[::1]/a", "https://169.254.169.254/", "https://x.example/ä"]
)
async def test_an_address_elsewhere_is_told_and_never_asked(stage: Stage, url: str) -> None:
    answer = await downloaded(stage, url=url)

    assert (302, b"", "no-referrer") == (answer.status, answer.body, answer.headers["Referrer-Policy"])
    assert (True, url) == (answer.headers["Location"].isascii(), unquote(answer.headers["Location"]))


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
async def test_nobody_is_called_because_of_an_address(town: Town) -> None:
    """The address leads to a socket of the test's own, and nothing comes over it, whatever is done with the product."""
    called = asyncio.Event()
    listener = await asyncio.start_server(lambda reader, writer: called.set(), "127.0.0.1", 0)
    async with listener:
        url = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}/original/a.png"
        file = {"name": "a.png", "type": "image/png", "size": 1, "url": url}
        preview = {"name": "a.png", "type": "image/png", "url": url}
        product = await town.seller.offers(files=[file], previews=[preview])
        buyer = await town.stranger.joins("buyer")
        order = await buyer.buys(product)
        for path in (
            f"/products/{product['id']}",
            f"/mobile/products/{product['id']}",
            f"/web/products/{product['id']}",
        ):
            (await town.stranger.get(path)).expect(200)
        answer = await town.stranger.get(await buyer.link(order))

    assert (302, url, False) == (answer.status, answer.headers["Location"], called.is_set())


# Links.


def changed(token: str, index: int, **changes: object) -> str:
    parts = token.split(".")
    content = json.loads(base64.urlsafe_b64decode(parts[index] + "==")) | changes
    parts[index] = base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")
    return ".".join(parts)


@pytest.mark.parametrize(
    ("index", "changes"),
    [
        (0, {"alg": "none"}),
        (0, {"alg": "EdDSA"}),
        (0, {"kid": "../links.key"}),
        (1, {"exp": 9_999_999_999}),
        (1, {"sub": "01900000-0000-7000-8000-000000000000"}),
        (1, {"url": "upload://" + "0" * 64}),
        (1, {"url": "file:///etc/passwd"}),
        (1, {"url": "https://evil.example/"}),
        (1, {"type": "text/html"}),
        (1, {"aud": "marketd-api"}),
    ],
)
@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
async def test_a_link_that_was_tampered_with_is_refused(town: Town, index: int, changes: dict[str, object]) -> None:
    token = town.link.rpartition("/")[2]
    answer = await town.stranger.get(f"/downloads/{changed(token, index, **changes)}")

    assert (403, False) == (answer.status, CONTENT in answer.body)


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
async def test_the_link_that_was_not_is_good(town: Town) -> None:
    assert CONTENT == (await town.stranger.get(town.link)).body


@pytest.mark.parametrize(
    "token",
    ["x", "a.b.c", "%00", "..%2f..%2fkeys%2flinks.key", "e30.e30.e30", "W" * 5_000, "%ff", "a" + "." * 99],
)
async def test_what_is_no_link_is_refused(stage: Stage, token: str) -> None:
    answer = await stage.call("GET", URL(f"/downloads/{token}", encoded=True))

    assert (403, []) == (answer.status, stage.bus.asked)


async def test_a_link_ends(stage: Stage) -> None:
    stage.bus.answers(order.Describe, VIEW)
    token, _ = stage.links.issue(DownloadGrant("o1", "a.zip", "a/b", SECRET_ADDRESS))
    before = (await stage.call("GET", f"/downloads/{token}")).status
    await stage.clock.advance(stage.links.seconds)

    assert (302, 410) == (before, (await stage.call("GET", f"/downloads/{token}")).status)


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
async def test_a_link_ends_with_the_sale(town: Town) -> None:
    buyer = await town.stranger.joins("buyer")
    order = await buyer.buys(await town.seller.offers())
    link = await buyer.link(order)
    (await town.seller.refunds(order)).expect(202)
    await buyer.sees_until(order["id"], lambda seen: seen["status"] == "refunded")

    assert 410 == (await town.stranger.get(link)).status


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
async def test_an_upload_is_sold_and_shown_by_who_uploaded_it(town: Town) -> None:
    """Its address is a digest: whoever knows it must not have it for that."""
    file = {"name": "a.zip", "type": "a/b", "size": len(CONTENT), "url": town.lamp["files"][0]["url"]}
    preview = {"name": "a.zip", "type": "a/b", "url": file["url"]}
    other = {"title": "Mine", "description": "Now.", "price": 1, "category": "c"}
    elsewhere = {"name": "a.zip", "type": "a/b", "size": 1, "url": "https://files.example/a"}
    answers = [
        await town.other_seller.post("/products", other | {"files": [file]}),
        await town.other_seller.post("/products", other | {"files": [elsewhere], "previews": [preview]}),
        await town.stranger.get(f"/previews/{file['url'].removeprefix('upload://')}"),
        await town.stranger.get(f"/previews/{file['url'].removeprefix('upload://')}/mobile"),
    ]

    assert [400, 400, 404, 404] == [answer.status for answer in answers]
