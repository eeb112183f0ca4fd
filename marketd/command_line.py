"""
The command line.

    marketd serve            run the service
    marketd config           print the settings in force
    marketd admin create     make an administrator's account
    marketd keys rotate      make a new key for access tokens
    marketd keys list        list the keys of access tokens

Exit codes: 0 done, 1 it could not be done, 2 the settings or the command line are wrong.
"""

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from marketd import __version__
from marketd.bus.nats import CarrierLost
from marketd.bus.server import NatsServerError
from marketd.clock import SystemClock
from marketd.config.errands import ErrandFailed, create_admin, describe_keys, rotate_keys
from marketd.config.folder import FolderError
from marketd.config.loading import FLAGS, SettingsError, load
from marketd.config.logs import set_up
from marketd.config.sample import SampleFailed
from marketd.config.serving import CannotListen, serve
from marketd.config.settings import Loaded, Settings
from marketd.config.shown import describe
from marketd.http.tokens import KeyUnusable
from marketd.storage.database import StorageError
from marketd.storage.log import CorruptLog

FAILED: Final = 1
MISUSED: Final = 2
PRIVATE: Final = 0o077  # what is in the data directory is for nobody else on the machine
# What may stand in the way, each with a message that is one line for the operator; anything else is a defect.
KNOWN: Final = (
    FolderError,
    CannotListen,
    KeyUnusable,
    StorageError,
    CorruptLog,
    NatsServerError,
    CarrierLost,
    ErrandFailed,
    SampleFailed,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; give the exit code."""
    wanted = parser().parse_args(arguments)
    try:
        loaded = load(wanted.config, os.environ, _flags(vars(wanted)))
    except SettingsError as error:
        return _say(str(error), MISUSED)
    try:
        done: int = wanted.run(loaded, wanted)
    except* KNOWN as group:
        done = _say("\n".join(dict.fromkeys(_messages(group))), FAILED)
    return done


def parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    top = argparse.ArgumentParser(
        prog="marketd", description="A self-hosted backend for a marketplace of digital goods."
    )
    top.add_argument("--version", action="version", version=f"marketd {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, metavar="F", help="a TOML file with settings")
    common.add_argument("--data", metavar="DIR", help="the data directory (default: ./data)")

    serving = commands.add_parser("serve", parents=[common], help="run the service", description=serve.__doc__)
    serving.add_argument("--host", metavar="H", help="the address to listen on (default: 127.0.0.1)")
    serving.add_argument(
        "--port", type=int, metavar="P", help="the port to listen on, 0 for a free one (default: 8080)"
    )
    serving.add_argument("--nats", metavar="URL", help="a NATS server that already runs (default: one of our own)")
    serving.add_argument("--sample", action="store_true", help="fill an empty store with a small sample catalogue")
    serving.set_defaults(run=_serve)

    config = commands.add_parser("config", parents=[common], help="print the settings in force, and their sources")
    config.set_defaults(run=_config)

    admin = commands.add_parser("admin", help="administrators' accounts")
    admins = admin.add_subparsers(title="commands", required=True, metavar="COMMAND")
    create = admins.add_parser(
        "create", parents=[common], help="make an administrator's account, also while the service runs"
    )
    create.add_argument("email", metavar="EMAIL")
    create.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    create.set_defaults(run=_create_admin)

    keys = commands.add_parser("keys", help="the keys that sign access tokens")
    several = keys.add_subparsers(title="commands", required=True, metavar="COMMAND")
    rotate = several.add_parser(
        "rotate", parents=[common], help="sign with a new key, also while the service runs; nobody is signed out"
    )
    rotate.set_defaults(run=_rotate_keys)
    listing = several.add_parser("list", parents=[common], help="list the keys, the one that signs last")
    listing.set_defaults(run=_list_keys)
    return top


def _serve(loaded: Loaded, wanted: argparse.Namespace) -> int:
    _run(loaded.settings, serve(loaded.settings, SystemClock(), sample=wanted.sample))
    return 0


def _config(loaded: Loaded, wanted: argparse.Namespace) -> int:
    print("\n".join(describe(loaded)).strip())
    return 0


def _create_admin(loaded: Loaded, wanted: argparse.Namespace) -> int:
    if wanted.password_stdin:
        password = sys.stdin.readline().rstrip("\n")
    else:
        password = getpass.getpass("Password: ")
        if password != getpass.getpass("Once more: "):
            raise ErrandFailed("the two passwords differ")
    _run(loaded.settings, create_admin(loaded.settings, SystemClock(), wanted.email, password))
    print(f"made the administrator {wanted.email}")
    return 0


def _rotate_keys(loaded: Loaded, wanted: argparse.Namespace) -> int:
    os.umask(PRIVATE)
    print(f"made the key {rotate_keys(loaded.settings, SystemClock())}")
    return 0


def _list_keys(loaded: Loaded, wanted: argparse.Namespace) -> int:
    print("\n".join(describe_keys(loaded.settings)) or "there are no keys yet: the first start makes one")
    return 0


def _run(settings: Settings, work: Coroutine[Any, Any, None]) -> None:
    os.umask(PRIVATE)
    set_up(settings.log.level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)


def _flags(given: Mapping[str, Any]) -> dict[str, Any]:
    return {flag: given.get(flag.removeprefix("--")) for flag in FLAGS}


def _say(message: str, code: int) -> int:
    print(f"marketd: {message}", file=sys.stderr)
    return code


def _messages(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [message for inner in error.exceptions for message in _messages(inner)]
    return [str(error)]
