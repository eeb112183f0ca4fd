"""What people do in a browser, from a seller's first product to an operator's last alert; how it looks, and to whom."""

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest
from axe_playwright_python.async_playwright import Axe

from tests.browser.conftest import ADMIN, ZONE, Fair, Surfer
from tests.journeys.people import PASSWORD, Json, Person
from tests.journeys.process import marketd

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

WORK: Final = b"an hour of rain on a tin roof"
SERIOUS: Final = ("serious", "critical")
WIDTHS: Final = (360, 768, 1440)


async def lists(surfer: Surfer, work: Path, title: str) -> None:
    """List a product with a file, as a seller does."""
    await surfer.goes("/dashboard/products/new")
    page = surfer.page
    await page.get_by_label("Title").fill(title)
    await page.get_by_label("Description").fill("An hour of rain.\nRecorded under a tin roof.")
    await page.get_by_label("Price").fill("19.99")
    await page.get_by_label("Category").fill("sound")
    await page.get_by_label("Choose files").set_input_files(work)
    await page.get_by_role("button", name="List it").click()
    await page.get_by_role("link", name="See it in the shop").wait_for()


async def buys(surfer: Surfer, product: Json, card: str = "pm_card_visa") -> None:
    """Buy a product, as a buyer does."""
    await surfer.goes(f"/shop/products/{product['id']}")
    await surfer.page.get_by_label("Pay with").select_option(card)
    await surfer.page.get_by_role("button", name="Buy now").click()
    await surfer.page.wait_for_url("**/shop/orders/*")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Give a file to sell."""
    path = tmp_path / "rain.zip"
    path.write_bytes(WORK)
    return path


async def test_a_seller_lists_what_a_buyer_finds_buys_and_downloads(fair: Fair, work: Path) -> None:
    sam, ann = await fair.joins("seller"), await fair.joins("buyer")
    seller, buyer = await fair.surfer(), await fair.surfer(width=360)
    await seller.signs_in(sam.email, "/dashboard")
    await lists(seller, work, "Gentle thunderstorm")
    await fair.finds("thunderstorm")

    page = buyer.page
    await buyer.signs_in(ann.email)
    await page.get_by_role("searchbox").press_sequentially("thunderst")
    await page.get_by_role("link", name="Gentle thunderstorm").click()
    await page.get_by_role("button", name="Buy now").click()
    await page.get_by_text("Thank you!").wait_for()
    async with page.expect_download() as download:
        await page.get_by_role("link", name="rain.zip").click()

    path = await (await download.value).path()
    assert WORK == await asyncio.to_thread(path.read_bytes)
    assert [] == seller.troubles + buyer.troubles


async def test_the_keyboard_narrows_what_is_shown_and_stays_where_it_is(fair: Fair) -> None:
    surfer = await fair.surfer()
    await surfer.goes("/")
    page = surfer.page
    before = await page.locator("[data-found]").text_content()

    await page.get_by_label("From").focus()
    await page.keyboard.type("25")
    await page.wait_for_url("**/?minPrice=25")

    assert before != await page.locator("[data-found]").text_content()
    assert "minPrice" == await page.evaluate("document.activeElement.name")
    assert [] == surfer.troubles


async def test_without_scripts_the_form_narrows_what_is_shown(fair: Fair) -> None:
    surfer = await fair.surfer(has_scripts=False)
    await surfer.goes("/")
    page = surfer.page

    await page.get_by_label("Order").select_option("-price")
    await page.get_by_label("To").fill("12")
    await page.get_by_role("button", name="Apply").click()
    await page.wait_for_url("**maxPrice=12**")

    prices = [float(text.split("\u00a0")[0]) for text in await page.locator(".shelf .price").all_text_contents()]
    assert (True, True) == (bool(prices) and max(prices) <= 12, prices == sorted(prices, reverse=True))


async def test_a_sale_appears_on_the_dashboard_without_a_reload(fair: Fair) -> None:
    sam, ann = await fair.joins("seller"), await fair.joins("buyer")
    product = await sam.offers(title="Wind in the reeds")
    seller = await fair.surfer()
    await seller.signs_in(sam.email, "/dashboard")
    await seller.page.evaluate("window.isTheSame = true")
    await seller.page.get_by_text("No sale yet").wait_for()

    await ann.buys(product)

    await seller.page.locator("[data-sales]").get_by_text("Wind in the reeds").wait_for()
    assert await seller.page.evaluate("window.isTheSame")
    assert [] == seller.troubles


async def test_a_new_seller_takes_the_time_zone_of_their_browser(fair: Fair) -> None:
    sam = await fair.joins("seller")
    surfer = await fair.surfer()
    await surfer.signs_in(sam.email, "/dashboard")
    page = surfer.page

    await page.get_by_role("button", name="Let days begin there").click()
    await page.get_by_text(f"as days begin in {ZONE}").wait_for()

    assert ZONE == (await sam.get("/auth/me")).expect(200)["timeZone"]
    assert (0, []) == (await page.get_by_role("button", name="Let days begin there").count(), surfer.troubles)


async def test_an_operator_resolves_an_alert(fair: Fair) -> None:
    order_id = await loss(fair)
    surfer = await fair.surfer()
    await surfer.signs_in(ADMIN, "/ops")
    row = surfer.page.get_by_role("row").filter(has_text=order_id)

    await row.get_by_role("button", name="Resolve").click()

    await row.get_by_text("resolved").wait_for()
    assert [] == surfer.troubles


async def test_an_operator_sees_who_follows_the_events(fair: Fair) -> None:
    sam = await fair.joins("seller")
    await follow(fair, sam, "acme")
    surfer = await fair.surfer()
    await surfer.signs_in(ADMIN, "/ops")

    row = surfer.page.get_by_role("row").filter(has_text="acme")
    await row.get_by_text("market.events.order.>").wait_for()
    hooks = surfer.page.get_by_role("region", name="Webhooks").get_by_role("row")
    await hooks.filter(has_text="acme.example").first.wait_for()
    assert ("s3cret" in await surfer.page.content(), surfer.troubles) == (False, [])


async def test_a_seller_gives_a_payment_back(fair: Fair) -> None:
    sam, ann = await fair.joins("seller"), await fair.joins("buyer")
    order = await ann.buys(await sam.offers(title="Waves"))
    surfer = await fair.surfer()
    await surfer.signs_in(sam.email, "/dashboard/orders")

    await surfer.page.get_by_text("Refund…").click()
    await surfer.page.get_by_label("Reason, if you like").fill("It was bought by mistake.")
    await surfer.page.get_by_role("button", name="back").click()
    await surfer.page.locator("td .mark", has_text="refunded").wait_for()

    assert "refunded" == (await ann.sees_until(order["id"], lambda seen: seen["status"] == "refunded"))["status"]
    assert [] == surfer.troubles


async def test_a_declined_card_is_told_to_the_buyer(fair: Fair) -> None:
    sam, ann = await fair.joins("seller"), await fair.joins("buyer")
    surfer = await fair.surfer()
    await surfer.signs_in(ann.email)

    await buys(surfer, await sam.offers(), "pm_card_chargeDeclined")

    await surfer.page.get_by_text("It did not work out").wait_for()
    assert [] == surfer.troubles


async def test_a_buyer_reviews_what_they_own(fair: Fair) -> None:
    sam, ann = await fair.joins("seller"), await fair.joins("buyer")
    product = await sam.offers(title="Crickets")
    await ann.buys(product)
    surfer = await fair.surfer()
    await surfer.signs_in(ann.email)
    page = surfer.page

    await surfer.goes(f"/shop/products/{product['id']}")
    await page.get_by_role("radio", name="4").check()
    await page.get_by_label("Your review").fill("I fell asleep.\n\nTwice.")
    await page.get_by_role("button", name="Send it").click()

    await page.get_by_role("article").get_by_text("I fell asleep.").wait_for()
    assert [] == surfer.troubles


async def test_a_review_that_came_too_late_is_there_again_after_signing_in(fair: Fair) -> None:
    sam, ann = await fair.joins("seller"), await fair.joins("buyer")
    product = await sam.offers(title="Cicadas")
    await ann.buys(product)
    surfer = await fair.surfer()
    await surfer.signs_in(ann.email)
    await surfer.goes(f"/shop/products/{product['id']}")
    page = surfer.page
    await page.get_by_label("4", exact=True).check()
    await page.get_by_label("Your review").fill("Loud.")
    await surfer.context.clear_cookies()

    await page.get_by_role("button", name="Send it").click()
    await page.get_by_label("E-mail").fill(ann.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_role("button", name="Send it").click()

    await page.get_by_text("4 of 5 by").wait_for()
    assert ("Loud." in await page.locator("#reviews").inner_text(), surfer.troubles) == (True, [])


async def test_what_a_product_lacks_is_told_beside_its_form(fair: Fair, work: Path) -> None:
    sam = await fair.joins("seller")
    surfer = await fair.surfer()
    await surfer.signs_in(sam.email, "/dashboard/products/new")
    page = surfer.page
    for label in ("Title", "Description", "Price", "Category"):
        await page.get_by_label(label).fill("free")
    await page.get_by_label("Choose files").set_input_files(work)

    await page.get_by_role("button", name="List it").click()

    await page.get_by_role("alert").get_by_text("Price: Expected a number").wait_for()
    surfer.forgives("400")
    price = page.get_by_label("Price")
    marked = (
        await price.get_attribute("aria-invalid"),
        await price.evaluate("field => field === document.activeElement"),
    )
    assert (("true", True), []) == (marked, surfer.troubles)


async def test_a_product_is_changed(fair: Fair) -> None:
    sam = await fair.joins("seller")
    product = await sam.offers(stock=5)
    surfer = await fair.surfer()
    await surfer.signs_in(sam.email, f"/dashboard/products/{product['id']}")
    page = surfer.page
    await page.get_by_label("Price").fill("24.50")
    await page.get_by_label("How many there are").fill("")

    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("Saved.").wait_for()

    seen = (await sam.get(f"/products/{product['id']}")).expect(200)
    assert (24.5, None, []) == (seen["price"], seen["stock"], surfer.troubles)


async def test_an_open_form_puts_nothing_back_that_was_sold_meanwhile(fair: Fair) -> None:
    sam, ann = await fair.joins("seller"), await fair.joins("buyer")
    product = await sam.offers(stock=5)
    surfer = await fair.surfer()
    await surfer.signs_in(sam.email, f"/dashboard/products/{product['id']}")
    page = surfer.page
    await ann.buys(product)
    await page.get_by_label("Title").fill("Tin roof")

    await page.get_by_role("button", name="Save").click()
    await page.get_by_text("Saved.").wait_for()

    seen = (await sam.get(f"/products/{product['id']}")).expect(200)
    assert ("Tin roof", 4, "4") == (
        seen["title"],
        seen["stock"],
        await page.get_by_label("How many there are").input_value(),
    )
    assert [] == surfer.troubles


async def test_an_open_form_overwrites_no_newer_product(fair: Fair) -> None:
    sam = await fair.joins("seller")
    product = await sam.offers()
    surfer = await fair.surfer()
    await surfer.signs_in(sam.email, f"/dashboard/products/{product['id']}")
    await surfer.page.get_by_label("Title").fill("Mine")
    (await sam.ask("PATCH", f"/products/{product['id']}", {"title": "Newer"})).expect(200)

    await surfer.page.get_by_role("button", name="Save").click()

    await surfer.page.get_by_role("alert").get_by_text("changed meanwhile").wait_for()
    surfer.forgives("412")
    seen = (await sam.get(f"/products/{product['id']}")).expect(200)
    assert ("Newer", []) == (seen["title"], surfer.troubles)


async def test_the_keyboard_alone_is_enough_to_buy(fair: Fair) -> None:
    sam, ann = await fair.joins("seller"), await fair.joins("buyer")
    product = await sam.offers()
    surfer = await fair.surfer()
    await surfer.signs_in(ann.email)
    await surfer.goes(f"/shop/products/{product['id']}")
    keys = surfer.page.keyboard

    for _ in range(30):
        await keys.press("Tab")
        if await surfer.page.evaluate("document.activeElement.textContent") == "Buy now":
            break
    await keys.press("Enter")

    await surfer.page.get_by_text("Thank you!").wait_for()


async def test_what_is_tried_out_in_the_docs_is_sent_without_made_up_conditions(fair: Fair) -> None:
    product = await (await fair.joins("seller")).offers()
    surfer = await fair.surfer()
    await surfer.goes("/docs#/products/productsShow")
    page = surfer.page
    await page.get_by_role("button", name="Try it out").click()
    await page.get_by_placeholder("id", exact=True).fill(product["id"])

    async with page.expect_response(f"**/products/{product['id']}") as answer:
        await page.get_by_role("button", name="Execute").click()

    sent = await (await answer.value).request.all_headers()
    made_up = {"if-match", "if-none-match", "x-request-id", "traceparent"} & {*sent}
    assert (200, set(), []) == ((await answer.value).status, made_up, surfer.troubles)


async def loss(fair: Fair) -> str:
    """Have a payment that can't go back; give its order."""
    sam, ann = await fair.joins("seller"), await fair.joins("buyer")
    order = await ann.buys(await sam.offers(), "pm_card_refundFail")
    (await sam.refunds(order)).expect(202)
    await ann.sees_until(order["id"], lambda seen: seen["paymentStatus"] == "refund_failed")
    return str(order["id"])


async def follow(fair: Fair, sam: Person, name: str) -> None:
    """Have a program follow the orders over NATS, and another one by a webhook."""
    arguments = ("integrator", "add", name, "--events", "order.*", "--json", "--data", str(fair.service.data))
    done = await marketd(*arguments)
    assert 0 == done.code, done.err
    url = f"https://{name}.example/s3cret"
    (await sam.post("/webhooks", {"url": url, "events": ["order.*"]})).expect(201)


async def business(fair: Fair) -> tuple[Person, Json]:
    """Give a seller who has sold something of everything, and the product."""
    sam = await fair.joins("seller")
    product = await sam.offers(title="A title that goes on for so long that it has to be broken somewhere in between")
    for number, rating in enumerate((5, 4, 2)):
        ann = await fair.joins("buyer")
        order = await ann.buys(product)
        said = {"rating": rating, "title": "What I think", "body": "It is what it says.\n\nNo more, no less."}
        (await ann.post(f"/products/{product['id']}/reviews", said)).expect(201)
        if not number:
            (await sam.refunds(order)).expect(202)
    return sam, product


LOOKS: Final = {
    "shop": "/",
    "product": "/shop/products/{product}",
    "sign-in": "/auth/sign-in",
    "sign-up": "/auth/sign-up",
    "library": "/shop/library",
    "dashboard": "/dashboard",
    "dashboard-empty": "/dashboard",
    "sales": "/dashboard/orders",
    "products": "/dashboard/products",
    "edit": "/dashboard/products/{product}",
    "zone": "/dashboard/zone",
    "ops": "/ops",
    "nothing": "/nothing/here",
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_has_a_serious_fault_at_any_width(fair: Fair, screenshots: Path, scheme: str) -> None:
    """And each is kept as a picture, to be looked at by somebody with eyes."""
    sam, product = await business(fair)
    novice, reader = await fair.joins("seller"), await fair.joins("buyer")
    await reader.buys(product)
    await loss(fair)
    await follow(fair, sam, f"books-{scheme}")
    whose = {"dashboard-empty": novice.email, "library": reader.email, "product": reader.email, "ops": ADMIN}
    found: list[Any] = []
    for width in WIDTHS:
        surfers = {}
        for email in (sam.email, novice.email, reader.email, ADMIN):
            surfers[email] = await fair.surfer(width, scheme)
            await surfers[email].signs_in(email)
        stranger = await fair.surfer(width, scheme)
        for name, path in LOOKS.items():
            is_open = name in ("shop", "sign-in", "sign-up", "nothing")
            surfer = stranger if is_open else surfers[whose.get(name, sam.email)]
            await surfer.goes(path.format(product=product["id"]))
            if name == "nothing":
                surfer.forgives("404")
            await surfer.page.screenshot(path=screenshots / f"{name}-{width}-{scheme}.png", full_page=True)
            found += [(name, width, *fault) for fault in await faults(surfer)]
            found += [(name, width, trouble) for trouble in surfer.troubles]

    assert [] == found


async def faults(surfer: Surfer) -> list[tuple[str, str]]:
    """Say what axe-core finds wrong with a page, and whether it is wider than its window."""
    seen = (await Axe().run(surfer.page)).response["violations"]
    found = [(it["id"], it["nodes"][0]["html"][:200]) for it in seen if it["impact"] in SERIOUS]
    wide = await surfer.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return [*found, ("wide", f"by {wide} px")] if wide > 0 else found
