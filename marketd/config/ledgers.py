"""The ledgers beside the log of a store: the charges and refunds of each processor that it ever used."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from marketd.actors.payments import sandbox, stripe_ledger
from marketd.config.folder import Folder
from marketd.storage.database import Connection, Part, Row


class Ledger(NamedTuple):
    """A ledger's file, and how to read it: order, minor units, currency, outcome of the charge, of the refund."""

    part: Part
    entries: Callable[[Path, Connection], Iterator[Row]]


# What both ledgers hold of an order is called the same, so one query reads either.
KNOWN: Final = {
    "sandbox.db": (sandbox.SCHEMA_VERSION, sandbox.entries),
    "stripe.db": (stripe_ledger.SCHEMA_VERSION, sandbox.entries),
}


def ledgers_of(folder: Folder) -> list[Ledger]:
    """Give the ledgers that exist."""
    paths = {folder.path / name: known for name, known in KNOWN.items()}
    return [Ledger(Part(path, version), entries) for path, (version, entries) in paths.items() if path.exists()]
