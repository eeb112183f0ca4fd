"""What `marketd config` prints is TOML, says where each value came from, and masks what is secret."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from marketd.config.fields import SECTIONS
from marketd.config.loading import load
from marketd.config.shown import describe, shown


def test_a_line_holds_the_key_the_value_and_its_source() -> None:
    assert "port = 9000  # flag --port" in describe(load(None, {}, {"--port": 9000}))


def test_lines_are_grouped_in_sections() -> None:
    lines = describe(load(None, {}, {}))

    assert [f"[{section}]" for section in SECTIONS] == [line for line in lines if line.startswith("[")]


def test_a_secret_is_masked() -> None:
    lines = describe(load(None, {"MARKETD_NATS__PASSWORD": "hunter2"}, {}))

    assert 'password = "********"  # environment MARKETD_NATS__PASSWORD' in lines


def test_a_secret_that_is_not_set_is_shown_as_such() -> None:
    assert 'password = ""  # default' in describe(load(None, {}, {}))


def test_a_password_in_a_url_is_masked() -> None:
    lines = describe(load(None, {}, {"--nats": "nats://ann:hunter2@host:4222"}))

    assert 'url = "nats://********@host:4222"  # flag --nats' in lines


def test_what_is_printed_loads_as_the_same_settings(tmp_path: Path) -> None:
    loaded = load(None, {"MARKETD_DATA__DIR": 'C:\\new "ü\u2028\U0001f600\x7f\x85'}, {"--port": 9000})
    file = tmp_path / "marketd.toml"
    file.write_text("\n".join(describe(loaded)), encoding="utf-8")

    assert loaded.settings == load(file, {}, {}).settings


def test_bytes_that_are_no_utf8_can_be_shown() -> None:
    assert '"a\\\\udcff"' == shown("a\udcff")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, '""'),
        (True, "true"),
        (16_777_216, "16777216"),
        (0.2, "0.2"),
        ("a\nb", '"a\\nb"'),
        (("a", "b"), '["a", "b"]'),
        ([{"password": "hunter2"}], "[{…}]"),
    ],
)
def test_a_value_is_shown_as_toml(value: object, expected: str) -> None:
    assert expected == shown(value)


def test_a_secret_is_masked_whatever_its_type() -> None:
    assert '"********"' == shown(1234, secret=True)


def test_the_defaults_are_shown_as_they_are() -> None:
    printed = tomllib.loads("\n".join(describe(load(None, {}, {}))))
    defaults = msgspec.to_builtins(load(None, {}, {}).settings)

    assert printed["actors"] == defaults["actors"]
