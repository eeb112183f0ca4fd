"""
Integrators on the command line: added, listed and removed, whether or not the service runs.

    marketd integrator add acme --events 'order.*' --json > acme.json
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from marketd.bus.events import DATA
from marketd.bus.gate import LookAgain
from marketd.bus.integrators import (
    DOMAIN,
    INTEGRATORS_MAX,
    NAME,
    NOT_NAMES,
    PASSWORD_BYTES,
    Integrator,
    Register,
    hashed,
    subjects_of,
)
from marketd.bus.server import HOST, reserve_port
from marketd.bus.subjects import EVENTS_STREAM, query_subject
from marketd.clock import Clock, Instant, instant
from marketd.config.errands import ErrandFailed, carrier_of, folder_of, tell_running
from marketd.config.folder import Folder, is_in_use, opened
from marketd.config.settings import Settings

OUTSIDE: Final = (
    "this service uses the NATS server at {url}, whose users its operator makes: make one there that may pull from a"
    " consumer of the stream " + EVENTS_STREAM + ", and nothing else, as docs/nats.md shows"
)
MAY_BE_IN: Final = (
    "{name} is not in the list of integrators, but the service that runs could not be told, and may let it in still:"
    " remove it again, or start the service again ({error})"
)
SNIPPET: Final = """\
# {name} may read {subjects}. The password is not shown again.
import asyncio

import nats


async def main():
    nc = await nats.connect("{url}", user="{user}", password="{password}", inbox_prefix="{inbox_prefix}")
    events = await nc.jetstream(domain="{domain}").pull_subscribe_bind("{consumer}", stream="{stream}")
    while True:
        try:
            messages = await events.fetch(100, timeout=30)
        except nats.errors.TimeoutError:
            continue
        for message in messages:
            print(message.data.decode(), flush=True)
            await message.ack()


asyncio.run(main())
"""


class Credentials(Struct, rename="camel"):
    """All that a client needs to connect."""

    url: str
    user: str
    password: str
    domain: str
    stream: str
    consumer: str
    inbox_prefix: str
    subjects: list[str]

    @property
    def snippet(self) -> str:
        """A program that reads the events, for nats-py."""
        facts = msgspec.structs.asdict(self)
        return SNIPPET.format(name=self.user, **{**facts, "subjects": ", ".join(self.subjects)})


class Listed(Struct, rename="camel"):
    name: str
    events: tuple[str, ...]
    subjects: list[str]
    created_at: Instant


async def add_integrator(settings: Settings, clock: Clock, name: str, events: Sequence[str]) -> Credentials:
    """Add an integrator, who can read at once if the service runs, else from its start on; raise `ErrandFailed`."""
    folder = _folder_of_ours(settings)
    if name.lower() in NOT_NAMES:
        raise ErrandFailed(f"the name {name} is reserved: take another one")
    if not NAME.fullmatch(name):
        raise ErrandFailed(f"expected a name of letters, digits, hyphens and underscores, at most 64, but got {name!r}")
    try:
        subjects_of(events)
    except ValueError as error:
        raise ErrandFailed(f"{error}; there are {', '.join(['*', *DATA])}") from None
    if not is_in_use(folder.path):
        with opened(folder.path, 0):  # a directory that never held a store becomes a data directory
            pass
    password = clock.random_bytes(PASSWORD_BYTES).hex()
    made = Integrator(name, tuple(events), hashed(password), clock.now_ms())
    with Register(folder.integrators).changing() as known:
        if any(one.name == name for one in known):
            raise ErrandFailed(f"there is an integrator {name} already")
        if len(known) >= INTEGRATORS_MAX:
            raise ErrandFailed(f"there are {len(known)} integrators already, as many as there may be")
        known.append(made)
    try:
        await tell_running(settings, clock, query_subject(LookAgain), LookAgain())
    except ErrandFailed:
        with Register(folder.integrators).changing() as known:
            known[:] = [one for one in known if one.name != name]
        raise
    return Credentials(
        url=_url(settings, folder),
        user=name,
        password=password,
        domain=DOMAIN,
        stream=EVENTS_STREAM,
        consumer=name,
        inbox_prefix=made.inbox_prefix,
        subjects=made.subjects,
    )


async def remove_integrator(settings: Settings, clock: Clock, name: str) -> None:
    """
    Revoke an integrator's access and remove its consumer; raise `ErrandFailed`. The list is changed first and stays
    changed: if the service can't be told, its next start refuses the integrator. So one that is not in the list may
    still have access, and the service is told to look again then too.
    """
    folder = _folder_of_ours(settings)
    with Register(folder.integrators).changing() as known:
        staying = [one for one in known if one.name != name]
        is_known = len(staying) < len(known)
        known[:] = staying
    try:
        await tell_running(settings, clock, query_subject(LookAgain), LookAgain())
    except ErrandFailed as error:
        raise ErrandFailed(MAY_BE_IN.format(name=name, error=error)) from None
    if not is_known:
        raise ErrandFailed(f"there is no integrator {name}; a service that runs has looked again who there is")


def list_integrators(settings: Settings) -> list[Listed]:
    """List the integrators in the order in which they were added; raise `ErrandFailed`."""
    return [
        Listed(one.name, one.events, one.subjects, instant(one.created_at))
        for one in Register(_folder_of_ours(settings).integrators).read()
    ]


def _url(settings: Settings, folder: Folder) -> str:
    """Give the URL of the NATS server, also before it runs: a port that was chosen once stays."""
    if is_in_use(folder.path):
        return carrier_of(settings).url
    return f"nats://{HOST}:{settings.nats.port or reserve_port(folder.nats)}"


def _folder_of_ours(settings: Settings) -> Folder:
    """Find the data directory of a service that has its own NATS server; raise `ErrandFailed`."""
    if settings.nats.url is not None:
        raise ErrandFailed(OUTSIDE.format(url=settings.nats.url))
    return folder_of(settings)
