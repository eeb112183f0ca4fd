"""
Product cards: each product as the JSON that is sent, cached until something about the product changes.

A card is cached only if nothing was applied while it was being read, so the cache is never older than the read models.
"""

from collections import OrderedDict
from collections.abc import Sequence
from hashlib import sha256
from typing import Final, get_args

import msgspec
from msgspec import Struct

from marketd.actors import account, buyer, product
from marketd.actors.address import Address
from marketd.bus.port import Answer, Bus, Envelope
from marketd.bus.subjects import query_subject
from marketd.storage.catalog import ProductCard, read, shown, version_of
from marketd.storage.log import Recorded
from marketd.storage.projector import Projector

CARDS_MAX: Final = 10_000
CARDS_BYTES_MAX: Final = 64 * 1024 * 1024
TAG_DIGITS: Final = 16
TOUCHING: Final = frozenset(
    {*get_args(product.Event), account.Renamed}
    | {buyer.Reviewed, buyer.ReviewDeleted, buyer.ReviewHidden, buyer.ReviewShown}
)


class ReadProduct(Struct, frozen=True, tag="product"):
    product_id: str


class EncodedProduct(Struct, frozen=True, tag="cards.product"):
    """
    A product in JSON; `own` is for its seller and contains the files' addresses. `tag` is the version in its actor
    (`product.Description.version`), a hyphen, and a digest of `own`, which also has what the actor lacks (its rating).
    """

    seller_id: str
    is_active: bool
    public: bytes
    own: bytes
    tag: str = ""


class ProductCards:
    """An LRU cache of cards; answers `market.query.product`."""

    def __init__(self, projector: Projector, *, cards_max: int = CARDS_MAX, bytes_max: int = CARDS_BYTES_MAX) -> None:
        self._projector, self._cards_max, self._bytes_max = projector, cards_max, bytes_max
        self._cards: OrderedDict[str, EncodedProduct] = OrderedDict()
        self._bytes = 0
        self._encoder = msgspec.json.Encoder(decimal_format="number")
        projector.on_applied(self._forget)

    async def open(self, bus: Bus) -> None:
        """Serve the query."""
        await bus.serve(query_subject(ReadProduct), self._answer)

    def statistics(self) -> dict[str, int]:
        """Give the number of cached cards."""
        return {"cards": len(self._cards)}

    def kept(self, product_id: str) -> EncodedProduct | None:
        """Give the card if it is cached."""
        card = self._cards.get(product_id)
        if card is not None:
            self._cards.move_to_end(product_id)
        return card

    async def many(self, product_ids: Sequence[str]) -> dict[str, EncodedProduct]:
        """Give the cards of the products that exist, by their ids."""
        cards = {product_id: card for product_id in product_ids if (card := self.kept(product_id))}
        missing = [product_id for product_id in product_ids if product_id not in cards]
        return cards | await self._read(missing) if missing else cards

    async def _answer(self, subject: str, envelope: Envelope) -> Answer:
        query = envelope.message
        assert isinstance(query, ReadProduct)
        await self._projector.wait_reached(envelope.at_least)
        position = self._projector.position
        cards = await self.many([query.product_id])
        return Answer(cards.get(query.product_id), position)

    async def _read(self, product_ids: Sequence[str]) -> dict[str, EncodedProduct]:
        position = self._projector.position
        found = await self._projector.read(read, product_ids)
        cards = {card.id: self._encoded(card) for card in found}
        if self._projector.position == position:
            for product_id, card in cards.items():
                self._drop(product_id)
                self._cards[product_id] = card
                self._bytes += _size(card)
            while len(self._cards) > self._cards_max or self._bytes > self._bytes_max:
                self._drop(next(iter(self._cards)))
        return cards

    def _drop(self, product_id: str) -> None:
        if card := self._cards.pop(product_id, None):
            self._bytes -= _size(card)

    def _encoded(self, card: ProductCard) -> EncodedProduct:
        own = self._encoder.encode(card)
        tag = f"{version_of(card)}-{sha256(own).hexdigest()[:TAG_DIGITS]}"
        return EncodedProduct(card.seller_id, card.status == "active", shown(card), own, tag)

    def _forget(self, batch: Sequence[Recorded]) -> None:
        touched = touched_by(batch)
        if touched is None:
            self._cards.clear()
            self._bytes = 0
            return
        for product_id in touched:
            self._drop(product_id)


def _size(card: EncodedProduct) -> int:
    return len(card.public) + len(card.own)


def touched_by(batch: Sequence[Recorded]) -> set[str] | None:
    """Give the ids of the products whose cards these records change; None if that may be all of a seller's."""
    touched = set()
    for record in batch:
        for event in record.commit.events:
            if type(event) not in TOUCHING:
                continue
            match event:
                case product.Reserved(was_held=True):  # the unit was counted when it was held
                    pass
                case buyer.Reviewed(product_id) | buyer.ReviewDeleted(product_id):
                    touched.add(product_id)
                case buyer.ReviewHidden(product_id) | buyer.ReviewShown(product_id):
                    touched.add(product_id)
                case account.Renamed():
                    return None
                case _:
                    touched.add(Address.parse(record.stream).key)
    return touched
