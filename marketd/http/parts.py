"""The parts that responses for apps and pages are assembled from: each asks one question, with its own time limit."""

from collections.abc import Iterable
from typing import Final

import msgspec
from aiohttp import web

from marketd.actors import buyer
from marketd.actors.address import Address
from marketd.http.asking import ask, find, read
from marketd.http.keys import CARDS, LIMITS
from marketd.http.problems import NotFound
from marketd.http.tokens import Principal
from marketd.storage.cards import EncodedProduct, ReadProduct
from marketd.storage.catalog import ProductCard
from marketd.storage.finding import FindRelated, Related
from marketd.storage.pages import Page
from marketd.storage.people import FindSeller, Seller
from marketd.storage.reviews import ListReviews, Reviews

_cards: Final = msgspec.json.Decoder(ProductCard)


async def product_of(request: web.Request) -> ProductCard:
    """
    Give the product of the path, as everybody sees it; raise `NotFound`.

    It is read before the other parts: it is nearly always in memory, and without it nothing else is worth asking.
    """
    product_id = request.match_info["id"]
    shown = request.app[CARDS].kept(product_id) or await find(request, ReadProduct(product_id), EncodedProduct)
    if shown is None:
        raise NotFound("no such product")
    return _cards.decode(shown.public)


def cards_of(encoded: Iterable[bytes]) -> list[ProductCard]:
    """Decode products."""
    return [_cards.decode(card) for card in encoded]


async def newest_reviews(request: web.Request, product_id: str, count: int) -> Reviews:
    """Give the newest reviews, and the figures of all reviews."""
    wait_s = request.app[LIMITS].parts.reviews_wait_s_max
    return await read(request, ListReviews(product_id, Page(1, count)), Reviews, wait_s=wait_s)


async def related_to(request: web.Request, product_id: str) -> list[ProductCard]:
    """Give the related products of a product."""
    wait_s = request.app[LIMITS].parts.related_wait_s_max
    return cards_of((await read(request, FindRelated(product_id), Related, wait_s=wait_s)).cards)


async def access_of(request: web.Request, viewer: Principal | None, product_id: str) -> bool:
    """Say whether the viewer owns the product; nobody does who is not signed in."""
    if viewer is None:
        return False
    address, wait_s = Address("buyer", viewer.user_id), request.app[LIMITS].parts.access_wait_s_max
    return (await ask(request, address, buyer.CheckAccess(product_id), buyer.Access, wait_s=wait_s)).has_access


async def seller_card(request: web.Request, seller_id: str) -> Seller | None:
    """Give the seller's card; None for a user who never registered as a seller."""
    return await find(request, FindSeller(seller_id), Seller, wait_s=request.app[LIMITS].parts.seller_wait_s_max)
