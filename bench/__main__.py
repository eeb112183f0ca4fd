"""
Take all figures and write them down: `python -m bench [NAME …]`.

The table goes to docs/benchmarks.md and, as JSON, to bench/results.json, when all figures were taken; some of them,
asked for by name, are only printed.
"""

import asyncio
import json
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvloop

from bench.analytics import analytics
from bench.figures import Figure, product_reads, purchases, starting, waking
from bench.machine import described
from bench.metering import metering
from bench.overload import overload
from bench.packed import packed
from bench.relaying import catching_up, event_delay
from bench.searching import large_search, small_search
from bench.webhooks import webhooks

ROOT: Final = Path(__file__).parent.parent
ALL: Final = {
    "reads": product_reads,
    "metrics": metering,
    "purchases": purchases,
    "overload": overload,
    "webhooks": webhooks,
    "start": starting,
    "wake": waking,
    "event-delay": event_delay,
    "relay": catching_up,
    "analytics": analytics,
    "search": small_search,
    "search-large": large_search,
    "binary": packed,
}


async def main(names: list[str]) -> None:
    rows: list[Figure] = []
    apart: list[Figure] = []
    for name in names or ALL:
        print(f"{name} …", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(prefix="marketd-bench-") as folder:
            (apart if name == "binary" else rows).extend(await ALL[name](Path(folder)))
    table = "\n".join([*_table(rows), *_apart(apart)])
    print(table)
    if not names:
        (ROOT / "docs" / "benchmarks.md").write_text(_page(table), encoding="utf-8")
        results = {"machine": described(), "figures": [row._asdict() for row in rows + apart]}
        (ROOT / "bench" / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def _table(rows: list[Figure]) -> list[str]:
    head = ["| figure | measured | spread | beside | wanted |", "| --- | --- | --- | --- | --- |"]
    return head + [
        f"| {row.name} | {_shown(row.value)} {row.unit} | {row.spread} | {row.reference} | {row.wanted} |"
        for row in rows
    ]


def _apart(rows: list[Figure]) -> list[str]:
    """Have the binary in a section of its own: it is not made by every run."""
    head = "`dist/marketd` in an empty directory with an empty environment, nothing of it in the kernel's cache."
    return ["", "## The binary", "", head, "", *_table(rows)] if rows else []


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _page(table: str) -> str:
    return f"""# Benchmarks

Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}. Machine: {described()}; the load comes from the same machine.
Each figure is the median of several rounds after a warm-up, beside a reference taken in the same run, round by round;
everything is durable (`synchronous=FULL`, one fsync for all commits that wait). Rates differ from machine to machine;
ratios hardly do.

{table}
"""


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(ALL)
    if unknown:
        sys.exit(f"no such figure: {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main(sys.argv[1:]))
