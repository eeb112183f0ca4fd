"""
API3:2023 Broken Object Property Level Authorization, as far as it is written: no body sets what is not its sender's to
set. And JSON (RFC 8259) as attackers write it: it is refused in a line, and costs no more than its length.
"""

import json
from time import perf_counter
from typing import Any, Final

import msgspec
import pytest

from marketd.actors import account, product
from marketd.http.bodies import FAULTS_MAX
from tests.http.stage import Reply, Stage
from tests.http.things import LISTING, REGISTRATION
from tests.security.routes import ROUTES, Route

pytestmark = pytest.mark.asyncio

NOT_TO_BE_SET: Final = {
    "id": "01900000-0000-7000-8000-000000000000",
    "userId": "eve",
    "sellerId": "eve",
    "sellerName": "Eve",
    "buyerId": "eve",
    "authorId": "eve",
    "role_": "admin",
    "roles": ["admin"],
    "isAdmin": True,
    "admin": True,
    "status": "completed",
    "paymentStatus": "captured",
    "deliveryStatus": "delivered",
    "emailVerified": True,
    "email_verified": True,
    "is_verified": True,
    "password_hash": "x",
    "passwordHash": "x",
    "createdAt": "2000-01-01T00:00:00Z",
    "updatedAt": "2000-01-01T00:00:00Z",
    "at": 0,
    "hidden": False,
    "reply": "Thank you.",
    "amount": 0.01,
    "total": 0,
    "discount": 100,
    "refund": True,
    "expected": None,
    "__proto__": {"admin": True},
    "constructor": {"prototype": {"admin": True}},
    "__class__": "Admin",
    "$ref": "#/admin",
    "": "",
}
WITH_BODY: Final = [
    route
    for route in ROUTES
    if isinstance(route.operation.body, type) and issubclass(route.operation.body, msgspec.Struct)
]
CHARACTERS: Final = 20_000  # of the longest text that there may be
SLOW_S: Final = 1.0  # on a busy machine too


async def send(stage: Stage, route: Route, body: object) -> Reply:
    role = (route.operation.access.roles or ("buyer",))[0] if route.operation.access else "buyer"
    path = route.path.replace("{id}", "lamp").replace("{reviewId}", "r1")
    return await stage.call(route.method, path, body, user="sam", role=role)


async def raw_json(stage: Stage, data: bytes, path: str = "/auth/login", **headers: str) -> Reply:
    given = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return await stage.call("POST", path, headers=given, data=data)


@pytest.mark.parametrize("route", WITH_BODY, ids=str)
async def test_no_body_sets_what_is_not_its_senders(stage: Stage, route: Route) -> None:
    answer = await send(stage, route, NOT_TO_BE_SET)

    faults = {fault["pointer"]: fault["detail"] for fault in answer.json()["errors"]}
    assert {f"/{name}" for name in NOT_TO_BE_SET} == {name for name, why in faults.items() if why == "Unknown field"}
    assert [] == stage.bus.asked


@pytest.mark.parametrize("name", ["rating", "price", "stock", "currency"])
async def test_a_review_sets_no_price_and_a_listing_no_rating(stage: Stage, name: str) -> None:
    bodies: dict[str, tuple[str, dict[str, Any]]] = {
        "rating": ("/products", LISTING | {"rating": {"average": 5, "count": 1_000}}),
        "price": ("/orders", {"productId": "lamp", "paymentMethodId": "pm_card_visa", "price": 0.01}),
        "stock": ("/products/lamp/reviews", {"rating": 5, "body": "Good.", "stock": 0}),
        "currency": ("/orders", {"productId": "lamp", "paymentMethodId": "pm_card_visa", "currency": "VND"}),
    }
    path, body = bodies[name]

    assert [f"/{name}"] == (await stage.call("POST", path, body, user="sam", role="seller")).faults


@pytest.mark.parametrize("place", ["files", "previews"])
async def test_nor_does_what_is_nested(stage: Stage, place: str) -> None:
    item: dict[str, Any] = {"name": "a", "type": "a/b", "url": "https://x.example/a", "ownerId": "eve"}
    item |= {"size": 1} if place == "files" else {}
    answer = await stage.call("POST", "/products", LISTING | {place: [item]}, user="sam", role="seller")

    assert [f"/{place}/0/ownerId"] == answer.faults


async def test_of_a_name_given_twice_the_last_counts_for_the_check_and_for_the_deed(stage: Stage) -> None:
    stage.bus.answers(account.Register, account.Profile("ann", "ann@example.org", "Ann", "buyer", 0, False))
    text = json.dumps(REGISTRATION)[:-1]
    answers = [
        await raw_json(stage, f'{text}, "role": "admin"}}'.encode(), "/auth/register"),
        await raw_json(stage, f'{{"role": "admin", {text[1:]}}}'.encode(), "/auth/register"),
    ]

    roles = [message.role for _, message in stage.bus.messages if isinstance(message, account.Register)]
    assert ([400, 201], ["buyer"]) == ([answer.status for answer in answers], roles)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"email":' + b"[" * 900 + b"]" * 900 + b',"password":"x"}',
    ],
)
async def test_a_nest_is_refused_and_not_climbed(stage: Stage, data: bytes) -> None:
    began = perf_counter()
    answer = await raw_json(stage, data)

    assert (400, True) == (answer.status, perf_counter() - began < SLOW_S)


@pytest.mark.parametrize(
    "data",
    [
        b'{"email":"\xff\xfe","password":"x"}',
        b'{"email":"\xc0\x80","password":"x"}',
        b'{"email":"\xed\xa0\x80","password":"x"}',
        b'{"email":"\xf4\x90\x80\x80","password":"x"}',
        b'{"\xff":1}',
        b'{"email":"\\ud800","password":"x"}',
        b'{"email":"\\udc00\\ud800","password":"x"}',
        b'{"email":"a","password":"\\uD800x"}',
        b"\xef\xbb\xbf{}",
        '{"email":"a","password":"b"}'.encode("utf-16"),
        b"\0",
        b"",
        b"NaN",
        b'{"email":NaN}',
        b'{"email":1e999999999999999999999}',
        b"{'email':'a'}",
        b'{"email":"a",}',
        b'{"email":"a"} {"email":"b"}',
        b"{/**/}",
        b'{"email":"a\nb","password":"x"}',
    ],
)
async def test_what_is_no_json_is_refused_without_the_words_of_python(stage: Stage, data: bytes) -> None:
    answer = await raw_json(stage, data)

    assert (400, []) == (answer.status, [w for w in ("codec", "0x", "recursion", "Traceback") if w in str(answer.body)])


@pytest.mark.parametrize(
    "price",
    ["1e400", "1e-400", "-1", "0", "-0.0", "1e999999999999", "9" * 400, "9" * 5_000, f"0.{'0' * 5_000}1", "1000000.01"],
)
async def test_a_monstrous_price_is_a_fault_and_no_work(stage: Stage, price: str) -> None:
    began = perf_counter()
    data = json.dumps(LISTING).replace("19.99", price).encode()
    headers = {"Content-Type": "application/json"} | stage.bearer("sam", "seller")
    answer = await stage.call("POST", "/products", headers=headers, data=data)

    assert (400, True, []) == (answer.status, perf_counter() - began < SLOW_S, stage.bus.asked)


@pytest.mark.parametrize("rest", ['"' + '\\"' * 27_000, '"\\\n' * 15_000, "-" + "9" * 55_000 + ".", "-9" * 27_000])
async def test_a_monstrous_number_makes_no_work_of_what_follows_it(stage: Stage, rest: str) -> None:
    """What follows has not been looked at yet when the number is found, and is no JSON."""
    began = perf_counter()
    answer = await raw_json(stage, f"[{'9' * 5_000}, {rest}".encode())

    assert (400, True) == (answer.status, perf_counter() - began < SLOW_S)


HOSTILE_TEXTS: Final = {
    "letters and a NUL": "a" * (CHARACTERS - 1) + "\0",
    "spaces": " " * CHARACTERS,
    "spaces and a NUL": " " * (CHARACTERS - 1) + "\0",
    "words and a NUL": "a " * (CHARACTERS // 2 - 1) + "\0",
    "joiners": "\u200d" * (CHARACTERS // 4),  # six bytes each in JSON
    "breaks": "\r\n" * (CHARACTERS // 2),
}


@pytest.mark.parametrize("what", HOSTILE_TEXTS)
async def test_no_text_takes_longer_to_look_through_than_it_is(stage: Stage, what: str) -> None:
    """A pattern that goes back and forth takes a second for so many characters, and nobody is served meanwhile."""
    body = LISTING | {"description": HOSTILE_TEXTS[what]}
    began = perf_counter()
    answer = await stage.call("POST", "/products", body, user="sam", role="seller")

    assert (["/description"], True) == (answer.faults, perf_counter() - began < SLOW_S)


@pytest.mark.parametrize("header", ["If-None-Match", "If-Match", "Accept-Encoding", "Prefer", "Range", "Cookie"])
@pytest.mark.parametrize("value", [", " * 4_000, '"a", ' * 1_500 + "x", " " * 4_000 + "x", '"' * 8_000, "W/" * 4_000])
async def test_no_header_does_either(stage: Stage, header: str, value: str) -> None:
    began = perf_counter()
    await stage.call("GET", "/.well-known/jwks.json", headers={header: value})

    assert perf_counter() - began < SLOW_S


async def test_a_thousand_faults_are_answered_with_a_hundred(stage: Stage) -> None:
    many = {f"field{number}": 1 for number in range(3_000)}
    answer = await stage.call("POST", "/auth/login", many)

    assert (400, FAULTS_MAX) == (answer.status, len(answer.json()["errors"]))


async def test_a_thousand_parameters_too(stage: Stage) -> None:
    query = "&".join(f"a{number}=1" for number in range(700))

    assert FAULTS_MAX == len((await stage.call("GET", f"/products?{query}")).json()["errors"])


async def test_an_answer_is_not_larger_for_a_name_that_is(stage: Stage) -> None:
    answer = await stage.call("POST", "/auth/login", {"x" * 60_000: 1})

    assert (400, True) == (answer.status, len(answer.body) < 1_000)


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_what_a_form_of_another_site_could_send_is_refused(stage: Stage, media_type: str) -> None:
    """Forms and scripts of other origins send these types without asking first (Fetch, section 2.2.2)."""
    answer = await raw_json(stage, b'{"email":"a@b","password":"x"}', Content_Type=media_type)

    assert (415, []) == (answer.status, stage.bus.asked)


@pytest.mark.parametrize("method", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
async def test_a_method_is_what_it_is(stage: Stage, method: str) -> None:
    stage.bus.answers(product.Withdraw, None)
    await stage.call("GET", "/products?_method=DELETE", headers={method: "DELETE"}, user="sam", role="seller")

    assert [] == [message for _, message in stage.bus.messages if isinstance(message, product.Withdraw)]
