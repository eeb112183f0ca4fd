"""
Commands of the command line that need a service: a running one, or one started for the duration of the command.

    ErrandFailed    the command can't be done, or the service can't be reached
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from marketd.actors import account
from marketd.actors.aggregate import Refused
from marketd.bus.nats import CarrierLost, NatsBus
from marketd.bus.port import Bus, BusError, Envelope
from marketd.bus.subjects import command_subject
from marketd.clock import Clock, instant, new_id
from marketd.config.codecs import message_codec
from marketd.config.folder import Folder, is_in_use
from marketd.config.settings import Settings
from marketd.config.wiring import running
from marketd.http.auth import AdminAccount
from marketd.http.bodies import faults_of
from marketd.http.keyring import list_keys
from marketd.http.passwords import Passwords
from marketd.http.tokens import make_signing_key


class ErrandFailed(Exception):
    """The message is one line for the operator."""


class Carrier(msgspec.Struct, frozen=True):
    """A NATS server's URL, and our credentials for it."""

    url: str
    user: str | None
    password: str | None


async def create_admin(settings: Settings, clock: Clock, email: str, password: str) -> None:
    """Make an administrator's account; raise `ErrandFailed`."""
    faults = faults_of(AdminAccount, {"email": email, "password": password})
    if faults:
        raise ErrandFailed("; ".join(f"{fault.pointer.strip('/')}: {fault.detail}" for fault in faults))
    passwords = Passwords(
        threads=1,
        queue_max=1,
        memory_kib=settings.auth.argon2_memory_kib,
        time_cost=settings.auth.argon2_time_cost,
    )
    hashed = await passwords.hash(password)
    passwords.close()
    name = email.partition("@")[0]
    command = account.Register(new_id(clock), email, name, "admin", hashed, clock.now_ms())
    try:
        async with _reached(settings, clock) as bus:
            why = await _ask(bus, settings, clock, command_subject(account.address_of(email)), command)
    except CarrierLost as error:
        raise ErrandFailed(str(error)) from None
    if why:  # raised here, outside the task group that would wrap it in an exception group
        raise ErrandFailed(why)


def rotate_keys(settings: Settings, clock: Clock) -> str:
    """Make a new key for access tokens, which a running service loads by itself; give its id."""
    return make_signing_key(folder_of(settings).keys, clock)


def describe_keys(settings: Settings) -> list[str]:
    """Describe the keys, one a line; the newest, which signs, comes last; raise `OSError` where they can't be read."""
    folder = folder_of(settings).keys
    if folder.exists():
        os.listdir(folder)  # `glob` finds none where it may not look
    keys = list_keys(folder)
    uses = [*("verifies what it has signed" for _ in keys[:-1]), "signs"]
    return [
        f"{key.kid}  {instant(key.made_at_ms):%Y-%m-%dT%H:%M:%SZ}  {use}" for key, use in zip(keys, uses, strict=False)
    ]


async def tell_running(settings: Settings, clock: Clock, subject: str, message: msgspec.Struct) -> None:
    """Send a message to the service that runs on the data directory, if there is one; raise `ErrandFailed`."""
    if not is_in_use(folder_of(settings).path):
        return
    try:
        async with _reached(settings, clock) as bus:
            why = await _ask(bus, settings, clock, subject, message)
    except CarrierLost as error:
        raise ErrandFailed(str(error)) from None
    if why:
        raise ErrandFailed(why)


async def _ask(bus: Bus, settings: Settings, clock: Clock, subject: str, command: msgspec.Struct) -> str | None:
    """Send a command, and say why it was not done, or None if it was."""
    command_id = new_id(clock)
    deadline = clock.now_ms() + int(settings.actors.reply_wait_s_max * 1000)
    envelope = Envelope(command_id, command, correlation=command_id, deadline=deadline, principal="command line")
    try:
        await bus.ask(subject, envelope)
    except Refused as refused:
        return refused.reason.value
    except BusError as error:
        return f"the service did not do it: {error}"
    return None


@asynccontextmanager
async def _reached(settings: Settings, clock: Clock) -> AsyncIterator[Bus]:
    """Connect to the service that runs on the data directory, which must exist; if none does, run one for the block."""
    folder = folder_of(settings)
    if not is_in_use(folder.path):
        async with running(settings, clock) as service:
            yield service.bus
        return
    carrier = carrier_of(settings)
    bus = NatsBus(
        carrier.url,
        message_codec(),
        clock,
        user=carrier.user,
        password=carrier.password,
        in_process=False,
        connect_s_max=settings.nats.start_s_max,
    )
    async with bus:
        yield bus


def carrier_of(settings: Settings) -> Carrier:
    """Give the NATS server of a running service, and our credentials for it; raise `ErrandFailed`."""
    if settings.nats.url is not None:
        return Carrier(settings.nats.url, settings.nats.user, settings.nats.password)
    folder = folder_of(settings)
    try:
        return msgspec.json.decode((folder.nats / "endpoint.json").read_bytes(), type=Carrier)
    except OSError:
        busy = "is still starting, or uses a NATS server that this command has to be told of too, by MARKETD_NATS__URL"
        why = busy if is_in_use(folder.path) else "does not run"
        raise ErrandFailed(f"the service on {folder.path} {why}") from None


def folder_of(settings: Settings) -> Folder:
    """Find the data directory, which must exist, because a typo must not make an empty store; raise `ErrandFailed`."""
    folder = Folder(Path(settings.data.dir))
    if not folder.path.is_dir():
        raise ErrandFailed(f"there is no data directory {folder.path}")
    return folder
