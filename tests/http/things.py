"""What the actors and read models answer in the tests of the front, and the bodies that people send."""

from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from marketd.actors import account, order, product
from marketd.actors.money import Money
from marketd.clock import instant
from marketd.http.answers import written
from marketd.storage.cards import EncodedProduct
from marketd.storage.catalog import CardFile, ProductCard, Rating
from marketd.storage.finding import FoundPage
from marketd.storage.people import Person, Seller
from marketd.storage.questions import FoundProduct
from marketd.storage.reviews import ReviewCard, ReviewFound

AT = 1_700_000_000_000
AT_TEXT = "2023-11-14T22:13:20Z"
KEY = "0" * 40

LISTING: dict[str, Any] = {
    "title": "Lamp",
    "description": "It shines.",
    "price": 19.99,
    "category": "light",
    "files": [{"name": "lamp.zip", "type": "application/zip", "size": 3, "url": "https://files.example/lamp.zip"}],
}
OFFER = product.Offer(
    title="Lamp",
    description="It shines.",
    price=Money(1999, "USD"),
    category="light",
    files=(product.File("lamp.zip", "application/zip", 3, "https://files.example/lamp.zip"),),
)
DESCRIBED = product.Description(seller_id="sam", offer=OFFER, stock=None, is_active=True, created_at=AT, updated_at=AT)
QUOTED = product.Quoted("sam", "Lamp", Money(1999, "USD"))
CARD = ProductCard(
    id="lamp",
    seller_id="sam",
    seller_name="Sam",
    title="Lamp",
    description="It shines.",
    price=Decimal("19.90"),
    currency="USD",
    category="light",
    files=[CardFile("lamp.zip", "application/zip", 3)],
    previews=[],
    status="active",
    stock=None,
    rating=Rating(4.5, 2),
    created_at=instant(AT),
    updated_at=instant(AT),
)
OWN = replace(CARD, files=[CardFile("lamp.zip", "application/zip", 3, "https://files.example/lamp.zip")])
ENCODED = EncodedProduct("sam", True, written(CARD), written(OWN))
SHOWN = FoundProduct("lamp", written(CARD), 1.5)
FOUND = FoundPage(1, [SHOWN], {"light": 1}, "index", 7)

VIEW = order.View(
    buyer_id="ann",
    seller_id="sam",
    product_id="lamp",
    title="Lamp",
    price=Money(1999, "USD"),
    status="completed",
    payment_status="captured",
    delivery_status="delivered",
    failure_reason=None,
    licence_key="KEY-1",
    alert=None,
    created_at=AT,
    updated_at=AT,
)
PENDING = replace(VIEW, status="pending", payment_status="pending", delivery_status="pending", licence_key=None)
OWING = replace(
    VIEW,
    status="failed",
    payment_status="refund_failed",
    failure_reason="the card is gone",
    alert=order.Alert("the card is gone", AT, True),
)
SETTLED = order.Alert("the card is gone", AT, False)

REVIEW = ReviewFound(
    ReviewCard(
        id="r1",
        product_id="lamp",
        author_id="ann",
        author_name="Ann",
        rating=5,
        title="Bright",
        body="Very.",
        reply=None,
        created_at=instant(AT),
        updated_at=instant(AT),
    )
)

SELLER = Seller("sam", "Sam", 2, Rating(4.5, 2), instant(AT))
PERSON = Person("ann", KEY, "Ann", "buyer")
PROFILE = account.Profile("ann", "ann@example.org", "Ann", "buyer", AT)
REGISTRATION = {"email": "ann@example.org", "password": "Passw0rd", "name": "Ann", "role": "buyer"}
