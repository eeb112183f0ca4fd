"""What the index process is asked, and what it answers: all that the service needs to know of it."""

from msgspec import Struct

from marketd.storage.catalog import BrowseProducts


class Search(Struct, frozen=True, tag="search"):
    browse: BrowseProducts


class FoundProduct(Struct, frozen=True):
    """A product in JSON, and how well it fits."""

    product_id: str
    card: bytes
    score: float


class Shown(Struct, frozen=True, tag="search.shown"):
    """What was found as people see it."""

    total: int
    products: list[FoundProduct]
    categories: dict[str, int]
    generation: int


class Spell(Struct, frozen=True, tag="spelling"):
    q: str


class Spelt(Struct, frozen=True, tag="search.spelt"):
    """What was probably meant; None where each word is known, or nothing is like it."""

    did_you_mean: str | None


class FindAlike(Struct, frozen=True, tag="alike"):
    product_id: str
    count: int


class Alike(Struct, frozen=True, tag="search.alike"):
    product_ids: list[str]


class Renewed(Struct, frozen=True, tag="search-renewed"):
    """Told to the service when the index has changed."""

    generation: int
