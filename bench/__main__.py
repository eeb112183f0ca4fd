"""
Take figures and write them down: `python -m bench [NAME …] [--keep]`.

All of them, or those asked for by name. Those asked for by name are only printed, unless they are to be kept: then they
take their places in bench/results.json and docs/benchmarks.md, beside what was kept before.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvloop

from bench.analytics import analytics
from bench.asking import asking
from bench.buying import hot, orders, purchases
from bench.figures import product_reads, starting, waking
from bench.kept import keep, rows_of, tabled
from bench.machine import described
from bench.metering import metering
from bench.million import million
from bench.overload import overload
from bench.packed import packed
from bench.relaying import catching_up, event_delay
from bench.searching import large_search, small_search
from bench.webhooks import webhooks

ALL: Final = {
    "reads": product_reads,
    "metrics": metering,
    "asks": asking,
    "purchases": purchases,
    "orders": orders,
    "hot": hot,
    "overload": overload,
    "webhooks": webhooks,
    "start": starting,
    "million": million,
    "wake": waking,
    "event-delay": event_delay,
    "relay": catching_up,
    "analytics": analytics,
    "search": small_search,
    "search-large": large_search,
    "binary": packed,
}


async def main(names: Sequence[str], *, is_kept: bool) -> None:
    """Take the figures one after the other; each is kept when it is there, whatever becomes of the next."""
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="marketd-bench-") as folder:
            figures = await ALL[name](Path(folder))
        rows = rows_of(name, figures, taken=f"{datetime.now(UTC):%Y-%m-%d}", machine=described())
        print("\n".join(tabled(rows)), flush=True)
        if is_kept and rows:
            keep(rows, list(ALL))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Take figures.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(ALL)}; all where not given")
    parser.add_argument("--keep", action="store_true", help="keep those named, too")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(ALL):
        sys.exit(f"no such figure: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main(asked.names or list(ALL), is_kept=asked.keep or not asked.names))
