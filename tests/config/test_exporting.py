"""Exporting: every event as it is stored, in order, to anybody who reads."""

import json
import subprocess
import sys
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import pytest

from marketd.config.exporting import export
from marketd.config.folder import found
from marketd.storage.log import CorruptLog
from tests.config.stores import COMPLETE, HEAD, alter, old_store


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return old_store(tmp_path / "data")


def exported(data: Path, after: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in export(found(data), after)]


def test_every_event_is_there(data: Path) -> None:
    assert 54 == len(exported(data))


def test_events_come_in_the_order_of_the_log(data: Path) -> None:
    places = [(line["position"], line["index"]) for line in exported(data)]

    assert (True, (1, 0), HEAD) == (all(a < b for a, b in pairwise(places)), places[0], places[-1][0])


def test_an_event_comes_as_it_is_stored(data: Path) -> None:
    line = next(line for line in exported(data) if line["event"]["type"] == "order.stock-reserved")

    names = ["position", "index", "stream", "version", "at", "commandId", "event", "meta"]
    assert (names, "AAAA-1", f"order/{COMPLETE}") == (list(line), line["event"]["licence_key"], line["stream"])


def test_times_are_in_utc(data: Path) -> None:
    assert exported(data)[0]["at"].endswith("Z")


@pytest.mark.parametrize("after", [0, 1, 20, HEAD - 1, HEAD, HEAD + 1])
def test_it_goes_on_from_a_position(data: Path, after: int) -> None:
    assert [line for line in exported(data) if line["position"] > after] == exported(data, after)


def test_a_record_that_does_not_fit_its_hash_ends_it(data: Path) -> None:
    alter(data / "events.db", "UPDATE commits SET at = at + 1 WHERE position = 10")
    lines = export(found(data), 0)
    before = [json.loads(line)["position"] for line in takewhile(lambda line: b'"position":9,' not in line, lines)]
    with pytest.raises(CorruptLog, match=r"position 10 \("):
        next(lines)

    assert 8 == before[-1]


def test_a_missing_record_ends_it(data: Path) -> None:
    alter(data / "events.db", "DELETE FROM commits WHERE position = 10")

    with pytest.raises(CorruptLog, match="no record at position 10"):
        exported(data)


@pytest.mark.slow
def test_a_reader_who_has_had_enough_is_no_error(data: Path) -> None:
    command = [sys.executable, "-m", "marketd", "export", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        said = process.stderr.read()
        code = process.wait(30)

    assert (b"", 0) == (said, code)
