"""
Receivers of webhooks that cost next to nothing: `python -m bench.receiving`.

Whatever is posted is answered with 204; `GET /` gives how many posts have come, each id of each path counted once.
"""

import asyncio
import re
from typing import ClassVar

import uvloop

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_ID = re.compile(rb"webhook-id: *(\S+)", re.IGNORECASE)
TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiving(asyncio.Protocol):
    """One connection."""

    came: ClassVar[set[bytes]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._received = transport, bytearray()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end])
            found = _LENGTH.search(head)
            length = int(found[1]) if found else 0
            if len(self._received) < end + 4 + length:
                return
            del self._received[: end + 4 + length]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        answer = TAKEN
        if head.startswith(b"GET"):
            body = str(len(self.came)).encode()
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        elif found := _ID.search(head):
            self.came.add(head.split(b" ", 2)[1] + found[1])
        self._transport.write(answer)  # type: ignore[attr-defined]  # uvloop's own is no Transport by inheritance


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Receiving, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())
