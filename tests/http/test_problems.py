"""Every error leaves as a problem document (RFC 9457), and tells nothing of what is inside."""

import json
import logging
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from marketd.actors import account, buyer, order, product, webhook
from marketd.actors.aggregate import Refused
from marketd.bus.port import ERRORS, Busy, NoAnswer
from marketd.http.problems import REASONS, SORTS, problem_of, reason_slug
from marketd.storage.cards import ReadProduct
from marketd.storage.database import DiskTrouble
from tests.http.stage import LIMITS_HERE, Stage, staged
from tests.http.things import ENCODED

pytestmark = pytest.mark.asyncio

LAMP = "/products/lamp"


def named(reason: StrEnum) -> str:
    """Reasons are texts, and two with the same words are equal; their names are not."""
    return f"{reason.__class__.__module__.rpartition('.')[2]}.{reason.name}"


STATUSES: dict[str, int] = {
    "account.NO_SUCH_ACCOUNT": 404,
    "account.EMAIL_TAKEN": 409,
    "account.CHANGED": 412,
    "account.TICKET_NOT_GOOD": 400,
    "product.NO_SUCH_PRODUCT": 404,
    "product.LISTED_DIFFERENTLY": 409,
    "product.MORE_STOCK_THAN_KEYS": 400,
    "product.NOT_YOUR_PRODUCT": 403,
    "product.WITHDRAWN": 409,
    "product.OWN_PRODUCT": 409,
    "product.SOLD_OUT": 409,
    "product.TOO_MANY_HOLDS": 503,
    "product.TOO_MANY_KEYS": 409,
    "product.OFFER_TOO_LARGE": 400,
    "product.CHANGED": 412,
    "order.NO_SUCH_ORDER": 404,
    "order.PLACED_DIFFERENTLY": 409,
    "order.NOT_YOUR_SALE": 403,
    "order.NOT_COMPLETED": 409,
    "order.NO_ALERT": 404,
    "buyer.ALREADY_OWNED": 409,
    "buyer.UNDER_WAY": 409,
    "buyer.UNCLAIMED": 409,
    "buyer.NOT_OWNED": 403,
    "buyer.ALREADY_REVIEWED": 409,
    "buyer.NO_SUCH_REVIEW": 404,
    "buyer.NOT_YOUR_SALE": 403,
    "buyer.CHANGED": 412,
    "webhook.NO_SUCH_WEBHOOK": 404,
    "webhook.TOO_MANY_WEBHOOKS": 409,
    "webhook.CHANGED": 412,
}
ALL_REASONS = [reason for kind in (account, product, order, buyer, webhook) for reason in kind.Reason]


def refuse(stage: Stage, reason: StrEnum) -> None:
    """Have the lamp refused for any reason, also where no lamp ever is and its route declares no such answer."""
    stage.client.is_strict = False
    stage.bus.answers(ReadProduct, Refused(reason))


# Refusals.


async def test_every_reason_of_every_aggregate_is_known_here() -> None:
    assert set(STATUSES) == set(map(named, ALL_REASONS)) == set(map(named, REASONS))


@pytest.mark.parametrize("reason", ALL_REASONS, ids=named)
async def test_a_refusal_has_the_status_of_its_reason(stage: Stage, reason: StrEnum) -> None:
    refuse(stage, reason)

    assert STATUSES[named(reason)] == (await stage.call("GET", LAMP)).status


@pytest.mark.parametrize("reason", [r for r in ALL_REASONS if STATUSES[named(r)] != 400], ids=named)
async def test_a_refusal_is_named_and_told_in_the_words_of_its_reason(stage: Stage, reason: StrEnum) -> None:
    refuse(stage, reason)

    document = (await stage.call("GET", LAMP)).json()

    assert (f"/problems/{reason_slug(reason)}", reason.value) == (document["type"], document["detail"])


@pytest.mark.parametrize("reason", ALL_REASONS, ids=named)
async def test_the_title_of_a_refusal_is_its_reason(reason: StrEnum) -> None:
    assert reason.value.capitalize() == SORTS[reason_slug(reason)].title


async def test_two_reasons_of_one_name_have_one_status() -> None:
    statuses: dict[str, set[int]] = {}
    for reason in ALL_REASONS:
        statuses.setdefault(reason_slug(reason), set()).add(STATUSES[named(reason)])

    assert {} == {slug: found for slug, found in statuses.items() if len(found) > 1}


async def test_fewer_keys_than_stock_is_a_fault_of_the_stock(stage: Stage) -> None:
    refuse(stage, product.Reason.MORE_STOCK_THAN_KEYS)

    assert ["/stock"] == (await stage.call("GET", LAMP)).faults


# Trouble behind the front.


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("failed", 503),
        ("nobody-serves", 503),
        ("busy", 503),
        ("crashed", 500),
        ("undecodable", 500),
        ("too-large", 503),
        ("unsure", 503),
        ("no-answer", 503),
    ],
)
async def test_an_ask_that_ends_in_no_answer_has_a_status(stage: Stage, code: str, status: int) -> None:
    stage.bus.answers(ReadProduct, ERRORS[code]("on host 10.0.0.1"))

    answer = await stage.call("GET", LAMP)

    assert (status, b"10.0.0.1" in answer.body) == (answer.status, False)


async def test_no_error_of_the_bus_is_left_out_here() -> None:
    assert {"failed", "nobody-serves", "busy", "crashed", "undecodable", "too-large", "unsure", "no-answer"} == set(
        ERRORS
    )


@pytest.mark.parametrize("error", [Busy("full"), NoAnswer("silence"), DiskTrouble("/data/events.db: disk full")])
async def test_who_may_come_again_is_told_when(stage: Stage, error: Exception) -> None:
    stage.bus.answers(ReadProduct, error)

    answer = await stage.call("GET", LAMP)

    assert (503, "1") == (answer.status, answer.headers["Retry-After"])


async def test_overload_and_outage_are_told_apart() -> None:
    assert ("overloaded", "unavailable") == (problem_of(Busy(""), "").slug, problem_of(NoAnswer(""), "").slug)


async def test_a_defect_shows_nothing_of_the_inside(stage: Stage) -> None:
    stage.bus.answers(ReadProduct, RuntimeError("the password of root is 1234"))

    answer = await stage.call("GET", LAMP)

    expected = {
        "type": "/problems/internal-error",
        "title": "Internal error",
        "status": 500,
        "detail": "the service has a defect here",
        "instance": answer.headers["X-Request-Id"],
    }
    assert expected == answer.json()


async def test_a_defect_is_logged_with_its_traceback(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    error = RuntimeError("boom")
    stage.bus.answers(ReadProduct, error)

    await stage.call("GET", LAMP)

    assert [("marketd.http", error)] == [(r.name, r.exc_info[1]) for r in caplog.records if r.exc_info]


async def test_a_defect_is_found_in_the_log_under_the_id_of_the_request(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.bus.answers(ReadProduct, RuntimeError("boom"))

    await stage.call("GET", LAMP, headers={"X-Request-Id": "find-me"})

    assert any("find-me" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("error", [Refused(product.Reason.SOLD_OUT), Busy("full")])
async def test_ordinary_business_is_not_logged_as_an_error(
    stage: Stage, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    stage.client.is_strict = False
    stage.bus.answers(ReadProduct, error)

    await stage.call("GET", LAMP)

    assert [] == [record for record in caplog.records if record.levelno >= logging.ERROR]


# Documents.


async def test_a_problem_document_has_the_fields_of_the_rfc(stage: Stage) -> None:
    answer = await stage.call("GET", "/orders")

    assert ["detail", "instance", "status", "title", "type"] == sorted(answer.json())


async def test_a_problem_document_has_its_own_content_type(stage: Stage) -> None:
    assert "application/problem+json" == (await stage.call("GET", "/orders")).media_type


async def test_the_instance_is_the_id_of_the_request(stage: Stage) -> None:
    answer = await stage.call("GET", "/orders", headers={"X-Request-Id": "mine"})

    assert "mine" == answer.json()["instance"]


async def test_who_is_not_signed_in_is_told_how(stage: Stage) -> None:
    answer = await stage.call("GET", "/orders")

    assert (401, 'Bearer realm="marketd"') == (answer.status, answer.headers["WWW-Authenticate"])


@pytest.mark.parametrize(
    "path",
    [
        *("/nothing", "/products/", "/orders/a/b/c", "/problems/nonsense", "/%00", "/%ff"),
        *("/Products", "/products/lamp/", "/products;x", "/products//reviews", "/auth/me/x"),
    ],
)
async def test_a_path_that_leads_nowhere_is_a_problem(stage: Stage, path: str) -> None:
    answer = await stage.call("GET", path)

    assert (404, "application/problem+json") == (answer.status, answer.media_type)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/products/lamp", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("DELETE", "/orders", "GET, HEAD, OPTIONS, POST"),
        ("GET", "/auth/login", "OPTIONS, POST"),
        ("PROPFIND", "/healthz", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_method_that_is_not_there_is_a_problem_that_names_those_that_are(
    stage: Stage, method: str, path: str, allow: str
) -> None:
    answer = await stage.call(method, path)

    assert (405, "application/problem+json", allow) == (answer.status, answer.media_type, answer.headers["Allow"])


# What is no request.

NO_REQUESTS = {
    "TLS": b"\x16\x03\x01 hello\r\n\r\n",
    "no method": b"GE T / HTTP/1.1\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "no version": b"GET / HTTP/9.9\r\n\r\n",
    "no address": b"GET http://[/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long path": b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long header": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 9_000 + b"\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: x\r\n" * 200 + b"\r\n",
    "no length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
    "no chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "bytes": b"\xff\xfe\r\n\r\n",
}


def parsed(answer: bytes) -> tuple[int, dict[str, str], Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), json.loads(body)


@pytest.mark.parametrize("sent", NO_REQUESTS.values(), ids=NO_REQUESTS)
async def test_what_is_no_request_is_refused_like_any_other(stage: Stage, sent: bytes) -> None:
    status, headers, document = parsed(await stage.raw(sent))

    assert (400, "/problems/request-refused", 400) == (status, document["type"], document["status"])
    assert ("marketd", "nosniff") == (headers["Server"], headers["X-Content-Type-Options"])
    assert ("application/problem+json", document["instance"]) == (headers["Content-Type"], headers["X-Request-Id"])


@pytest.mark.parametrize("sent", NO_REQUESTS.values(), ids=NO_REQUESTS)
async def test_why_it_was_refused_is_one_line_with_nothing_of_what_was_sent(stage: Stage, sent: bytes) -> None:
    _, _, document = parsed(await stage.raw(sent))

    assert (True, False) == (document["detail"].isprintable(), "xxx" in document["detail"])


@pytest.mark.parametrize("sent", NO_REQUESTS.values(), ids=NO_REQUESTS)
async def test_what_is_no_request_does_not_fill_the_log(
    stage: Stage, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    await stage.raw(sent)

    assert [] == [record for record in caplog.records if record.levelno > logging.DEBUG]


@pytest.mark.parametrize("path", ["/healthz", "/nothing"])
async def test_an_expectation_that_nobody_has_heard_of_is_refused(stage: Stage, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\nConnection: close\r\n\r\n"
    status, headers, document = parsed(await stage.raw(head.encode()))

    assert (417, "/problems/expectation-failed") == (status, document["type"])
    assert ("marketd", document["instance"]) == (headers["Server"], headers["X-Request-Id"])


async def test_an_old_client_may_expect_what_it_likes(stage: Stage) -> None:
    answer = await stage.raw(b"GET /healthz HTTP/1.0\r\nHost: x\r\nExpect: miracles\r\n\r\n")

    assert b"200" == answer[9:12]


async def test_a_body_that_is_not_encoded_as_it_says_does_not_fill_the_log(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    head = b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    status, _, _ = parsed(await stage.raw(head + b"Content-Length: 3\r\n\r\nabc"))

    assert (400, []) == (status, [record for record in caplog.records if record.levelno > logging.DEBUG])


@pytest.mark.parametrize(
    ("target", "header"),
    [
        (b"POST /auth/login", b"Content-Encoding: \xff"),
        (b"POST /auth/login", b"Idempotency-Key: \xff"),
        (b"POST /auth/login?\xff=1", b"X-Request-Id: \xff"),
        (b"GET /products?\xff=1", b"Accept: \xff"),
        (b"GET /?\xff=1", b"Accept: text/html"),
        (b"GET /\xff", b"Accept: text/html"),
        (b"\xff /products", b"Accept: \xff"),
    ],
)
async def test_bytes_that_are_no_text_are_refused_like_any_others(stage: Stage, target: bytes, header: bytes) -> None:
    common = b"Host: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2"
    answer = await stage.raw(b"\r\n".join([target + b" HTTP/1.1", common, header, b"", b"{}"]))

    assert b"4" == answer[9:10]


# Pages.


@pytest.mark.parametrize("slug", sorted(SORTS))
async def test_every_sort_of_problem_has_a_small_page_of_html(stage: Stage, slug: str) -> None:
    answer = await stage.call("GET", f"/problems/{slug}")

    text = answer.body.decode()
    assert (200, "text/html") == (answer.status, answer.media_type)
    assert re.fullmatch(
        r"<!doctype html><html lang=en>.*<main><h1>[^<>]+</h1><p>[^<>]+</p></main></html>", text, re.DOTALL
    )
    assert len(text) < 2_000


@pytest.mark.parametrize("slug", sorted(SORTS))
async def test_every_page_names_title_and_status(stage: Stage, slug: str) -> None:
    text = (await stage.call("GET", f"/problems/{slug}")).body.decode().replace("&#x27;", "'")

    assert f"{SORTS[slug].title} ({SORTS[slug].status})" in text


async def test_a_page_may_have_a_style_and_nothing_else(stage: Stage) -> None:
    answer = await stage.call("GET", "/problems/gone")

    expected = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    assert [expected] == answer.headers.getall("Content-Security-Policy")


# Every answer.


@pytest.mark.parametrize("given", ["a", "A-1_b.c", "x" * 128])
async def test_a_sane_request_id_comes_back(stage: Stage, given: str) -> None:
    answer = await stage.call("GET", "/healthz", headers={"X-Request-Id": given})

    assert [given] == answer.headers.getall("X-Request-Id")


@pytest.mark.parametrize("given", ["", "x" * 129, "a b", "<b>", "a,b", "ä", "a/b", '"'])
async def test_any_other_request_id_is_replaced_by_a_new_one(stage: Stage, given: str) -> None:
    answer = await stage.call("GET", "/healthz", headers={"X-Request-Id": given})

    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", answer.headers["X-Request-Id"]
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/healthz"),
        ("HEAD", "/healthz"),
        ("GET", LAMP),
        ("GET", "/orders"),
        ("GET", "/nothing"),
        ("PUT", "/healthz"),
        ("POST", "/auth/login"),
        ("GET", "/problems/gone"),
        ("GET", "/downloads/forged"),
    ],
)
async def test_every_answer_has_the_security_headers(stage: Stage, method: str, path: str) -> None:
    stage.bus.answers(ReadProduct, ENCODED)

    headers = (await stage.call(method, path)).headers

    assert ["nosniff"] == headers.getall("X-Content-Type-Options")
    assert ["no-referrer"] == headers.getall("Referrer-Policy")
    assert ["same-origin"] == headers.getall("Cross-Origin-Resource-Policy")
    assert "Strict-Transport-Security" not in headers
    assert ["marketd"] == headers.getall("Server")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert 1 == len(headers.getall("X-Request-Id"))


async def test_who_comes_by_https_is_to_stay_there(tmp_path: Path) -> None:
    async with staged(tmp_path, replace(LIMITS_HERE, public_url="https://market.example")) as stage:
        answer = await stage.call("GET", "/nothing")

    assert "max-age=31536000" == answer.headers["Strict-Transport-Security"]


async def test_a_page_has_no_use_for_the_devices_of_its_reader(stage: Stage) -> None:
    assert "camera=()" in (await stage.call("GET", "/problems/gone")).headers["Permissions-Policy"]


async def test_a_defect_has_the_security_headers_too(stage: Stage) -> None:
    stage.bus.answers(ReadProduct, RuntimeError("boom"))

    assert "nosniff" == (await stage.call("GET", LAMP)).headers["X-Content-Type-Options"]
