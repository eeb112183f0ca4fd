"""Kept pages: never older than what would be answered anew, and never more than there is room for."""

from typing import Any

import pytest

from marketd.actors import account, buyer, product
from marketd.actors.buyer import Review
from marketd.http.kept import ALL_BYTES_MAX, PAGE_BYTES_MAX, KeptPages, Page
from marketd.storage.log import Recorded
from tests.http.things import AT, OFFER
from tests.storage.history import commit

REVIEW = Review("r1", 5, "Bright", "Very.")


def page(*product_ids: str, body: bytes = b"{}") -> Page:
    return Page(body, {}, (), frozenset(product_ids))


def record(stream: str, event: Any) -> Recorded:
    return Recorded(1, stream, 1, commit("command-1", event))


def with_pages(*shown: tuple[str, ...], pages_max: int = 10) -> KeptPages:
    """Keep a page for each of these, under the ids of the products that are on it."""
    kept = KeptPages(pages_max)
    for ids in shown:
        kept.keep("+".join(ids), page(*ids), kept.changes)
    return kept


def test_a_page_is_kept_under_its_query() -> None:
    kept = with_pages(("lamp",))

    assert page("lamp") == kept.get("lamp")


def test_there_is_no_page_that_nobody_asked_for() -> None:
    assert with_pages(("lamp",)).get("saw") is None


TOUCHING = {
    "revised": record("product/lamp", product.Revised(OFFER, None, (), AT)),
    "withdrawn": record("product/lamp", product.Withdrawn(AT)),
    "reserved": record("product/lamp", product.Reserved("o1", None)),
    "held": record("product/lamp", product.Held("o1", None)),
    "reviewed": record("buyer/ann", buyer.Reviewed("lamp", "sam", REVIEW, AT)),
    "review deleted": record("buyer/ann", buyer.ReviewDeleted("lamp", "r1")),
}


@pytest.mark.parametrize("what", TOUCHING)
def test_a_page_goes_when_something_on_it_changes(what: str) -> None:
    kept = with_pages(("lamp", "saw"), ("lamp",))
    kept.on_applied([TOUCHING[what]])

    assert {"pages": 0} == kept.statistics()


@pytest.mark.parametrize("what", TOUCHING)
def test_a_page_stays_when_something_else_changes(what: str) -> None:
    kept = with_pages(("lamp", "saw"), ("saw", "bulb"))
    kept.on_applied([TOUCHING[what]])

    assert [False, True] == [kept.get(query) is not None for query in ("lamp+saw", "saw+bulb")]


def test_a_page_stays_when_what_was_held_is_sold() -> None:
    kept = with_pages(("lamp",))
    kept.on_applied([record("product/lamp", product.Reserved("o1", None, was_held=True))])

    assert {"pages": 1} == kept.statistics()


def test_a_page_goes_with_any_record_of_a_batch() -> None:
    kept = with_pages(("saw",), ("lamp",))
    kept.on_applied([record("product/bulb", product.Withdrawn(AT)), TOUCHING["withdrawn"]])

    assert [True, False] == [kept.get(query) is not None for query in ("saw", "lamp")]


def test_all_pages_go_when_a_seller_has_another_name() -> None:
    kept = with_pages(("lamp",), ("saw",))
    kept.on_applied([record("account/0", account.Renamed("Sue"))])

    assert {"pages": 0} == kept.statistics()


def test_all_pages_go_when_the_index_is_renewed() -> None:
    kept = with_pages(("lamp",), ("saw",), ())
    kept.on_renewed()

    assert {"pages": 0} == kept.statistics()


@pytest.mark.parametrize("what", [*TOUCHING, "renewed"])
def test_a_page_that_was_begun_before_a_change_is_not_kept(what: str) -> None:
    kept = KeptPages(10)
    begun = kept.changes
    if what == "renewed":
        kept.on_renewed()
    else:
        kept.on_applied([TOUCHING[what]])
    kept.keep("lamp", page("lamp"), begun)

    assert kept.get("lamp") is None


def test_what_concerns_no_product_keeps_no_page_from_being_kept() -> None:
    kept = KeptPages(10)
    begun = kept.changes
    kept.on_applied([record("buyer/ann", buyer.Granted("o1", "lamp", "sam"))])
    kept.keep("lamp", page("lamp"), begun)

    assert page("lamp") == kept.get("lamp")


def test_beyond_the_limit_the_page_that_was_asked_for_longest_ago_goes() -> None:
    kept = with_pages(("a",), ("b",), pages_max=2)
    kept.get("a")
    kept.keep("c", page("c"), kept.changes)

    assert [True, False, True] == [kept.get(query) is not None for query in ("a", "b", "c")]


def test_where_there_is_no_room_nothing_is_kept() -> None:
    assert {"pages": 0} == with_pages(("lamp",), pages_max=0).statistics()


def test_a_page_of_many_bytes_is_not_kept() -> None:
    kept = KeptPages(10)
    kept.keep("lamp", page("lamp", body=b"x" * (PAGE_BYTES_MAX + 1)), kept.changes)

    assert kept.get("lamp") is None


def test_a_query_that_is_kept_again_shows_the_later_page() -> None:
    kept = KeptPages(10)
    kept.keep("q", page("lamp"), kept.changes)
    kept.keep("q", page("saw"), kept.changes)
    kept.on_applied([TOUCHING["withdrawn"]])

    assert page("saw") == kept.get("q")


def test_of_pages_that_went_nothing_is_left() -> None:
    kept = with_pages(*[(f"p{n}", f"p{n + 1}") for n in range(100)], pages_max=3)

    assert {f"p{n}" for n in range(97, 101)} == set(kept._showing)


def test_pages_that_are_large_are_fewer() -> None:
    kept = KeptPages(10_000)
    for number in range(ALL_BYTES_MAX // PAGE_BYTES_MAX + 5):
        kept.keep(str(number), page("lamp", body=bytes(PAGE_BYTES_MAX)), kept.changes)

    assert {"pages": ALL_BYTES_MAX // PAGE_BYTES_MAX} == kept.statistics()


def test_room_is_there_again_when_pages_are_dropped() -> None:
    kept = KeptPages(10_000)
    for _ in range(3 * ALL_BYTES_MAX // PAGE_BYTES_MAX):
        kept.keep("lamp", page("lamp", body=bytes(PAGE_BYTES_MAX)), kept.changes)
        kept.keep("saw", page("saw", body=bytes(PAGE_BYTES_MAX)), kept.changes)
        kept.on_applied([TOUCHING["revised"]])

    assert kept.get("saw") is not None


def test_that_a_page_was_given_is_told() -> None:
    uses: list[str] = []
    pages = KeptPages(3, lambda: uses.append("given"))
    pages.get("q=a")
    before = list(uses)
    pages.keep("q=a", Page(b"[]", {}, (), frozenset()), pages.changes)
    pages.get("q=a")

    assert ([], ["given"]) == (before, uses)
