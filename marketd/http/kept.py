"""
Pages of results, kept as the bytes that went out, by the query as it came in.

A page is dropped when the index changes, and when anything changes about a product that is on it; it is kept only if
nothing changed while it was made. So it is never older than what would be answered anew.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct

from marketd.storage.cards import touched_by
from marketd.storage.log import Recorded

PAGE_BYTES_MAX: Final = 256 * 1024
ALL_BYTES_MAX: Final = 32 * 1024 * 1024  # whoever asks for many different pages must not fill the memory with them


class Page(Struct, frozen=True):
    """A page as it goes out, with the headers that are its own, and the products on it."""

    body: bytes
    headers: dict[str, str]
    links: tuple[str, ...]
    product_ids: frozenset[str]
    tag: str = ""


class KeptPages:
    """
    At most `pages_max` pages, of `ALL_BYTES_MAX` bytes, those least recently asked for leaving first; `on_use` is told
    when one is given.
    """

    def __init__(self, pages_max: int, on_use: Callable[[], None] = lambda: None) -> None:
        self._pages_max, self._on_use = pages_max, on_use
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._showing: defaultdict[str, set[str]] = defaultdict(set)
        self._changes = 0
        self._bytes = 0

    @property
    def changes(self) -> int:
        """How often anything has changed: the same before and after means that nothing did."""
        return self._changes

    def statistics(self) -> dict[str, int]:
        """How many pages are kept."""
        return {"pages": len(self._pages)}

    def get(self, query: str) -> Page | None:
        """Give the page of this query if it is kept."""
        page = self._pages.get(query)
        if page is not None:
            self._pages.move_to_end(query)
            self._on_use()
        return page

    def keep(self, query: str, page: Page, changes: int) -> None:
        """Keep a page that was begun when there had been so many changes, if there was none since."""
        if changes != self._changes or len(page.body) > PAGE_BYTES_MAX or not self._pages_max:
            return
        self._drop([query])
        self._pages[query] = page
        self._bytes += len(page.body)
        for product_id in page.product_ids:
            self._showing[product_id].add(query)
        while len(self._pages) > self._pages_max or self._bytes > ALL_BYTES_MAX:
            self._drop([next(iter(self._pages))])

    def on_renewed(self) -> None:
        """The index has changed: drop all."""
        self._changes += 1
        self._pages.clear()
        self._bytes = 0
        self._showing.clear()

    def on_applied(self, batch: Sequence[Recorded]) -> None:
        """These records can be read now: drop the pages that show otherwise."""
        touched = touched_by(batch)
        if touched is None:
            self.on_renewed()
        elif touched:
            self._changes += 1
            for product_id in touched & self._showing.keys():
                self._drop(list(self._showing[product_id]))

    def _drop(self, queries: Iterable[str]) -> None:
        for query in queries:
            page = self._pages.pop(query, None)
            self._bytes -= len(page.body) if page else 0
            for product_id in page.product_ids if page else ():
                self._showing[product_id].discard(query)
                if not self._showing[product_id]:
                    del self._showing[product_id]
