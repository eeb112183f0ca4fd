"""Reviews: each is asked of its author's actor, and only its author or the seller may touch it."""

from typing import Any

import pytest
from msgspec import UNSET, structs

from marketd.actors import buyer
from marketd.actors.account import Role
from marketd.actors.address import Address
from marketd.actors.aggregate import Refused
from marketd.bus.subjects import command_subject
from marketd.storage.cards import ReadProduct
from marketd.storage.pages import Page
from marketd.storage.reviews import FindReview, ListReviews, ReviewFound, Reviews, Sort
from tests.http.stage import Reply, Stage
from tests.http.things import AT, AT_TEXT, ENCODED, REVIEW

pytestmark = pytest.mark.asyncio

ANN = command_subject(Address("buyer", "ann"))
ALL = "/products/lamp/reviews"
R1 = f"{ALL}/r1"
SHOWN = {
    "id": "r1",
    "productId": "lamp",
    "authorId": "ann",
    "authorName": "Ann",
    "rating": 5,
    "title": "Bright",
    "body": "Very.",
    "reply": None,
    "createdAt": AT_TEXT,
    "updatedAt": AT_TEXT,
}
STATE = buyer.ReviewState(None)


async def write(stage: Stage, **review: Any) -> Reply:
    stage.bus.answers(ReadProduct, ENCODED)
    stage.bus.answers(FindReview, REVIEW)
    stage.bus.script.setdefault(buyer.WriteReview, STATE)
    return await stage.call("POST", ALL, {"rating": 5, "body": "Very."} | review, user="ann")


async def test_a_review_is_asked_of_its_author(stage: Stage) -> None:
    await write(stage, title="Bright")

    ((subject, command),) = (asked for asked in stage.bus.messages if isinstance(asked[1], buyer.WriteReview))
    assert isinstance(command, buyer.WriteReview)
    expected = buyer.WriteReview("lamp", buyer.Review(command.review.review_id, 5, "Bright", "Very."), AT)
    assert (ANN, expected) == (subject, command)


async def test_a_review_is_shown_at_its_own_address(stage: Stage) -> None:
    answer = await write(stage)

    assert (201, SHOWN) == (answer.status, answer.json())
    found = stage.bus.last.message
    assert isinstance(found, FindReview) and f"{ALL}/{found.review_id}" == answer.headers["Location"]


async def test_a_review_needs_no_title(stage: Stage) -> None:
    await write(stage)

    (command,) = (message for _, message in stage.bus.messages if isinstance(message, buyer.WriteReview))
    assert "" == command.review.title


@pytest.mark.parametrize(("reason", "status"), [(buyer.Reason.NOT_OWNED, 403), (buyer.Reason.ALREADY_REVIEWED, 409)])
async def test_a_review_may_be_refused(stage: Stage, reason: buyer.Reason, status: int) -> None:
    stage.bus.answers(buyer.WriteReview, Refused(reason))

    assert status == (await write(stage)).status


@pytest.mark.parametrize(
    ("review", "expected"),
    [
        ({"rating": 0, "body": ""}, ["/body", "/rating"]),
        ({"rating": 6, "body": "x" * 5_001}, ["/body", "/rating"]),
        ({"rating": 4.5, "title": ""}, ["/rating", "/title"]),
        ({"rating": "5", "title": "x" * 201}, ["/rating", "/title"]),
        ({"rating": True, "body": " \n"}, ["/body", "/rating"]),
        ({"stars": 5, "reply": "no"}, ["/reply", "/stars"]),
    ],
)
async def test_a_review_that_does_not_fit_is_refused(stage: Stage, review: Any, expected: list[str]) -> None:
    assert expected == (await write(stage, **review)).faults


async def test_what_is_not_there_can_not_be_reviewed(stage: Stage) -> None:
    stage.bus.answers(ReadProduct, None)

    answer = await stage.call("POST", ALL, {"rating": 5, "body": "Very."}, user="ann")

    assert 404 == answer.status


async def test_a_list_has_the_figures_of_all(stage: Stage) -> None:
    histogram = {"1": 0, "2": 0, "3": 0, "4": 0, "5": 1}
    stage.bus.answers(ReadProduct, ENCODED)
    stage.bus.answers(ListReviews, Reviews(1, 5.0, histogram, [REVIEW.card]))

    answer = await stage.call("GET", f"{ALL}?page=1&size=5")

    expected = {"total": 1, "page": 1, "size": 5, "average": 5.0, "histogram": histogram, "reviews": [SHOWN]}
    assert expected == answer.json()
    assert ("market.query.reviews", ListReviews("lamp", Page(1, 5))) == stage.bus.messages[-1]


@pytest.mark.parametrize("sort", ["newest", "oldest", "highest", "lowest"])
async def test_a_list_may_be_put_in_another_order(stage: Stage, sort: Sort) -> None:
    stage.bus.answers(ReadProduct, ENCODED)
    stage.bus.answers(ListReviews, Reviews(0, 0.0, {}, []))
    await stage.call("GET", f"{ALL}?sort={sort}")

    assert ListReviews("lamp", Page(), sort) == stage.bus.last.message


async def test_an_order_that_nobody_knows_is_refused(stage: Stage) -> None:
    assert ["/sort"] == (await stage.call("GET", f"{ALL}?sort=best")).faults


async def test_what_is_not_there_has_no_list_of_reviews(stage: Stage) -> None:
    stage.bus.answers(ReadProduct, None)

    assert 404 == (await stage.call("GET", ALL)).status


async def test_one_review_is_shown(stage: Stage) -> None:
    stage.bus.answers(FindReview, REVIEW)

    assert SHOWN == (await stage.call("GET", R1)).json()


@pytest.mark.parametrize("found", [None, ReviewFound(structs.replace(REVIEW.card, product_id="desk"))])
@pytest.mark.parametrize(
    ("method", "path", "body", "role"),
    [
        ("GET", R1, None, "buyer"),
        ("PATCH", R1, {"rating": 1}, "buyer"),
        ("DELETE", R1, None, "buyer"),
        ("POST", f"{R1}/reply", {"body": "Thanks."}, "seller"),
        ("POST", f"{R1}/hide", {"reason": "an insult"}, "admin"),
        ("POST", f"{R1}/show", None, "admin"),
    ],
)
async def test_a_review_is_found_under_its_own_product_only(
    stage: Stage, method: str, path: str, body: object, role: Role, found: ReviewFound | None
) -> None:
    stage.bus.answers(FindReview, found)

    assert 404 == (await stage.call(method, path, body, user="ann", role=role)).status


async def test_an_author_changes_what_is_given(stage: Stage) -> None:
    stage.bus.answers(FindReview, REVIEW)
    stage.bus.answers(buyer.EditReview, STATE)

    answer = await stage.call("PATCH", R1, {"rating": 1}, user="ann")

    assert (200, SHOWN) == (answer.status, answer.json())
    assert (ANN, buyer.EditReview("lamp", "r1", AT, 1, UNSET, UNSET)) == stage.bus.messages[1]


async def test_an_author_takes_the_title_away(stage: Stage) -> None:
    stage.bus.answers(FindReview, REVIEW)
    stage.bus.answers(buyer.EditReview, STATE)

    await stage.call("PATCH", R1, {"title": None}, user="ann")

    assert (ANN, buyer.EditReview("lamp", "r1", AT, UNSET, "", UNSET)) == stage.bus.messages[1]


async def test_a_change_that_does_not_fit_is_refused(stage: Stage) -> None:
    answer = await stage.call("PATCH", R1, {"rating": None, "title": "", "body": None}, user="ann")

    assert ["/body", "/rating", "/title"] == answer.faults


async def test_an_author_takes_a_review_back(stage: Stage) -> None:
    stage.bus.answers(FindReview, REVIEW)
    stage.bus.answers(buyer.DeleteReview, None)

    answer = await stage.call("DELETE", R1, user="ann")

    assert (204, (ANN, buyer.DeleteReview("lamp", "r1"))) == (answer.status, stage.bus.messages[-1])


@pytest.mark.parametrize(("method", "body"), [("PATCH", {"rating": 1}), ("DELETE", None)])
@pytest.mark.parametrize("role", ["buyer", "seller", "admin"])
async def test_nobody_else_touches_it(stage: Stage, method: str, body: object, role: Role) -> None:
    stage.bus.answers(FindReview, REVIEW)

    answer = await stage.call(method, R1, body, user="eve", role=role)

    assert (403, 1) == (answer.status, len(stage.bus.asked))


async def test_a_reply_is_asked_of_the_author_in_the_sellers_name(stage: Stage) -> None:
    stage.bus.answers(FindReview, REVIEW)
    stage.bus.answers(buyer.ReplyToReview, STATE)

    answer = await stage.call("POST", f"{R1}/reply", {"body": "Thanks."}, user="sam", role="seller")

    assert (201, SHOWN) == (answer.status, answer.json())
    assert (ANN, buyer.ReplyToReview("lamp", "r1", "sam", "Thanks.", AT)) == stage.bus.messages[1]
    assert "sam" == stage.bus.asked[1][1].principal


async def test_the_seller_of_something_else_has_nothing_to_reply(stage: Stage) -> None:
    stage.bus.answers(FindReview, REVIEW)
    stage.bus.answers(buyer.ReplyToReview, Refused(buyer.Reason.NOT_YOUR_SALE))

    answer = await stage.call("POST", f"{R1}/reply", {"body": "Thanks."}, user="eve", role="seller")

    assert 403 == answer.status


# Hidden ones.

HIDDEN = ReviewFound(structs.replace(REVIEW.card, hidden=True, hidden_reason="an insult"))
SHOWN_HIDDEN = SHOWN | {"hidden": True, "hiddenReason": "an insult"}


async def test_an_admin_hides_a_review(stage: Stage) -> None:
    found = iter([REVIEW, HIDDEN])
    stage.bus.answers(FindReview, lambda query: next(found))
    stage.bus.answers(buyer.HideReview, None)

    answer = await stage.call("POST", f"{R1}/hide", {"reason": "an insult"}, user="ada", role="admin")

    assert (200, SHOWN_HIDDEN) == (answer.status, answer.json())
    assert (ANN, buyer.HideReview("lamp", "r1", "ada", "an insult", AT)) == stage.bus.messages[1]


async def test_an_admin_lets_it_be_seen_again(stage: Stage) -> None:
    found = iter([HIDDEN, REVIEW])
    stage.bus.answers(FindReview, lambda query: next(found))
    stage.bus.answers(buyer.ShowReview, None)

    answer = await stage.call("POST", f"{R1}/show", user="ada", role="admin")

    assert (200, SHOWN) == (answer.status, answer.json())
    assert (ANN, buyer.ShowReview("lamp", "r1", "ada", AT)) == stage.bus.messages[1]


@pytest.mark.parametrize(("verb", "body"), [("hide", {"reason": "an insult"}), ("show", None)])
@pytest.mark.parametrize(("user", "role"), [("ann", "buyer"), ("sam", "seller")])
async def test_nobody_but_an_admin_moderates(stage: Stage, verb: str, body: object, user: str, role: Role) -> None:
    answer = await stage.call("POST", f"{R1}/{verb}", body, user=user, role=role)

    assert (403, []) == (answer.status, stage.bus.asked)


@pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": " "}, {"reason": "x" * 5_001}, {"reason": None}])
async def test_who_hides_a_review_says_why(stage: Stage, body: object) -> None:
    answer = await stage.call("POST", f"{R1}/hide", body, user="ada", role="admin")

    assert ["/reason"] == answer.faults


@pytest.mark.parametrize(("user", "role"), [("ann", "buyer"), ("ada", "admin")])
async def test_a_hidden_review_is_shown_to_its_author_and_to_admins(stage: Stage, user: str, role: Role) -> None:
    stage.bus.answers(FindReview, HIDDEN)

    answer = await stage.call("GET", R1, user=user, role=role)

    assert (200, SHOWN_HIDDEN) == (answer.status, answer.json())


@pytest.mark.parametrize(
    ("method", "path", "body", "user", "role"),
    [
        ("GET", R1, None, "", "buyer"),
        ("GET", R1, None, "eve", "buyer"),
        ("GET", R1, None, "sam", "seller"),
        ("PATCH", R1, {"rating": 1}, "eve", "buyer"),
        ("DELETE", R1, None, "eve", "buyer"),
        ("POST", f"{R1}/reply", {"body": "Thanks."}, "sam", "seller"),
    ],
)
async def test_for_everybody_else_a_hidden_review_is_not_there(
    stage: Stage, method: str, path: str, body: object, user: str, role: Role
) -> None:
    stage.bus.answers(FindReview, HIDDEN)

    assert (404, 1) == ((await stage.call(method, path, body, user=user, role=role)).status, len(stage.bus.asked))


async def test_an_author_edits_a_hidden_review(stage: Stage) -> None:
    stage.bus.answers(FindReview, HIDDEN)
    stage.bus.answers(buyer.EditReview, STATE)

    answer = await stage.call("PATCH", R1, {"rating": 1}, user="ann")

    assert (200, SHOWN_HIDDEN) == (answer.status, answer.json())
