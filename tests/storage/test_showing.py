"""What the index shows of what it has found: each product as the read models have it at that moment."""

from pathlib import Path

import msgspec
import pytest

from marketd.storage.cards import EncodedProduct, ReadProduct
from marketd.storage.catalog import BrowseProducts
from marketd.storage.questions import Shown
from tests.storage.indexed import Shop, id_of, indexed, name_of

pytestmark = pytest.mark.asyncio


async def shown(shop: Shop, q: str = "") -> Shown:
    """What is shown now, by an index that need not have heard of the newest."""
    await shop.market.projector.wait_reached(shop.market.log.head)
    return await shop.index.show(BrowseProducts(q=q))


async def furnish(shop: Shop) -> None:
    await shop.list_product("lamp", category="light")
    await shop.list_product("saw", category="tools")
    await shop.caught_up()


async def test_what_is_found_is_shown_in_its_order_with_its_score(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)
        found, page = await shop.find(), await shown(shop)

        assert found.hits == [(product.product_id, product.score) for product in page.products]
        assert (found.total, found.categories, found.generation) == (page.total, page.categories, page.generation)


async def test_a_product_is_shown_as_the_read_models_have_it_now(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)
        await shop.revise("lamp", title="Lantern")
        page = await shown(shop, "lamp")

        assert ["Lantern"] == [msgspec.json.decode(product.card)["title"] for product in page.products]


async def test_what_was_withdrawn_since_is_left_out(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)
        await shop.withdraw("saw")
        page = await shown(shop)

        assert ["lamp"] == [name_of(product.product_id) for product in page.products]


async def test_it_is_shown_as_the_service_itself_shows_it(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await shop.market.register("seller", name="Sam & Sons")
        await furnish(shop)
        await shop.rate("lamp", 4)
        page = await shown(shop, "lamp")
        card = await shop.market.ask(ReadProduct(id_of("lamp")))

        assert isinstance(card, EncodedProduct)
        assert [card.public] == [product.card for product in page.products]


async def test_no_address_of_a_file_is_shown(tmp_path: Path) -> None:
    async with indexed(tmp_path) as shop:
        await furnish(shop)

        assert b"upload:" not in msgspec.json.encode((await shown(shop)).products)
