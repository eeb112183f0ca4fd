"""
Tables: figures as comma-separated values (RFC 4180), for spreadsheets.

The one rule: no cell is ever executed. A text that a spreadsheet would take for a formula gets an apostrophe before it
(OWASP, CSV Injection); numbers and times are no formulas.
"""

import csv
from collections.abc import Iterable, Sequence
from decimal import Decimal
from io import StringIO
from typing import Final

from aiohttp import web

from marketd.clock import Instant
from marketd.http.operation import assert_takes
from marketd.http.weights import prefers

CSV: Final = "text/csv"
FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # the last four are full-width

Cell = str | int | Decimal | Instant


def wants_table(request: web.Request) -> bool:
    """Say whether the request prefers a table to JSON."""
    assert_takes(request, "Accept")
    return prefers(request, CSV)


def tabled(name: str, head: Sequence[str], rows: Iterable[Sequence[Cell]], headers: dict[str, str]) -> web.Response:
    """Answer with a table, to be saved as `<name>.csv`."""
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows([written(cell) for cell in row] for row in rows)
    return web.Response(
        text=text.getvalue(),
        content_type=CSV,
        charset="utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"', **headers},
    )


def written(cell: Cell) -> str:
    """Write a cell."""
    match cell:
        case str():
            return f"'{cell}" if cell.startswith(FORMULAS) else cell
        case Decimal():
            return f"{cell:f}"
        case int():
            return str(cell)
        case _:
            return cell.isoformat().replace("+00:00", "Z")
