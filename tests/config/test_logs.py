"""A record is one line on stderr, whatever is in it."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from marketd.config.logs import OURS, JsonLine, OneLine, set_up
from marketd.trace import Cause, doing_for


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The root logger without pytest's handlers, which get it back in the end."""
    root, access, ours = logging.getLogger(), logging.getLogger("aiohttp.access"), logging.getLogger(OURS)
    before = root.level, access.level, ours.level
    monkeypatch.setattr(root, "handlers", [])
    yield root
    root.setLevel(before[0])
    access.setLevel(before[1])
    ours.setLevel(before[2])


def line(message: str, *args: object) -> str:
    record = logging.LogRecord("marketd.http", logging.INFO, __file__, 1, message, args, None)
    record.created = 1767225600.0625
    return OneLine().format(record)


def test_a_line_has_time_level_logger_and_message() -> None:
    assert "2026-01-01T00:00:00.062Z info marketd.http started on 8080" == line("started on %d", 8080)


def test_a_line_names_the_request_that_it_belongs_to() -> None:
    with doing_for(Cause("r1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")):
        found = line("started")

    assert found.endswith(" marketd.http request=r1 trace=0af7651916cd43dd8448eb211c80319c started")


@pytest.mark.parametrize(
    ("message", "expected"),
    [("a\nb", "a\\nb"), ("a\r\x1b[2Jb", "a\\r\\x1b[2Jb"), ("a\u2028b", "a\\u2028b"), ("a\x85b", "a\\x85b")],
)
def test_a_line_can_not_be_broken(message: str, expected: str) -> None:
    assert expected == line(message).split(" ", 3)[3]


def test_a_traceback_is_folded_into_the_line() -> None:
    try:
        raise ValueError("the reason")
    except ValueError:
        record = logging.LogRecord("marketd", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())

    assert OneLine().format(record).endswith("\\nValueError: the reason")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("lost nats://ann:hunter2@host:4222", "lost nats://********@host:4222"),
        ("bad token eyJhbGciOiJ9.eyJzdWIifQ.c2ln-_x", "bad token ********"),
    ],
)
def test_what_a_library_gives_away_is_masked(message: str, expected: str) -> None:
    assert expected == line(message).split(" ", 3)[3]


def test_records_go_to_stderr(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    set_up("info")
    logging.getLogger("marketd").info("started")

    assert capsys.readouterr().err.endswith("Z info marketd started\n")


def test_records_below_the_level_are_left_out(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    set_up("warning")
    logging.getLogger("marketd").info("started")

    assert "" == capsys.readouterr().err


def test_requests_are_left_out(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    set_up("debug")
    logging.getLogger("aiohttp.access").info("GET /downloads/secret")

    assert "" == capsys.readouterr().err


def test_setting_up_again_writes_no_record_twice(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    set_up("info")
    set_up("info")
    logging.getLogger("marketd").info("started")

    assert 1 == len(capsys.readouterr().err.splitlines())


def test_what_libraries_do_is_told_at_no_level(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """aiosqlite would write every statement down, with all that it stores."""
    set_up("debug")
    logging.getLogger("aiosqlite").debug("executing INSERT INTO commits VALUES ('a hash of a password')")
    logging.getLogger("marketd.http").debug("this is ours")

    assert ["this is ours"] == [entry.split(" ", 3)[3] for entry in capsys.readouterr().err.splitlines()]


# For programs.


def parsed(message: str, *args: object) -> dict[str, str]:
    record = logging.LogRecord("marketd.http", logging.INFO, __file__, 1, message, args, None)
    record.created = 1767225600.0625
    (line,) = JsonLine().format(record).splitlines()
    found: dict[str, str] = json.loads(line)
    return found


def test_a_line_for_programs_is_an_object() -> None:
    expected = {"time": "2026-01-01T00:00:00.062Z", "level": "info", "logger": "marketd.http", "message": "up on 8080"}

    assert expected == parsed("up on %d", 8080)


def test_a_line_for_programs_names_the_request_that_it_belongs_to() -> None:
    with doing_for(Cause("r1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")):
        found = parsed("started")

    assert ("r1", "0af7651916cd43dd8448eb211c80319c") == (found["request"], found["trace"])


@pytest.mark.parametrize("message", ["a\nb", "a\r\x1b[2Jb", "a\u2028b", "a\x85b", 'a"b\\', "a\x7fb"])
def test_a_line_for_programs_can_not_be_broken_and_keeps_what_was_said(message: str) -> None:
    assert message == parsed("%s", message)["message"]


def test_a_line_for_programs_survives_what_is_no_text() -> None:
    assert "a\\udcffb" == parsed("%s", "a\udcffb")["message"]


def test_a_traceback_for_programs_is_a_field() -> None:
    try:
        raise ValueError("lost nats://ann:hunter2@host:4222")
    except ValueError:
        record = logging.LogRecord("marketd", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    found = json.loads(JsonLine().format(record))

    assert found["traceback"].endswith("\nValueError: lost nats://********@host:4222")


def test_a_secret_is_masked_for_programs_too() -> None:
    assert "bad token ********" == parsed("bad token eyJhbGciOiJ9.eyJzdWIifQ.c2ln-_x")["message"]


def test_records_are_objects_where_that_is_wanted(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    set_up("info", "json")
    logging.getLogger("marketd.x").info("hello")

    assert "hello" == json.loads(capsys.readouterr().err)["message"]
