"""Who a client is: the proxies that the settings name are believed, and nobody else."""

from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from msgspec.structs import replace
from multidict import CIMultiDict

from marketd.actors import order, product
from marketd.http.proxies import HOPS_MAX, Client, Proxies, Told
from tests.http.stage import LIMITS_HERE, Stage, staged
from tests.http.things import DESCRIBED, VIEW

OURS = ("10.0.0.0/8", "fd00::/8", "192.0.2.1")
PROXY = "10.0.0.1"


def request(peer: str, *headers: tuple[str, str]) -> web.Request:
    made = make_mocked_request("GET", "/", headers=CIMultiDict([("Host", "market.example"), *headers]))
    return made.clone(remote=peer)


def address(peer: str, *forwarded_for: str, ours: tuple[str, ...] = OURS) -> str:
    lines = [("X-Forwarded-For", line) for line in forwarded_for]
    return Proxies(ours).client(request(peer, *lines)).address


def client(told_by: Told, *headers: tuple[str, str], peer: str = PROXY) -> Client:
    return Proxies(OURS, told_by).client(request(peer, *headers))


@pytest.mark.parametrize(
    ("peer", "lines", "expected"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        (PROXY, [], PROXY),
        (PROXY, ["198.51.100.1"], "198.51.100.1"),
        (PROXY, ["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
        (PROXY, ["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
        (PROXY, ["198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        (PROXY, ["198.51.100.1, 192.0.2.1, fd00::5"], "198.51.100.1"),
        (PROXY, ["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        (PROXY, ["198.51.100.1:4711"], "198.51.100.1"),
        (PROXY, ["2001:db8::7"], "2001:db8::7"),
        (PROXY, ["2001:DB8:0:0::7"], "2001:db8::7"),
        (PROXY, ["[2001:db8::7]"], "2001:db8::7"),
        (PROXY, ["[2001:db8::7]:4711"], "2001:db8::7"),
        (PROXY, ["::ffff:198.51.100.1"], "198.51.100.1"),
        (PROXY, ["fe80::1%eth0"], "fe80::1"),
        ("::ffff:10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["198.51.100.1"], "198.51.100.1"),
        (PROXY, ["198.51.100.1, nonsense"], PROXY),
        (PROXY, ["198.51.100.1, "], PROXY),
        (PROXY, ["198.51.100.1, nonsense, 10.9.9.9"], "10.9.9.9"),
        (PROXY, ["1.2.3.4.5"], PROXY),
        (PROXY, ["<script>"], PROXY),
        ("192.0.2.2", ["198.51.100.1"], "192.0.2.2"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_the_client_is_the_first_hop_from_the_right_that_is_none_of_ours(
    peer: str, lines: list[str], expected: str
) -> None:
    assert expected == address(peer, *lines)


def test_where_no_proxy_is_named_nobody_is_believed() -> None:
    assert "127.0.0.1" == address("127.0.0.1", "198.51.100.1", ours=())


def test_of_very_many_hops_the_last_are_looked_at() -> None:
    hops = ["10.3.3.3"] * HOPS_MAX

    assert "10.3.3.3" == address(PROXY, ", ".join(["198.51.100.1", *hops]))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("for=198.51.100.1", "198.51.100.1"),
        ("For=198.51.100.1; proto=https;by=10.0.0.1", "198.51.100.1"),
        ('for="198.51.100.1:4711"', "198.51.100.1"),
        ('for="[2001:db8::7]:4711"', "2001:db8::7"),
        ("for=1.1.1.1, for=198.51.100.1", "198.51.100.1"),
        ("for=198.51.100.1, for=10.9.9.9", "198.51.100.1"),
        ('for="a,b", for=198.51.100.1', "198.51.100.1"),
        ('for="open, for=198.51.100.1', "198.51.100.1"),
        ('for="open, for="[2001:db8::7]"', "2001:db8::7"),
        ('for=1.1.1.1, "", for=198.51.100.1, for=10.9.9.9', "198.51.100.1"),
        ("for=198.51.100.1, nonsense, for=10.9.9.9", "10.9.9.9"),
        ("for=198.51.100.1, nonsense", PROXY),
        ("for=unknown", PROXY),
        ("for=_hidden", PROXY),
        ("proto=https", PROXY),
        ("", PROXY),
        (";;;", PROXY),
        ("x" * 8_000, PROXY),
    ],
)
def test_forwarded_is_read_as_the_rfc_has_it(line: str, expected: str) -> None:
    assert expected == client("forwarded", ("Forwarded", line)).address


def test_only_the_header_that_our_proxies_write_is_read() -> None:
    both = (("Forwarded", "for=1.1.1.1"), ("X-Forwarded-For", "198.51.100.1"))

    assert ["198.51.100.1", "1.1.1.1"] == [client(told, *both).address for told in ("x-forwarded", "forwarded")]


SAID: dict[str, tuple[Told, list[tuple[str, str]]]] = {
    "x-forwarded": (
        "x-forwarded",
        [
            ("X-Forwarded-For", "198.51.100.1"),
            ("X-Forwarded-Proto", "HTTPS"),
            ("X-Forwarded-Host", "shop.example:8443"),
        ],
    ),
    "forwarded": ("forwarded", [("Forwarded", 'for=198.51.100.1;proto=https;host="shop.example:8443"')]),
}


@pytest.mark.parametrize("how", SAID)
def test_our_proxies_say_by_which_scheme_and_of_which_host_was_asked(how: str) -> None:
    told_by, headers = SAID[how]

    assert ("198.51.100.1", "https", "shop.example:8443") == client(told_by, *headers)


@pytest.mark.parametrize("how", SAID)
def test_nobody_else_does(how: str) -> None:
    told_by, headers = SAID[how]

    assert ("203.0.113.7", "http", "market.example") == client(told_by, *headers, peer="203.0.113.7")


@pytest.mark.parametrize("host", ["evil.example/x", "a b", "<x>", "", "a@b", "x:99999999", "[::1", "a,"])
def test_what_is_no_host_is_not_taken_for_one(host: str) -> None:
    assert "market.example" == client("x-forwarded", ("X-Forwarded-Host", host)).host


def test_what_is_no_scheme_is_not_taken_for_one() -> None:
    assert "http" == client("x-forwarded", ("X-Forwarded-Proto", "javascript")).scheme


# What it is good for.


async def download(stage: Stage, **headers: str) -> tuple[str, Any]:
    stage.bus.answers(order.Describe, VIEW)
    stage.bus.answers(product.Describe, DESCRIBED)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await stage.call("GET", "/orders/o1/downloads", user="ann", headers=named)
    return str(answer.json()["downloads"][0]["url"]), answer.headers.get("Strict-Transport-Security")


@pytest.mark.asyncio
async def test_links_lead_to_where_the_client_came_from(tmp_path: Path) -> None:
    async with staged(tmp_path, proxies=Proxies(["127.0.0.0/8"])) as stage:
        url, kept_secure = await download(stage, X_Forwarded_Proto="https", X_Forwarded_Host="shop.example")

    assert (True, "max-age=31536000") == (url.startswith("https://shop.example/downloads/"), kept_secure)


@pytest.mark.asyncio
async def test_who_is_believed_by_nobody_can_not_turn_a_link(stage: Stage) -> None:
    url, kept_secure = await download(stage, X_Forwarded_Proto="https", X_Forwarded_Host="shop.example")

    assert (True, None) == (url.startswith(f"http://127.0.0.1:{stage.client.port}/"), kept_secure)


@pytest.mark.asyncio
async def test_the_public_address_goes_before_what_anybody_says(tmp_path: Path) -> None:
    limits = replace(LIMITS_HERE, public_url="https://market.example/eu")
    async with staged(tmp_path, limits, proxies=Proxies(["127.0.0.0/8"])) as stage:
        url, _ = await download(stage, X_Forwarded_Proto="http", X_Forwarded_Host="shop.example")

    assert url.startswith("https://market.example/eu/downloads/")
