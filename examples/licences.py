"""
A licence checker: knows of every order whether it entitles to what was bought, also while the shop is away.

    marketd integrator add licences --events order.completed,order.refunded,order.failed --json > licences.json
    python examples/licences.py follow licences.json licences.db
    python examples/licences.py check licences.db ORDER PRODUCT      (exit code 0: it does, 1: it does not)

What an event changes, and that it was seen, is one transaction; only then is it acknowledged. So nothing is lost, and
what comes again changes nothing.
"""

import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import nats

TABLES = """
    CREATE TABLE IF NOT EXISTS licences(order_id TEXT PRIMARY KEY, product_id TEXT, buyer_id TEXT, is_valid INTEGER);
    CREATE TABLE IF NOT EXISTS seen(event_id TEXT PRIMARY KEY);
"""


async def follow(credentials: dict[str, Any], db: sqlite3.Connection) -> None:
    """Keep the licences as they are, for ever."""
    connection = await nats.connect(
        credentials["url"],
        user=credentials["user"],
        password=credentials["password"],
        inbox_prefix=credentials["inboxPrefix"],
        max_reconnect_attempts=-1,
    )
    stream = connection.jetstream(domain=credentials["domain"])
    orders = await stream.pull_subscribe_bind(credentials["consumer"], stream=credentials["stream"])
    while True:
        try:
            messages = await orders.fetch(100, timeout=30)
        except nats.errors.TimeoutError:
            continue
        for message in messages:
            take_in(db, json.loads(message.data))
            await message.ack()


def take_in(db: sqlite3.Connection, event: dict[str, Any]) -> None:
    """A completed order entitles; one that was refunded, or whose refund failed, does not any more."""
    order, is_valid = event["data"], event["type"] == "market.order.completed"
    with db:
        if db.execute("INSERT OR IGNORE INTO seen VALUES(?)", (event["id"],)).rowcount:
            row = (order["orderId"], order["productId"], order["buyerId"], is_valid)
            db.execute("INSERT OR REPLACE INTO licences VALUES(?, ?, ?, ?)", row)


def check(db: sqlite3.Connection, order_id: str, product_id: str) -> bool:
    """Say whether the order entitles to the product."""
    wanted = "SELECT 1 FROM licences WHERE order_id = ? AND product_id = ? AND is_valid"
    return db.execute(wanted, (order_id, product_id)).fetchone() is not None


def opened(path: str) -> sqlite3.Connection:
    """Open the file of licences."""
    db = sqlite3.connect(path)
    db.executescript(TABLES)
    return db


if __name__ == "__main__":
    if sys.argv[1] == "follow":
        asyncio.run(follow(json.loads(Path(sys.argv[2]).read_text()), opened(sys.argv[3])))
    else:
        sys.exit(0 if check(opened(sys.argv[2]), sys.argv[3], sys.argv[4]) else 1)
