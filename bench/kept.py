"""
The figures that are kept: bench/results.json, and docs/benchmarks.md, which is made from it.

Each figure has the name of the run that took it, its day, and its machine where that is another one. A run that is kept
takes the place of what was kept of the same name, and leaves the rest alone.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct, ValidationError
from msgspec import json as msgspec_json

from bench.figures import Figure

ROOT: Final = Path(__file__).parent.parent
RESULTS: Final = ROOT / "bench" / "results.json"
PAGE: Final = ROOT / "docs" / "benchmarks.md"
APART: Final = "binary"  # it is not made by every run, and measured where it lies


class Row(Struct, frozen=True):
    """One figure, and the run that took it."""

    run: str
    taken: str
    machine: str
    name: str
    value: float
    unit: str
    spread: str
    reference: str
    wanted: str


class Results(Struct, frozen=True):
    """All that is kept."""

    figures: list[Row]


def read(text: str) -> list[Row]:
    """Read a results.json; raise `ValueError` for one from before runs had names."""
    try:
        return msgspec_json.decode(text, type=Results).figures
    except ValidationError as error:
        raise ValueError(f"no results as they are kept today: {error}") from None


def rows_of(run: str, figures: Iterable[Figure], *, taken: str, machine: str) -> list[Row]:
    """Say of figures which run took them, when and where."""
    return [Row(run, taken, machine, *figure) for figure in figures]


def merged(kept: Sequence[Row], fresh: Sequence[Row], runs: Sequence[str]) -> list[Row]:
    """Put the fresh in the place of what was kept of the same runs; all in the order of the runs."""
    taken = {row.run for row in fresh}
    all_rows = [*(row for row in kept if row.run not in taken and row.run in runs), *fresh]
    return sorted(all_rows, key=lambda row: runs.index(row.run))


def keep(fresh: Sequence[Row], runs: Sequence[str]) -> None:
    """Write both files anew with these figures in them."""
    rows = merged(read(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else [], fresh, runs)
    written = {"figures": [{name: getattr(row, name) for name in Row.__struct_fields__} for row in rows]}
    RESULTS.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(rows), encoding="utf-8")


def page(rows: Sequence[Row]) -> str:
    """Write the page of what is kept."""
    machines = list(dict.fromkeys(row.machine for row in rows))
    said = f"Machine: {machines[0] if machines else '?'}; the load comes from the same machine."
    others = [f"Other machine ({', '.join(_runs(rows, one))}): {one}." for one in machines[1:]]
    table = [*tabled([row for row in rows if row.run != APART])]
    apart = [row for row in rows if row.run == APART]
    if apart:
        head = "`dist/marketd` in an empty directory with an empty environment, nothing of it in the kernel's cache."
        table += ["", "## The binary", "", head, "", *tabled(apart)]
    lines = "\n".join([said, *others])
    return f"""# Benchmarks

Written by `make bench`; single figures are taken anew by `make bench NAMES="reads asks"`, so each has its day. {lines}

Each figure is the median of several rounds after a warm-up, beside a reference taken in the same run, round by round;
everything is durable (`synchronous=FULL`, one fsync for all commits that wait). Rates differ from machine to machine;
ratios hardly do. Runs are compared by `make bench-compare BEFORE AFTER`. `make soak` says
what half an hour of load looks like.

{chr(10).join(table)}
"""


def tabled(rows: Sequence[Row]) -> list[str]:
    """Write them as a table."""
    head = ["| figure | measured | spread | beside | wanted | taken |", "| --- | --- | --- | --- | --- | --- |"]
    return head + [
        f"| {row.name} | {shown(row.value)} {row.unit} | {row.spread} | {row.reference} | {row.wanted} | {row.taken} |"
        for row in rows
    ]


def shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _runs(rows: Sequence[Row], machine: str) -> list[str]:
    return list(dict.fromkeys(row.run for row in rows if row.machine == machine))
