"""What a client has already is not sent again, and what it has not seen it does not overwrite."""

from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from msgspec.structs import replace
from multidict import CIMultiDict

from marketd.actors import account, buyer, order, product
from marketd.actors.account import Role
from marketd.actors.aggregate import Refused
from marketd.http.etags import conditional, expected, tagged
from marketd.http.problems import BadRequest, PreconditionFailed
from marketd.storage.cards import ReadProduct
from marketd.storage.catalog import BrowseProducts
from marketd.storage.people import FindPerson
from marketd.storage.reviews import FindReview
from tests.http.stage import Stage
from tests.http.things import DESCRIBED, ENCODED, FOUND, PERSON, PROFILE, REVIEW, VIEW

BODY = b'{"a":1}'
HEADERS = {"Cache-Control": "max-age=5", "Vary": "Authorization"}
TAGGED = replace(ENCODED, tag="v1.3-d1")
R1 = "/products/lamp/reviews/r1"


def asked(body: bytes = BODY, *, method: str = "GET", **conditions: str) -> web.Response:
    headers = {name.replace("_", "-"): value.format(tag=tag()) for name, value in conditions.items()}
    return conditional(make_mocked_request(method, "/", headers=headers), tagged(body, headers=HEADERS))


def tag(body: bytes = BODY, version: str = "") -> str:
    return tagged(body, version=version).headers["ETag"]


def request(*if_match: str) -> web.Request:
    return make_mocked_request("PATCH", "/", headers=CIMultiDict([("If-Match", line) for line in if_match]))


# Tags.


def test_a_tag_is_strong() -> None:
    assert ('"', '"') == (tag()[0], tag()[-1])


def test_the_same_body_has_the_same_tag() -> None:
    assert tag() == tag()


def test_another_body_has_another_tag() -> None:
    assert tag() != tag(b'{"a":2}')


def test_a_version_comes_first() -> None:
    assert f'"v1-{tag()[1:]}' == tag(version="v1")


# Looking.


@pytest.mark.parametrize("known", ["", '"other"', '"other", W/"another"', "nonsense", "{tag}x", '"', '""', "*, {tag}"])
def test_who_has_something_else_gets_all(known: str) -> None:
    answer = asked(If_None_Match=known)

    assert (200, BODY) == (answer.status, answer.body)


@pytest.mark.parametrize(
    "known", ["{tag}", "W/{tag}", '"other", {tag}', '"a,b",{tag}', ',, {tag} ,"x"', "*", " * ", '"\xe9", {tag}']
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_it_already_is_told_so_without_a_body(method: str, known: str) -> None:
    answer = asked(method=method, If_None_Match=known)

    assert (304, None) == (answer.status, answer.body)


def test_who_has_it_already_learns_how_long_it_may_be_kept() -> None:
    headers = asked(If_None_Match="{tag}").headers

    assert ("max-age=5", "Authorization", tag()) == (headers["Cache-Control"], headers["Vary"], headers["ETag"])
    assert "Content-Type" not in headers


@pytest.mark.parametrize("wanted", ['"other"', "W/{tag}", "nonsense", ""])
def test_who_wants_no_other_gets_no_other(wanted: str) -> None:
    with pytest.raises(PreconditionFailed):
        asked(If_Match=wanted)


@pytest.mark.parametrize("wanted", ["{tag}", '"other", {tag}', "*"])
def test_who_wants_just_this_gets_it(wanted: str) -> None:
    assert 200 == asked(If_Match=wanted).status


def test_what_is_no_success_meets_every_condition() -> None:
    answer = tagged(BODY, status=404)

    assert answer is conditional(make_mocked_request("GET", "/", headers={"If-None-Match": "*"}), answer)


# Changing.


@pytest.mark.parametrize(
    ("lines", "versions"),
    [
        ([], None),
        (["*"], None),
        (['"v1-d1"'], ("v1",)),
        (['"v1-d1", "v2.3-d2-own-gzip"'], ("v1", "v2.3")),
        (['"v1-d1"', '"v2-d2"'], ("v1", "v2")),
        (['W/"v1-d1"'], ()),
        (['W/"v1-d1", "v2-d2"'], ("v2",)),
        ([',"v1-d1",'], ("v1",)),
        (['"a,b-c"'], ("a,b",)),
        (['""'], ("",)),
    ],
)
def test_a_change_is_meant_for_the_versions_of_its_tags(lines: list[str], versions: tuple[str, ...] | None) -> None:
    assert versions == expected(request(*lines))


@pytest.mark.parametrize("line", ["", "v1-d1", '"v1', 'v1"', "'v1'", '"v1" "v2"', '*, "v1"', 'w/"v1"', '"v 1"', ","])
def test_a_condition_that_can_not_be_read_is_refused(line: str) -> None:
    with pytest.raises(BadRequest):
        expected(request(line))


# The things that have tags.

THINGS: dict[str, tuple[str, Role, dict[type, Any]]] = {
    "product": ("/products/lamp", "buyer", {ReadProduct: TAGGED}),
    "order": ("/orders/o1", "buyer", {order.Describe: VIEW}),
    "account": ("/auth/me", "buyer", {FindPerson: PERSON, account.Describe: PROFILE}),
    "review": (R1, "buyer", {FindReview: REVIEW}),
    "a page of results": ("/products?q=lamp", "buyer", {BrowseProducts: FOUND}),
    "keys": ("/.well-known/jwks.json", "buyer", {}),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("what", THINGS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_thing_is_not_sent_again_to_who_has_it(stage: Stage, what: str, method: str) -> None:
    path, role, answers = THINGS[what]
    stage.bus.script.update(answers)
    known = (await stage.call("GET", path, user="ann", role=role)).headers["ETag"]

    again = await stage.call(method, path, user="ann", role=role, headers={"If-None-Match": f'"x", W/{known}'})

    assert (304, b"", [known]) == (again.status, again.body, again.headers.getall("ETag"))


@pytest.mark.asyncio
async def test_the_seller_of_a_product_has_a_tag_of_their_own_for_the_same_version(stage: Stage) -> None:
    stage.bus.answers(ReadProduct, TAGGED)
    tags = [(await stage.call("GET", "/products/lamp", user=user)).headers["ETag"] for user in ("", "ann", "sam")]

    assert ['"v1.3-d1"', '"v1.3-d1"', '"v1.3-d1-own"'] == tags


CHANGES: dict[str, tuple[str, str, object, str, Role, dict[type, Any], type]] = {
    "a product is changed": (
        *("PATCH", "/products/lamp", {"title": "Lantern"}, "sam", "seller"),
        {product.Describe: DESCRIBED, product.Revise: None, ReadProduct: TAGGED},
        product.Revise,
    ),
    "a product is withdrawn": (
        *("DELETE", "/products/lamp", None, "sam", "seller"),
        {product.Withdraw: None},
        product.Withdraw,
    ),
    "a review is changed": (
        *("PATCH", R1, {"rating": 1}, "ann", "buyer"),
        {FindReview: REVIEW, buyer.EditReview: buyer.ReviewState(None)},
        buyer.EditReview,
    ),
    "a review is taken back": (
        *("DELETE", R1, None, "ann", "buyer"),
        {FindReview: REVIEW, buyer.DeleteReview: None},
        buyer.DeleteReview,
    ),
    "a name is changed": (
        *("PATCH", "/auth/me", {"name": "Anna"}, "ann", "buyer"),
        {FindPerson: PERSON, account.Rename: PROFILE},
        account.Rename,
    ),
}


@pytest.mark.asyncio
@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize(("given", "handed_on"), [(None, None), ('"v1-d1", W/"v2-d2"', ("v1",)), ("*", None)])
async def test_a_condition_is_handed_on_to_who_decides(stage: Stage, what: str, given: Any, handed_on: Any) -> None:
    method, path, body, user, role, answers, command = CHANGES[what]
    stage.bus.script.update(answers)
    await stage.call(method, path, body, user=user, role=role, headers={"If-Match": given} if given else {})

    (sent,) = (message for _, message in stage.bus.messages if isinstance(message, command))
    assert handed_on == getattr(sent, "expected", "not even a place for it")


@pytest.mark.asyncio
@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_to_what_has_changed_fails(stage: Stage, what: str) -> None:
    method, path, body, user, role, answers, command = CHANGES[what]
    stage.bus.script.update({**answers, command: Refused(product.Reason.CHANGED)})  # the same in words for all kinds

    answer = await stage.call(method, path, body, user=user, role=role, headers={"If-Match": '"old"'})

    assert (412, "/problems/changed") == (answer.status, answer.json()["type"])


@pytest.mark.asyncio
@pytest.mark.parametrize("what", CHANGES)
async def test_nobody_is_asked_under_a_condition_that_can_not_be_read(stage: Stage, what: str) -> None:
    method, path, body, user, role, answers, command = CHANGES[what]
    stage.bus.script.update(answers)

    answer = await stage.call(method, path, body, user=user, role=role, headers={"If-Match": "v1"})

    assert (["/If-Match"], False) == (answer.faults, command in {type(message) for _, message in stage.bus.messages})


@pytest.mark.asyncio
@pytest.mark.parametrize("what", [what for what in CHANGES if "changed" in what])
async def test_who_has_changed_something_learns_its_new_tag(stage: Stage, what: str) -> None:
    method, path, body, user, role, answers, _ = CHANGES[what]
    stage.bus.script.update({**answers, account.Describe: PROFILE})
    changed = await stage.call(method, path, body, user=user, role=role)
    shown = await stage.call("GET", path, user=user, role=role)

    assert shown.headers["ETag"] == changed.headers["ETag"]
