"""
API8:2023 Security Misconfiguration, and API9:2023 Improper Inventory Management: what every answer says of itself, what
errors do not say, who is believed, and that there is no door that nobody knows of.
"""

import asyncio
import json
import logging
import stat
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from marketd.actors import product
from marketd.http.cors import Cors
from marketd.storage.library import ReadLibrary
from tests.http.stage import Stage, staged
from tests.security.routes import ROUTES, Route
from tests.security.town import Town

pytestmark = pytest.mark.asyncio

ON_ALL: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Server": "marketd",
}
HOSTILE: Final = {
    "X-Forwarded-For": "127.0.0.1, 10.0.0.1",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Server": "evil.example",
    "X-Real-IP": "127.0.0.1",
    "X-Original-URL": "/admin/alerts",
    "X-Rewrite-URL": "/admin/alerts",
    "X-Host": "evil.example",
    "X-Forwarded-User": "admin",
    "Remote-User": "admin",
    "Forwarded": "for=127.0.0.1;host=evil.example;proto=https",
    "True-Client-IP": "127.0.0.1",
    "Via": "1.1 evil.example",
}
STREAMS: Final = {"/analytics/live"}  # which have no end for those whom they are for
INSIDES: Final = ("Traceback", 'File "', ".py", "marketd.", "aiohttp", "msgspec", "sqlite", "/tmp", "nats:", "0x7f")


def path_of(route: Route) -> str:
    path = route.path.replace("{id}", "lamp").replace("{reviewId}", "r1").replace("{slug}", "not-found")
    return (
        path.replace("{digest}", "0" * 64).replace("{token}", "a.b.c").replace("{version}", "1").replace("{name}", "a")
    )


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_every_answer_has_the_headers_that_guard_it(town: Town, route: Route) -> None:
    somebody = await town.stranger.joins("buyer")  # no sessions that others need are ended by it
    for who in (town.stranger, somebody):
        headers = (await who.ask(route.method, path_of(route))).headers

        assert ON_ALL == {name: headers.get(name) for name in ON_ALL}
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "unsafe-eval" not in headers["Content-Security-Policy"]
        assert [] == [name for name in ("X-Powered-By", "Set-Cookie", "Access-Control-Allow-Origin") if name in headers]


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("route", ROUTES, ids=str)
async def test_no_error_shows_the_inside(town: Town, route: Route) -> None:
    somebody = await town.stranger.joins("buyer" if route.path in STREAMS else "seller")  # as above
    answer = await somebody.ask(
        route.method, path_of(route), data=b"\xff{", headers={"Content-Type": "application/json"}
    )

    if answer.status >= 400:
        assert "application/problem+json" == answer.headers["Content-Type"]
        assert [] == [word for word in INSIDES if word in answer.body.decode()]
    assert 500 != answer.status


async def test_a_defect_shows_nothing_but_where_to_look(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.bus.answers(ReadLibrary, RuntimeError("the password is hunter2, in /srv/marketd/x.py"))
    answer = await stage.call("GET", "/library", user="ann")

    document = answer.json()
    assert (500, answer.headers["X-Request-Id"]) == (answer.status, document["instance"])
    assert {"type", "title", "status", "detail", "instance"} == document.keys()
    assert [] == [word for word in (*INSIDES, "hunter2", "RuntimeError") if word in answer.body.decode()]


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("path", ["/orders/{}/downloads", "/admin/alerts", "/products?size=1", "/auth/me"])
async def test_what_strangers_say_of_themselves_is_not_believed(town: Town, path: str) -> None:
    path = path.format(town.order["id"])
    plain, hostile = await town.buyer.get(path), await town.buyer.ask("GET", path, headers=HOSTILE)

    said = "\n".join(f"{name}: {value}" for name, value in hostile.headers.items()) + hostile.body.decode()
    assert (plain.status, False) == (hostile.status, "evil.example" in said)
    assert "Strict-Transport-Security" not in hostile.headers


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
async def test_the_host_of_one_request_is_in_no_answer_to_another(town: Town) -> None:
    """Pages are kept for everybody by their query alone."""
    path = "/products?size=1&sort=price"
    evil = f"GET http://evil.example{path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
    await town.raw(evil.encode())
    answer = await town.stranger.get(path)

    assert (200, False) == (answer.status, "evil.example" in f"{answer.headers}")


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "https://shop.example.evil.example",
        "http://shop.example",
        "https://SHOP.example",
    ],
)
async def test_a_foreign_origin_may_not_read_a_thing(tmp_path: Path, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}
    async with staged(tmp_path, cors=Cors(["https://shop.example"])) as stage:
        answers = [
            await stage.call("OPTIONS", "/auth/me", headers=asked),
            await stage.call("GET", "/auth/me", headers={"Origin": origin}),
        ]

    assert [] == [name for answer in answers for name in answer.headers if name.lower().startswith("access-control-")]


async def test_no_origin_is_ever_allowed_credentials(tmp_path: Path) -> None:
    async with staged(tmp_path, cors=Cors(["*"])) as stage:
        answer = await stage.call("GET", "/healthz", headers={"Origin": "https://evil.example"})

    assert ("*", None) == (
        answer.headers["Access-Control-Allow-Origin"],
        answer.headers.get("Access-Control-Allow-Credentials"),
    )


@pytest.mark.parametrize(
    "path",
    [
        "/admin",
        "/debug",
        "/debug/pprof",
        "/console",
        "/.env",
        "/.git/config",
        "/server-status",
        "/actuator",
        "/graphql",
        "/api",
        "/v1/products",
        "/static/../keys/links.key",
        "/previews/../../keys/links.key",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/docs/../../setup.cfg",
        "/docs/x/..%2f..%2fapp.py",
        "/docs/x/%2e%2e%2f%2e%2e%2fapp.py",
        "//healthz",
        "/healthz/",
        "/HEALTHZ",
        "/favicon.ico",
    ],
)
async def test_there_is_no_door_that_nobody_knows_of(stage: Stage, path: str) -> None:
    sent = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()

    assert (await stage.raw(sent)).startswith(b"HTTP/1.1 404 ")


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
async def test_every_route_is_in_the_document_and_none_beside_it(town: Town) -> None:
    document = (await town.stranger.get("/openapi.json")).expect(200)
    named = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}

    assert {str(route) for route in ROUTES} - {"HEAD"} >= named
    assert not [route for route in map(str, ROUTES) if route not in named and not route.startswith("GET /docs")]


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
async def test_everything_in_the_data_directory_is_its_owners_alone(town: Town) -> None:
    open_to_others = [
        str(path) for path in [town.service.data, *town.service.data.rglob("*")] if path.lstat().st_mode & 0o077
    ]

    assert [] == open_to_others
    assert 0o600 == stat.S_IMODE((town.service.data / "nats" / "endpoint.json").stat().st_mode)


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize(
    "said",
    [
        {},
        {"user": "market", "pass": ""},
        {"user": "market", "pass": "market"},
        {"user": "sys", "pass": ""},
        {"user": "market"},
        {"auth_token": "market"},
        {"nkey": "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4", "sig": "AA"},
    ],
)
async def test_nobody_gets_into_nats_without_its_password(town: Town, said: dict[str, str]) -> None:
    url = json.loads((town.service.data / "nats" / "endpoint.json").read_text())["url"]
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    try:
        greeting = await reader.readline()
        options = json.dumps({"verbose": False, "pedantic": False, **said}).encode()
        writer.write(b"CONNECT " + options + b"\r\nSUB > 1\r\nPUB market.cmd.0.order.x 2\r\n{}\r\nPING\r\n")
        async with asyncio.timeout(5):
            answer = await reader.read()
    finally:
        writer.transport.abort()

    assert (True, b"-ERR 'Authorization Violation'\r\n") == (b'"auth_required":true' in greeting, answer)


async def test_an_error_of_the_middle_is_dressed_too(stage: Stage) -> None:
    """Whatever aiohttp itself raises."""
    stage.bus.answers(product.Describe, web.HTTPServiceUnavailable())
    answer = await stage.call("PATCH", "/products/lamp", {"price": 1}, user="sam", role="seller")

    assert (500, "nosniff") == (answer.status, answer.headers["X-Content-Type-Options"])


async def test_what_is_no_request_is_told_to_no_log_in_its_own_words(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "marketd")
    await stage.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer hunter2\x01\r\n\r\n")
    await stage.raw(b"GET /downloads/hunter2\x01 HTTP/1.1\r\nHost: x\r\n\r\n")

    assert ("no request" in caplog.text, "hunter2" in caplog.text) == (True, False)
