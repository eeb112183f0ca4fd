"""
What the sample catalogue holds, and how it is read.

Its data lie beside this module and are read as package data, so it is the same in a checkout, a wheel and a frozen
binary. The one rule: the order in `catalogue.toml` is the order in which its users act.
"""

from decimal import Decimal
from importlib.resources import files
from typing import Final

import msgspec
from msgspec import Struct

MEDIA_TYPES: Final = {
    "csv": "text/csv",
    "epub": "application/epub+zip",
    "html": "text/html",
    "md": "text/markdown",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "pdf": "application/pdf",
    "png": "image/png",
    "svg": "image/svg+xml",
    "ttf": "font/ttf",
    "wav": "audio/wav",
    "zip": "application/zip",
}


class Person(Struct, frozen=True, forbid_unknown_fields=True):
    handle: str
    name: str
    email: str


class Product(Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Something for sale; `files` and `previews` are names for `read_file`."""

    key: str
    seller: str
    title: str
    description: str
    category: str
    price: Decimal
    files: tuple[str, ...]
    previews: tuple[str, ...] = ()
    currency: str = "USD"
    stock: int | None = None
    licence_keys: tuple[str, ...] = ()


class Review(Struct, frozen=True, forbid_unknown_fields=True):
    """What a buyer wrote about a purchase, and what the seller answered, if anything."""

    rating: int
    title: str
    body: str
    reply: str | None = None


class Purchase(Struct, frozen=True, forbid_unknown_fields=True):
    buyer: str
    product: str
    review: Review | None = None


class Catalogue(Struct, frozen=True, forbid_unknown_fields=True):
    sellers: tuple[Person, ...]
    buyers: tuple[Person, ...]
    products: tuple[Product, ...]
    purchases: tuple[Purchase, ...]

    def offered_by(self, seller: Person) -> list[Product]:
        return [product for product in self.products if product.seller == seller.handle]

    def bought_by(self, buyer: Person) -> list[Purchase]:
        return [purchase for purchase in self.purchases if purchase.buyer == buyer.handle]


def read_catalogue() -> Catalogue:
    """Read the catalogue; raise msgspec.ValidationError, naming the place, where it is not as the types say."""
    return msgspec.toml.decode((files(__package__) / "catalogue.toml").read_bytes(), type=Catalogue)


def read_file(name: str) -> bytes:
    """Read one file that is sold or shown."""
    return (files(__package__) / "files" / name).read_bytes()


def media_type(name: str) -> str:
    """Say what kind of file it is, by the end of its name."""
    return MEDIA_TYPES[name.rsplit(".", 1)[-1]]
