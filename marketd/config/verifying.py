"""
Verifying a store: the whole log, the ledgers that it must agree with, the files it refers to, and the read models.

Nothing is written, so a service may run meanwhile. Log and ledgers are read as of one moment.
"""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from marketd.actors.money import Money
from marketd.actors.runtime import Kind
from marketd.config.codecs import AGGREGATES, MODELS, log_codec
from marketd.config.folder import Folder
from marketd.config.ledgers import Ledger, ledgers_of
from marketd.storage import audit, projector, sqlite
from marketd.storage.audit import FAULTS_MAX, Fault, Faults, Tell, check_notes, damaged, walk, walk_streams
from marketd.storage.balance import Balance, Sums
from marketd.storage.database import Part, StorageError, cut, rows, scratch
from marketd.storage.files import path_in
from marketd.storage.log import CorruptLog
from marketd.storage.replay import compare

VERDICTS: Final = {0: "all is well", 1: "1 fault"}


class Model(Struct, frozen=True):
    """A read model: its position, and why it is halted, if it is."""

    position: int
    halted: str | None


class Report(Struct, rename="camel"):
    """What was verified, and its faults."""

    data: str
    ok: bool = True
    position: int = 0
    hash: str = ""
    events: int = 0
    streams: int = 0
    orders: dict[str, int] = {}
    ledger: bool = False
    money: list[Sums] = []
    uploads: int = 0
    models: dict[str, Model] = {}
    fault_count: int = 0
    faults: list[Fault] = []


def verify(folder: Folder, tell: Tell, *, files: bool = False, models: bool = False) -> Report:
    """
    Verify everything; with `files` every byte of the uploaded files too, with `models` every row of the read models.
    What can't be read is a fault.
    """
    faults, report = Faults(), Report(str(folder.path))
    try:
        _verify(folder, report, faults, tell, files=files)
        if folder.reads.exists():
            report.models = _models(folder, faults)
            if models:
                _replay(folder, faults, tell)
    except StorageError as error:
        faults.add(damaged(error))
    report.ok, report.fault_count, report.faults = not faults.count, faults.count, faults.listed
    return report


def describe(report: Report) -> Iterator[str]:
    """Write the report line by line, the faults first."""
    for fault in report.faults:
        yield f"fault: {fault}"
    if report.fault_count > FAULTS_MAX:
        yield f"fault: and {report.fault_count - FAULTS_MAX} more"
    yield f"{report.position} records, {report.events} events, {report.streams} streams; hash {report.hash}"
    if report.orders:
        yield "orders: " + ", ".join(f"{n} {state.removeprefix('order.')}" for state, n in report.orders.items())
    for sums in report.money:
        minors = (sums.captured, sums.paid_back, sums.kept_by_orders)
        captured, paid_back, kept = (Money(minor, sums.currency).amount for minor in minors)
        yield f"{sums.currency}: {captured} captured, {paid_back} paid back; orders that are paid for: {kept}"
    if not report.ledger:
        yield "there is no ledger that can be read: charges were held against nothing"
    yield f"{report.uploads} uploaded files are referred to"
    for name, model in report.models.items():
        yield f"read model {name}: at {model.position}"
    yield f"{report.data}: " + VERDICTS.get(report.fault_count, f"{report.fault_count} faults")


def _verify(folder: Folder, report: Report, faults: Faults, tell: Tell, *, files: bool) -> None:
    codec, kinds = log_codec(), {aggregate.kind: Kind(aggregate) for aggregate in AGGREGATES}
    ledgers = _readable(folder, faults)
    with ExitStack() as stack:
        events = Part(folder.events, sqlite.SCHEMA_VERSION)
        db, *books = stack.enter_context(cut(events, *(ledger.part for ledger in ledgers)))
        balance = Balance(stack.enter_context(scratch()), faults)
        walked = walk(db, folder.events, codec, faults, tell)
        report.position, report.events, report.streams, report.hash = walked
        check_notes(db, folder.events, faults)
        for ended in walk_streams(db, folder.events, codec, kinds, faults, tell, balance.meet):
            balance.end(ended)
        for ledger, book in zip(ledgers, books, strict=True):
            balance.take_ledger(ledger.entries(ledger.part.path, book))
        report.ledger = bool(ledgers) and len(ledgers) == len(ledgers_of(folder))
        report.orders = balance.check(with_ledger=report.ledger, tell=tell)
        report.money = balance.money()
        if not ledgers_of(folder) and any(money.kept_by_orders for money in report.money):
            faults.add(Fault(f"{folder.sandbox.name} is missing, though orders were paid"))
        for digest, size, stream, position in balance.uploads():
            report.uploads += 1
            why = _file_fault(path_in(folder.files, digest), digest, size, whole=files)
            if why:
                faults.add(Fault(f"the file {digest} {why}", position, stream))


def _readable(folder: Folder, faults: Faults) -> list[Ledger]:
    """Give the ledgers that can be read: a fault in one does not keep the log from being verified."""
    readable = []
    for ledger in ledgers_of(folder):
        try:
            with cut(ledger.part) as (db,):
                for _ in ledger.entries(ledger.part.path, db):
                    pass
        except StorageError as error:
            faults.add(damaged(error))
        else:
            readable.append(ledger)
    return readable


def _file_fault(path: Path, digest: str, size: int | None, *, whole: bool) -> str | None:
    """Say what is wrong with an uploaded file, if anything."""
    try:
        if size is not None and path.stat().st_size != size:
            return f"has {path.stat().st_size} bytes, not {size}"
        if whole:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return "does not have the bytes that it is named after"
        elif not path.is_file():
            return "is missing"
    except OSError as error:
        return "is missing" if isinstance(error, FileNotFoundError) else f"can't be read: {error.strerror}"
    return None


def _models(folder: Folder, faults: Faults) -> dict[str, Model]:
    """Check the read models: none may be halted, or ahead of the log. Those that are behind catch up by themselves."""
    with cut(Part(folder.reads, projector.SCHEMA_VERSION)) as (reads,):
        found = list(rows(folder.reads, reads, "SELECT name, version, position, halted FROM models"))
    with cut(Part(folder.events, sqlite.SCHEMA_VERSION)) as (db,):  # later, so that no model is ahead by timing alone
        ((head,),) = rows(folder.events, db, "SELECT coalesce(max(position), 0) FROM commits")
    versions: dict[str, Any] = {model.name: model.version for model in MODELS}
    models = {name: Model(at, halted) for name, version, at, halted in found if versions.get(name) == version}
    for name, model in models.items():
        if model.halted:
            faults.add(Fault(f"the read model {name} is halted: {model.halted}", model.position))
        if model.position > head:
            faults.add(Fault(f"the read model {name} is ahead of the log, which ends at {head}", model.position))
    return models


def _replay(folder: Folder, faults: Faults, tell: Tell) -> None:
    """Compare the read models with a fresh replay. The log is opened later, so that it has all that they know."""
    codec = log_codec()
    versions = {model.name: model.version for model in MODELS}
    with (
        cut(Part(folder.reads, projector.SCHEMA_VERSION)) as (reads,),
        cut(Part(folder.events, sqlite.SCHEMA_VERSION)) as (db,),
    ):
        found = rows(folder.reads, reads, "SELECT name, version, position FROM models WHERE halted IS NULL")
        positions = {name: at for name, version, at in found if versions.get(name) == version}
        records = audit.records(db, folder.events, codec, max(positions.values(), default=0))
        try:
            for name, why in compare(reads, folder.reads, MODELS, positions, records, tell):
                faults.add(Fault(f"the read model {name} differs from a replay: {why}", positions[name]))
        except CorruptLog as error:
            faults.add(Fault(f"the read models can't be held against a replay: {error}"))
