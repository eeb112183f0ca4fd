"""What all lists have in common: which page is wanted, and how rows are counted."""

from msgspec import Struct


class Page(Struct, frozen=True):
    """Which part of a list: `number` from 1, `size` from 1 to 100."""

    number: int = 1
    size: int = 20

    @property
    def bounds(self) -> tuple[int, int]:
        """LIMIT and OFFSET."""
        return self.size, (self.number - 1) * self.size
