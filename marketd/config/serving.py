"""
Serving: from the bound socket to the ready line, until the service is told to stop.

    CannotListen    the address or port can't be had
"""

import asyncio
import logging
import resource
import secrets
import signal
import socket
from pathlib import Path
from typing import Final

from marketd.clock import Clock
from marketd.config.background import background
from marketd.config.folder import Folder
from marketd.config.fronting import front
from marketd.config.sample import load_sample
from marketd.config.settings import Settings
from marketd.config.shown import without_credentials
from marketd.config.wiring import Service, running, wait_caught_up
from marketd.heap import give_back, settle
from marketd.http.certificate import Certificate
from marketd.http.ended import EndedSessions
from marketd.http.server import Tls
from marketd.whole import write_whole

FILES_BESIDE: Final = 512

log = logging.getLogger("marketd")


class CannotListen(Exception):
    """The address or port can't be had; the message is one line for the operator."""


async def serve(settings: Settings, clock: Clock, *, sample: bool) -> None:
    """Run the service until SIGTERM, SIGINT or SIGHUP, then finish the requests in hand and stop."""
    give_back()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _ending():
        loop.add_signal_handler(number, stop.set)
    _make_room(settings.http.connections_max)
    certificate = _certificate(settings, clock)
    tls = Tls(certificate.context, settings.http.tls_handshake_s_max) if certificate else None
    with _listen(settings.http.host, settings.http.port) as listener:
        url = _url("https" if tls else "http", settings.http.host, listener)
        async with (
            running(settings, clock, url) as service,
            front(service, listener, tls) as ended,
            background(_start(service, ended, url, sample=sample), *([certificate.run()] if certificate else [])),
        ):
            await stop.wait()
            log.info("stopping")


def _ending() -> list[signal.Signals]:
    """Say what asks for the end; the end of a terminal does not where somebody has seen to that (nohup)."""
    is_hung_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if is_hung_up else [])]


async def _start(service: Service, ended: EndedSessions, url: str, *, sample: bool) -> None:
    """Catch up, fill an empty store, or one whose filling was interrupted, and print the ready line."""
    folder = service.folder
    service.is_filling = sample and (service.log.head == 0 or folder.sample_unfinished.exists())
    await wait_caught_up(service)
    await ended.wait_whole()
    if service.is_filling:
        password = _sample_password(folder)
        folder.sample_unfinished.touch()
        counts = await load_sample(url, password)
        folder.sample_unfinished.unlink()
        service.is_filling = False
        log.info("sample catalogue: %s; the password of its people is in %s", counts, folder.sample_password)
    settle()
    nats_url = without_credentials(service.nats_url)
    print(f"marketd ready http={url} nats={nats_url} data={folder.path}", flush=True)


def _sample_password(folder: Folder) -> str:
    """Read the password of the sample users, or make it: it lasts as long as the log, which has these users."""
    if not folder.sample_password.exists():
        write_whole(folder.sample_password, f"Aa1-{secrets.token_urlsafe(12)}\n".encode())
    return folder.sample_password.read_text(encoding="utf-8").strip()


def _make_room(connections_max: int) -> None:
    """Let the process open as many files as there may be connections, and `FILES_BESIDE` more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections_max + FILES_BESIDE
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning("http.connections_max is %d, but the system allows %d open files", connections_max, allowed)


def _listen(host: str, port: int) -> socket.socket:
    """Bind before anything else is touched, so that a port in use is found at once; raise `CannotListen`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server((str(address[0]), port), family=family)
    except OSError as error:
        raise CannotListen(f"can't listen on {host}:{port}: {error.strerror or error}") from None
    listener.setblocking(False)
    return listener


def _certificate(settings: Settings, clock: Clock) -> Certificate | None:
    """Load the certificate, if TLS is set up, before anything else is touched."""
    chain, key = settings.http.tls_certificate, settings.http.tls_key
    if chain is None or key is None:
        return None
    return Certificate(Path(chain), Path(key), clock, check_s=settings.http.tls_check_s)


def _url(scheme: str, host: str, listener: socket.socket) -> str:
    """Give the URL of the service: an address that stands for all of them is replaced by loopback."""
    port = listener.getsockname()[1]
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"{scheme}://[{shown}]:{port}" if ":" in shown else f"{scheme}://{shown}:{port}"
