"""Uploads: bytes straight to disk, and the previews among them."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from marketd.http.arriving import SAMPLE_BYTES_MAX
from marketd.storage.images import ImageLimits, Shrinker
from tests.clock import settle
from tests.http.stage import LIMITS_HERE, Reply, Stage
from tests.storage.pictures import opened, picture

pytestmark = pytest.mark.asyncio

ABC = hashlib.sha256(b"abc").hexdigest()


async def upload(stage: Stage, data: Any = b"abc", query: str = "name=a.zip", **headers: str) -> Reply:
    given = {"Content-Type": "application/zip"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await stage.call("POST", f"/uploads?{query}", user="sam", role="seller", data=data, headers=given)


def left_over(stage: Stage) -> list[Path]:
    """What has come in and has no name yet."""
    return list((stage.files.path(ABC).parent.parent / "incoming").iterdir())


async def until(holds: Callable[[], bool]) -> None:
    """Let everybody else run until it holds; pytest's own timeout ends what never does."""
    while not holds():
        await settle(1)


async def kept(stage: Stage, data: bytes = b"<svg/>", media_type: str = "image/svg+xml") -> str:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    stored = await stage.files.receive(chunks(), 100_000)
    await stage.files.publish(stored.digest, media_type)
    return f"/previews/{stored.digest}"


async def test_an_upload_is_named_by_its_bytes(stage: Stage) -> None:
    answer = await upload(stage)

    expected = {"url": f"upload://{ABC}", "name": "a.zip", "type": "application/zip", "size": 3}
    assert (201, expected) == (answer.status, answer.json())


async def test_an_upload_is_on_the_disk_and_its_senders_own(stage: Stage) -> None:
    await upload(stage)

    assert b"abc" == stage.files.path(ABC).read_bytes()
    assert (3, None) == (await stage.files.size_if_owned(ABC, "sam"), await stage.files.size_if_owned(ABC, "eve"))


async def test_an_upload_without_a_type_is_just_bytes(stage: Stage) -> None:
    assert "application/octet-stream" == (await upload(stage, Content_Type="")).json()["type"]


async def test_parameters_of_the_type_are_left_out(stage: Stage) -> None:
    assert "text/plain" == (await upload(stage, Content_Type="Text/Plain; charset=utf-8")).json()["type"]


@pytest.mark.parametrize("given", ["zip", "a/b/c", "text/pl ain", "a/\xe4", "x/" + "y" * 126])
async def test_an_upload_of_no_type_that_there_could_be_is_refused(stage: Stage, given: str) -> None:
    assert ["/Content-Type"] == (await upload(stage, Content_Type=given)).faults


async def test_an_upload_may_come_in_pieces_of_unknown_number(stage: Stage) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"a"
        await settle(1)
        yield b"bc"

    assert f"upload://{ABC}" == (await upload(stage, pieces())).json()["url"]


async def test_the_same_bytes_may_be_uploaded_again(stage: Stage) -> None:
    assert [201, 201] == [(await upload(stage)).status for _ in range(2)]


async def test_an_upload_as_large_as_allowed_is_taken(stage: Stage) -> None:
    assert 201 == (await upload(stage, bytes(LIMITS_HERE.upload_bytes_max))).status


async def test_a_larger_one_is_refused(stage: Stage) -> None:
    assert 413 == (await upload(stage, bytes(LIMITS_HERE.upload_bytes_max + 1))).status


async def test_a_larger_one_is_refused_though_it_did_not_say_so(stage: Stage) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(LIMITS_HERE.upload_bytes_max + 1):
            yield b"x"

    assert 413 == (await upload(stage, pieces())).status


async def test_of_what_was_refused_nothing_is_kept(stage: Stage) -> None:
    await upload(stage, bytes(LIMITS_HERE.upload_bytes_max + 1))
    await upload(stage, b"")

    assert [] == left_over(stage)


async def test_nothing_is_not_a_file(stage: Stage) -> None:
    assert [""] == (await upload(stage, b"")).faults


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["/name"]),
        ("name=", ["/name"]),
        ("name=..%2Fa", ["/name"]),
        ("name=.", ["/name"]),
        ("name=..", ["/name"]),
        ("name=a%0Ab", ["/name"]),
        ("name=a%00", ["/name"]),
        ("name=" + "x" * 256, ["/name"]),
        ("name=%ff", ["/name"]),
        ("name=%C3%BC%ED%A0%80", ["/name"]),
        ("name=%EF%BF%BD&%ff=%ff", ["/\ufffd", "/\ufffd"]),
        ("name=a&name=b&kind=c", ["/kind", "/name"]),
    ],
)
async def test_an_upload_has_a_name_that_a_disk_would_have(stage: Stage, query: str, expected: list[str]) -> None:
    assert expected == (await upload(stage, query=query)).faults


async def test_an_upload_may_have_a_name_of_any_letters(stage: Stage) -> None:
    assert "ü\ufffd.zip" == (await upload(stage, query="name=%C3%BC%EF%BF%BD.zip")).json()["name"]


async def test_a_sender_who_hangs_up_leaves_nothing(stage: Stage) -> None:
    _, writer = await asyncio.open_connection(stage.client.host, stage.client.port)
    token = stage.bearer("sam", "seller")["Authorization"]
    head = f"POST /uploads?name=a HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\nContent-Length: 900\r\n\r\nabc"
    writer.write(head.encode())
    await until(lambda: left_over(stage) != [])
    writer.close()
    await writer.wait_closed()
    await until(lambda: left_over(stage) == [])

    assert not stage.files.path(ABC).exists()


# Previews.


async def test_a_preview_is_for_everybody(stage: Stage) -> None:
    answer = await stage.call("GET", await kept(stage))

    assert (200, b"<svg/>", "image/svg+xml") == (answer.status, answer.body, answer.media_type)


async def test_an_upload_that_is_no_preview_is_for_nobody(stage: Stage) -> None:
    await upload(stage)

    assert 404 == (await stage.call("GET", f"/previews/{ABC}", user="sam", role="seller")).status


@pytest.mark.parametrize("digest", ["x", "0" * 64, "A" * 64, "..%2F..%2Fkeys", "%00"])
async def test_what_is_no_upload_is_no_preview(stage: Stage, digest: str) -> None:
    assert 404 == (await stage.call("GET", f"/previews/{digest}")).status


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("image/png", "inline"),
        ("image/svg+xml", "inline"),
        ("text/html", "attachment"),
        ("application/pdf", "attachment"),
    ],
)
async def test_what_could_run_in_a_browser_is_only_saved(stage: Stage, media_type: str, expected: str) -> None:
    answer = await stage.call("GET", await kept(stage, media_type=media_type))

    assert expected == answer.headers["Content-Disposition"]


async def test_a_preview_is_shown_in_a_sandbox(stage: Stage) -> None:
    headers = (await stage.call("GET", await kept(stage))).headers

    (policy,) = headers.getall("Content-Security-Policy")
    assert ("sandbox" in policy, "nosniff") == (True, headers["X-Content-Type-Options"])


async def test_a_preview_never_changes(stage: Stage) -> None:
    headers = (await stage.call("GET", await kept(stage))).headers

    assert "public, max-age=31536000, immutable" == headers["Cache-Control"]


# Images.


async def test_an_image_is_taken_like_any_file(stage: Stage) -> None:
    answer = await upload(stage, picture(80, 40), Content_Type="image/png")

    assert (201, "image/png") == (answer.status, answer.json()["type"])


async def test_the_sample_is_taken_in_whatever_the_limit_is(stage: Stage) -> None:
    stage.is_filling = True
    taken = await upload(stage, bytes(max(LIMITS_HERE.upload_bytes_max + 1, SAMPLE_BYTES_MAX)))
    refused = await upload(stage, bytes(max(LIMITS_HERE.upload_bytes_max + 1, SAMPLE_BYTES_MAX + 1)))

    assert (201, 413) == (taken.status, refused.status)


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/gif", "image/webp", "Image/PNG; q=1"])
async def test_what_is_called_an_image_and_is_none_is_kept_as_it_is(stage: Stage, media_type: str) -> None:
    answer = await upload(stage, b"abc", Content_Type=media_type)

    assert (201, b"abc", []) == (answer.status, stage.files.path(ABC).read_bytes(), left_over(stage))


async def test_a_drawing_in_svg_is_not_looked_into(stage: Stage) -> None:
    assert 201 == (await upload(stage, b"<svg/>", Content_Type="image/svg+xml")).status


async def test_where_too_many_images_come_at_once_one_may_come_again(stage: Stage) -> None:
    stage.files._shrinker = Shrinker(ImageLimits(at_once_max=0, queue_max=0))

    answer = await upload(stage, picture(80, 40), Content_Type="image/png")

    assert (503, "1") == (answer.status, answer.headers["Retry-After"])


async def test_a_preview_has_a_smaller_variant_for_everybody(stage: Stage) -> None:
    answer = await stage.call("GET", f"{await kept(stage, picture(1000, 500), 'image/png')}/mobile")

    assert (200, "image/webp", (640, 320)) == (answer.status, answer.media_type, opened(answer.body).size)


async def test_a_variant_is_kept_and_shown_like_the_preview(stage: Stage) -> None:
    path = await kept(stage, picture(1000, 500), "image/png")
    whole, smaller = await stage.call("GET", path), await stage.call("GET", f"{path}/mobile")

    names = ("Cache-Control", "Content-Disposition", "Content-Security-Policy")
    assert [whole.headers[name] for name in names] == [smaller.headers[name] for name in names]


@pytest.mark.parametrize(
    ("data", "media_type"), [(b"<svg/>", "image/svg+xml"), (b"%PDF", "application/pdf"), (b"abc", "image/png")]
)
async def test_what_has_no_variant_is_shown_as_it_is(stage: Stage, data: bytes, media_type: str) -> None:
    answer = await stage.call("GET", f"{await kept(stage, data, media_type)}/mobile")

    assert (200, data, media_type) == (answer.status, answer.body, answer.media_type)


async def test_an_image_that_is_no_preview_has_a_variant_for_nobody(stage: Stage) -> None:
    digest = (await upload(stage, picture(80, 40), Content_Type="image/png")).json()["url"].removeprefix("upload://")

    assert 404 == (await stage.call("GET", f"/previews/{digest}/mobile", user="sam", role="seller")).status


async def test_a_variant_that_can_not_be_made_now_may_be_asked_for_again(stage: Stage) -> None:
    path = await kept(stage, picture(80, 40), "image/png")
    stage.files._shrinker = Shrinker(ImageLimits(at_once_max=0, queue_max=0))

    answer = await stage.call("GET", f"{path}/mobile")

    assert (503, "1") == (answer.status, answer.headers["Retry-After"])
