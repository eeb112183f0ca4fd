"""Verifying: every fault is found, and named with its place; what is right is left in peace."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from marketd.actors import order
from marketd.actors.runtime import Kind
from marketd.config.codecs import MODELS, log_codec
from marketd.config.folder import found
from marketd.config.verifying import Report, describe, verify
from marketd.storage.database import APPLICATION_ID
from marketd.storage.projector import TABLES
from tests.config.stores import COMPLETE, HEAD, alter, chained_again, old_store

ORDER: Final = f"order/{COMPLETE}"
LAST: Final = "SELECT id FROM streams WHERE name = 'order/01a20686-9dda-7de4-b870-2dd1a76dbc47'"
PRODUCT: Final = "product/01a20686-9dbb-71fc-9c26-7c5a9c2f8464"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return old_store(tmp_path / "data")


def verified(data: Path, *, files: bool = False, models: bool = False) -> Report:
    return verify(found(data), lambda label, done, total: None, files=files, models=models)


def faults(data: Path, *, files: bool = False, models: bool = False) -> list[str]:
    """All faults, each as it is printed."""
    report = verified(data, files=files, models=models)
    assert report.ok == (not report.faults)
    return list(map(str, report.faults))


def kinds(data: Path) -> set[str]:
    """The faults without their places."""
    return {fault.detail for fault in verified(data).faults}


def test_a_store_of_the_previous_release_is_as_it_must_be(data: Path) -> None:
    assert [] == faults(data, files=True)


def test_what_there_is_is_told(data: Path) -> None:
    report = verified(data)

    orders = {"order.complete": 2, "order.declined": 1, "order.owing": 1, "order.returned": 1}
    assert (HEAD, 54, 12, 2, orders) == (report.position, report.events, report.streams, report.uploads, report.orders)


def test_the_money_is_added_up(data: Path) -> None:
    (sums,) = verified(data).money

    assert ("USD", 7996, 1999, 5997) == (sums.currency, sums.captured, sums.paid_back, sums.kept_by_orders)


def test_the_report_ends_with_the_verdict(data: Path) -> None:
    assert f"{data}: all is well" == list(describe(verified(data)))[-1]


# The log.


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE commits SET events = replace(events, '\":', '\": ') WHERE position = {0}",
        "UPDATE commits SET at = at + 1 WHERE position = {0}",
        "UPDATE commits SET hash = zeroblob(32) WHERE position = {0}",
        'UPDATE commits SET meta = \'{{"principal":"mallory"}}\' WHERE position = {0}',
    ],
    ids=["events", "time", "hash", "meta"],
)
def test_a_changed_record_is_named(data: Path, change: str) -> None:
    """The hash of the one after it is made of its own, so there it is found as well, if that is what was changed."""
    alter(data / "events.db", change.format(10))

    assert faults(data)[0].startswith("position 10: ") and "it does not fit its hash" in faults(data)[0]


def test_one_changed_record_is_one_fault_of_the_chain(data: Path) -> None:
    alter(data / "events.db", "UPDATE commits SET at = at + 1 WHERE position = 10")

    assert 1 == len(faults(data))


def test_a_missing_record_is_named(data: Path) -> None:
    alter(data / "events.db", "DELETE FROM commits WHERE position = 20")

    assert "position 20: there is no record at position 20" == faults(data)[0]


def test_a_stream_with_a_gap_is_named(data: Path) -> None:
    alter(data / "events.db", f"DELETE FROM commits WHERE stream = ({LAST}) AND version = 3")

    assert any(fault.endswith(f"{ORDER}@4: the stream has no version 3") for fault in faults(data))


def test_a_log_without_its_end_is_found(data: Path) -> None:
    """Its chain is whole: what is missing is missed by its stream."""
    alter(data / "events.db", f"DELETE FROM commits WHERE position = {HEAD}")

    (fault,) = faults(data)
    assert "the stream should end with version" in fault


def test_an_event_that_does_not_decode_is_named(data: Path) -> None:
    alter(data / "events.db", "UPDATE commits SET events = replace(events, 'order.paid', 'order.paying')")
    chained_again(data / "events.db")

    assert any("can't be read: Invalid value 'order.paying'" in fault for fault in faults(data))


def test_an_event_that_can_not_have_happened_is_named(data: Path) -> None:
    alter(data / "events.db", "UPDATE commits SET events = replace(events, 'order.paid', 'order.delivered')")
    chained_again(data / "events.db")

    assert any(f"{ORDER}@2: it can't have happened there: impossible" in fault for fault in faults(data))


def test_a_record_of_no_stream_is_named(data: Path) -> None:
    alter(data / "events.db", f"DELETE FROM streams WHERE name = '{ORDER}'")

    assert any("and there is none of that number" in fault for fault in faults(data))


def test_text_that_is_none_is_named_and_the_walk_goes_on(data: Path) -> None:
    alter(data / "events.db", "UPDATE commits SET meta = CAST(x'fffe' AS TEXT) WHERE position = 10")
    report = verified(data)

    assert (HEAD, {10}) == (report.position, {fault.position for fault in report.faults})


def test_a_snapshot_ahead_of_its_stream_is_named(data: Path) -> None:
    alter(data / "events.db", f"INSERT INTO snapshots VALUES('{ORDER}', 99, 47, 'f', x'00', x'00')")

    assert [f"position 47: {ORDER}@99: a snapshot is ahead of its stream"] == faults(data)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (order.Absent(), [f"{ORDER}@1: its snapshot is not what its records come to"]),
        (None, []),
    ],
    ids=["another", "the same"],
)
def test_a_snapshot_is_what_its_records_come_to(data: Path, state: order.State | None, expected: list[str]) -> None:
    kind = Kind(order.ORDER)
    with closing(sqlite3.connect(data / "events.db", isolation_level=None)) as db:
        (text,) = db.execute(f"SELECT events FROM commits WHERE stream = ({LAST}) AND version = 1").fetchone()
        packed = kind.pack(state or order.ORDER.replay(log_codec().decode_events(text)))
        db.execute("INSERT INTO snapshots VALUES(?, 1, 1, ?, ?, x'00')", (ORDER, kind.fingerprint, packed))

    assert expected == [str(fault).partition(": ")[2] for fault in verified(data).faults]


def test_a_checkpoint_ahead_of_the_log_is_named(data: Path) -> None:
    alter(data / "events.db", "INSERT OR REPLACE INTO checkpoints VALUES('fulfilment', 99)")

    assert ["position 99: the checkpoint fulfilment is ahead of the log"] == faults(data)


def test_pages_that_were_written_over_are_told_and_not_a_traceback(data: Path) -> None:
    path = data / "events.db"
    alter(path, "PRAGMA journal_mode = DELETE")
    content = bytearray(path.read_bytes())
    content[8192:16384] = b"\xff" * 8192
    path.write_bytes(content)

    assert [] != faults(data)


# The books.


def of_the_ledger(*statements: str) -> Callable[[Path], None]:
    return lambda data: alter(data / "sandbox.db", "PRAGMA foreign_keys = OFF", *statements)


def of_the_log(*statements: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        alter(data / "events.db", *statements)
        chained_again(data / "events.db")

    return change


MISMATCHES: Final = {
    "a lost charge": (
        of_the_ledger(f"DELETE FROM charges WHERE order_id = '{COMPLETE}'"),
        "it is complete, and the ledger has no charge",
    ),
    "a charge that was declined": (
        of_the_ledger(f"UPDATE charges SET outcome = 'declined' WHERE order_id = '{COMPLETE}'"),
        "it is complete, and the ledger has a 'declined' charge",
    ),
    "a charge of another sum": (
        of_the_ledger(f"UPDATE charges SET minor = 2999 WHERE order_id = '{COMPLETE}'"),
        "its price is 1999 USD, and 2999 USD were charged (in minor units)",
    ),
    "a charge in another currency": (
        of_the_ledger(f"UPDATE charges SET currency = 'EUR' WHERE order_id = '{COMPLETE}'"),
        "its price is 1999 USD, and 1999 EUR were charged (in minor units)",
    ),
    "a refund that nobody asked for": (
        of_the_ledger(f"INSERT INTO refunds VALUES('{COMPLETE}', 'paid back', 1)"),
        "it is complete, and the ledger has a 'paid back' refund",
    ),
    "a refund that was lost": (
        of_the_ledger("DELETE FROM refunds WHERE outcome = 'paid back'"),
        "it is returned, and the ledger has no refund",
    ),
    "a declined order that was charged": (
        of_the_ledger("UPDATE charges SET outcome = 'captured' WHERE outcome = 'declined'"),
        "it is declined, and the ledger has a 'captured' charge",
    ),
    "a charge for nothing": (
        of_the_ledger("INSERT INTO charges VALUES('stray', 1999, 'USD', 'pm', 'captured', NULL, 1)"),
        "the ledger has a charge (captured), and the log has no such order",
    ),
    "another licence key": (
        of_the_log(f"UPDATE commits SET events = replace(events, 'AAAA-1', 'AAAA-9') WHERE stream = ({LAST})"),
        "it has another licence key than its product gave it",
    ),
    "a licence key of two": (
        of_the_log("UPDATE commits SET events = replace(events, 'AAAA-2', 'AAAA-1')"),
        f"{PRODUCT} gave them the same licence key",
    ),
    "a unit too many": (
        of_the_log("UPDATE commits SET events = replace(events, '\"stock\":3', '\"stock\":1')"),
        "got a unit where none was left",
    ),
    "a copy of nobody's": (
        of_the_log(f"UPDATE commits SET events = replace(events, '{COMPLETE}', 'stray') WHERE events LIKE '%granted%'"),
        "it is complete, and the product is not in its buyer's library",
    ),
    "an order that owns nothing": (
        of_the_log(f"UPDATE commits SET events = replace(events, '{COMPLETE}', 'stray') WHERE events LIKE '%granted%'"),
        "owns a product by it, and the log has no such order",
    ),
    "a unit for nothing": (
        of_the_log(
            f"UPDATE commits SET events = replace(events, '{COMPLETE}', 'stray') WHERE events LIKE '%.reserved%'"
        ),
        f"{PRODUCT} holds a unit for it, and the log has no such order",
    ),
}


@pytest.mark.parametrize("what", MISMATCHES)
def test_what_does_not_add_up_is_named(data: Path, what: str) -> None:
    change, expected = MISMATCHES[what]
    change(data)

    assert any(expected in detail for detail in kinds(data)), kinds(data)


def test_what_does_not_add_up_is_named_with_its_order(data: Path) -> None:
    alter(data / "sandbox.db", f"DELETE FROM charges WHERE order_id = '{COMPLETE}'")

    (fault,) = verified(data).faults
    assert (ORDER, True, True) == (fault.stream, fault.position > 0, fault.version > 0)


def test_a_ledger_that_is_missing_is_told(data: Path) -> None:
    (data / "sandbox.db").unlink()

    assert ["sandbox.db is missing, though orders were paid"] == faults(data)


def test_a_ledger_that_is_none_is_told_and_the_log_looked_at(data: Path) -> None:
    alter(data / "sandbox.db", "PRAGMA journal_mode = DELETE")
    (data / "sandbox.db").write_bytes(b"This is a letter, not a database. " * 100)

    assert ([f"{data / 'sandbox.db'} is not a database of marketd"], HEAD) == (faults(data), verified(data).position)


# The files.


def upload(data: Path) -> Path:
    return min(path for path in (data / "files").rglob("*") if path.is_file() and len(path.name) == 64)


def test_an_upload_that_is_missing_is_named_with_who_refers_to_it(data: Path) -> None:
    path = upload(data)
    path.unlink()

    (fault,) = faults(data)
    assert "product/" in fault and fault.endswith(f"the file {path.name} is missing")


def test_an_upload_of_another_size_is_named(data: Path) -> None:
    path = upload(data)
    path.write_bytes(b"short")

    (fault,) = faults(data)
    assert f"the file {path.name} has 5 bytes, not " in fault


def test_changed_bytes_are_found_when_files_are_read(data: Path) -> None:
    path = upload(data)
    path.write_bytes(b"!" * path.stat().st_size)

    assert ([], 1) == (faults(data), len(faults(data, files=True)))


# The read models.


def test_a_read_model_ahead_of_the_log_is_named(data: Path) -> None:
    alter(data / "read.db", f"PRAGMA application_id = {APPLICATION_ID}", TABLES)
    alter(data / "read.db", f"INSERT INTO models VALUES('{MODELS[0].name}', {MODELS[0].version}, 99, NULL)")

    assert [f"position 99: the read model {MODELS[0].name} is ahead of the log, which ends at 47"] == faults(data)
