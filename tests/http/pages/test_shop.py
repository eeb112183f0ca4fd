"""The shop front: what it shows is what people wrote, and never more than text."""

import asyncio
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from marketd.actors import buyer, order, product
from marketd.actors.aggregate import Refused
from marketd.actors.product import Preview
from marketd.actors.watch import AwaitOutcome
from marketd.http.answers import written
from marketd.storage.cards import ReadProduct
from marketd.storage.catalog import BrowseProducts
from marketd.storage.finding import FindRelated, FoundPage, Related
from marketd.storage.library import Library, ReadLibrary
from marketd.storage.pages import Page
from marketd.storage.people import FindSeller
from marketd.storage.questions import FoundProduct
from marketd.storage.reviews import FindReview, ListReviews, Reviews
from tests.clock import settle
from tests.http.pages.browsers import Browser
from tests.http.stage import Stage
from tests.http.test_mobile import encode
from tests.http.things import CARD, DESCRIBED, FOUND, PENDING, QUOTED, REVIEW, SELLER, VIEW

pytestmark = pytest.mark.asyncio

MARKUP = "</p><script>alert('x')</script><img src=x onerror=alert(1)>\"'"
HOSTILE = replace(
    CARD,
    title=MARKUP,
    description=MARKUP,
    seller_name=MARKUP,
    category=MARKUP,
    files=[replace(CARD.files[0], name=MARKUP)],
)
ONCE = "018bcfe5-6800-7000-8000-000000000000"  # as shown when the clock of the stage began
BUY = {"card": "pm_card_visa", "once": ONCE, "minor": "1999", "currency": "USD"}


@pytest.fixture(autouse=True)
def town(stage: Stage) -> None:
    bus = stage.bus
    bus.answers(BrowseProducts, FOUND)
    bus.answers(ReadProduct, encode(CARD))
    bus.answers(FindRelated, Related([]))
    bus.answers(FindSeller, SELLER)
    bus.answers(ListReviews, Reviews(1, 5.0, {"5": 1}, [REVIEW.card]))
    bus.answers(FindReview, REVIEW)
    bus.answers(ReadLibrary, Library(0, []))
    bus.answers(buyer.CheckAccess, buyer.Access(False))
    bus.answers(product.Describe, DESCRIBED)
    bus.answers(product.Quote, QUOTED)
    bus.answers(buyer.Claim, None)
    bus.answers(buyer.WriteReview, buyer.ReviewState(buyer.Review("r1", 5, "", "Very.")))
    bus.answers(order.Describe, VIEW)


def shown_as(stage: Stage, card: Any) -> None:
    stage.bus.answers(ReadProduct, encode(card))
    stage.bus.answers(BrowseProducts, FoundPage(1, [FoundProduct("lamp", written(card), 1.0)], {MARKUP: 1}, "index", 7))


async def test_the_front_page_shows_what_is_for_sale(browser: Browser) -> None:
    page = await browser.get("/")

    assert (200, True, True) == (page.status, b">Lamp</a>" in page.body, b"19.90\xc2\xa0USD" in page.body)


@pytest.mark.parametrize("path", ["/", "/shop/products/lamp"])
async def test_who_is_not_signed_in_gets_a_page_compressed(browser: Browser, path: str) -> None:
    page = await browser.get(path, **{"Accept-Encoding": "gzip"})

    assert (200, "gzip") == (page.status, page.headers.get("Content-Encoding"))


@pytest.mark.parametrize("path", ["/", "/shop/products/lamp"])
async def test_a_page_with_the_secret_of_forms_is_not_compressed(browser: Browser, path: str) -> None:
    await browser.signs_in()
    page = await browser.get(path, **{"Accept-Encoding": "gzip"})

    assert (True, None) == (b'name="csrf"' in page.body, page.headers.get("Content-Encoding"))


async def test_what_is_looked_for_is_asked_of_the_index(stage: Stage, browser: Browser) -> None:
    await browser.get("/?q=lamp&category=light&sort=-price&page=2")

    asked = stage.bus.last.message
    assert isinstance(asked, BrowseProducts)
    assert ("lamp", "light", "-price", 2) == (asked.q, asked.category, asked.sort, asked.page.number)


async def test_what_it_is_narrowed_to_is_asked_of_the_index(stage: Stage, browser: Browser) -> None:
    await browser.get("/?minPrice=5&maxPrice=19.99&minRating=3.5")

    asked = stage.bus.last.message
    assert isinstance(asked, BrowseProducts)
    assert (Decimal(5), Decimal("19.99"), Decimal("3.5")) == (asked.min_price, asked.max_price, asked.min_rating)


async def test_what_a_form_left_empty_is_not_asked_for(stage: Stage, browser: Browser) -> None:
    """As a browser sends it that runs no scripts."""
    page = await browser.get("/?q=&minPrice=&maxPrice=&minRating=&sort=")

    assert (200, BrowseProducts(page=Page(1, 24))) == (page.status, stage.bus.last.message)


async def test_what_it_is_narrowed_to_is_kept_by_links_and_form(browser: Browser) -> None:
    page = (await browser.get("/?q=a&minPrice=5&minRating=3.5&sort=price&category=light")).body.decode()

    assert 'href="/?q=a&amp;minPrice=5&amp;minRating=3.5&amp;sort=price&amp;"' in page
    assert 'name="minPrice" min="0" step="any" inputmode="decimal" value="5"' in page
    assert ("<option selected>3.5</option>" in page, '<option value="price" selected>' in page) == (True, True)
    assert '<input form="search" type="hidden" name="category" value="light">' in page


@pytest.mark.parametrize("query", ["minPrice=free", "maxPrice=-1", "minRating=6"])
async def test_what_nobody_can_be_narrowed_to_is_refused_by_a_page(browser: Browser, query: str) -> None:
    refused = await browser.get(f"/?{query}")

    assert (400, "text/html") == (refused.status, refused.media_type)


@pytest.mark.parametrize("path", ["/?q=lamp&", "/shop/library?", "/shop/products/lamp?"])
async def test_what_a_link_has_collected_on_its_way_is_passed_over(browser: Browser, path: str) -> None:
    await browser.signs_in()

    page = await browser.get(f"{path}utm_source=mail&fbclid=1&utm_source=")

    assert (200, False) == (page.status, b"utm_source" in page.body)


async def test_a_part_is_the_results_alone(browser: Browser) -> None:
    part = await browser.get("/?part=results")

    assert (True, False) == (b">Lamp</a>" in part.body, b"<html" in part.body)


@pytest.mark.parametrize(
    ("path", "link"), [("/?q=a&page=999", "?q=a&amp;page=5"), ("/shop/library?page=999", "?page=5")]
)
async def test_beyond_the_last_page_there_is_a_link_to_it(stage: Stage, browser: Browser, path: str, link: str) -> None:
    stage.bus.answers(BrowseProducts, FoundPage(101, [], {}, "index", 7))
    stage.bus.answers(ReadLibrary, Library(100, []))
    await browser.signs_in()

    page = (await browser.get(path)).body.decode()

    assert f'There is no such page. <a href="{link}">To the last one, page 5</a>' in page


async def test_what_people_write_runs_as_their_script_does(browser: Browser) -> None:
    """Arabic and Hebrew from the right, and what stands beside them as it stood."""
    texts = ['<h1 dir="auto">Lamp', '<p class="prose" dir="auto">It shines.', '<h3 dir="auto">Bright', "<bdi>Ann</bdi>"]

    page = (await browser.get("/shop/products/lamp")).body.decode()

    assert texts == [text for text in texts if text in page]


async def test_what_was_looked_for_is_kept_by_the_links(browser: Browser) -> None:
    assert b'href="/?q=a+%26+b&amp;category=light&amp;"' in (await browser.get("/?q=a+%26+b")).body


async def test_an_order_that_there_is_not_is_refused_by_a_page(browser: Browser) -> None:
    refused = await browser.get("/?sort=cheapest")

    assert (400, "text/html") == (refused.status, refused.media_type)


@pytest.mark.parametrize("path", ["/", "/?part=results", "/shop/products/lamp"])
async def test_markup_in_what_sellers_write_is_text(stage: Stage, browser: Browser, path: str) -> None:
    shown_as(stage, HOSTILE)

    page = (await browser.get(path)).body.decode()

    assert [] == [word for word in ("<script>alert", "<img src=x", "\"'>", "onerror=alert(1)>\"'") if word in page]
    assert "&lt;script&gt;alert" in page


async def test_markup_in_what_is_looked_for_is_text(browser: Browser) -> None:
    page = (await browser.get("/?q=%3Cscript%3Ealert(1)%3C/script%3E%22")).body.decode()

    assert (False, True) == ("<script>alert" in page, "&lt;script&gt;alert(1)" in page)


async def test_markup_in_what_buyers_write_is_text(stage: Stage, browser: Browser) -> None:
    card = replace(REVIEW.card, author_name=MARKUP, title=MARKUP, body=MARKUP, reply=MARKUP)
    stage.bus.answers(ListReviews, Reviews(1, 5.0, {"5": 1}, [card]))

    page = (await browser.get("/shop/products/lamp")).body.decode()

    assert (False, False, 4) == ("<script>alert" in page, "<img src=x" in page, page.count("&lt;script&gt;alert"))


async def test_a_picture_that_is_kept_elsewhere_is_not_shown(stage: Stage, browser: Browser) -> None:
    shown_as(stage, replace(CARD, previews=[Preview("cover", "image/png", "https://evil.example/pixel.png")]))

    bodies = [(await browser.get(path)).body for path in ("/", "/shop/products/lamp")]

    assert [False, False] == [b"evil.example" in body for body in bodies]


async def test_a_product_that_there_is_not_has_a_page_that_says_so(stage: Stage, browser: Browser) -> None:
    stage.bus.answers(ReadProduct, None)

    page = await browser.get("/shop/products/lamp")

    assert (404, True) == (page.status, b"no such product" in page.body)


async def test_a_stranger_is_asked_to_sign_in_and_comes_back(browser: Browser) -> None:
    assert b'href="/auth/sign-in?next=/shop/products/lamp"' in (await browser.get("/shop/products/lamp")).body


async def test_buying_places_an_order_and_shows_it(stage: Stage, browser: Browser) -> None:
    await browser.signs_in()
    token = await browser.token()
    stage.bus.answers(order.Describe, nobodys_order)
    stage.bus.answers(product.Unhold, None)
    stage.bus.answers(order.Place, PENDING)

    bought = await browser.post("/shop/products/lamp/buy", BUY | {"csrf": token})

    (place,) = [message for _, message in stage.bus.messages if isinstance(message, order.Place)]
    assert (303, "/shop/orders/") == (bought.status, bought.headers["Location"][:13])
    assert ("ann", "lamp", "pm_card_visa") == (place.buyer_id, place.product_id, place.payment_method_id)


@pytest.mark.parametrize("seen", [{"minor": "1998"}, {"currency": "EUR"}])
async def test_nobody_pays_another_price_than_the_page_showed(
    stage: Stage, browser: Browser, seen: dict[str, str]
) -> None:
    """Or a seller could raise it between the look and the click."""
    await browser.signs_in()
    form = BUY | seen | {"csrf": await browser.token()}
    stage.bus.answers(order.Describe, nobodys_order)

    refused = await browser.post("/shop/products/lamp/buy", form)

    assert (409, True) == (refused.status, b"the price is another one" in refused.body)
    assert [] == [message for _, message in stage.bus.messages if isinstance(message, order.Place)]


async def test_the_form_knows_the_price_that_is_shown(browser: Browser) -> None:
    await browser.signs_in()

    page = (await browser.get("/shop/products/lamp")).body.decode()

    assert 'name="minor" value="1990"><input type="hidden" name="currency" value="USD">' in page


async def test_a_form_that_is_sent_twice_is_one_order(stage: Stage, browser: Browser) -> None:
    await browser.signs_in()
    form = BUY | {"csrf": await browser.token()}

    places = [(await browser.post("/shop/products/lamp/buy", form)).headers["Location"] for _ in range(2)]

    assert places[0] == places[1]
    assert [] == [message for _, message in stage.bus.messages if isinstance(message, order.Place)]


async def test_a_form_that_is_sent_twice_at_the_same_moment_is_one_order(stage: Stage, browser: Browser) -> None:
    await browser.signs_in()
    form, placed = BUY | {"csrf": await browser.token()}, list[order.Place]()

    def described(message: Any) -> msgspec.Struct:
        stage.clock.passes(0.001)  # so that no two of them come at the same time
        return PENDING if placed else nobodys_order(message)

    async def place(message: Any) -> msgspec.Struct:
        await settle()
        placed.append(message)
        return PENDING

    counted(stage)
    stage.bus.answers(order.Describe, described)
    stage.bus.answers(order.Place, place)
    both = await asyncio.gather(*(browser.post("/shop/products/lamp/buy", form) for _ in range(2)))

    assert ([303, 303], 1) == ([it.status for it in both], len({it.headers.get("Location") for it in both}))
    assert (1, 0) == (len(placed), given_back(stage))


async def test_a_form_that_is_sent_to_two_products_is_two_orders(stage: Stage, browser: Browser) -> None:
    """Or what is set aside of the second would be so for an order of the first, and never come back."""
    await browser.signs_in()
    form = BUY | {"csrf": await browser.token()}

    places = [(await browser.post(f"/shop/products/{it}/buy", form)).headers["Location"] for it in ("lamp", "saw")]

    assert places[0] != places[1]


@pytest.mark.parametrize(("is_placed", "status", "back"), [(False, 409, 2), (True, 303, 0)])
async def test_who_comes_too_late_for_the_last_one_waits_for_nothing(
    stage: Stage, browser: Browser, is_placed: bool, status: int, back: int
) -> None:
    """What was claimed is given back at once, unless the order turns out to be placed by now."""
    await browser.signs_in()
    asked = list[Any]()

    def described(message: Any) -> msgspec.Struct:
        asked.append(message)
        return PENDING if is_placed and len(asked) > 1 else nobodys_order(message)

    counted(stage)
    stage.bus.answers(order.Describe, described)
    stage.bus.answers(product.Hold, Refused(product.Reason.SOLD_OUT))
    answer = await browser.post("/shop/products/lamp/buy", BUY | {"csrf": await browser.token()})

    assert (status, back) == (answer.status, given_back(stage))


@pytest.mark.parametrize("once", ["ffffffff-ffff-7000-8000-000000000000", "00000000-0000-7000-8000-000000000000"])
async def test_a_form_of_another_day_buys_nothing(stage: Stage, browser: Browser, once: str) -> None:
    await browser.signs_in()
    refused = await browser.post("/shop/products/lamp/buy", BUY | {"csrf": await browser.token(), "once": once})

    assert (409, True) == (refused.status, b"the page is too old" in refused.body)


def counted(stage: Stage) -> None:
    stage.bus.answers(product.Quote, replace(QUOTED, is_counted=True))
    for kind in (product.Hold, product.Unhold, buyer.Unclaim):
        stage.bus.answers(kind, None)


def given_back(stage: Stage) -> int:
    return sum(isinstance(message, product.Unhold | buyer.Unclaim) for _, message in stage.bus.messages)


@pytest.mark.parametrize(
    ("reason", "note", "words"),
    [
        (buyer.Reason.ALREADY_OWNED, "owned", b"You own it already"),
        (buyer.Reason.UNDER_WAY, "under-way", b"You have ordered it already"),
    ],
)
async def test_who_has_it_already_is_sent_to_the_library(
    stage: Stage, browser: Browser, reason: buyer.Reason, note: str, words: bytes
) -> None:
    await browser.signs_in()
    stage.bus.answers(order.Describe, nobodys_order)
    stage.bus.answers(buyer.Claim, Refused(reason))

    sent = await browser.post("/shop/products/lamp/buy", BUY | {"csrf": await browser.token()})
    page = await browser.get(sent.headers["Location"])

    assert (303, f"/shop/library?note={note}") == (sent.status, sent.headers["Location"])
    assert words in page.body


async def test_two_forms_are_two_orders(browser: Browser) -> None:
    await browser.signs_in()
    form = BUY | {"csrf": await browser.token()}
    other = form | {"once": ONCE[:-1] + "1"}

    places = {(await browser.post("/shop/products/lamp/buy", it)).headers["Location"] for it in (form, other)}

    assert 2 == len(places)


async def test_what_is_not_the_buyers_own_looks_like_what_there_is_not(stage: Stage, browser: Browser) -> None:
    """The seller of an order sees it on the dashboard; here are its files."""
    await browser.signs_in("seller", "sam")

    assert [404, 404] == [(await browser.get(f"/shop/orders/o1{more}")).status for more in ("", "/files/0")]


async def test_an_order_has_links_to_its_files(browser: Browser) -> None:
    await browser.signs_in()

    page = await browser.get("/shop/orders/o1")
    sent = await browser.get("/shop/orders/o1/files/0")

    assert b'href="/shop/orders/o1/files/0"><bdi>lamp.zip</bdi></a>' in page.body
    assert (303, "/downloads/") == (sent.status, sent.headers["Location"][:11])


@pytest.mark.parametrize("view", [PENDING, replace(VIEW, status="refunded", delivery_status="revoked")])
async def test_an_order_that_is_not_completed_has_no_files(stage: Stage, browser: Browser, view: order.View) -> None:
    stage.bus.answers(order.Describe, view)
    stage.bus.answers(AwaitOutcome, None)
    await browser.signs_in()

    assert 404 == (await browser.get("/shop/orders/o1/files/0")).status


async def test_a_page_waits_a_while_for_the_end_of_an_order(stage: Stage, browser: Browser) -> None:
    stage.bus.answers(order.Describe, PENDING)
    stage.bus.answers(AwaitOutcome, VIEW)
    await browser.signs_in()

    assert b"Thank you!" in (await browser.get("/shop/orders/o1")).body


async def test_a_review_is_of_its_sender(stage: Stage, browser: Browser) -> None:
    await browser.signs_in()
    form = {"rating": "4", "title": "", "body": "One.\r\nTwo.", "csrf": await browser.token()}

    sent = await browser.post("/shop/products/lamp/reviews", form)

    ((subject, message),) = [(s, m) for s, m in stage.bus.messages if isinstance(m, buyer.WriteReview)]
    assert (303, True) == (sent.status, subject.endswith(".buyer.ann"))
    assert (4, "", "One.\nTwo.") == (message.review.rating, message.review.title, message.review.body)


@pytest.mark.parametrize(
    "form", [{"rating": "6", "body": "x"}, {"rating": "5"}, {"rating": "5", "body": "x", "hidden": "1"}]
)
async def test_a_form_is_held_to_what_the_api_wants(browser: Browser, form: dict[str, str]) -> None:
    await browser.signs_in()

    refused = await browser.post("/shop/products/lamp/reviews", form | {"csrf": await browser.token()})

    assert (400, "text/html") == (refused.status, refused.media_type)


def nobodys_order(_: object) -> msgspec.Struct:
    raise Refused(order.Reason.NO_SUCH_ORDER)
