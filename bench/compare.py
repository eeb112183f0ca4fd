"""
Two runs of the benchmarks side by side: `python -m bench.compare BEFORE AFTER`.

Each is a results.json or a git revision, whose kept results are meant. A change is marked if either median lies outside
of the other run's spread; where there is no spread, nobody can tell.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench.kept import RESULTS, ROOT, Row, read, shown

LESS_IS_BETTER: Final = ("ms", "s", "MiB", "KiB", "MB", "µs", "%")
HEAD: Final = (
    "| figure | before | after | change | spread before | spread after | |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


def table(before: Sequence[Row], after: Sequence[Row]) -> list[str]:
    """Write what both runs have, and name what only one of them has."""
    old, new = _by_name(before), _by_name(after)
    lines = list(HEAD)
    for key, row in new.items():
        if key in old:
            was = old[key]
            values = f"{shown(was.value)} {was.unit} | {shown(row.value)} {row.unit} | {_change(was, row)}"
            lines.append(f"| {row.run}: {row.name} | {values} | {was.spread} | {row.spread} | {mark(was, row)} |")
    for title, rows, others in (("gone", old, new), ("new", new, old)):
        if names := [f"{row.run}: {row.name}" for key, row in rows.items() if key not in others]:
            lines += ["", f"{title}: {'; '.join(names)}"]
    return lines


def mark(was: Row, row: Row) -> str:
    """Say `better` or `worse` if the change is outside of both spreads, `?` if there is none, nothing otherwise."""
    old, new = _span(was), _span(row)
    if old is None or new is None:
        return "" if was.value == row.value else "?"
    if old[0] <= row.value <= old[1] or new[0] <= was.value <= new[1]:
        return ""
    return "better" if (row.value < was.value) == _less_is_better(row) else "worse"


def _change(was: Row, row: Row) -> str:
    return f"{(row.value / was.value - 1) * 100:+.1f} %" if was.value else ""


def _less_is_better(row: Row) -> bool:
    return row.unit.lstrip("/").split(" ")[0] in LESS_IS_BETTER or row.unit.endswith("ms")


def _span(row: Row) -> tuple[float, float] | None:
    low, to, high = row.spread.replace(",", "").partition(" to ")
    return (float(low), float(high)) if to else None


def _by_name(rows: Sequence[Row]) -> dict[tuple[str, str, int], Row]:
    """Names come again within a run where only what they are beside differs; then their order tells."""
    found: dict[tuple[str, str, int], Row] = {}
    for row in rows:
        number = sum(1 for run, name, _ in found if (run, name) == (row.run, row.name))
        found[row.run, row.name, number] = row
    return found


def results(named: str) -> list[Row]:
    """Read the file of this name, or what this revision has kept."""
    text = Path(named).read_text(encoding="utf-8") if Path(named).is_file() else _kept_at(named)
    try:
        return read(text)
    except ValueError as error:
        raise SystemExit(f"{named}: {error}") from None


def _kept_at(revision: str) -> str:
    where = f"{revision}:{RESULTS.relative_to(ROOT)}"
    done = subprocess.run(("git", "show", where), cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{revision} is neither a file nor a revision with {RESULTS.relative_to(ROOT)}")
    return done.stdout


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m bench.compare BEFORE AFTER (each a results.json or a git revision)")
    print("\n".join(table(results(sys.argv[1]), results(sys.argv[2]))))
