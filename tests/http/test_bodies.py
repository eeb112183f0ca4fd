"""A body that does not fit is refused, and everything that is wrong with it is named."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from marketd.actors import account, product
from marketd.actors.aggregate import Refused
from marketd.http import bodies
from marketd.http.orders import NewOrder
from marketd.storage.cards import ReadProduct
from tests.clock import settle
from tests.http.stage import LIMITS_HERE, Stage, staged
from tests.http.things import ENCODED, LISTING, PROFILE, REGISTRATION

pytestmark = pytest.mark.asyncio

JSON = {"Content-Type": "application/json"}


async def list_product(stage: Stage, **changes: Any) -> list[str]:
    answer = await stage.call("POST", "/products", {**LISTING, **changes}, user="sam", role="seller")
    return answer.faults


async def list_priced(stage: Stage, price: str) -> tuple[int, list[str]]:
    """List a product whose price is written just like that."""
    text = json.dumps(LISTING | {"price": 0}).replace('"price": 0', f'"price": {price}')
    stage.bus.answers(product.List, None)
    stage.bus.answers(ReadProduct, ENCODED)
    answer = await stage.call("POST", "/products", user="sam", role="seller", data=text, headers=JSON)
    return answer.status, [f["pointer"] for f in answer.json().get("errors", [])]


async def register(stage: Stage, data: bytes, headers: dict[str, str] | None = None) -> tuple[int, list[str]]:
    answer = await stage.call("POST", "/auth/register", data=data, headers=headers or JSON)
    return answer.status, [f["pointer"] for f in answer.json().get("errors", [])]


# Senders.


async def half_sent(stage: Stage, head: str = "Content-Length: 9") -> asyncio.StreamWriter:
    """Send the half of a body, and wait until it is being read."""
    reader, writer = await asyncio.open_connection(stage.client.host, stage.client.port)
    expect = f"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{head}\r\n"
    writer.write(f"{expect}Expect: 100-continue\r\n\r\n".encode())
    assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
    writer.write(b"{")
    await settle()
    return writer


async def first_line(stage: Stage, sent: str) -> bytes:
    """Send a request whose body stays away, and read how the answer begins."""
    reader, writer = await asyncio.open_connection(stage.client.host, stage.client.port)
    try:
        writer.write(sent.encode())
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("head", ["Content-Length: 9", "Transfer-Encoding: chunked"])
async def test_who_hangs_up_amid_a_body_is_no_defect(stage: Stage, caplog: pytest.LogCaptureFixture, head: str) -> None:
    writer = await half_sent(stage, head)
    writer.transport.abort()
    await stage.call("GET", "/healthz")
    await settle()

    assert [] == [record for record in caplog.records if record.levelno > logging.DEBUG]


async def test_a_body_that_says_that_it_is_too_large_is_refused_before_it_comes(stage: Stage) -> None:
    head = "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    answer = await first_line(stage, f"{head}Content-Length: {LIMITS_HERE.body_bytes_max + 1}\r\n\r\n")

    assert b"HTTP/1.1 413" == answer[:12]


async def test_a_body_that_does_not_come_is_waited_for_no_longer_than_the_limit(tmp_path: Path) -> None:
    async with staged(tmp_path, structs.replace(LIMITS_HERE, body_read_s_max=0.01)) as stage:
        head = "POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        answer = await first_line(stage, f"{head}Content-Length: 9\r\n\r\n{{")

    assert b"HTTP/1.1 408" == answer[:12]


# Fields.


async def test_every_field_at_fault_is_named(stage: Stage) -> None:
    answer = await stage.call(
        "POST", "/auth/register", {"email": "nobody", "password": "short", "name": " ", "role": "admin"}
    )

    assert ["/email", "/name", "/password", "/role"] == answer.faults


async def test_every_fault_says_what_was_expected(stage: Stage) -> None:
    answer = await stage.call("POST", "/auth/login", {"email": 5, "password": None})

    expected = [
        {"pointer": "/email", "detail": "Expected str, got int"},
        {"pointer": "/password", "detail": "Expected str, got null"},
    ]
    assert expected == answer.json()["errors"]


async def test_missing_fields_are_named(stage: Stage) -> None:
    answer = await stage.call("POST", "/auth/register", {})

    assert ["/email", "/name", "/password", "/role"] == answer.faults


async def test_unknown_fields_are_named_beside_the_wrong_ones(stage: Stage) -> None:
    answer = await stage.call("POST", "/auth/login", {"email": 1, "password": "x", "admin": True, "a/b~c": 1})

    assert ["/admin", "/a~1b~0c", "/email"] == answer.faults


async def test_faults_deep_in_a_body_are_pointed_at(stage: Stage) -> None:
    good = LISTING["files"][0]
    files = [good, {**good, "size": -1}, {"name": "a/b", "type": "zip", "url": "ftp://x", "more": 1}, 5]

    expected = ["/files/1/size", "/files/2/more", "/files/2/name", "/files/2/size", "/files/2/type", "/files/2/url"]
    assert [*expected, "/files/3"] == await list_product(stage, files=files)


async def test_a_wrong_item_does_not_hide_a_wrong_field_beside_the_list(stage: Stage) -> None:
    assert ["/files/0", "/title"] == await list_product(stage, files=[None], title=None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", ""),
        ("title", "x" * 201),
        ("title", "two\nlines"),
        ("title", "a\x00b"),
        ("title", "a\u202eb"),
        ("title", " \t "),
        ("title", "\u3000\u200d"),
        ("title", "a\u200bb"),
        ("title", "a\u2066b"),
        ("title", "\ufeff"),
        ("title", 5),
        ("title", None),
        ("description", "x" * 20_001),
        ("description", "bell\x07"),
        ("description", "\n\n"),
        ("category", "x" * 101),
        ("currency", "usd"),
        ("currency", "XXX"),
        ("currency", None),
        ("files", []),
        ("files", LISTING["files"] * 51),
        ("files", {}),
        ("files", None),
        ("previews", [{"name": "a.png", "type": "image/png", "url": "https://e.example/a.png"}] * 21),
        ("previews", None),
        ("stock", -1),
        ("stock", 1.5),
        ("stock", "5"),
        ("stock", True),
        ("stock", 10**10),
        ("licenceKeys", "KEY"),
    ],
)
async def test_a_value_that_does_not_fit_is_named(stage: Stage, field: str, value: object) -> None:
    assert [f"/{field}"] == await list_product(stage, **{field: value})


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "x" * 256, "\x7f"])
async def test_a_file_name_that_no_disk_would_have_is_refused(stage: Stage, name: str) -> None:
    assert ["/files/0/name"] == await list_product(stage, files=[{**LISTING["files"][0], "name": name}])


@pytest.mark.parametrize(
    "url",
    [
        "http://e.example/a",
        "javascript:alert(1)",
        "upload://abc",
        "upload://" + "A" * 64,
        "https://user:word@e.example/a",
        "https://",
        "https://e.example:99999/",
        "https://e.example:65536",
        "https://e.example:0/",
        "https://e.example:80:80/",
        "https://e.example:a/",
        "https://:443/",
        "https://?a",
        "https://[::1/",
        "https://[e.example]/",
        "https://e.example\\@evil.example/",
        "https://e.example/a b",
        "https://e.example/a\n",
        "https://e.example/a\x00",
        "https://e\x7f.example/a",
        "file:///etc/passwd",
        "https://" + "x" * 2048,
    ],
)
async def test_a_file_is_an_upload_or_at_an_https_address(stage: Stage, url: str) -> None:
    assert ["/files/0/url"] == await list_product(stage, files=[{**LISTING["files"][0], "url": url}])


@pytest.mark.parametrize(
    "url",
    [
        "https://e.example",
        "https://e.example?file=a",
        "https://e.example#a",
        "https://e.example:65535/a?b#c",
        "https://e.example:/",
        "https://e.example:443?a",
        "https://[2001:db8::1]:8443/a",
        "https://bücher.example/ä",
        "https://e.example/a@b:99999",
    ],
)
async def test_an_https_address_is_one_with_whatever_may_follow_its_host(stage: Stage, url: str) -> None:
    stage.bus.answers(product.List, None)
    stage.bus.answers(ReadProduct, ENCODED)
    listing = LISTING | {"files": [{**LISTING["files"][0], "url": url}]}

    assert 201 == (await stage.call("POST", "/products", listing, user="sam", role="seller")).status


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "a/b"}, "Expected the name of a file, without folders"),
        ({"type": "zip"}, "Expected a media type in lower case, such as application/zip"),
        ({"url": "ftp://x"}, "Expected the address of an upload, or one of https"),
    ],
)
async def test_what_is_wrong_with_a_file_is_said_in_words(stage: Stage, changes: dict[str, str], expected: str) -> None:
    offer = LISTING | {"files": [LISTING["files"][0] | changes], "licenceKeys": [" KEY"]}
    answer = await stage.call("POST", "/products", offer, user="sam", role="seller")

    details = {fault["detail"] for fault in answer.json()["errors"]}
    assert {expected, "Expected one line without spaces around it"} == details


@pytest.mark.parametrize("key", ["", " KEY", "KEY ", "KEY\n", "K\nEY", "x" * 501, None, 5])
async def test_a_licence_key_that_could_not_be_copied_is_refused(stage: Stage, key: object) -> None:
    assert ["/licenceKeys/1"] == await list_product(stage, licenceKeys=["GOOD", key])


async def test_the_repeats_of_a_licence_key_are_named_and_the_first_is_not(stage: Stage) -> None:
    assert ["/licenceKeys/2", "/licenceKeys/3"] == await list_product(stage, licenceKeys=["A", "B", "A", "A"])


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"email": "ann"}, "/email"),
        ({"email": "ann@-example.org"}, "/email"),
        ({"email": "ann@example.org\n"}, "/email"),
        ({"email": "änn@example.org"}, "/email"),
        ({"email": "a" * 65 + "@example.org"}, "/email"),
        ({"email": "a@" + "b." * 130 + "org"}, "/email"),
        ({"password": "Passw0r"}, "/password"),
        ({"password": "passw0rd"}, "/password"),
        ({"password": "PASSW0RD"}, "/password"),
        ({"password": "Password"}, "/password"),
        ({"password": "Passw0rd" * 17}, "/password"),
        ({"name": "x" * 101}, "/name"),
        ({"role": "admin"}, "/role"),
        ({"role": None}, "/role"),
    ],
)
async def test_a_registration_that_does_not_fit_is_refused(
    stage: Stage, change: dict[str, object], pointer: str
) -> None:
    assert [pointer] == (await stage.call("POST", "/auth/register", REGISTRATION | change)).faults


# Prices.


@pytest.mark.parametrize("price", ["19.99", "0.01", "1", "1000000", "1000000.00", "1e3", "1.99e1", "5.000000000000"])
async def test_a_price_may_be_written_like_this(stage: Stage, price: str) -> None:
    assert (201, []) == await list_priced(stage, price)


@pytest.mark.parametrize(
    "price",
    [
        '"19.99"',
        "null",
        "true",
        "[]",
        "{}",
        "0",
        "-0.0",
        "-1",
        "1000000.01",
        "19.999",
        "19.990000000000000000000000000000000000000001",
        "1000000.000000000000000000000000000000000001",
        "1e400",
        "1e-400",
        "1e999999999",
        "1e-999999999",
        "-1e999999999",
        "1e99999999999999999999999999",
        "1e-99999999999999999999999999",
        "123456789012345678901234567890",
        "9" * 5_000,
        "-" + "9" * 5_000,
        '"NaN"',
        '"Infinity"',
    ],
)
async def test_a_price_may_not_be_written_like_this(stage: Stage, price: str) -> None:
    assert (400, ["/price"]) == await list_priced(stage, price)


@pytest.mark.parametrize(
    "price", ["NaN", "Infinity", "-Infinity", "01", "1.", ".5", "+1", "0x10", "1_000", "0" * 5_000]
)
async def test_what_is_no_number_in_json_is_no_json(stage: Stage, price: str) -> None:
    assert (400, [""]) == await list_priced(stage, price)


@pytest.mark.parametrize("price", ["1." + "0" * 5_000, "1" + "0" * 5_000 + "e-5000", "1e-" + "0" * 5_000, "1e+0"])
async def test_a_long_way_to_write_a_price_is_one_too(stage: Stage, price: str) -> None:
    assert (201, []) == await list_priced(stage, price)


async def test_a_number_that_is_too_long_hides_no_other_fault_and_is_none_in_a_text(stage: Stage) -> None:
    digits = "9" * 5_000
    text = json.dumps(LISTING | {"stock": 0, "description": f'"\\ {digits}', "title": digits})
    body = text.replace('"stock": 0', f'"stock": {digits}')

    answer = await stage.call("POST", "/products", user="sam", role="seller", data=body, headers=JSON)

    assert ["/stock", "/title"] == answer.faults


async def test_a_price_is_kept_as_it_was_written(stage: Stage) -> None:
    await list_priced(stage, "1.1e0")

    (command,) = (message for _, message in stage.bus.messages if isinstance(message, product.List))
    assert ("110", "USD") == (str(command.offer.price.minor), command.offer.price.currency)


async def test_a_price_has_no_fraction_that_its_currency_has_not(stage: Stage) -> None:
    assert ["/price"] == await list_product(stage, price=1.5, currency="JPY")


# What is not a body at all.


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"hello",
        b"{",
        b'{"email": }',
        b"{} {}",
        b"\xff\xfe{}",
        b"\xef\xbb\xbf{}",
        b'{"email": "\\ud800"}',
        b'{"email": "\\udc00\\ud800"}',
        b'{"email": "\xed\xa0\x80"}',
        b'{"email": "\xff"}',
        b'{"\xff": 1}',
        b"[" * 30_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a":' * 10_000,
    ],
    ids=lambda body: repr(body[:24]),
)
async def test_what_is_not_json_is_refused_as_a_whole(stage: Stage, body: bytes) -> None:
    assert (400, [""]) == await register(stage, body)


@pytest.mark.parametrize("body", [b"[]", b"null", b"5", b'"text"', b"[[{}]]"])
async def test_what_is_not_an_object_is_refused_as_a_whole(stage: Stage, body: bytes) -> None:
    assert (400, [""]) == await register(stage, body)


async def test_of_a_name_given_twice_the_last_value_counts(stage: Stage) -> None:
    stage.bus.answers(account.Register, PROFILE)
    body = json.dumps(REGISTRATION)[:-1] + ', "name": "Bob"}'

    assert (201, []) == await register(stage, body.encode())
    assert isinstance(command := stage.bus.last.message, account.Register) and "Bob" == command.name


async def test_of_a_name_given_twice_the_first_value_is_not_even_looked_at(stage: Stage) -> None:
    stage.bus.answers(account.Register, PROFILE)
    body = '{"name": 5, ' + json.dumps(REGISTRATION)[1:]

    assert (201, []) == await register(stage, body.encode())


@pytest.mark.parametrize(
    "body",
    [
        b'{"productId":"p","paymentMethodId":"m"}',
        b' {"productId":"p" , "paymentMethodId":"m"}\n',
        b'{"productId":"p","productId":"q","paymentMethodId":"m"}',
        b'{"productId":5,"productId":"q","paymentMethodId":"m"}',
        b'{"productId":"\\u00e9","paymentMethodId":"m"}',
        b'{"productId":"\\ud800","paymentMethodId":"m"}',
        b'{"productId":"\xff","paymentMethodId":"m"}',
        b'{"productId":"","paymentMethodId":5}',
        b'{"productId":"p","paymentMethodId":null}',
        b'{"productId":"p","paymentMethodId":"m","price":1e999}',
        b'{"productId":"p"}',
        b'{"productId":"p","paymentMethodId":"m"}x',
        b'["p","m"]',
        b'\xef\xbb\xbf{"productId":"p","paymentMethodId":"m"}',
        b"null",
        b"",
        b"[" * 5_000,
    ],
)
async def test_what_is_read_at_once_is_what_the_long_way_comes_to(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    assert bodies._is_plain(NewOrder)
    short = await order(stage, body)
    monkeypatch.setattr(bodies, "_is_plain", lambda kind: False)

    assert short == await order(stage, body)


async def order(stage: Stage, body: bytes) -> tuple[int, list[tuple[str, str]], list[str]]:
    """Order something that is sold out; give the status, the faults, and the products that were asked."""
    stage.bus.answers(product.Quote, Refused(product.Reason.SOLD_OUT))
    stage.bus.asked.clear()
    answer = await stage.call("POST", "/orders", user="ann", data=body, headers=JSON)
    faults = [(fault["pointer"], fault["detail"]) for fault in answer.json().get("errors", [])]
    return answer.status, faults, [subject for subject, _ in stage.bus.asked]


@pytest.mark.parametrize("stock", ["5", "5.0", "5e0", "0.5e1", "50e-1", "5.000"])
async def test_a_number_is_whole_if_its_value_is(stage: Stage, stock: str) -> None:
    stage.bus.answers(product.List, None)
    stage.bus.answers(ReadProduct, ENCODED)
    text = json.dumps(LISTING | {"stock": 0}).replace('"stock": 0', f'"stock": {stock}')

    await stage.call("POST", "/products", user="sam", role="seller", data=text, headers=JSON)

    (command,) = (message for _, message in stage.bus.messages if isinstance(message, product.List))
    assert 5 == command.stock


@pytest.mark.parametrize("stock", ["1e999999999", "1e19", "5.000000001", "1e-999999999"])
async def test_a_number_that_is_not_whole_or_that_nobody_can_hold_is_none(stage: Stage, stock: str) -> None:
    text = json.dumps(LISTING | {"stock": 0}).replace('"stock": 0', f'"stock": {stock}')

    answer = await stage.call("POST", "/products", user="sam", role="seller", data=text, headers=JSON)

    assert ["/stock"] == answer.faults


@pytest.mark.parametrize("title", ["👨‍👩‍👧 album", "کتاب‌ها", "Zoë", "　full width　", "a\u00a0b"])
async def test_a_line_may_be_of_any_script(stage: Stage, title: str) -> None:
    stage.bus.answers(product.List, None)
    stage.bus.answers(ReadProduct, ENCODED)

    assert 201 == (await stage.call("POST", "/products", LISTING | {"title": title}, user="sam", role="seller")).status


async def test_text_may_be_escaped_as_json_allows(stage: Stage) -> None:
    stage.bus.answers(account.Register, PROFILE)
    body = json.dumps(REGISTRATION | {"name": "Ann 🐻"})

    assert "\\ud83d" in body
    assert (201, []) == await register(stage, body.encode())


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "json"])
async def test_another_content_type_is_refused(stage: Stage, content_type: str) -> None:
    assert 415 == (await register(stage, b"{}", {"Content-Type": content_type}))[0]


@pytest.mark.parametrize("coding", ["compress", "gzip, gzip", "nonsense", ""])
async def test_a_body_in_a_coding_that_nobody_reads_here_is_refused(stage: Stage, coding: str) -> None:
    assert 415 == (await register(stage, b"{}", {**JSON, "Content-Encoding": coding}))[0]


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/ld+json"])
async def test_a_content_type_that_means_json_will_do(stage: Stage, content_type: str) -> None:
    assert 400 == (await register(stage, b"{}", {"Content-Type": content_type}))[0]


async def test_a_body_beyond_the_limit_is_too_large(stage: Stage) -> None:
    assert 413 == (await register(stage, b" " * (LIMITS_HERE.body_bytes_max + 1)))[0]


async def test_a_body_of_a_false_encoding_is_the_senders_fault(stage: Stage) -> None:
    status, _ = await register(stage, b"this is no gzip", {**JSON, "Content-Encoding": "gzip"})

    assert 400 == status


# Parameters.


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("colour=red", ["/colour"]),
        ("page=1&page=2", ["/page"]),
        ("page=0&size=101", ["/page", "/size"]),
        ("page=x&size=&sort=cheap&what=1", ["/page", "/size", "/sort", "/what"]),
        ("page=1000001", ["/page"]),
        ("page=99999999999999999999999", ["/page"]),
        ("size=1.5", ["/size"]),
        ("size=-1", ["/size"]),
        ("minPrice=-1", ["/minPrice"]),
        ("minPrice=NaN&maxPrice=Infinity", ["/maxPrice", "/minPrice"]),
        ("minPrice=sNaN", ["/minPrice"]),
        ("minPrice=1e999999999", ["/minPrice"]),
        ("maxPrice=much", ["/maxPrice"]),
        ("minRating=nan", ["/minRating"]),
        ("minRating=5.1", ["/minRating"]),
        ("q=" + "x" * 501, ["/q"]),
        ("min_price=1", ["/min_price"]),
    ],
)
async def test_every_parameter_at_fault_is_named(stage: Stage, query: str, expected: list[str]) -> None:
    assert expected == (await stage.call("GET", f"/products?{query}")).faults


async def test_a_repeated_parameter_is_named_once_beside_the_others(stage: Stage) -> None:
    answer = await stage.call("GET", "/products?sort=newest&sort=price&q=a&q=b&size=0")

    assert ["/q", "/size", "/sort"] == answer.faults
