"""Who asks and takes no answer: whichever way their line ends, what is unsent keeps it open for a while at most."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Self, cast

import pytest
import uvloop

from marketd.http.lines import LineLimits
from marketd.http.server import Connection, Tls
from marketd.storage.cards import EncodedProduct
from tests.certificates import write_certificate
from tests.http.stage import Stage, staged

LARGE: Final = b'"%s"' % (b"x" * 20_000)  # less than may wait before whoever answers has to
HUGE: Final = b'"%s"' % (b"x" * 8_000_000)  # more than the system keeps for a connection
ASKED: Final = b"GET /products/lamp HTTP/1.1\r\nHost: x\r\n\r\n"
HALF: Final = b"GET / HT"
LIMITS: Final = LineLimits()
LATEST_S: Final = int(LIMITS.head_read_s_max + LIMITS.send_stall_s_max) + 2  # sooner than for asking nothing
LOOPS: Final[dict[str, Callable[[], asyncio.AbstractEventLoop]]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
LAST_SENT: Final = {
    "half a head": HALF,
    "the last request": b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "no request": b"\0\r\n\r\n",
}

Run = Callable[[Coroutine[Any, Any, None]], None]


class Deaf:
    """A client that takes next to nothing of what it is sent; `line` is the other end."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        stage.cards.cards["lamp"] = EncodedProduct("sam", True, LARGE, LARGE, "1-a")
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.setblocking(False)

    async def __aenter__(self) -> Self:
        before = set(self.stage.lines)
        await self.calls()
        await wait_until(lambda: set(self.stage.lines) - before)
        (self.line,) = set(self.stage.lines) - before
        await self.wait_answered()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def calls(self) -> None:
        """Be connected."""
        await asyncio.get_running_loop().sock_connect(self._socket, (self.stage.client.host, self.stage.client.port))

    async def sends(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    def sends_no_more(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    async def asks(self, times: int | None = None) -> int:
        """Ask one thing after the other, so often or until some of an answer can't go out; say how often it was."""
        asked = 0
        while asked != times and not (times is None and self.line.unsent_bytes()):
            await self.sends(ASKED)
            await asyncio.sleep(0.002)
            await self.wait_answered()
            asked += 1
        return asked

    async def wait_answered(self) -> None:
        await wait_until(lambda: self.line.idle_since_s() is not None)

    async def is_let_go(self) -> bool:
        """Let so much time pass that the line must have been hung up on; say whether it was."""
        await asyncio.sleep(0.2)  # what was sent last arrives
        now_s = asyncio.get_running_loop().time()
        for seconds in range(LATEST_S):
            self.stage.lines.sweep(now_s + seconds)
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)
        return self.line not in set(self.stage.lines)


class DeafByTls(Deaf):
    """The same over TLS: its client takes the greeting, and then nothing."""

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = trusting().wrap_bio(self._in, self._out)

    async def calls(self) -> None:
        await super().calls()
        while True:
            try:
                self._tls.do_handshake()
                return await super().sends(self._out.read())
            except ssl.SSLWantReadError:
                await super().sends(self._out.read())
                self._in.write(await asyncio.get_running_loop().sock_recv(self._socket, 4096))

    async def sends(self, data: bytes) -> None:
        self._tls.write(data)
        await super().sends(self._out.read())

    def sends_no_more(self) -> None:
        with pytest.raises(ssl.SSLWantReadError):  # the other's word that it sends no more either
            self._tls.unwrap()
        self._socket.send(self._out.read())


def trusting() -> ssl.SSLContext:
    """What a client has that asks nobody whom it speaks to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def tls_of(folder: Path) -> Tls:
    files, context = write_certificate(folder), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.key)
    return Tls(context, 5)


async def wait_until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not is_so():
            await asyncio.sleep(0.002)


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Run it on a loop of each sort: what becomes of what is unsent is the loop's business."""

    def run(work: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as loop:
            loop.run(work)

    return run


@pytest.mark.parametrize("last", LAST_SENT)
def test_whatever_was_sent_last(run: Run, tmp_path: Path, last: str) -> None:
    async def journey() -> None:
        async with staged(tmp_path) as stage, Deaf(stage) as deaf:
            await deaf.asks()
            await deaf.sends(LAST_SENT[last])

            assert await deaf.is_let_go()

    run(journey())


def test_half_a_head_ends_it_at_once(run: Run, tmp_path: Path) -> None:
    async def journey() -> None:
        async with staged(tmp_path) as stage, Deaf(stage) as deaf:
            await deaf.asks()
            await deaf.sends(HALF)
            await wait_until(lambda: deaf.line.head_since_s)
            stage.lines.sweep(asyncio.get_running_loop().time() + LIMITS.head_read_s_max + 1)

            await wait_until(lambda: not len(stage.lines))

    run(journey())


def test_who_sends_no_more(run: Run, tmp_path: Path) -> None:
    async def journey() -> None:
        async with staged(tmp_path) as stage, Deaf(stage) as deaf:
            await deaf.asks()
            deaf.sends_no_more()

            assert await deaf.is_let_go()

    run(journey())


def test_whose_line_aiohttp_has_closed(run: Run, tmp_path: Path) -> None:
    """As its timers do, and as it does after a defect."""

    async def journey() -> None:
        async with staged(tmp_path) as stage, Deaf(stage) as deaf:
            await deaf.asks()
            cast(Connection, deaf.line).force_close()

            assert await deaf.is_let_go()

    run(journey())


def test_who_is_told_that_the_head_took_too_long_and_does_not_hear_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def journey() -> None:
        async with staged(tmp_path) as stage, Deaf(stage) as deaf:
            await deaf.asks()
            await deaf.sends(HALF)
            with monkeypatch.context() as patched:  # as if there had still been room, and then none for these words
                patched.setattr(deaf.line, "unsent_bytes", lambda: 0)
                deaf.line.end_slow()

            assert await deaf.is_let_go()

    run(journey())


def test_whose_answers_wait_below_tls(run: Run, tmp_path: Path) -> None:
    """Where nobody counts them: the loop takes its leave by TLS, and then waits for the client."""

    async def journey() -> None:
        async with staged(tmp_path, tls=tls_of(tmp_path)) as stage:
            async with DeafByTls(stage) as counting:
                counted = await counting.asks()
            async with DeafByTls(stage) as deaf:
                await deaf.asks(counted - 2)
                await deaf.sends(HALF)
                await asyncio.sleep(0.02)
                stage.lines.sweep(asyncio.get_running_loop().time() + LIMITS.head_read_s_max + 1)
                deaf.sends_no_more()

                assert await deaf.is_let_go()

    run(journey())


def test_who_is_only_slow_has_all_of_the_last_answer(run: Run, tmp_path: Path) -> None:
    """Also over TLS, where what is unsent waits below it."""

    async def journey() -> None:
        async with staged(tmp_path, tls=tls_of(tmp_path)) as stage:
            stage.cards.cards["lamp"] = EncodedProduct("sam", True, HUGE, HUGE, "1-a")
            answer = await asyncio.to_thread(taken_late, stage.client.host, stage.client.port)

        assert HUGE == answer.partition(b"\r\n\r\n")[2]

    run(journey())


def taken_late(host: str, port: int | None) -> bytes:
    with socket.create_connection((host, port), timeout=10) as plain, trusting().wrap_socket(plain) as client:
        client.sendall(b"GET /products/lamp HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        time.sleep(0.5)
        return b"".join(iter(lambda: client.recv(65_536), b""))
