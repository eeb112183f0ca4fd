"""The command line: what it says, where, and with which exit code."""

import fcntl
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest

from marketd import __version__
from tests.config.stores import old_store

CHEAP: Final = {"MARKETD_AUTH__ARGON2_MEMORY_KIB": "8", "MARKETD_AUTH__ARGON2_TIME_COST": "1"}
COMMANDS: Final = [
    [],
    ["serve"],
    ["config"],
    ["admin"],
    ["admin", "create"],
    ["keys"],
    ["keys", "rotate"],
    ["keys", "list"],
    ["verify"],
    ["backup"],
    ["restore"],
    ["rebuild"],
    ["export"],
]
NAMES: Final = ("serve", "config", "admin", "keys", "verify", "backup", "restore", "rebuild", "export")
DAMAGED: Final = "the log is damaged; `marketd verify` says which records are, and a backup has to be restored"
CARE: Final = [("verify",), ("backup", "store.tar"), ("rebuild",), ("export",)]
# Runs a command at a terminal of its own, whose keys are our standard input.
AT_A_TERMINAL: Final = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


def environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MARKETD_")} | CHEAP | more


def marketd(*arguments: str | Path, given: str = "", **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "marketd", *map(str, arguments)],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=40,
        env=environment(**more),
    )


def refused(data: Path, *arguments: str, **more: str) -> tuple[int, str]:
    """Try to serve; give the exit code and all that is said on stderr, which must be one line."""
    done = marketd("serve", "--port", "0", "--data", data, *arguments, **more)
    assert "" == done.stdout
    (line,) = done.stderr.splitlines()
    return done.returncode, line


@contextmanager
def serving(data: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A service that runs, with its ready line."""
    command = [sys.executable, "-m", "marketd", "serve", "--port", "0", "--data", str(data), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout
        try:
            yield process, process.stdout.readline()
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.fixture
def used(tmp_path: Path) -> Path:
    """A data directory with something in it."""
    data = tmp_path / "data"
    data.mkdir()
    done = marketd("admin", "create", "root@example.org", "--data", data, "--password-stdin", given="Passw0rd\n")
    assert (0, "made the administrator root@example.org\n") == (done.returncode, done.stdout), done.stderr
    return data


def alter(data: Path, sql: str) -> None:
    with closing(sqlite3.connect(data / "events.db")) as db:
        db.execute(sql)
        db.commit()


# Help.


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: list[str]) -> None:
    done = marketd(*command, "--help")

    assert (0, "", True) == (done.returncode, done.stderr, done.stdout.startswith("usage: marketd"))


def test_the_help_names_every_command() -> None:
    said = marketd("--help").stdout

    assert [] == [name for name in NAMES if name not in said]


def test_the_help_of_serve_names_every_flag() -> None:
    said = marketd("serve", "--help").stdout

    assert [] == [f for f in ("--config", "--data", "--host", "--port", "--nats", "--sample") if f not in said]


def test_the_version_is_told() -> None:
    done = marketd("--version")

    assert (0, f"marketd {__version__}\n") == (done.returncode, done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["serve", "--fast"],
        ["admin"],
        ["admin", "create"],
        ["keys"],
        ["keys", "rotate", "now"],
    ],
)
def test_a_command_line_that_makes_no_sense_is_misuse(arguments: list[str]) -> None:
    done = marketd(*arguments)

    assert (2, "", False) == (done.returncode, done.stdout, "Traceback" in done.stderr)


# Settings.


@pytest.mark.parametrize(
    ("port", "expected"),
    [
        ("many", 'http.port = "many" (flag --port): expected int'),
        ("-1", 'http.port = "-1" (flag --port): expected int >= 0'),
    ],
)
def test_a_port_that_is_none_is_told_in_one_line(port: str, expected: str) -> None:
    done = marketd("serve", "--port", port)

    assert (2, "", f"marketd: {expected}\n") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        (
            "MARKETD_HTTP__PROT",
            "1",
            'http.prot = "1" (environment MARKETD_HTTP__PROT): no such setting, did you mean MARKETD_HTTP__PORT?',
        ),
        ("MARKETD_LOG__LEVEL", "9", 'log.level = "9" (environment MARKETD_LOG__LEVEL): expected one of debug, info'),
        (
            "MARKETD_AUTH__REFRESH_DAYS",
            "x",
            'auth.refresh_days = "x" (environment MARKETD_AUTH__REFRESH_DAYS): expected',
        ),
    ],
)
def test_a_wrong_setting_is_told_in_one_line(tmp_path: Path, variable: str, value: str, expected: str) -> None:
    code, line = refused(tmp_path / "data", **{variable: value})

    assert (2, True) == (code, line.startswith(f"marketd: {expected}"))


def test_a_wrong_setting_of_a_file_is_told_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "marketd.toml"
    file.write_text('[http]\nbacklog_max = "many"')

    expected = f'marketd: http.backlog_max = "many" (file {file}): expected int, got str'
    assert (2, expected) == refused(tmp_path / "data", "--config", str(file))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    file = tmp_path / "marketd.toml"

    expected = f"marketd: file {file} can't be read: No such file or directory"
    assert (2, expected) == refused(tmp_path / "data", "--config", str(file))


def test_after_a_wrong_setting_nothing_was_made(tmp_path: Path) -> None:
    refused(tmp_path / "data", MARKETD_MOON="1")

    assert [] == list(tmp_path.iterdir())


def test_the_settings_in_force_are_printed_without_secrets() -> None:
    done = marketd("config", MARKETD_NATS__PASSWORD="hunter2", MARKETD_HTTP__PORT="9000")

    assert (0, "", False) == (done.returncode, done.stderr, "hunter2" in done.stdout)
    assert "9000" in done.stdout and "environment MARKETD_HTTP__PORT" in done.stdout


# What stands in the way of serving.


def test_a_port_in_use_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(tmp_path / "data", "--port", str(port))

    expected = f"marketd: can't listen on 127.0.0.1:{port}: Address already in use"
    assert (1, True, []) == (said[0], said[1].startswith(expected), list(tmp_path.iterdir()))


def test_a_host_that_is_not_ours_is_told(tmp_path: Path) -> None:
    code, line = refused(tmp_path / "data", "--host", "192.0.2.1")

    assert (1, True) == (code, line.startswith("marketd: can't listen on 192.0.2.1:0: "))


def test_a_directory_of_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    expected = f"marketd: {tmp_path} is not a data directory of marketd: it has thesis.tex in it"
    assert (1, expected) == refused(tmp_path)


def test_a_directory_in_use_is_told(tmp_path: Path) -> None:
    with (tmp_path / "marketd.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        assert (1, f"marketd: another marketd is running on {tmp_path}") == refused(tmp_path)


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    code, line = refused(tmp_path, MARKETD_STORAGE__FREE_BYTES_MIN=str(2**60))

    assert (1, True) == (code, line.startswith(f"marketd: the disk of {tmp_path} is full: "))


@pytest.mark.slow
def test_a_record_that_was_altered_is_told_with_its_place(used: Path) -> None:
    alter(used, "UPDATE commits SET events = replace(events, 'admin', 'buyer') WHERE position = 1")
    code, line = refused(used)

    assert (1, True) == (code, line.startswith("marketd: the record at position 1 (account/"))
    assert line.endswith(f"@1) does not fit its hash: {DAMAGED}")


@pytest.mark.slow
def test_a_log_whose_pages_are_garbage_is_told_with_what_to_do(used: Path) -> None:
    alter(used, "PRAGMA wal_checkpoint(TRUNCATE)")
    whole = (used / "events.db").read_bytes()
    (used / "events.db").write_bytes(whole[:8192] + b"x" * (len(whole) - 8192))
    code, line = refused(used)

    assert (1, True) == (code, line.startswith(f"marketd: {used / 'events.db'}: ")), line
    assert line.endswith(DAMAGED)


@pytest.mark.slow
def test_a_record_that_is_missing_is_told_with_its_place(used: Path) -> None:
    alter(used, "UPDATE commits SET position = 2 WHERE position = 1")
    code, line = refused(used)

    assert (1, True) == (code, line.startswith("marketd: "))


@pytest.mark.slow
def test_a_log_of_a_newer_marketd_is_told(used: Path) -> None:
    alter(used, "PRAGMA user_version = 99")
    code, line = refused(used)

    assert (1, True) == (code, line.startswith(f"marketd: {used / 'events.db'} has format 99, written by a newer"))


@pytest.mark.slow
def test_a_log_that_is_no_database_is_told(used: Path) -> None:
    for path in used.glob("events.db-*"):
        path.unlink()
    (used / "events.db").write_bytes(b"This is a letter, not a database. " * 100)

    assert (1, f"marketd: {used / 'events.db'} is not a database of marketd") == refused(used)


@pytest.mark.slow
def test_a_nats_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = marketd(
        *("serve", "--port", "0", "--data", tmp_path, "--nats", "nats://127.0.0.1:1"), MARKETD_NATS__START_S_MAX="0.5"
    )

    last = done.stderr.splitlines()[-1]
    assert (1, True) == (done.returncode, last.startswith("marketd: no connection to NATS at nats://127.0.0.1:1: "))


@pytest.mark.slow
def test_a_password_in_the_address_of_a_nats_server_is_not_told(tmp_path: Path) -> None:
    url = "nats://ann:hunter2@127.0.0.1:1"
    done = marketd("serve", "--port", "0", "--data", tmp_path, "--nats", url, MARKETD_NATS__START_S_MAX="0.5")

    told = "marketd: no connection to NATS at nats://********@127.0.0.1:1: "
    assert (1, True) == (done.returncode, done.stderr.splitlines()[-1].startswith(told))
    assert "hunter2" not in done.stdout + done.stderr


def test_an_errand_that_failed_does_not_tell_it_either(tmp_path: Path) -> None:
    url = "nats://ann:hunter2@127.0.0.1:1"
    done = marketd("integrator", "add", "acme", "--events", "*", "--data", tmp_path, MARKETD_NATS__URL=url)

    told = "marketd: this service uses the NATS server at nats://********@127.0.0.1:1, "
    assert (1, True, False) == (done.returncode, done.stderr.startswith(told), "hunter2" in done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("0.pem", b"garbage", "it is no private key of Ed25519 in PEM"),
        ("links.key", b"short", "it has 5 bytes, not 32"),
        ("mail.key", b"short", "it has 5 bytes, not 32"),
    ],
)
def test_a_key_that_is_none_is_told_with_its_file(used: Path, name: str, content: bytes, why: str) -> None:
    (used / "keys").mkdir(exist_ok=True)
    (used / "keys" / name).write_bytes(content)

    assert (1, f"marketd: the key {used / 'keys' / name} can't be used: {why}") == refused(used)


# Serving.


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_service_says_when_it_is_ready_and_ends_when_asked_to(tmp_path: Path, number: signal.Signals) -> None:
    with serving(tmp_path / "data") as (process, line):
        process.send_signal(number)
        code = process.wait(30)

    ready, http, nats, data = line.rstrip("\n").rsplit(" ", 3)
    assert ("marketd ready", f"data={tmp_path / 'data'}", 0) == (ready, data, code)
    assert http.startswith("http=http://127.0.0.1:") and nats.startswith("nats=nats://127.0.0.1:")


def warned(data: Path) -> list[str]:
    """Serve until all is ready; give the files that are missed."""
    with serving(data) as (process, line):
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert line.startswith("marketd ready"), said
    return sorted(
        line.partition(" is missing")[0].rpartition("/")[2] for line in said.splitlines() if "missing" in line
    )


@pytest.mark.slow
def test_a_key_that_was_lost_is_missed_and_a_first_one_is_not(used: Path) -> None:
    before = warned(used)
    for path in (used / "keys").iterdir():
        path.unlink()

    every = ["*.pem", "answers.key", "links.key", "mail.key", "push.key", "webhooks.key"]
    assert ([], every) == (before, warned(used))


@pytest.mark.slow
def test_an_admin_is_made_while_the_service_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data):
        done = marketd("admin", "create", "root@example.org", "--data", data, "--password-stdin", given="Passw0rd\n")

    assert (0, "made the administrator root@example.org\n") == (done.returncode, done.stdout)


def typed(data: Path, *words: str) -> tuple[int, str]:
    """Make an administrator at a terminal, typing a word whenever one is asked for; give all that is on the screen."""
    command = [sys.executable, "-c", AT_A_TERMINAL, sys.executable, "-m", "marketd"]
    command += ["admin", "create", "root@example.org", "--data", str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()) as process:
        assert process.stdin and process.stdout
        screen = b""
        for word in words:
            while not screen.endswith(b": "):
                said = os.read(process.stdout.fileno(), 1024)
                assert said, screen
                screen += said
            screen += b"|"
            process.stdin.write(word.encode() + b"\n")
            process.stdin.flush()
        rest = process.stdout.read()
        return process.wait(30), (screen + rest).decode().replace("\r\n", "\n")


@pytest.mark.slow
def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown(tmp_path: Path) -> None:
    code, screen = typed(tmp_path, "Passw0rd", "Passw0rd")

    assert (0, True, False) == (code, screen.startswith("Password: |\nOnce more: |"), "Passw0rd" in screen)
    assert "made the administrator root@example.org" in screen.splitlines()


@pytest.mark.slow
def test_a_password_that_is_not_the_same_twice_is_not_taken(tmp_path: Path) -> None:
    code, screen = typed(tmp_path, "Passw0rd", "Password")

    assert (1, "marketd: the two passwords differ") == (code, screen.splitlines()[-1])


def test_keys_of_a_store_that_is_not_there_are_not_made(tmp_path: Path) -> None:
    data = tmp_path / "daat"
    done = marketd("keys", "rotate", "--data", data)

    assert (1, f"marketd: there is no data directory {data}\n", False) == (done.returncode, done.stderr, data.exists())


def test_where_nothing_ever_ran_there_are_no_keys_yet(tmp_path: Path) -> None:
    assert "there are no keys yet: the first start makes one\n" == marketd("keys", "list", "--data", tmp_path).stdout


@pytest.mark.slow
def test_a_taken_address_is_told_in_one_line(used: Path) -> None:
    done = marketd("admin", "create", "ROOT@example.org", "--data", used, "--password-stdin", given="Passw0rd\n")

    assert (1, "marketd: the e-mail address is taken") == (done.returncode, done.stderr.splitlines()[-1])


def test_an_admin_of_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    data = tmp_path / "daat"
    done = marketd("admin", "create", "root@example.org", "--data", data, "--password-stdin", given="Passw0rd\n")

    assert (1, f"marketd: there is no data directory {data}\n", False) == (done.returncode, done.stderr, data.exists())


@pytest.mark.slow
def test_what_is_kept_is_for_nobody_else_on_the_machine(tmp_path: Path) -> None:
    with serving(tmp_path / "data"):
        kept = [tmp_path / "data", *(tmp_path / "data").rglob("*")]
        open_to_others = [path for path in kept if not path.is_socket() and path.stat().st_mode & 0o077]

    assert (True, []) == ((tmp_path / "data" / "events.db") in kept, open_to_others)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize(
    "command",
    [("admin", "create", "a@example.org", "--password-stdin"), ("integrator", "add", "acme"), ("keys", "rotate")],
)
def test_what_root_does_to_a_store_leaves_nothing_that_its_owner_can_not_read(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    os.chown(tmp_path, 12_345, 12_345)
    done = marketd(*command, "--data", tmp_path, given="Passw0rd\n")
    kept = list(tmp_path.rglob("*"))

    assert (0, True) == (done.returncode, bool(kept)), done.stderr
    assert [] == [path for path in kept if path.stat().st_uid != 12_345]


@pytest.mark.parametrize("given", ["", "\n", "short\n"])
def test_a_password_that_will_not_do_is_told_in_one_line(tmp_path: Path, given: str) -> None:
    done = marketd("admin", "create", "root@example.org", "--data", tmp_path, "--password-stdin", given=given)

    assert (1, "marketd: password: Expected str of length >= 8\n") == (done.returncode, done.stderr)


@pytest.mark.parametrize("given", ["", "Passw0rd\nPassw0rd\n"])
def test_without_a_terminal_a_password_is_not_asked_for(tmp_path: Path, given: str) -> None:
    command = [sys.executable, "-m", "marketd", "admin", "create", "root@example.org", "--data", str(tmp_path)]
    done = subprocess.run(
        command,
        capture_output=True,
        input=given,
        env=environment(),
        timeout=40,
        check=False,
        text=True,
        start_new_session=True,
    )

    said = "marketd: there is no terminal to ask at: give the password with --password-stdin\n"
    assert (1, "", said) == (done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "command", "why"),
    [
        ("integrators.json", ("integrator", "list"), "Is a directory"),
        ("integrators.json", ("serve", "--port", "0"), "Is a directory"),
    ],
)
def test_what_the_system_refuses_is_told_in_one_line(used: Path, name: str, command: tuple[str, ...], why: str) -> None:
    (used / name).unlink(missing_ok=True)
    (used / name).mkdir()
    done = marketd(*command, "--data", used)

    assert (1, [f"marketd: {used / name}: {why}"]) == (done.returncode, done.stderr.splitlines())


@pytest.mark.parametrize("command", [["config"], ["export"], ["verify"]], ids=" ".join)
def test_an_output_that_is_full_is_told_in_one_line(tmp_path: Path, command: list[str]) -> None:
    data = old_store(tmp_path / "data")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "marketd", *command, "--data", str(data)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=40,
            env=environment(),
        )

    assert (1, "marketd: No space left on device\n") == (done.returncode, done.stderr)


# The care of data.


def test_a_backup_is_not_written_to_standard_output(tmp_path: Path) -> None:
    data = old_store(tmp_path / "data")
    done = marketd("backup", "-", "--data", data)

    assert (2, "marketd: a backup has to be a file, not standard output: give it a name\n") == (
        done.returncode,
        done.stderr,
    )


@pytest.mark.parametrize("command", CARE, ids=" ".join)
def test_a_store_that_is_not_there_is_told(tmp_path: Path, command: tuple[str, ...]) -> None:
    data = tmp_path / "daat"
    done = marketd(*command, "--data", data)

    assert (1, "", f"marketd: there is no data directory {data}\n") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("command", CARE, ids=" ".join)
def test_a_directory_without_a_store_is_told(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = marketd(*command, "--data", tmp_path)

    said = f"marketd: {tmp_path} is not the data directory of a store: there is no events.db in it\n"
    assert (1, said, []) == (done.returncode, done.stderr, list(tmp_path.iterdir()))


@pytest.mark.parametrize("command", ["backup", "rebuild", "export"])
def test_a_log_that_is_none_is_told_in_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "marketd.lock").touch()
    (tmp_path / "events.db").write_bytes(b"This is a letter, not a database. " * 100)
    target = [tmp_path / "store.tar"] if command == "backup" else []
    done = marketd(command, *target, "--data", tmp_path)

    expected = f"marketd: {tmp_path / 'events.db'} is not a database of marketd\n"
    assert (1, expected, []) == (done.returncode, done.stderr, list(tmp_path.glob("store.tar*")))


def test_a_log_that_is_none_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "events.db").write_bytes(b"This is a letter, not a database. " * 100)
    done = marketd("verify", "--data", tmp_path)

    expected = f"fault: {tmp_path / 'events.db'} is not a database of marketd"
    assert (1, expected, "") == (done.returncode, done.stdout.splitlines()[0], done.stderr)


def test_a_store_that_is_as_it_must_be_is_said_to_be(tmp_path: Path) -> None:
    data = old_store(tmp_path / "data")
    done = marketd("verify", "--data", data)

    assert (0, f"{data}: all is well", "") == (done.returncode, done.stdout.splitlines()[-1], done.stderr)


def test_a_fault_is_told_with_its_place(tmp_path: Path) -> None:
    data = old_store(tmp_path / "data")
    alter(data, "UPDATE commits SET at = at + 1 WHERE position = 10")
    done = marketd("verify", "--data", data)

    first, *_, last = done.stdout.splitlines()
    assert (1, f"{data}: 1 fault") == (done.returncode, last)
    assert first.startswith("fault: position 10: ") and first.endswith(": it does not fit its hash")


def test_a_report_can_be_read_by_programs(tmp_path: Path) -> None:
    data = old_store(tmp_path / "data")
    alter(data, "UPDATE commits SET at = at + 1 WHERE position = 10")
    done = marketd("verify", "--json", "--data", data)

    report = json.loads(done.stdout)
    assert (1, False, 47, 1) == (done.returncode, report["ok"], report["position"], report["faultCount"])
    assert {"detail", "position", "stream", "version"} == report["faults"][0].keys()


def test_a_backup_is_made_and_restored(tmp_path: Path) -> None:
    data, again, archive = old_store(tmp_path / "data"), tmp_path / "again", tmp_path / "store.tar"
    made = marketd("backup", archive, "--data", data)
    restored = marketd("restore", archive, "--data", again)

    assert f"wrote {archive}: the log up to position 47, 6 files\n" == made.stdout
    assert f"restored {again}: the log up to position 47, 6 files\n" == restored.stdout


def test_a_backup_overwrites_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "store.tar"
    archive.touch()
    done = marketd("backup", archive, "--data", old_store(tmp_path / "data"))

    expected = f"marketd: {archive} is there already: a backup overwrites nothing\n"
    assert (1, expected, 0) == (done.returncode, done.stderr, archive.stat().st_size)


def test_a_restore_overwrites_nothing(tmp_path: Path) -> None:
    data, archive = old_store(tmp_path / "data"), tmp_path / "store.tar"
    marketd("backup", archive, "--data", data)
    done = marketd("restore", archive, "--data", data)

    expected = f"marketd: {data} is not empty: a restore overwrites nothing\n"
    assert (1, expected) == (done.returncode, done.stderr)


@pytest.mark.slow
def test_at_a_terminal_a_rebuild_shows_how_far_it_is(tmp_path: Path) -> None:
    data = old_store(tmp_path / "data")
    command = [sys.executable, "-c", AT_A_TERMINAL, sys.executable, "-m", "marketd", "rebuild", "--data", str(data)]
    done = subprocess.run(
        command, capture_output=True, stdin=subprocess.DEVNULL, env=environment(), timeout=40, check=False
    )

    screen = done.stdout.decode()
    assert (0, True, True) == (done.returncode, "read models" in screen, "search index" in screen)


def test_what_the_export_says_of_secrets_is_in_its_help() -> None:
    said = " ".join(marketd("export", "--help").stdout.split())

    assert "password hashes, licence keys and file addresses are in it" in said


def test_a_position_that_is_none_is_misuse(tmp_path: Path) -> None:
    assert 2 == marketd("export", "--after", "soon", "--data", tmp_path).returncode
