"""
A cache of result pages, as the bytes that were sent, by the query string as it was received.

A page is dropped when the index changes, and when a product on it changes; it is cached only if nothing changed while
it was made. So it is never older than a new response would be.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec import Struct

from marketd.storage.cards import touched_by
from marketd.storage.log import Recorded

PAGE_BYTES_MAX: Final = 256 * 1024
ALL_BYTES_MAX: Final = 32 * 1024 * 1024  # so that asking for many different pages can't fill the memory


class Page(Struct, frozen=True):
    """An encoded page, with its own headers and the products on it."""

    body: bytes
    headers: dict[str, str]
    links: tuple[str, ...]
    product_ids: frozenset[str]
    tag: str = ""


class KeptPages:
    """
    Keeps at most `pages_max` pages and `ALL_BYTES_MAX` bytes, the least recently used leaving first; `on_use` is called
    on each hit.
    """

    def __init__(self, pages_max: int, on_use: Callable[[], None] = lambda: None) -> None:
        self._pages_max, self._on_use = pages_max, on_use
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._showing: defaultdict[str, set[str]] = defaultdict(set)
        self._changes = 0
        self._bytes = 0

    @property
    def changes(self) -> int:
        """The number of changes so far: if it stays the same, nothing has changed meanwhile."""
        return self._changes

    def statistics(self) -> dict[str, int]:
        """How many pages are cached."""
        return {"pages": len(self._pages)}

    def get(self, query: str) -> Page | None:
        """Give the page of a query if it is cached."""
        page = self._pages.get(query)
        if page is not None:
            self._pages.move_to_end(query)
            self._on_use()
        return page

    def keep(self, query: str, page: Page, changes: int) -> None:
        """Cache a page that was begun after `changes` changes, if there was none since."""
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
        """Drop all pages: the index has changed."""
        self._changes += 1
        self._pages.clear()
        self._bytes = 0
        self._showing.clear()

    def on_applied(self, batch: Sequence[Recorded]) -> None:
        """Drop the pages that these records, which can be read now, make stale."""
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
