"""The seller's page: what was taken and when, and what a seller may do there."""

from itertools import pairwise
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from msgspec import UNSET
from msgspec.structs import replace

from marketd.actors import account, order, product
from marketd.actors.money import Money
from marketd.actors.watch import AwaitOutcome
from marketd.bus.port import Busy
from marketd.http.answers import written
from marketd.http.keys import REQUEST_ID
from marketd.http.pages.till import Till
from marketd.storage.cards import EncodedProduct, ReadProduct
from marketd.storage.catalog import BrowseProducts, ProductCard
from marketd.storage.earnings import Earnings, FindNewest, Newest, ReadEarnings, Taking, TopProduct
from marketd.storage.finding import FoundPage
from marketd.storage.orders import ListOrders, OrderEntry, OrderPage
from marketd.storage.people import FindSeller
from marketd.storage.tills import AwaitSale
from marketd.storage.views import CountViews, ViewsCounted
from tests.http.pages.browsers import OURS, Browser
from tests.http.stage import Stage
from tests.http.things import AT, CARD, DESCRIBED, ENCODED, FOUND, LISTING, PROFILE, SELLER, VIEW

pytestmark = pytest.mark.asyncio

DAY_MS = 24 * 60 * 60 * 1000
MARKUP = "<script>alert(1)</script>"


def sold(days_ago: int, price: int = 1999, **changes: Any) -> OrderEntry:
    view = replace(VIEW, created_at=AT - days_ago * DAY_MS, price=Money(price, "USD"), **changes)
    return OrderEntry(f"o{days_ago}-{price}", view)


def sales(stage: Stage, *entries: OrderEntry) -> None:
    stage.bus.answers(ListOrders, OrderPage(len(entries), list(entries)))
    stage.bus.answers(ReadEarnings, lambda query: earned(query, [entry.view for entry in entries]))


def earned(query: ReadEarnings, views: list[order.View]) -> Earnings:
    """Add up as the read model does: by when it was sold."""
    takings = []
    for begin, end in pairwise(query.bounds):
        within = [view for view in views if begin <= view.created_at < end]
        refunds = sum(view.price.minor for view in within if view.status == "refunded")
        takings.append(Taking(len(within), sum(view.price.minor for view in within), refunds))
    top = [TopProduct("lamp", views[0].title, len(views), 1999)] if views else []
    return Earnings("USD", ["USD", "EUR"], takings, sum(taking.orders for taking in takings), top, {})


@pytest.fixture(autouse=True)
def town(stage: Stage) -> None:
    sales(stage)
    stage.bus.answers(CountViews, ViewsCounted(8))
    stage.bus.answers(FindSeller, SELLER)
    stage.bus.answers(BrowseProducts, FOUND)
    stage.bus.answers(ReadProduct, ENCODED)
    stage.bus.answers(product.Describe, DESCRIBED)
    stage.bus.answers(product.Revise, None)
    stage.bus.answers(product.Withdraw, None)
    stage.bus.answers(order.Describe, VIEW)
    stage.bus.answers(order.RequestRefund, VIEW)
    stage.bus.answers(AwaitOutcome, replace(VIEW, status="refunded"))


async def body_of(browser: Browser, path: str) -> str:
    await browser.signs_in("seller", "sam")
    page = await browser.get(path)
    assert 200 == page.status, page
    return page.body.decode().replace("\u00a0", " ")


async def test_a_new_seller_is_told_what_to_do_first(stage: Stage, browser: Browser) -> None:
    stage.bus.answers(BrowseProducts, FoundPage(0, [], {}, "index", 1))
    stage.bus.answers(FindSeller, replace(SELLER, products=0))

    assert "Three steps to your first sale" in await body_of(browser, "/dashboard")


async def test_who_has_something_on_sale_is_told_no_such_thing(browser: Browser) -> None:
    assert "Three steps" not in await body_of(browser, "/dashboard")


async def test_a_sale_is_in_the_table_under_its_day(stage: Stage, browser: Browser) -> None:
    sales(stage, sold(3), sold(3, 1), sold(3, 5, status="refunded"))

    page = await body_of(browser, "/dashboard?days=7")

    row = '<th scope="row">11 Nov 2023</th><td class="number">3</td><td class="number">20.05 USD</td>'
    assert f'{row}<td class="number">0.05 USD</td>' in page


async def test_days_without_sales_are_there_too(browser: Browser) -> None:
    assert 7 == (await body_of(browser, "/dashboard?days=7")).count('<th scope="row">')


async def test_the_change_is_asked_for_in_the_currency_that_is_shown(stage: Stage, browser: Browser) -> None:
    await body_of(browser, "/dashboard?days=7")

    now, before = [message for _, message in stage.bus.messages if isinstance(message, ReadEarnings)]
    assert (8, None, 2, "USD") == (len(now.bounds), now.currency, len(before.bounds), before.currency)
    assert (now.bounds[0], 7 * DAY_MS) == (before.bounds[1], before.bounds[1] - before.bounds[0])


async def test_other_currencies_are_named(browser: Browser) -> None:
    assert "there were others in EUR" in await body_of(browser, "/dashboard")


async def test_views_are_shown_with_those_that_bought(stage: Stage, browser: Browser) -> None:
    sales(stage, sold(0), sold(1))

    assert '<dt>Views</dt><dd>8</dd><dd class="hint">25.0 % of them bought</dd>' in await body_of(browser, "/dashboard")


async def test_the_change_is_against_the_same_time_before(stage: Stage, browser: Browser) -> None:
    sales(stage, sold(1, 3000), sold(8, 1000), sold(9, 1000), sold(30, 100000))

    page = await body_of(browser, "/dashboard?days=7")

    assert '<dd>30.00 USD</dd><dd class="hint">+50 %</dd>' in page


@pytest.mark.parametrize(("zone", "day"), [(None, "14 Nov 2023"), ("Asia/Tokyo", "15 Nov 2023")])
async def test_a_sale_is_under_the_day_that_it_is_for_its_seller(
    stage: Stage, browser: Browser, zone: str | None, day: str
) -> None:
    """It is 22:13 on the 14th in UTC, and the morning after in Tokyo."""
    sales(stage, sold(0))
    await browser.signs_in("seller", "sam")
    stage.bus.answers(account.Describe, replace(PROFILE, role="seller", zone=zone))

    page = (await browser.get("/dashboard?days=7")).body.decode().replace("\u00a0", " ")

    assert f'<th scope="row">{day}</th><td class="number">1</td>' in page


async def test_times_are_those_of_the_sellers_clock(stage: Stage, browser: Browser) -> None:
    sales(stage, sold(0))
    await browser.signs_in("seller", "sam")
    stage.bus.answers(account.Describe, replace(PROFILE, role="seller", zone="Asia/Tokyo"))

    page = (await browser.get("/dashboard/orders")).body.decode().replace("\u00a0", " ")

    assert "15 Nov 2023, 07:13 JST" in page


@pytest.mark.parametrize(("zone", "is_offered"), [(None, True), ("UTC", False)])
async def test_who_has_told_no_zone_is_offered_that_of_the_browser(
    stage: Stage, browser: Browser, zone: str | None, is_offered: bool
) -> None:
    await browser.signs_in("seller", "sam")
    stage.bus.answers(account.Describe, replace(PROFILE, role="seller", zone=zone))

    assert is_offered == (b"data-zone" in (await browser.get("/dashboard")).body)


async def test_a_seller_chooses_a_zone(stage: Stage, browser: Browser) -> None:
    stage.bus.answers(account.Rename, PROFILE)
    await browser.signs_in("seller", "sam")

    sent = await browser.post("/dashboard/zone", {"zone": "Asia/Tokyo", "csrf": await browser.token("/dashboard/zone")})

    assert (303, "sam", account.Rename(zone="Asia/Tokyo")) == (
        sent.status,
        stage.bus.last.principal,
        stage.bus.last.message,
    )


async def test_a_zone_that_there_is_not_is_refused(browser: Browser) -> None:
    await browser.signs_in("seller", "sam")

    sent = await browser.post("/dashboard/zone", {"zone": "Mars", "csrf": await browser.token("/dashboard/zone")})

    assert (400, True) == (sent.status, b"Expected the name of an IANA time zone" in sent.body)


async def test_each_day_has_its_bar_in_both_charts(stage: Stage, browser: Browser) -> None:
    sales(stage, sold(3))

    assert 2 * 30 == (await body_of(browser, "/dashboard")).count("<rect ")


async def test_a_large_change_is_told_in_times(stage: Stage, browser: Browser) -> None:
    sales(stage, sold(1, 50_000), sold(8, 1000))

    assert '<dd class="hint">50 times as much</dd>' in await body_of(browser, "/dashboard?days=7")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("days=90", ("week", 14, "13 Nov 2023")),
        ("days=365", ("month", 13, "Nov 2023")),
        ("days=365&by=week", ("week", 53, "13 Nov 2023")),
        ("days=90&by=day", ("day", 90, "14 Nov 2023")),
    ],
)
async def test_a_longer_time_is_shown_in_longer_periods(
    stage: Stage, browser: Browser, query: str, expected: tuple[str, int, str]
) -> None:
    sales(stage, sold(0))
    page = await body_of(browser, f"/dashboard?{query}")

    by, count, label = expected
    assert (True, count) == (f"Revenue by {by}" in page, page.count('<th scope="row">'))
    assert f'<th scope="row">{label}</th><td class="number">1</td>' in page


async def test_a_first_week_has_no_day_from_before_the_time(stage: Stage, browser: Browser) -> None:
    """90 days before the 14th began on a Thursday."""
    await body_of(browser, "/dashboard?days=90")

    now, before = [message for _, message in stage.bus.messages if isinstance(message, ReadEarnings)]
    assert (90 * DAY_MS, 90 * DAY_MS) == (now.bounds[-1] - now.bounds[0], before.bounds[1] - before.bounds[0])
    assert (4 * DAY_MS, now.bounds[0]) == (now.bounds[1] - now.bounds[0], before.bounds[1])


async def test_of_nothing_no_chart_is_drawn(browser: Browser) -> None:
    page = await body_of(browser, "/dashboard?days=7")

    assert (0, 2) == (page.count("<svg"), page.count("There is nothing to draw of these 7 days."))


async def test_the_lines_of_a_chart_are_named(stage: Stage, browser: Browser) -> None:
    sales(stage, sold(3), sold(3))

    assert "<span>50.00 USD</span><span>25.00 USD</span><span>0</span>" in await body_of(browser, "/dashboard")


async def test_a_part_is_the_figures_alone(stage: Stage, browser: Browser) -> None:
    sales(stage, sold(3))

    page = await body_of(browser, "/dashboard?part=figures")

    assert ("<html" in page, "<svg" in page) == (False, True)


async def test_markup_in_a_title_is_text(stage: Stage, browser: Browser) -> None:
    sales(stage, sold(0, title=MARKUP, failure_reason=MARKUP))

    for path in ("/dashboard", "/dashboard/orders"):
        page = await body_of(browser, path)
        assert (False, True) == (MARKUP in page, "&lt;script&gt;" in page)


async def test_markup_in_a_product_is_text(stage: Stage, browser: Browser) -> None:
    stage.bus.answers(ReadProduct, own(replace(CARD, title=f'">{MARKUP}', description=f"</textarea>{MARKUP}")))

    assert MARKUP not in await body_of(browser, "/dashboard/products/lamp")


async def test_figures_are_to_be_had_for_a_spreadsheet(stage: Stage, browser: Browser) -> None:
    sales(stage, sold(0))
    await browser.signs_in("seller", "sam")

    table = await browser.get("/dashboard/sales.csv?days=7")

    lines = table.body.decode().splitlines()
    assert ("text/csv", 8) == (table.media_type, len(lines))
    assert ("start,currency,orders,revenue,refunds", "2023-11-14,USD,1,19.99,0.00") == (lines[0], lines[-1])


@pytest.mark.parametrize("role", ["buyer", "admin"])
async def test_the_dashboard_is_for_sellers(browser: Browser, role: Any) -> None:
    await browser.signs_in(role)

    assert 403 == (await browser.get("/dashboard")).status


async def test_a_refund_is_asked_for_in_the_sellers_name(stage: Stage, browser: Browser) -> None:
    await browser.signs_in("seller", "sam")
    token = await browser.token("/dashboard")

    sent = await browser.post("/dashboard/orders/o1/refund", {"csrf": token, "reason": "A mistake."})

    (command,) = [message for _, message in stage.bus.messages if isinstance(message, order.RequestRefund)]
    assert (303, "sam", "A mistake.", False) == (sent.status, command.by, command.why, command.is_admin)


async def test_after_a_refund_the_list_waits_a_moment_for_its_end(stage: Stage, browser: Browser) -> None:
    await browser.signs_in("seller", "sam")
    token = await browser.token("/dashboard")

    await browser.post("/dashboard/orders/o1/refund", {"csrf": token})

    assert AwaitOutcome("o1", stage.clock.now_ms() + 500) in [message for _, message in stage.bus.messages]


async def test_a_refund_that_can_not_be_waited_for_is_under_way_all_the_same(stage: Stage, browser: Browser) -> None:
    stage.bus.answers(AwaitOutcome, Busy("too many wait"))
    await browser.signs_in("seller", "sam")
    token = await browser.token("/dashboard")

    assert 303 == (await browser.post("/dashboard/orders/o1/refund", {"csrf": token})).status


async def test_a_refund_that_is_under_way_has_no_button_to_press(stage: Stage, browser: Browser) -> None:
    sales(stage, sold(0, delivery_status="revoked"))

    page = await body_of(browser, "/dashboard/orders")

    assert ("disabled>Refund under way<" in page, "/refund" in page) == (True, False)


async def test_a_product_of_somebody_else_can_not_be_seen_to_be_changed(stage: Stage, browser: Browser) -> None:
    await browser.signs_in("seller", "other")

    assert 404 == (await browser.get("/dashboard/products/lamp")).status


@pytest.mark.parametrize("path", ["", "/sales.csv", "/orders", "/products", "/products/lamp"])
async def test_what_a_link_has_collected_on_its_way_is_passed_over(browser: Browser, path: str) -> None:
    await browser.signs_in("seller", "sam")

    assert 200 == (await browser.get(f"/dashboard{path}?utm_source=mail")).status


async def test_a_script_needs_the_token(stage: Stage, browser: Browser) -> None:
    await browser.signs_in("seller", "sam")

    answers = [await by_script(browser, path, "") for path in ("/dashboard/products", "/dashboard/products/lamp")]
    upload = await stage.call("POST", "/dashboard/uploads?name=a", data=b"x", headers=OURS | {"Cookie": browser.cookie})

    assert ([403] * 3, []) == ([a.status for a in (*answers, upload)], asked_of_products(stage))


async def test_a_script_is_answered_by_a_problem_and_not_by_a_page(browser: Browser) -> None:
    refused = await by_script(browser, "/dashboard/products", "")

    assert (401, "application/problem+json") == (refused.status, refused.media_type)


async def test_a_product_is_listed_in_the_name_of_who_is_signed_in(stage: Stage, browser: Browser) -> None:
    stage.bus.answers(product.List, None)
    await browser.signs_in("seller", "sam")

    listed = await by_script(browser, "/dashboard/products", await browser.token("/dashboard"))

    (command,) = asked_of_products(stage)
    assert (201, "sam", "Lamp") == (listed.status, command.seller_id, command.offer.title)


async def test_the_form_of_a_product_knows_the_state_that_it_was_written_in(stage: Stage, browser: Browser) -> None:
    stage.bus.answers(ReadProduct, replace(ENCODED, tag="v1.3-d1"))

    page = await body_of(browser, "/dashboard/products/lamp")

    assert 'data-tag="v1.3-d1-own"' in page


async def test_a_product_is_changed_only_where_it_is_what_the_form_showed(stage: Stage, browser: Browser) -> None:
    await browser.signs_in("seller", "sam")
    token = await browser.token("/dashboard")

    await by_script(browser, "/dashboard/products/lamp", token, {"title": "Torch"}, **{"If-Match": '"v1.3-d1-own"'})

    (command,) = asked_of_products(stage)
    assert (("v1.3",), "Torch", UNSET) == (command.expected, command.title, command.stock)


@pytest.mark.parametrize("path", ["/dashboard/products/new", "/dashboard/products/lamp"])
async def test_without_its_script_the_form_of_a_product_sends_nothing(browser: Browser, path: str) -> None:
    """By itself a form is sent by GET, and what is written into it is in the address then: licence keys."""
    page = await body_of(browser, path)
    form = page[page.index("<form class=") : page.index("</form>", page.index("<form class="))]

    assert ('method="post"' in form, "<button data-send disabled>" in form) == (True, True)


async def test_what_is_withdrawn_has_no_form_and_no_script(stage: Stage, browser: Browser) -> None:
    stage.bus.answers(ReadProduct, own(replace(CARD, status="withdrawn")))

    assert "product.js" not in await body_of(browser, "/dashboard/products/lamp")


async def test_an_upload_belongs_to_who_is_signed_in(stage: Stage, browser: Browser) -> None:
    await browser.signs_in("seller", "sam")
    headers = OURS | {"Cookie": browser.cookie, "X-CSRF-Token": await browser.token("/dashboard")}
    stage.client.session.cookie_jar.clear()

    kept = await stage.call("POST", "/dashboard/uploads?name=a.txt", data=b"words", headers=headers)

    digest = kept.json()["url"].removeprefix("upload://")
    assert (201, 5) == (kept.status, await stage.files.size_if_owned(digest, "sam"))


def own(card: ProductCard) -> EncodedProduct:
    return EncodedProduct("sam", True, written(card), written(card))


async def by_script(browser: Browser, path: str, token: str, body: Any = LISTING, **more: str) -> Any:
    headers = browser._headers(OURS | more | ({"X-CSRF-Token": token} if token else {}))
    return await browser.stage.call("POST", path, body, headers=headers)


def asked_of_products(stage: Stage) -> list[Any]:
    return [m for _, m in stage.bus.messages if isinstance(m, product.List | product.Revise | product.Withdraw)]


def till(stage: Stage) -> Till:
    request = make_mocked_request("GET", "/dashboard/live", app=stage.client.app)
    request[REQUEST_ID] = "r1"
    return Till(request, "sam")


async def test_an_open_dashboard_hears_of_a_sale(stage: Stage) -> None:
    stage.bus.answers(FindNewest, Newest(7))
    stage.bus.answers(AwaitSale, Newest(9))

    begun, news = await till(stage).more(15, ""), await till(stage).more(15, "7")

    assert [("begin", "7"), ("news", "9")] == [(event.name, event.id) for event in (*begun, *news)]


async def test_an_open_dashboard_hears_nothing_while_nothing_is_sold(stage: Stage) -> None:
    stage.bus.answers(AwaitSale, Newest(7))

    assert [] == [*await till(stage).more(15, "7")]
