"""
The reference: aiohttp on uvloop with a handler that gives one body and one that reads JSON, and nothing else.

    python -m bench.bare BODY-FILE
"""

import asyncio
import sys
from pathlib import Path

import uvloop
from aiohttp import web


async def main(body: bytes) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    async def accept(request: web.Request) -> web.Response:
        asked = await request.json()
        said = {"message": "Your order is being processed", "orderId": asked["productId"], "status": "pending"}
        return web.json_response(said, status=202)

    app = web.Application()
    app.router.add_get("/{id}", answer)
    app.router.add_post("/{id}", accept)
    runner = web.AppRunner(app, access_log=None, handle_signals=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main(Path(sys.argv[1]).read_bytes()))
