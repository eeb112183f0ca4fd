"""
The command line.

    marketd serve            run the service
    marketd config           print the settings in force
    marketd admin create     make an administrator's account
    marketd integrator add   let an external program read public events
    marketd integrator list  list those programs
    marketd integrator remove  revoke one's access
    marketd events replay    publish older public events again
    marketd keys rotate      make a new key for access tokens
    marketd keys list        list the keys of access tokens
    marketd verify           check the store for faults
    marketd backup           write the store into one file
    marketd restore          make a store from such a file
    marketd rebuild          make the read models and the search index again
    marketd export           write all events as lines of JSON

Exit codes: 0 done, 1 the command failed or the store has faults, 2 the settings or the command line are wrong, 128 plus
the number of the signal that ended it.
"""

import argparse
import asyncio
import getpass
import logging
import os
import signal
import sys
import warnings
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final, TypeVar

import msgspec
import uvloop

from marketd import __version__
from marketd.actors.notices.templates import TemplateFault
from marketd.bus.nats import CarrierLost
from marketd.bus.server import NatsServerError
from marketd.clock import SystemClock, ms_of
from marketd.config import verifying
from marketd.config.archiving import BackupRefused, RestoreRefused, backup, restore
from marketd.config.errands import ErrandFailed, create_admin, describe_keys, rotate_keys
from marketd.config.exporting import export
from marketd.config.fields import Loaded
from marketd.config.folder import FolderError, found
from marketd.config.integrating import add_integrator, list_integrators, remove_integrator
from marketd.config.loading import FLAGS, SettingsError, load
from marketd.config.logs import set_up
from marketd.config.progress import Progress
from marketd.config.rebuilding import RebuildFailed, rebuild
from marketd.config.replaying import replay
from marketd.config.sample import SampleFailed
from marketd.config.serving import CannotListen, serve
from marketd.config.settings import Settings
from marketd.config.shown import describe, without_credentials
from marketd.config.tracing import ExtraMissing
from marketd.http.certificate import CertificateUnusable
from marketd.http.tokens import KeyUnusable
from marketd.storage.archive import ArchiveError
from marketd.storage.database import BrokenFile, StorageError
from marketd.storage.log import CorruptLog
from marketd.whole import hand_over

T = TypeVar("T")
log = logging.getLogger("marketd")

FAILED: Final = 1
MISUSED: Final = 2
SIGNALLED: Final = 128  # plus the number of the signal, as shells have it
PRIVATE: Final = 0o077  # what is in the data directory is only for the user of the service
# The expected errors, each with a message that is one line for the operator; any other is a defect.
KNOWN: Final = (
    FolderError,
    CannotListen,
    KeyUnusable,
    CertificateUnusable,
    TemplateFault,
    StorageError,
    CorruptLog,
    NatsServerError,
    CarrierLost,
    ErrandFailed,
    SampleFailed,
    ArchiveError,
    BackupRefused,
    RestoreRefused,
    RebuildFailed,
    ExtraMissing,
)
DAMAGED: Final = ": the log is damaged; `marketd verify` says which records are, and a backup has to be restored"
VERIFYING: Final = """
Walk the whole log and say whether every event decodes, every stream is without gaps and the chain of hashes holds;
whether charges, refunds, orders, libraries, stock and licence keys agree; whether every uploaded file is there; and
whether the read models stand where they can. Each fault is named with its place. Nothing is changed, and a service may
run meanwhile. The exit code is 1 where there is a fault.
"""
BACKING_UP: Final = """
Write the log, the uploaded files, the keys, the first answers and the sandbox's ledger into one tar file, as they are
at one moment, also while the service runs. The file holds every secret of the store: keep it like one. A log that is
damaged is refused, unless --no-check says otherwise.
"""
RESTORING: Final = """
Make a data directory of a backup. The directory must be empty or not there; it is there whole or not at all. Read
models and search index are made again at the next start.
"""
REBUILDING: Final = """
Make the read models and the search index again from the log. No service may run meanwhile.
"""
ADDING: Final = """
Make credentials for a program of others: it can read the public events that are named here, live and through a durable
consumer of its own, and nothing else. Prints a program to begin with, or with --json what any client needs. The
password is shown this once.
"""
REPLAYING: Final = """
Publish the public events from a time on again, out of the log, in order. They go into the stream MARKET_REPLAY: under
market.replay.all for every integrator, or market.replay.NAME for one, each again only what it may read; or, unkept, to
any other subject. Who follows the events live sees none of it.
"""
EXPORTING: Final = """
Write every event as one line of JSON to standard output, also while the service runs. This is the operator's own and
complete export: e-mail addresses, password hashes, licence keys and file addresses are in it as they are stored.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the command line names; give the exit code."""
    wanted = parser().parse_args(arguments)
    try:
        loaded = load(wanted.config, os.environ, _flags(vars(wanted)))
    except SettingsError as error:
        return _say(str(error), MISUSED)
    done, of_the_system = FAILED, list[str]()
    stopped = _stopped_like_interrupted()
    try:
        done = wanted.run(loaded, wanted)
    except* KNOWN as group:
        done = _say("\n".join(dict.fromkeys(_messages(group))), FAILED)
    except* OSError as group:
        log.debug("what the system has refused", exc_info=group)
        of_the_system = _messages(group)
    except* KeyboardInterrupt:
        done = _say("stopped", SIGNALLED + next(iter(stopped), signal.SIGINT))
    of_the_system += _refused_output()
    if of_the_system:
        done = _say("\n".join(dict.fromkeys(of_the_system)), FAILED)
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
    serving.add_argument("--port", metavar="P", help="the port to listen on, 0 for a free one (default: 8080)")
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
    _add_integrators(commands, common)
    _add_care(commands, common)
    return top


def _add_integrators(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands about integrators and public events."""
    integrator = commands.add_parser("integrator", help="programs of others that read public events")
    several = integrator.add_subparsers(title="commands", required=True, metavar="COMMAND")
    adding = several.add_parser(
        "add", parents=[common], help="let one in, also while the service runs", description=ADDING
    )
    adding.add_argument("name", metavar="NAME", help="its name: letters, digits, hyphens and underscores, at most 64")
    adding.add_argument(
        "--events",
        action="append",
        metavar="EVENTS",
        help="what it may read, as order.completed or 'order.*'; may be given again (default: '*', all)",
    )
    adding.add_argument("--json", action="store_true", help="print what a client needs as JSON, in place of a program")
    adding.set_defaults(run=_add_integrator)
    listing = several.add_parser("list", parents=[common], help="list them")
    listing.add_argument("--json", action="store_true", help="print them as JSON")
    listing.set_defaults(run=_list_integrators)
    removing = several.add_parser("remove", parents=[common], help="let one in no more, also while the service runs")
    removing.add_argument("name", metavar="NAME")
    removing.set_defaults(run=_remove_integrator)

    events = commands.add_parser("events", help="the public events")
    deeds = events.add_subparsers(title="commands", required=True, metavar="COMMAND")
    replaying = deeds.add_parser("replay", parents=[common], help="publish older ones again", description=REPLAYING)
    replaying.add_argument("--since", type=_time, required=True, metavar="T", help="from this time on, as 2026-01-31")
    replaying.add_argument(
        "--to", metavar="SUBJECT", help="where to: market.replay.NAME for one integrator (default: market.replay.all)"
    )
    replaying.set_defaults(run=_replay)


def _time(text: str) -> int:
    """Read a time or a date (RFC 3339); without a zone it is UTC."""
    time = datetime.fromisoformat(text)
    return ms_of(time if time.tzinfo else time.replace(tzinfo=UTC))


def _add_care(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands that maintain the data."""
    check = commands.add_parser(
        "verify", parents=[common], help="say whether everything in the store is as it must be", description=VERIFYING
    )
    check.add_argument("--files", action="store_true", help="read every byte of the uploaded files too")
    check.add_argument("--models", action="store_true", help="make the read models again, aside, and compare them")
    check.add_argument("--json", action="store_true", help="print the report as one JSON document")
    check.set_defaults(run=_verify)

    saving = commands.add_parser(
        "backup", parents=[common], help="write the store into one file, also while it runs", description=BACKING_UP
    )
    saving.add_argument("file", type=Path, metavar="FILE", help="the file to make; it must not be there yet")
    saving.add_argument("--no-check", action="store_true", help="also of a log that is damaged")
    saving.set_defaults(run=_backup)

    making = commands.add_parser(
        "restore", parents=[common], help="make a data directory of a backup", description=RESTORING
    )
    making.add_argument("file", type=Path, metavar="FILE", help="what `marketd backup` has made")
    making.set_defaults(run=_restore)

    again = commands.add_parser(
        "rebuild", parents=[common], help="make read models and search index again", description=REBUILDING
    )
    again.set_defaults(run=_rebuild)

    out = commands.add_parser(
        "export", parents=[common], help="write all events as lines of JSON", description=EXPORTING
    )
    out.add_argument(
        "--after", type=int, default=0, metavar="POSITION", help="only what comes after this position of the log"
    )
    out.set_defaults(run=_export)


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
        password = _typed("Password: ")
        if password != _typed("Once more: "):
            raise ErrandFailed("the two passwords differ")
    _run(loaded.settings, create_admin(loaded.settings, SystemClock(), wanted.email, password))
    print(f"made the administrator {wanted.email}")
    return 0


def _typed(prompt: str) -> str:
    """Ask at the terminal without echo; raise `ErrandFailed` if there is no terminal, or its input has ended."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # that the input would be echoed
        try:
            return getpass.getpass(prompt)
        except (EOFError, getpass.GetPassWarning):
            raise ErrandFailed("there is no terminal to ask at: give the password with --password-stdin") from None


def _add_integrator(loaded: Loaded, wanted: argparse.Namespace) -> int:
    events = [name for names in wanted.events or ["*"] for name in names.split(",")]
    made = _run(loaded.settings, add_integrator(loaded.settings, SystemClock(), wanted.name, events))
    print(msgspec.json.encode(made).decode() if wanted.json else made.snippet)
    return 0


def _list_integrators(loaded: Loaded, wanted: argparse.Namespace) -> int:
    listed = list_integrators(loaded.settings)
    if wanted.json:
        print(msgspec.json.encode(listed).decode())
        return 0
    print("\n".join(f"{one.name}  {', '.join(one.events)}  since {one.created_at:%Y-%m-%d}" for one in listed))
    return 0


def _remove_integrator(loaded: Loaded, wanted: argparse.Namespace) -> int:
    _run(loaded.settings, remove_integrator(loaded.settings, SystemClock(), wanted.name))
    print(f"removed the integrator {wanted.name}")
    return 0


def _replay(loaded: Loaded, wanted: argparse.Namespace) -> int:
    clock = SystemClock()
    with Progress(clock) as progress:
        count = _run(loaded.settings, replay(loaded.settings, clock, wanted.since, wanted.to, progress))
    print(f"replayed {count} events")
    return 0


def _rotate_keys(loaded: Loaded, wanted: argparse.Namespace) -> int:
    os.umask(PRIVATE)
    print(f"made the key {rotate_keys(loaded.settings, SystemClock())}")
    return 0


def _list_keys(loaded: Loaded, wanted: argparse.Namespace) -> int:
    print("\n".join(describe_keys(loaded.settings)) or "there are no keys yet: the first start makes one")
    return 0


def _verify(loaded: Loaded, wanted: argparse.Namespace) -> int:
    with Progress(SystemClock()) as progress:
        folder = found(Path(loaded.settings.data.dir))
        report = verifying.verify(folder, progress.tell, files=wanted.files, models=wanted.models)
    print(msgspec.json.encode(report).decode() if wanted.json else "\n".join(verifying.describe(report)))
    return 0 if report.ok else FAILED


def _backup(loaded: Loaded, wanted: argparse.Namespace) -> int:
    if str(wanted.file) == "-":
        return _say("a backup has to be a file, not standard output: give it a name", MISUSED)
    os.umask(PRIVATE)
    clock = SystemClock()
    with Progress(clock) as progress:
        made = backup(found(Path(loaded.settings.data.dir)), wanted.file, clock, progress, check=not wanted.no_check)
    print(f"wrote {wanted.file}: the log up to position {made.position}, {made.files} files")
    if made.damaged:
        return _say(f"the backup is made, but in the store these are damaged: {', '.join(made.damaged)}", FAILED)
    return 0


def _restore(loaded: Loaded, wanted: argparse.Namespace) -> int:
    os.umask(PRIVATE)
    settings = loaded.settings
    with Progress(SystemClock()) as progress:
        manifest = restore(wanted.file, Path(settings.data.dir), settings.storage.free_bytes_min, progress)
    print(f"restored {settings.data.dir}: the log up to position {manifest.position}, {len(manifest.files)} files")
    return 0


def _rebuild(loaded: Loaded, wanted: argparse.Namespace) -> int:
    clock = SystemClock()
    with Progress(clock) as progress:
        position = _run(loaded.settings, rebuild(loaded.settings, clock, progress))
    print(f"made the read models and the search index again, up to position {position}")
    return 0


def _export(loaded: Loaded, wanted: argparse.Namespace) -> int:
    try:
        for line in export(found(Path(loaded.settings.data.dir)), max(0, wanted.after)):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except BrokenPipeError:  # the reader has closed the pipe
        _give_up_output()
    return 0


def _run(settings: Settings, work: Coroutine[Any, Any, T]) -> T:
    os.umask(PRIVATE)
    set_up(settings.log.level, settings.log.format)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)
    finally:
        hand_over(
            Path(settings.data.dir), Path(settings.data.dir)
        )  # what SQLite, nats-server and the index have written


def _flags(given: Mapping[str, Any]) -> dict[str, Any]:
    return {flag: given.get(flag.removeprefix("--")) for flag in FLAGS}


def _say(message: str, code: int) -> int:
    print(f"marketd: {without_credentials(message)}", file=sys.stderr)
    return code


def _messages(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [message for inner in error.exceptions for message in _messages(inner)]
    if isinstance(error, OSError) and error.strerror:
        return [f"{error.filename}: {error.strerror}" if error.filename else error.strerror]
    if isinstance(error, CorruptLog) or (isinstance(error, BrokenFile) and "events.db" in str(error)):
        return [f"{error}{DAMAGED}"]
    return [str(error) or type(error).__name__]


def _stopped_like_interrupted() -> list[int]:
    """Have SIGTERM and SIGHUP do what SIGINT does, so that all is cleaned up; give where their numbers are noted."""
    noted: list[int] = []
    ours = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]

    def interrupt(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        for one in ours:
            signal.signal(one, signal.SIG_IGN)  # once is enough: who cleans up is not to be disturbed
        interrupted = signal.getsignal(signal.SIGINT)
        if not callable(interrupted):  # it is ignored, as in a script's background
            raise KeyboardInterrupt
        interrupted(signal.SIGINT, frame)

    for number in ours:
        signal.signal(number, interrupt)
    return noted


def _refused_output() -> list[str]:
    """Bring what was printed to where it goes; say why that can't be, and then the rest goes nowhere."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up_output()
        return _messages(error)
    return []


def _give_up_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end
