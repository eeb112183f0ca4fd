"""
A bookkeeper: one line of CSV for every sale and every refund, and never one twice.

    marketd integrator add books --events 'order.*' --json > books.json
    python examples/bookkeeper.py books.json books.csv

An event is acknowledged when its line is on the disk. Whatever dies before that, it comes again; whether its line is
there already, its id tells, which stands in the first column.
"""

import asyncio
import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import nats

COLUMNS = ["event", "time", "type", "order", "product", "title", "amount", "currency", "buyer", "seller"]
SIGNS = {"market.order.completed": 1, "market.order.refunded": -1}


async def keep(credentials: dict[str, Any], path: Path) -> None:
    """Write down what is sold and refunded, for ever."""
    written = read_ids(path)
    connection = await nats.connect(
        credentials["url"],
        user=credentials["user"],
        password=credentials["password"],
        inbox_prefix=credentials["inboxPrefix"],
        max_reconnect_attempts=-1,
    )
    stream = connection.jetstream(domain=credentials["domain"])
    orders = await stream.pull_subscribe_bind(credentials["consumer"], stream=credentials["stream"])
    with path.open("a", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        if not written and file.tell() == 0:
            lines.writerow(COLUMNS)
        while True:
            try:
                messages = await orders.fetch(100, timeout=30)
            except nats.errors.TimeoutError:
                continue  # nothing was sold
            for message in messages:
                event = json.loads(message.data, parse_float=str)  # 19.99 stays 19.99
                if event["type"] in SIGNS and event["id"] not in written:
                    lines.writerow(line_of(event))
                    written.add(event["id"])
            file.flush()
            os.fsync(file.fileno())
            for message in messages:
                await message.ack()


def line_of(event: dict[str, Any]) -> list[Any]:
    """Write one event as a line of the books; money that went back has a minus."""
    order = event["data"]
    amount = f"-{order['price']}" if SIGNS[event["type"]] < 0 else order["price"]
    return [
        *(event["id"], event["time"], event["type"], order["orderId"], order["productId"], order["productTitle"]),
        *(amount, order["currency"], order["buyerId"], order["sellerId"]),
    ]


def read_ids(path: Path) -> set[str]:
    """Read which events are in the books already; a last line that was cut off is no line."""
    if not path.exists():
        return set()
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")
    return {line[0] for line in csv.reader(whole.splitlines()) if line} - {COLUMNS[0]}


if __name__ == "__main__":
    asyncio.run(keep(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])))
