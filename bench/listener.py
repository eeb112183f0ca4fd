"""
An integrator that only looks at the clock: `python -m bench.listener CREDENTIALS`. It says when it listens, and at the
end of its standard input prints, for each completed order, how many milliseconds its event took to get here.
"""

import asyncio
import json
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import nats
import uvloop


async def main(credentials: dict[str, Any]) -> None:
    delays: list[float] = []
    connection = await nats.connect(
        credentials["url"],
        user=credentials["user"],
        password=credentials["password"],
        inbox_prefix=credentials["inboxPrefix"],
    )

    async def note(message: Any) -> None:
        now = time.time()
        delays.append((now - datetime.fromisoformat(json.loads(message.data)["time"]).timestamp()) * 1000)

    for subject in credentials["subjects"]:
        await connection.subscribe(subject, cb=note)
    await connection.flush()
    print("listening", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    print(json.dumps(delays), flush=True)
    await connection.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main(json.loads(Path(sys.argv[1]).read_text())))
