"""
What is missing from a store that is not new. It is made anew, so that the service starts; the one rule is that the log
says so, and what follows, because nothing else would.
"""

import logging
from typing import Final

from marketd.config.folder import Folder
from marketd.storage import sqlite
from marketd.storage.database import Part, cut, rows

PAID: Final = """SELECT 1 FROM commits WHERE instr(events, '"type":"order.paid"') LIMIT 1"""
# What is no good any more without a key, and who can do what about it.
KEYS: Final = {
    "*.pem": "the access tokens that are out are refused, and clients have to refresh them",
    "answers.key": "the first answers are lost: a request that comes again under its Idempotency-Key is done again",
    "links.key": "the download links that are out are refused, also those in receipts; the library gives new ones",
    "mail.key": "the links in mails that are out are refused: confirmations, new passwords, and those that end mails",
    "push.key": "browsers get no more messages until they subscribe again",
    "webhooks.key": "the signing secrets of all webhooks are others now, and receivers refuse what is signed with them",
}

log = logging.getLogger("marketd.store")


def tell_lost_keys(folder: Folder, head: int, *names: str) -> None:
    """Warn of the keys that are about to be made, though there are `head` records that may rely on the old ones."""
    for name in names if head else ():
        if not any(folder.keys.glob(name)):
            log.warning("%s is missing and is made anew, but the store is not: %s", folder.keys / name, KEYS[name])


def tell_lost_ledger(folder: Folder) -> None:
    """Warn where the sandbox's ledger is about to be made, though orders were paid; raise `StorageError`."""
    if folder.sandbox.exists() or not folder.events.exists():
        return
    with cut(Part(folder.events, sqlite.SCHEMA_VERSION)) as (db,):
        if any(rows(folder.events, db, PAID)):
            log.warning(
                "%s is missing and is made anew, but orders were paid: a refund of one of them moves no money, and"
                " `marketd verify` names them all; restore it from a backup",
                folder.sandbox,
            )
