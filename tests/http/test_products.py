"""Products: what is asked of whom when one is listed, changed, looked at, found or withdrawn."""

import hashlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import UNSET

from marketd.actors import buyer, product
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.actors.money import Money
from marketd.bus.subjects import command_subject
from marketd.storage.cards import ReadProduct
from tests.http.stage import HEAD, Reply, Stage
from tests.http.things import AT, DESCRIBED, ENCODED, LISTING, OFFER

pytestmark = pytest.mark.asyncio

LAMP = command_subject(Address("product", "lamp"))
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def list_product(stage: Stage, **changes: Any) -> Reply:
    stage.bus.answers(product.List, None)
    stage.bus.answers(ReadProduct, ENCODED)
    return await stage.call("POST", "/products", LISTING | changes, user="sam", role="seller")


async def revise(stage: Stage, change: dict[str, Any]) -> Reply:
    stage.bus.answers(product.Describe, DESCRIBED)
    stage.bus.answers(product.Revise, None)
    stage.bus.answers(ReadProduct, ENCODED)
    return await stage.call("PATCH", "/products/lamp", change, user="sam", role="seller")


async def uploaded(stage: Stage, owner: str = "sam", data: bytes = b"abc") -> str:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    stored = await stage.files.receive(chunks(), 1_000)
    await stage.files.note_owner(stored.digest, owner)
    return stored.url


def listed(stage: Stage) -> product.List:
    (command,) = (message for _, message in stage.bus.messages if isinstance(message, product.List))
    return command


def revised(stage: Stage) -> product.Revise:
    (command,) = (message for _, message in stage.bus.messages if isinstance(message, product.Revise))
    return command


# Listing.


async def test_a_product_is_listed_under_an_id_of_ours(stage: Stage) -> None:
    answer = await list_product(stage)

    location = answer.headers["Location"]
    assert (201, True) == (answer.status, location.startswith("/products/018bcfe5-6800-7"))
    assert stage.bus.messages[0][0] == command_subject(Address("product", location.removeprefix("/products/")))


async def test_a_listing_is_handed_on_whole(stage: Stage) -> None:
    await list_product(stage)

    assert product.List("sam", OFFER, None, (), AT) == listed(stage)


async def test_stock_and_keys_are_handed_on(stage: Stage) -> None:
    await list_product(stage, stock=2, licenceKeys=["B", "A"])

    assert (2, ("B", "A")) == (listed(stage).stock, listed(stage).licence_keys)


async def test_a_command_says_who_is_behind_it_and_how_long_it_is_waited_for(stage: Stage) -> None:
    await list_product(stage)

    envelope = stage.bus.asked[0][1]
    assert ("sam", AT + 10_000) == (envelope.principal, envelope.deadline)


async def test_a_command_is_found_by_the_id_of_its_request(stage: Stage) -> None:
    stage.bus.answers(product.Withdraw, None)
    headers = {"X-Request-Id": "mine"}

    await stage.call("DELETE", "/products/lamp", user="sam", role="seller", headers=headers)

    assert "mine" == stage.bus.last.correlation


async def test_a_trace_is_taken_up_with_a_span_of_our_own(stage: Stage) -> None:
    stage.bus.answers(product.Withdraw, None)

    await stage.call("DELETE", "/products/lamp", user="sam", role="seller", headers={"traceparent": TRACE})

    version, trace, span, flags = stage.bus.last.trace.split("-")
    assert ("00", TRACE[3:35], "01") == (version, trace, flags)
    assert TRACE[36:52] != span and 16 == len(span)


@pytest.mark.parametrize(
    "trace", ["", "00", TRACE.upper(), TRACE.replace("0af7", "xxxx"), f"00-{'0' * 32}{TRACE[35:]}"]
)
async def test_where_a_trace_is_none_a_new_one_begins(stage: Stage, trace: str) -> None:
    stage.bus.answers(product.Withdraw, None)

    await stage.call("DELETE", "/products/lamp", user="sam", role="seller", headers={"traceparent": trace})

    begun = stage.bus.last.trace
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", begun) and TRACE[3:35] not in begun


async def test_a_listing_is_answered_when_everybody_can_see_it(stage: Stage) -> None:
    answer = await list_product(stage)

    assert ([HEAD], ENCODED.own) == (stage.bus.awaited, answer.body)


async def test_a_listing_that_the_read_models_do_not_show_yet_is_no_defect(stage: Stage) -> None:
    stage.bus.answers(product.List, None)
    stage.bus.answers(ReadProduct, None)

    assert 503 == (await stage.call("POST", "/products", LISTING, user="sam", role="seller")).status


async def test_an_upload_of_ones_own_may_be_listed(stage: Stage) -> None:
    url = await uploaded(stage)

    answer = await list_product(stage, files=[{**LISTING["files"][0], "url": url}])

    assert (201, url) == (answer.status, listed(stage).offer.files[0].url)


@pytest.mark.parametrize("owner", ["eve", "public"])
async def test_an_upload_of_somebody_else_may_not_be_listed(stage: Stage, owner: str) -> None:
    url = await uploaded(stage, owner)
    preview = {"name": "a.png", "type": "image/png", "url": url}

    answer = await list_product(stage, files=[{**LISTING["files"][0], "url": url}], previews=[preview])

    assert ["/files/0/url", "/previews/0/url"] == answer.faults


async def test_an_upload_that_never_was_may_not_be_listed(stage: Stage) -> None:
    answer = await list_product(stage, files=[{**LISTING["files"][0], "url": f"upload://{'0' * 64}"}])

    assert ["/files/0/url"] == answer.faults


async def test_an_upload_has_the_size_that_it_has(stage: Stage) -> None:
    url = await uploaded(stage)

    assert ["/files/0/size"] == (
        await list_product(stage, files=[{**LISTING["files"][0], "url": url, "size": 4}])
    ).faults


async def test_faults_of_every_kind_are_named_together(stage: Stage) -> None:
    files = [{**LISTING["files"][0], "url": f"upload://{'0' * 64}", "name": "a/b"}, LISTING["files"][0], None]
    keys = ["A", "A", " B"]

    answer = await list_product(
        stage, title="", price=19.5, currency="JPY", files=files, stock=5, licenceKeys=keys, more=1
    )

    of_files = ["/files/0/name", "/files/0/url", "/files/2"]
    assert [*of_files, "/licenceKeys/1", "/licenceKeys/2", "/more", "/price", "/stock", "/title"] == answer.faults


async def test_of_what_is_missing_no_more_is_said_than_that(stage: Stage) -> None:
    answer = await stage.call("POST", "/products", {"currency": "JPY", "stock": 5}, user="sam", role="seller")

    assert ["/category", "/description", "/files", "/price", "/title"] == answer.faults


async def test_a_size_that_is_none_is_not_compared_with_that_of_the_upload(stage: Stage) -> None:
    url = await uploaded(stage)
    answer = await list_product(stage, files=[{**LISTING["files"][0], "url": url, "size": "3"}])

    assert [{"pointer": "/files/0/size", "detail": "Expected int, got str"}] == answer.json()["errors"]


async def test_where_there_are_too_many_files_nobody_looks_whose_they_are(stage: Stage) -> None:
    file = {**LISTING["files"][0], "url": f"upload://{'0' * 64}"}

    assert ["/files"] == (await list_product(stage, files=[file] * 51)).faults


async def test_nothing_is_asked_where_a_file_is_not_ones_own(stage: Stage) -> None:
    await list_product(stage, files=[{**LISTING["files"][0], "url": f"upload://{'0' * 64}"}])

    assert [] == stage.bus.asked


async def test_a_preview_is_for_everybody_once_it_is_listed(stage: Stage) -> None:
    url = await uploaded(stage)
    await list_product(stage, previews=[{"name": "a.png", "type": "image/png", "url": url}])

    answer = await stage.call("GET", f"/previews/{hashlib.sha256(b'abc').hexdigest()}")

    assert (200, b"abc") == (answer.status, answer.body)


# Changing.


async def test_only_what_is_given_changes(stage: Stage) -> None:
    await revise(stage, {"title": "Lantern"})

    assert product.Revise("sam", AT, title="Lantern") == revised(stage)


async def test_everything_can_be_given(stage: Stage) -> None:
    preview = {"name": "a.png", "type": "image/png", "url": "https://e.example/a.png"}
    await revise(stage, {**LISTING, "previews": [preview], "stock": None, "licenceKeys": ["K"]})

    expected = product.Revise(
        seller_id="sam",
        at=AT,
        title=OFFER.title,
        description=OFFER.description,
        price=OFFER.price,
        category=OFFER.category,
        files=OFFER.files,
        previews=(product.Preview("a.png", "image/png", "https://e.example/a.png"),),
        stock=None,
        licence_keys=("K",),
    )
    assert expected == revised(stage)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"price": 5}, Money(500, "USD")),
        ({"currency": "EUR"}, Money(1999, "EUR")),
        ({"price": 5, "currency": "JPY"}, Money(5, "JPY")),
        ({"currency": "KWD"}, Money(19990, "KWD")),
    ],
)
async def test_price_and_currency_change_apart_or_together(
    stage: Stage, change: dict[str, Any], expected: Money
) -> None:
    await revise(stage, change)

    assert expected == revised(stage).price


async def test_a_currency_that_the_old_price_does_not_fit_is_refused(stage: Stage) -> None:
    assert ["/price"] == (await revise(stage, {"currency": "JPY"})).faults


async def test_faults_of_every_kind_are_named_together_in_a_change_too(stage: Stage) -> None:
    preview = {"name": "a.png", "type": "image/png", "url": f"upload://{'0' * 64}"}
    change = {"title": "", "price": 1.5, "currency": "JPY", "previews": [preview], "licenceKeys": ["A", "A"]}

    assert ["/licenceKeys/1", "/previews/0/url", "/price", "/title"] == (await revise(stage, change)).faults


async def test_nothing_given_is_nothing_changed(stage: Stage) -> None:
    answer = await revise(stage, {})

    assert (200, UNSET) == (answer.status, revised(stage).title)


async def test_null_is_only_for_the_stock(stage: Stage) -> None:
    answer = await revise(stage, dict.fromkeys(("title", "price", "files", "previews", "stock", "licenceKeys")))

    assert ["/files", "/licenceKeys", "/previews", "/price", "/title"] == answer.faults


async def test_a_change_is_answered_with_ones_own_view(stage: Stage) -> None:
    answer = await revise(stage, {"title": "Lantern"})

    assert (200, ENCODED.own) == (answer.status, answer.body)


async def test_the_product_of_somebody_else_can_not_be_changed(stage: Stage) -> None:
    stage.bus.answers(product.Describe, DESCRIBED)
    stage.bus.answers(product.Revise, Refused(product.Reason.NOT_YOUR_PRODUCT))

    answer = await stage.call("PATCH", "/products/lamp", {"title": "Mine"}, user="eve", role="seller")

    assert 403 == answer.status


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("key", ["a.b", "*", ">", "a%20b", "%00", "x" * 65, "%E2%82%AC"])
async def test_a_key_that_can_be_no_address_is_no_product(stage: Stage, method: str, key: str) -> None:
    body: dict[str, str] | None = {} if method == "PATCH" else None
    answer = await stage.call(method, f"/products/{key}", body, user="sam", role="seller")

    assert (404, []) == (answer.status, stage.bus.asked)


async def test_a_product_is_withdrawn(stage: Stage) -> None:
    stage.bus.answers(product.Withdraw, None)

    answer = await stage.call("DELETE", "/products/lamp", user="sam", role="seller")

    assert (204, [(LAMP, product.Withdraw("sam", AT))]) == (answer.status, stage.bus.messages)


# Looking.


@pytest.mark.parametrize(("user", "expected"), [("", ENCODED.public), ("ann", ENCODED.public), ("sam", ENCODED.own)])
async def test_the_addresses_of_the_files_are_for_the_seller_alone(stage: Stage, user: str, expected: bytes) -> None:
    stage.bus.answers(ReadProduct, ENCODED)

    answer = await stage.call("GET", "/products/lamp", user=user, role="seller")

    assert (200, expected) == (answer.status, answer.body)


async def test_a_card_that_is_kept_is_shown_without_a_question(stage: Stage) -> None:
    stage.cards.cards["lamp"] = ENCODED

    answer = await stage.call("GET", "/products/lamp")

    assert (ENCODED.public, []) == (answer.body, stage.bus.asked)


async def test_a_kept_card_shows_the_addresses_to_nobody_else_either(stage: Stage) -> None:
    stage.cards.cards["lamp"] = ENCODED

    assert ENCODED.public == (await stage.call("GET", "/products/lamp", user="eve", role="seller")).body


async def test_what_is_not_there_is_not_found(stage: Stage) -> None:
    stage.bus.answers(ReadProduct, None)

    assert 404 == (await stage.call("GET", "/products/lamp")).status


@pytest.mark.parametrize("has_access", [True, False])
async def test_one_is_told_whether_one_owns_a_product(stage: Stage, has_access: bool) -> None:
    stage.bus.answers(ReadProduct, ENCODED)
    stage.bus.answers(buyer.CheckAccess, buyer.Access(has_access))

    answer = await stage.call("GET", "/products/lamp/access", user="ann")

    anns = command_subject(Address("buyer", "ann"))
    assert (200, {"hasAccess": has_access}) == (answer.status, answer.json())
    assert (anns, buyer.CheckAccess("lamp")) == stage.bus.messages[-1]


async def test_nobody_owns_what_is_not_there(stage: Stage) -> None:
    stage.bus.answers(ReadProduct, None)

    assert 404 == (await stage.call("GET", "/products/lamp/access", user="ann")).status


# Where there is no room.


async def test_what_sales_need_of_the_disk_is_left_to_them(stage: Stage) -> None:
    stage.files._room._free_bytes_min = 2**62
    refused = [
        await stage.call("POST", "/products", LISTING, user="sue", role="seller"),
        await stage.call("PATCH", "/products/lamp", {"price": 5}, user="sue", role="seller"),
    ]

    assert [503, 503] == [answer.status for answer in refused]
    assert [] == stage.bus.asked
