"""The library: what one owns, and nobody else's."""

import pytest

from marketd.clock import instant
from marketd.storage.library import Library, LibraryEntry, ReadLibrary
from marketd.storage.pages import Page
from tests.http.stage import Stage
from tests.http.things import AT, AT_TEXT

pytestmark = pytest.mark.asyncio

ENTRY = LibraryEntry("lamp", "o1", "Lamp", "sam", "Sam", instant(AT))


async def test_one_lists_what_one_owns(stage: Stage) -> None:
    stage.bus.answers(ReadLibrary, Library(1, [ENTRY]))

    answer = await stage.call("GET", "/library", user="ann")

    shown = {
        "productId": "lamp",
        "orderId": "o1",
        "title": "Lamp",
        "sellerId": "sam",
        "sellerName": "Sam",
        "acquiredAt": AT_TEXT,
    }
    assert (200, {"total": 1, "page": 1, "size": 20, "products": [shown]}) == (answer.status, answer.json())


async def test_the_read_model_is_asked_for_ones_own(stage: Stage) -> None:
    stage.bus.answers(ReadLibrary, Library(0, []))

    await stage.call("GET", "/library?page=2&size=100", user="ann")

    assert [("market.query.library", ReadLibrary("ann", Page(2, 100)))] == stage.bus.messages


async def test_a_library_links_to_its_pages(stage: Stage) -> None:
    stage.bus.answers(ReadLibrary, Library(30, []))

    answer = await stage.call("GET", "/library", user="ann")

    assert '</library?page=2&size=20>; rel="next"' in answer.headers.getall("Link")


async def test_nobody_asks_for_the_library_of_somebody_else(stage: Stage) -> None:
    assert ["/buyer", "/size"] == (await stage.call("GET", "/library?buyer=bob&size=0", user="ann")).faults
