"""
An announcer: one line for each sale and each new review, as they happen, for a terminal or a chat bot.

    marketd integrator add announcer --events order.completed,product.reviewed --json > announcer.json
    python examples/announcer.py announcer.json

It listens live: what happens while it is away it does not hear, and that is as it should be here.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import nats


async def announce(credentials: dict[str, Any]) -> None:
    """Print what happens, for ever."""
    connection = await nats.connect(
        credentials["url"],
        user=credentials["user"],
        password=credentials["password"],
        inbox_prefix=credentials["inboxPrefix"],
        max_reconnect_attempts=-1,
    )

    async def tell(message: Any) -> None:
        print(sentence(json.loads(message.data, parse_float=str)), flush=True)

    for subject in credentials["subjects"]:
        await connection.subscribe(subject, cb=tell)
    await connection.flush()
    print("listening", flush=True)
    await asyncio.Event().wait()


def sentence(event: dict[str, Any]) -> str:
    """Say it as people do."""
    match event["type"], event["data"]:
        case "market.order.completed", {"productTitle": title, "price": price, "currency": currency}:
            return f"{title} was sold for {price} {currency}."
        case "market.product.reviewed", {"productId": product, "rating": rating}:
            return f"Somebody gave {'★' * rating} to {product}."
        case other, _:
            return f"{other} happened."


if __name__ == "__main__":
    asyncio.run(announce(json.loads(Path(sys.argv[1]).read_text())))
