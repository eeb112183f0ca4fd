"""The progress of long commands, shown on a terminal only."""

import sys
from typing import Final, TextIO

from marketd.clock import Clock

SHOWN_S: Final = 0.1
WIDTH: Final = 30


class Progress:
    """A line at the bottom of the screen, overwritten in place; enter it, so that it is cleared at the end."""

    def __init__(self, clock: Clock, screen: TextIO = sys.stderr) -> None:
        self._clock, self._screen = clock, screen
        self._is_shown = screen.isatty()
        self._shown_s, self._label = 0.0, ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *raised: object) -> None:
        if self._label:
            self._screen.write("\r\x1b[K")
            self._screen.flush()

    def tell(self, label: str, done: int, total: int) -> None:
        """Show that `done` of `total` is done."""
        now_s = self._clock.monotonic_s()
        is_news = label != self._label or done >= total
        if not self._is_shown or (now_s - self._shown_s < SHOWN_S and not is_news):
            return
        self._shown_s, self._label = now_s, label
        share = min(1.0, done / total) if total else 1.0
        bar = "#" * round(share * WIDTH)
        self._screen.write(f"\r\x1b[K{label:<12} [{bar:<{WIDTH}}] {share:4.0%}  {done} of {total}")
        self._screen.flush()

    def adding(self, label: str, total: int) -> "Adding":
        """Give a function that is told of each piece."""
        return Adding(self, label, total)


class Adding:
    """Adds up the pieces."""

    def __init__(self, progress: Progress, label: str, total: int) -> None:
        self._progress, self._label, self._total = progress, label, total
        self._done = 0

    def __call__(self, piece: int) -> None:
        self._done += piece
        self._progress.tell(self._label, self._done, self._total)
