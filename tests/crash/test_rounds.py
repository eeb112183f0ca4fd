"""
A few rounds in which something befalls the real service, and what is there afterwards is as it must be.

More of them, and with longer stops: `make crash ROUNDS=100`.
"""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash.__main__ import can_mount, live_on_a_small_disk
from tests.crash.laws import breaches
from tests.crash.run import Run, Tally, drawn
from tests.crash.seen import read_ledger, verify

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]  # a round waits long before it says that something is lost

SEED = 7
STOP_S = 3.0  # `make crash` stops for 20 s


async def lived(folder: Path, *faults: str) -> tuple[Run, Tally]:
    run, tally = Run(folder, SEED, stop_s=STOP_S, tell=print), Tally()
    await run.rounds(faults, tally)
    return run, tally


@pytest.mark.asyncio
@pytest.mark.parametrize("faults", [("kill-start",), ("kill-nats", "stop"), ("unwritable", "clock")], ids=str)
async def test_nothing_is_lost_and_nothing_is_done_twice(faults: tuple[str, ...], tmp_path: Path) -> None:
    _, tally = await lived(tmp_path, *faults)

    assert [] == tally.found


@pytest.mark.skipif(
    not can_mount(), reason="a full disk needs a small one, and no namespace may be made to mount it in"
)
def test_nothing_is_lost_on_a_full_disk() -> None:
    assert 0 == live_on_a_small_disk(1, SEED)


@pytest.mark.asyncio
async def test_what_is_wrong_in_the_files_is_found(tmp_path: Path) -> None:
    """The whole way, from the files to the laws: a charge is struck out, and a product is taken out of a library."""
    run, tally = await lived(tmp_path, "kill")
    told, seen, data = run.town.told, run.seen, run.machine.data
    completed = next(order_id for order_id, order in seen.orders.items() if order["status"] == "completed")
    with closing(sqlite3.connect(data / "sandbox.db")) as books, books:
        books.execute("DELETE FROM charges WHERE order_id = ?", (completed,))
    with closing(sqlite3.connect(data / "read.db")) as reads, reads:
        reads.execute("DELETE FROM library WHERE order_id = ?", (completed,))
    seen.charges, seen.paid_back = read_ledger(data)
    seen.verified = await verify(data)
    found = Counter(breach.partition(":")[0] for breach in breaches(told, seen))

    assert [] == tally.found
    assert {"every order is charged once": 1, "the service is ready and its store whole": 2} == found


def test_a_seed_draws_the_same_faults_again() -> None:
    assert drawn(3, 10, ("kill", "stop")) == drawn(3, 10, ("kill", "stop")) != drawn(4, 10, ("kill", "stop"))
