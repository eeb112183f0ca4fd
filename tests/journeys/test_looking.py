"""Looking around: screens in one answer, pictures small enough for a telephone, and reviews that somebody minds."""

from typing import Any

import pytest

from tests.journeys.people import PASSWORD, Person, Visitor
from tests.journeys.process import marketd
from tests.storage.pictures import opened, picture

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

WIDE = picture(1200, 600, "JPEG")


async def illustrated(seller: Person) -> dict[str, Any]:
    """Offer a product with one picture."""
    upload = await seller.uploads(WIDE, "rain.jpg", "image/jpeg")
    return await seller.offers(previews=[{"name": "rain.jpg", "type": "image/jpeg", "url": upload["url"]}])


async def test_an_app_shows_a_product_with_a_picture_that_fits(visitor: Visitor, seller: Person) -> None:
    product = await illustrated(seller)
    shown = (await visitor.get(f"/mobile/products/{product['id']}")).expect(200)
    small = await visitor.get(shown["previews"][0]["mobileUrl"])
    assert (200, "image/webp", (640, 320)) == (small.status, small.headers["Content-Type"], opened(small.body).size)
    assert [] == shown["degraded"]


async def test_a_broken_picture_is_kept_as_it_is(seller: Person) -> None:
    headers = {"Content-Type": "image/jpeg"}
    kept = await seller.ask("POST", "/uploads?name=rain.jpg", data=WIDE[:500], headers=headers)
    assert ("image/jpeg", 500) == (kept.expect(201)["type"], kept.expect(201)["size"])


async def test_who_has_bought_it_finds_it_everywhere(seller: Person, buyer: Person) -> None:
    product = await illustrated(seller)
    await buyer.buys(product)
    page = (await buyer.get(f"/web/products/{product['id']}")).expect(200)
    home = (await buyer.get("/mobile/home")).expect(200)
    assert (True, 1, []) == (page["hasAccess"], page["seller"]["products"], page["degraded"])
    assert ([product["id"]], []) == ([own["productId"] for own in home["purchases"]], home["degraded"])


async def test_a_page_that_has_not_changed_is_not_sent_again(visitor: Visitor, seller: Person) -> None:
    path = f"/web/products/{(await seller.offers())['id']}"
    tag = (await visitor.get(path)).headers["ETag"]
    again = await visitor.ask("GET", path, headers={"If-None-Match": tag})
    assert (304, b"") == (again.status, again.body)


async def test_an_admin_takes_a_review_from_sight(visitor: Visitor, seller: Person, buyer: Person) -> None:
    path = f"/products/{(await seller.offers())['id']}"
    await buyer.buys((await buyer.get(path)).expect(200))
    review = (await buyer.post(f"{path}/reviews", {"rating": 1, "body": "An insult."})).expect(201)
    at = f"{path}/reviews/{review['id']}"
    (await (await an_admin(visitor)).post(f"{at}/hide", {"reason": "it insults"})).expect(200)
    listed, shown = await visitor.get(f"{path}/reviews"), await visitor.get(path)
    assert (0, 0) == (listed.json["total"], shown.json["rating"]["count"])
    assert (404, "it insults") == ((await visitor.get(at)).status, (await buyer.get(at)).json["hiddenReason"])


async def an_admin(visitor: Visitor) -> Person:
    arguments = ("admin", "create", "ada@example.org", "--data", str(visitor.service.data), "--password-stdin")
    made = await marketd(*arguments, given=f"{PASSWORD}\n")
    assert 0 == made.code, made.err
    return await visitor.signs_in("ada@example.org", PASSWORD)
