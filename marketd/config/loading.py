"""
Loads the settings: defaults, then a TOML file, then the environment, then flags; the later wins.

The one rule: a value that was given takes effect or is refused by name; it is never dropped in silence, and a wrong
value is refused even if a later one would override it.

SettingsError
├── FileUnreadable   the file is missing, may not be read, or is not TOML
├── UnknownSetting   no setting has this key
└── ImpossibleValue  a wrong type, or a value out of its bounds
"""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from marketd.config.fields import FIELDS, SECTIONS, Field, Loaded
from marketd.config.settings import Settings
from marketd.config.shown import shown, shown_key

FLAGS: Final = {"--data": "data.dir", "--host": "http.host", "--port": "http.port", "--nats": "nats.url"}

LIVE: Final = "_live_"  # in a Stripe key that moves real money
PATTERN: Final = "matching regex"  # in msgspec's message about a text that does not match a pattern
SECRET_WORDS: Final = ("password", "secret", "token", "key", "credential")


class SettingsError(Exception):
    """The service can't start with these settings; the message is one line for the operator."""


class FileUnreadable(SettingsError):
    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"{source} can't be read: {why}")
        self.source, self.why = source, why


class UnknownSetting(SettingsError):
    def __init__(self, key: str, value: str, source: str, meant: str | None) -> None:
        hint = f", did you mean {meant}?" if meant else ""
        super().__init__(f"{key} = {value} ({source}): no such setting{hint}")
        self.key, self.value, self.source, self.meant = key, value, source, meant


class ImpossibleValue(SettingsError):
    def __init__(self, key: str, value: str, source: str, expected: str) -> None:
        super().__init__(f"{key} = {value} ({source}): expected {expected}")
        self.key, self.value, self.source, self.expected = key, value, source, expected


class Given(Struct, frozen=True):
    """A given value; `is_text` if its source has only text."""

    field: Field
    value: Any
    source: str
    is_text: bool


def load(file: Path | None, environ: Mapping[str, str], flags: Mapping[str, Any]) -> Loaded:
    """
    Put the settings together, or raise `SettingsError` for the first thing wrong.

    `flags` has the names of `FLAGS`; one that is None was not given.
    """
    values = {key: field.default for key, field in FIELDS.items()}
    sources = dict.fromkeys(FIELDS, "default")
    for given in [*from_file(file), *from_environment(environ), *from_flags(flags)]:
        values[given.field.key] = converted(given)
        sources[given.field.key] = given.source
    refuse_crossed_limits(values, sources)
    refuse_keyless_stripe(values, sources)
    refuse_half_of_tls(values, sources)
    refuse_leaf_of_others(values, sources)
    return Loaded(assembled(values), sources)


def from_file(file: Path | None) -> Iterator[Given]:
    if file is None:
        return
    source = f"file {file}"
    for section, table in read_toml(file, source).items():
        if not isinstance(table, dict) or (not table and section not in SECTIONS):
            raise unknown(section, table, source)
        for name, value in table.items():
            key = f"{section}.{name}"
            if key not in FIELDS:
                raise unknown(key, value, source)
            yield Given(FIELDS[key], value, source, is_text=False)


def read_toml(file: Path, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileUnreadable(source, error.strerror or str(error)) from None
    except ValueError as error:  # Not UTF-8, or not TOML.
        raise FileUnreadable(source, str(error)) from None


def from_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    fields = {field.variable: field for field in FIELDS.values()}
    for variable, text in environ.items():
        if not variable.startswith("MARKETD_"):
            continue
        source = f"environment {shown_key(variable)}"
        if variable not in fields:
            key = variable.removeprefix("MARKETD_").lower().replace("__", ".")
            raise unknown(key, text, source)
        yield Given(fields[variable], text, source, is_text=True)


def from_flags(flags: Mapping[str, Any]) -> Iterator[Given]:
    for flag, value in flags.items():
        if value is not None:
            yield Given(FIELDS[FLAGS[flag]], value, f"flag {flag}", is_text=isinstance(value, str))


def unknown(key: str, value: object, source: str) -> UnknownSetting:
    """Make the error for an unknown key, with the nearest known one; what may be a misspelt secret is masked."""
    name = key.rpartition(".")[2].lower()
    secret = any(word in name for word in SECRET_WORDS) or bool(get_close_matches(name, SECRET_WORDS))
    near = [FIELDS[match] for match in get_close_matches(key, FIELDS, n=1, cutoff=0.7)]
    meant = [field.variable if source.startswith("environment") else field.key for field in near]
    return UnknownSetting(shown_key(key), shown(value, secret), source, meant[0] if meant else None)


def _list_of(text: str) -> list[Any]:
    """Read a list as in a TOML file, `["a", "b"]`, or one without signs around it, `a, b`."""
    if text.strip().startswith("["):
        with suppress(tomllib.TOMLDecodeError):
            return list(tomllib.loads(f"list = {text}")["list"])
    return [part.strip() for part in text.split(",") if part.strip()]


def converted(given: Given) -> Any:
    """Convert a given value to the type of its field, or raise `ImpossibleValue`."""
    kind, value = given.field.type, given.value
    if is_optional(kind) and (value == "" or (given.is_text and value.lower() == "null")):
        return None
    if given.is_text and not is_unicode(value):
        raise impossible(given, "UTF-8")
    if is_list(kind) and given.is_text:
        value = _list_of(value)
    try:
        result = msgspec.convert(value, kind, strict=not given.is_text)
    except msgspec.ValidationError as error:
        raise impossible(given, expectation(given, str(error))) from None
    if isinstance(result, float) and not isfinite(result):
        raise impossible(given, "a finite number")
    check = (get_args(kind)[-1].extra or {}).get("check")
    if check and (expected := check(result)):
        raise impossible(given, expected)
    return result


def impossible(given: Given, expected: str) -> ImpossibleValue:
    return ImpossibleValue(given.field.key, shown(given.value, given.field.secret), given.source, expected)


def expectation(given: Given, complaint: str) -> str:
    """Say what was expected: as msgspec does, but for the words of a `Literal` and the meaning of a pattern."""
    words = get_args(get_args(given.field.type)[0]) if is_choice(given.field.type) else ()
    if words:
        return "one of " + ", ".join(words)
    if PATTERN in complaint and (meaning := in_words(given.field.type)):
        return meaning
    complaint = complaint.removeprefix("Expected ").replace("`", "")
    return complaint.partition(", got ")[0] if given.is_text else complaint


def in_words(kind: Any) -> str | None:
    """Find the words for the pattern in a type."""
    if isinstance(kind, Meta):
        return (kind.extra or {}).get("expected")
    return next((words for part in get_args(kind) if (words := in_words(part))), None)


def is_unicode(text: str) -> bool:
    """Say whether a text was UTF-8: Python keeps other bytes of the environment as lone surrogates (PEP 383)."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def is_optional(kind: Any) -> bool:
    return type(None) in get_args(get_args(kind)[0])


def is_list(kind: Any) -> bool:
    return get_origin(get_args(kind)[0]) is tuple


def is_choice(kind: Any) -> bool:
    return get_origin(get_args(kind)[0]) is Literal


def refuse_crossed_limits(values: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Raise `ImpossibleValue` for a value above the limit that is named after it, as `retry_s` and `retry_s_max`."""
    for key, value in values.items():
        limit = f"{key}_max"
        if limit in values and value > values[limit]:
            expected = f"at most {limit} = {shown(values[limit])} ({sources[limit]})"
            raise ImpossibleValue(key, shown(value), sources[key], expected)


def refuse_keyless_stripe(values: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Raise `ImpossibleValue` for Stripe without its key, or with a live key that is sent without TLS."""
    processor, key, url = (values[f"payments.{name}"] for name in ("processor", "stripe_secret_key", "stripe_url"))
    if processor != "stripe":
        return
    if key is None:
        expected = "payments.stripe_secret_key to be set beside it"
        raise ImpossibleValue("payments.processor", shown(processor), sources["payments.processor"], expected)
    if key[2:].startswith(LIVE) and not url.startswith("https://"):
        expected = "https, because payments.stripe_secret_key is a live one"
        raise ImpossibleValue("payments.stripe_url", shown(url), sources["payments.stripe_url"], expected)


def refuse_half_of_tls(values: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Raise `ImpossibleValue` for a certificate without its key, or the other way round."""
    names = ("http.tls_certificate", "http.tls_key")
    for key, other in (names, names[::-1]):
        if values[key] is not None and values[other] is None:
            raise ImpossibleValue(key, shown(values[key]), sources[key], f"{other} to be set beside it")


def refuse_leaf_of_others(values: Mapping[str, Any], sources: Mapping[str, str]) -> None:
    """Raise `ImpossibleValue` for a leaf hub without a NATS server of our own to connect to it."""
    hub, elsewhere = values["nats.leaf_url"], values["nats.url"]
    if hub is not None and elsewhere is not None:
        expected = f"none, because the server at nats.url = {shown(elsewhere)} is not ours ({sources['nats.url']})"
        raise ImpossibleValue("nats.leaf_url", shown(hub), sources["nats.leaf_url"], expected)


def assembled(values: Mapping[str, Any]) -> Settings:
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for key, value in values.items():
        section, _, name = key.partition(".")
        sections[section][name] = value
    return msgspec.convert(sections, Settings)
