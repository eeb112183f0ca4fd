"""Defaults, then the file, then the environment, then flags: what was written is in force, or is refused by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta

from marketd.config.fields import FIELDS, Field, Loaded
from marketd.config.loading import (
    FileUnreadable,
    Given,
    ImpossibleValue,
    SettingsError,
    UnknownSetting,
    converted,
    in_words,
    load,
)
from marketd.config.settings import Settings

NOTHING: Mapping[str, str] = {}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where `marketd.toml` lies, and where the operator stands."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def from_file(folder: Path, text: str, environ: Mapping[str, str] = NOTHING, **flags: Any) -> Loaded:
    (folder / "marketd.toml").write_text(text, encoding="utf-8")
    return load(Path("marketd.toml"), environ, {f"--{name}": value for name, value in flags.items()})


def refusal(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> str:
    with pytest.raises(SettingsError) as caught:
        load(file, environ, flags)
    return str(caught.value)


def refusal_of(folder: Path, text: str) -> str:
    (folder / "marketd.toml").write_text(text, encoding="utf-8")
    return refusal(Path("marketd.toml"), {}, {})


# The later wins.


def test_without_anything_written_the_defaults_are_in_force() -> None:
    assert Settings() == load(None, {}, {}).settings


def test_the_file_wins_over_the_default(folder: Path) -> None:
    assert 9000 == from_file(folder, "[http]\nport = 9000").settings.http.port


def test_the_environment_wins_over_the_file(folder: Path) -> None:
    loaded = from_file(folder, "[http]\nport = 9000", {"MARKETD_HTTP__PORT": "9001"})

    assert 9001 == loaded.settings.http.port


def test_a_flag_wins_over_the_environment(folder: Path) -> None:
    loaded = from_file(folder, "[http]\nport = 9000", {"MARKETD_HTTP__PORT": "9001"}, port=9002)

    assert 9002 == loaded.settings.http.port


def test_a_flag_that_was_not_given_changes_nothing(folder: Path) -> None:
    assert 9000 == from_file(folder, "[http]\nport = 9000", port=None).settings.http.port


def test_variables_of_others_are_left_alone() -> None:
    assert Settings() == load(None, {"HOME": "/root", "MARKET": "1", "marketd_http__port": "1"}, {}).settings


def test_an_empty_section_changes_nothing(folder: Path) -> None:
    assert Settings() == from_file(folder, "[http]\n").settings


@pytest.mark.parametrize(
    ("flag", "key"),
    [("--data", "data.dir"), ("--host", "http.host"), ("--nats", "nats.url")],
)
def test_a_flag_sets_what_it_is_named_after(flag: str, key: str) -> None:
    assert f"flag {flag}" == load(None, {}, {flag: "nats://host"}).sources[key]


# Each value's source is remembered.


def test_what_nobody_wrote_comes_from_the_defaults() -> None:
    assert {"default"} == set(load(None, {}, {}).sources.values())


def test_the_source_names_the_file(folder: Path) -> None:
    assert "file marketd.toml" == from_file(folder, "[http]\nport = 9000").sources["http.port"]


def test_the_source_names_the_variable() -> None:
    assert "environment MARKETD_HTTP__PORT" == load(None, {"MARKETD_HTTP__PORT": "1"}, {}).sources["http.port"]


def test_the_source_names_the_flag() -> None:
    assert "flag --port" == load(None, {"MARKETD_HTTP__PORT": "1"}, {"--port": 2}).sources["http.port"]


# The environment knows nothing but text.


@pytest.mark.parametrize(
    ("text", "expected"), [("true", True), ("True", True), ("1", True), ("false", False), ("0", False)]
)
def test_a_switch_is_read_from_text(text: str, expected: bool) -> None:
    assert expected is load(None, {"MARKETD_NATS__IN_PROCESS": text}, {}).settings.nats.in_process


@pytest.mark.parametrize(("text", "expected"), [("0.5", 0.5), ("2", 2.0), ("1e1", 10.0)])
def test_seconds_are_read_from_text(text: str, expected: float) -> None:
    assert expected == load(None, {"MARKETD_SAGA__RETRY_S": text}, {}).settings.saga.retry_s


@pytest.mark.parametrize("text", ["", "null", "NULL"])
def test_what_need_not_be_set_is_unset_by_text(folder: Path, text: str) -> None:
    loaded = from_file(folder, '[nats]\nurl = "nats://host"', {"MARKETD_NATS__URL": text})

    assert loaded.settings.nats.url is None


def test_a_number_that_is_text_where_text_is_wanted_stays_text() -> None:
    assert "1234" == load(None, {"MARKETD_NATS__PASSWORD": "1234"}, {}).settings.nats.password


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a, b,", ("a", "b")),
        ('["a", "b"]', ("a", "b")),
        (" [ ] ", ()),
        ("", ()),
        ("[::1], b", ("[::1]", "b")),
        ('["a"', ('["a"',)),
    ],
)
def test_a_list_is_read_from_text_between_commas_or_as_in_a_file(text: str, expected: tuple[str, ...]) -> None:
    field = Field("http", "origins", Annotated[tuple[str, ...], Meta(description="")], (), "", secret=False)

    assert expected == converted(Given(field, text, "environment X", is_text=True))


def test_a_whole_number_in_the_file_will_do_for_seconds(folder: Path) -> None:
    assert 2.0 == from_file(folder, "[saga]\nretry_s = 2").settings.saga.retry_s


def test_an_empty_text_in_the_file_unsets(folder: Path) -> None:
    assert from_file(folder, '[nats]\nurl = ""').settings.nats.url is None


# A file that is not to be read.


def test_a_missing_file_is_refused(folder: Path) -> None:
    assert "file marketd.toml can't be read: No such file or directory" == refusal(Path("marketd.toml"), {}, {})


def test_a_directory_is_refused(folder: Path) -> None:
    assert f"file {folder} can't be read: Is a directory" == refusal(folder, {}, {})


def test_malformed_toml_is_refused_with_its_line(folder: Path) -> None:
    expected = "file marketd.toml can't be read: Expected '=' after a key in a key/value pair (at line 2, column 6)"

    assert expected == refusal_of(folder, "[http]\nport 9000")


def test_what_is_not_utf8_is_refused(folder: Path) -> None:
    (folder / "marketd.toml").write_bytes(b"\xff")
    with pytest.raises(FileUnreadable) as caught:
        load(Path("marketd.toml"), {}, {})

    assert "file marketd.toml" == caught.value.source


# A key that no setting has.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "[http]\nprot = 9000",
            "http.prot = 9000 (file marketd.toml): no such setting, did you mean http.port?",
        ),
        ("[moon]\nphase = 3", "moon.phase = 3 (file marketd.toml): no such setting"),
        ("[moon]", "moon = {…} (file marketd.toml): no such setting"),
        ("http = 9000", "http = 9000 (file marketd.toml): no such setting"),
        ('"http.port" = 1', "http.port = 1 (file marketd.toml): no such setting, did you mean http.port?"),
        ('"a\\nb" = 1', '"a\\nb" = 1 (file marketd.toml): no such setting'),
        ("[[http]]\nport = 1", "http = [{…}] (file marketd.toml): no such setting"),
    ],
)
def test_an_unknown_key_in_the_file_is_refused(folder: Path, text: str, expected: str) -> None:
    assert expected == refusal_of(folder, text)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (
            "MARKETD_HTTP__PROT",
            'http.prot = "1" (environment MARKETD_HTTP__PROT): no such setting, did you mean MARKETD_HTTP__PORT?',
        ),
        (
            "MARKETD_HTTP_PORT",
            'http_port = "1" (environment MARKETD_HTTP_PORT): no such setting, did you mean MARKETD_HTTP__PORT?',
        ),
        ("MARKETD_MOON", 'moon = "1" (environment MARKETD_MOON): no such setting'),
    ],
)
def test_an_unknown_variable_is_refused(variable: str, expected: str) -> None:
    assert expected == refusal(None, {variable: "1"}, {})


# A value that can't be.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[http]\nport = "9000"', 'http.port = "9000" (file marketd.toml): expected int, got str'),
        ("[http]\nport = true", "http.port = true (file marketd.toml): expected int, got bool"),
        ("[http]\nport = 1.5", "http.port = 1.5 (file marketd.toml): expected int, got float"),
        ("[http]\nport = 65536", "http.port = 65536 (file marketd.toml): expected int <= 65535"),
        ("[http.port]\nnumber = 1", "http.port = {…} (file marketd.toml): expected int, got object"),
        ('[data]\ndir = ""', 'data.dir = "" (file marketd.toml): expected str of length >= 1'),
        ("[nats]\nurl = 4222", "nats.url = 4222 (file marketd.toml): expected str | null, got int"),
        ("[saga]\nretry_s = nan", "saga.retry_s = nan (file marketd.toml): expected float > 0.0"),
        (
            '[log]\nlevel = "loud"',
            'log.level = "loud" (file marketd.toml): expected one of debug, info, warning, error',
        ),
    ],
)
def test_an_impossible_value_in_the_file_is_refused(folder: Path, text: str, expected: str) -> None:
    assert expected == refusal_of(folder, text)


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("MARKETD_HTTP__PORT", "many", 'http.port = "many" (environment MARKETD_HTTP__PORT): expected int'),
        ("MARKETD_HTTP__PORT", "-1", 'http.port = "-1" (environment MARKETD_HTTP__PORT): expected int >= 0'),
        ("MARKETD_HTTP__PORT", "", 'http.port = "" (environment MARKETD_HTTP__PORT): expected int'),
        ("MARKETD_DATA__DIR", "a\udcff", 'data.dir = "a\\\\udcff" (environment MARKETD_DATA__DIR): expected UTF-8'),
        (
            "MARKETD_NATS__IN_PROCESS",
            "ja",
            'nats.in_process = "ja" (environment MARKETD_NATS__IN_PROCESS): expected bool',
        ),
        (
            "MARKETD_HTTP__TRUSTED_PROXIES",
            "10.0.0.0/8, home",
            'http.trusted_proxies = "10.0.0.0/8, home" (environment MARKETD_HTTP__TRUSTED_PROXIES): '
            "expected networks such as 10.0.0.0/8 or fd00::/8, or single addresses",
        ),
    ],
)
def test_an_impossible_value_in_the_environment_is_refused(variable: str, text: str, expected: str) -> None:
    assert expected == refusal(None, {variable: text}, {})


def test_an_impossible_flag_is_refused() -> None:
    assert "http.port = 70000 (flag --port): expected int <= 65535" == refusal(None, {}, {"--port": 70000})


def test_a_number_without_end_is_refused() -> None:
    field = Field("moon", "away_s", Annotated[float, Meta(description="", ge=0)], 1.0, "", secret=False)
    with pytest.raises(ImpossibleValue) as caught:
        converted(Given(field, float("inf"), "file marketd.toml", is_text=False))

    assert "a finite number" == caught.value.expected


def test_a_wrong_value_is_refused_though_a_later_one_would_have_won(folder: Path) -> None:
    (folder / "marketd.toml").write_text("[http]\nport = 65536")
    expected = "http.port = 65536 (file marketd.toml): expected int <= 65535"

    assert expected == refusal(Path("marketd.toml"), {}, {"--port": 9000})


def test_a_value_above_the_limit_named_after_it_is_refused() -> None:
    expected = (
        "saga.retry_s = 0.2 (default): expected at most saga.retry_s_max = 0.1 (environment MARKETD_SAGA__RETRY_S_MAX)"
    )

    assert expected == refusal(None, {"MARKETD_SAGA__RETRY_S_MAX": "0.1"}, {})


# A refusal is one line, without secrets.


def test_a_refused_secret_is_masked(folder: Path) -> None:
    expected = 'nats.password = "********" (file marketd.toml): expected str | null, got int'

    assert expected == refusal_of(folder, "[nats]\npassword = 1234")


@pytest.mark.parametrize(
    "variable",
    [
        "MARKETD_NATS_PASSWORD",
        "MARKETD_NATS__PASWORD",
        "MARKETD_NATS__TOKEN",
        "MARKETD_PASSWORD",
        "MARKETD_MAIL__APIKEY",
    ],
)
def test_what_may_be_a_misspelt_secret_is_masked(variable: str) -> None:
    with pytest.raises(UnknownSetting) as caught:
        load(None, {variable: "hunter2"}, {})

    assert '"********"' == caught.value.value


def test_a_password_in_a_refused_url_is_masked() -> None:
    with pytest.raises(ImpossibleValue) as caught:
        load(None, {}, {"--nats": "http://ann:hunter2@host"})

    assert '"http://********@host"' == caught.value.value


@pytest.mark.parametrize(
    "environ",
    [
        {"MARKETD_LOG__LEVEL": "a\nb"},
        {"MARKETD_LOG__LEVEL": "a\u2028b"},
        {"MARKETD_A\nB": "1"},
        {"MARKETD_LOG__LEVEL": "\udcff\r"},
    ],
)
def test_a_refusal_is_one_line(environ: dict[str, str]) -> None:
    assert 1 == len(refusal(None, environ, {}).splitlines())


# What a pattern expects.


@pytest.mark.parametrize("field", [field for field in FIELDS.values() if "pattern" in str(field.type)], ids=str)
def test_what_does_not_fit_a_pattern_is_answered_in_words(field: Field) -> None:
    with pytest.raises(ImpossibleValue) as caught:
        load(None, {field.variable: "no /\x00"}, {})

    assert in_words(field.type) == caught.value.expected


def test_an_origin_with_a_path_is_refused_in_words() -> None:
    said = refusal(None, {"MARKETD_HTTP__CORS_ORIGINS": "https://shop.example/"}, {})

    expected = 'http.cors_origins = "https://shop.example/" (environment MARKETD_HTTP__CORS_ORIGINS): expected '
    assert expected + "`*`, or origins such as https://shop.example, without a path" == said


def test_a_flag_that_is_no_number_is_refused_like_a_variable() -> None:
    assert 'http.port = "many" (flag --port): expected int' == refusal(None, {}, {"--port": "many"})
