"""
Strict decoding of bodies and parameters: every invalid field is named, not only the first.

Types declare what is valid: by msgspec's own constraints, and by our checks as `Meta(extra={"check": …})`, each a
function from a value to a sentence about what is wrong with it, or None. Beside each check stands its equivalent in
JSON Schema (`extra_json_schema`), so that the OpenAPI document says what is checked; where possible, one pattern serves
as both.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from functools import cache
from itertools import islice
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Generic, TypeVar, Union, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Raw, Struct, UnsetType
from msgspec.structs import FieldInfo
from msgspec.structs import fields as fields_of

from marketd.actors.money import CURRENCIES
from marketd.http.keys import LIMITS
from marketd.http.operation import JSON, assert_declared
from marketd.http.problems import BadRequest, Fault, TooLarge, TooSlow, WrongContentType
from marketd.storage.pages import Page

T = TypeVar("T", bound=Struct)

PRICE_MAX: Final = 1_000_000
PRICE_DECIMALS_MAX: Final = 2
PAGE_SIZE_MAX: Final = 100
PAGE_NUMBER_MAX: Final = 1_000_000
MEDIA_TYPE_MAX: Final = 127
CODINGS: Final = ("identity", "gzip", "deflate")  # which aiohttp decodes, whatever else is installed
CODING_SHOWN_MAX: Final = 20
WHOLE_DIGITS_MAX: Final = 20  # no field accepts a longer integer
HUGE_DIGITS: Final = 2 * WHOLE_DIGITS_MAX
FAULTS_MAX: Final = 100  # further faults are not named, so the response stays small
NAME_SHOWN_MAX: Final = 100
REPLACED: Final = "\ufffd"  # what replaces bytes that are not valid UTF-8
_ESCAPED_BYTES: Final = re.compile("[\ud800-\udfff]")  # PEP 383

# Patterns are written so that they mean the same in Python and in ECMA 262, which JSON Schema takes them from. UNSEEN
# is what is invisible, breaks lines or reverses their direction, except the joiners that emoji and scripts need.
UNSEEN: Final = r"\u0000-\u001f\u007f-\u009f\u200b\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
SEEN: Final = rf"[^\s\u200c-\u200f{UNSEEN}]"
_UNSEEN_BUT_BREAKS: Final = UNSEEN.replace(r"\u0000-\u001f", r"\u0000-\u0008\u000b\u000c\u000e-\u001f")
# What may precede the first SEEN character; the two sets are disjoint, so a text is matched in one pass.
_BLANK: Final = r" \u00a0\u1680\u2000-\u200a\u200c-\u200f\u202f\u205f\u3000"
LINE: Final = rf"[{_BLANK}]*{SEEN}[^{UNSEEN}]*"
LINES: Final = rf"[\t\n\r{_BLANK}]*{SEEN}[^{_UNSEEN_BUT_BREAKS}]*"
MEDIA_TYPE: Final = r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*"
# The name of a file: a line without slashes that is neither `.` nor `..`. A lookahead or a `not` beside it would be
# shorter, but many code generators support neither.
_OTHERS: Final = rf"[^/\\{UNSEEN}]"
_FIRST: Final = rf"/\\\s\u200c-\u200f{UNSEEN}"
_FILE_NAME: Final = (
    rf"[{_BLANK}]+[^{_FIRST}]{_OTHERS}*|[^.{_FIRST}]{_OTHERS}*|\.[^./\\{UNSEEN}]{_OTHERS}*|\.\.{_OTHERS}+"
)
# Strings are matched so that numbers in them are skipped, even an unterminated string: otherwise each quote in it would
# begin another one. Digits before a point or an exponent are not an integer.
_TEXT_OR_LONG_NUMBER: Final = re.compile(
    rb'(?P<text>"[^"\\]*(?:\\.[^"\\]*)*"?)|(?<![0-9.eE+-])-?[0-9]{%d,}(?![0-9.eE])' % (HUGE_DIGITS + 1), re.DOTALL
)
_PLAIN_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def formed(pattern: str, fault: str) -> dict[str, Any]:
    """Make arguments for `Meta` that require a whole text to match a pattern: the check and the schema."""
    form = re.compile(pattern)

    def check(text: str) -> str | None:
        return None if form.fullmatch(text) else fault

    return {"extra": {"check": check}, "extra_json_schema": {"pattern": f"^(?:{pattern})$"}}


def _price_fault(price: object) -> str | None:
    if isinstance(price, bool) or not isinstance(price, int | Decimal):
        return "Expected a number"
    if not 0 < price <= PRICE_MAX:
        return f"Expected a number above 0, at most {PRICE_MAX}"
    exact = Decimal(price)
    is_short = exact == exact.quantize(Decimal(1).scaleb(-PRICE_DECIMALS_MAX))
    return None if is_short else f"Expected at most {PRICE_DECIMALS_MAX} decimals"


def media_type_fault(media_type: str) -> str | None:
    """Say what is wrong with a media type (RFC 6838, section 4.2); parameters are not part of it."""
    if len(media_type) <= MEDIA_TYPE_MAX and re.fullmatch(MEDIA_TYPE, media_type):
        return None
    return "Expected a media type in lower case, such as application/zip"


def _currency_fault(code: str) -> str | None:
    return None if code in CURRENCIES else "Expected an ISO 4217 code"


# Types that many bodies share.

_LINE: Final = formed(LINE, "Expected one line with something to read, without control characters")
_LINES: Final = formed(LINES, "Expected something to read, and no control characters but line breaks and tabs")
_NAME: Final = formed(_FILE_NAME, "Expected the name of a file, without folders")

Price = Annotated[
    Raw,
    Meta(
        extra={"check": _price_fault},
        extra_json_schema={"type": "number", "exclusiveMinimum": 0, "maximum": PRICE_MAX, "multipleOf": 0.01},
    ),
]
Currency = Annotated[
    str, Meta(extra={"check": _currency_fault}, extra_json_schema={"enum": sorted(CURRENCIES), "type": "string"})
]
Title = Annotated[str, Meta(min_length=1, max_length=200, **_LINE)]
ShortLine = Annotated[str, Meta(min_length=1, max_length=100, **_LINE)]
FileName = Annotated[str, Meta(min_length=1, max_length=255, **_NAME)]
MediaType = Annotated[
    str,
    Meta(
        extra={"check": media_type_fault},
        extra_json_schema={"pattern": f"^(?:{MEDIA_TYPE})$", "maxLength": MEDIA_TYPE_MAX},
    ),
]
LongText = Annotated[str, Meta(min_length=1, max_length=20_000, **_LINES)]
Text = Annotated[str, Meta(min_length=1, max_length=5_000, **_LINES)]


class Paging(Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of every list."""

    page: Annotated[int, Meta(ge=1, le=PAGE_NUMBER_MAX)] = 1
    size: Annotated[int, Meta(ge=1, le=PAGE_SIZE_MAX)] = 20

    @property
    def wanted(self) -> Page:
        """The same as a `Page`, for the read models."""
        return Page(self.page, self.size)


def price_of(raw: Raw) -> Decimal:
    """Read a price that has passed its check, without rounding."""
    return Decimal(bytes(raw).decode())


class Examined(Struct, Generic[T]):
    """A body in which UNSET replaces every invalid field; `faults` names those fields."""

    fitting: T
    faults: list[Fault] = []

    def body(self, further: Iterable[Fault] = ()) -> T:
        """Give the body if it has no faults, nor `further` ones; raise `BadRequest` naming all of them."""
        named = {fault.pointer for fault in self.faults}
        faults = self.faults + [fault for fault in further if fault.pointer not in named]
        if faults:
            raise BadRequest(faults[:FAULTS_MAX])
        return self.fitting


async def decode(request: web.Request, kind: type[T]) -> T:
    """
    Decode a JSON body; raise `BadRequest` naming every invalid field, or why it is not JSON.

    If a name is given twice, the last value counts. A number is an integer if its value is: 5.0 is 5, as in JSON
    Schema.
    """
    return (await examine(request, kind)).body()


async def examine(request: web.Request, kind: type[T]) -> Examined[T]:
    """The same, for handlers with further rules for the fields; raise `BadRequest` only for what is not JSON."""
    assert_declared(request, "body", kind)
    if request.content_type != JSON and not request.content_type.endswith("+json"):
        raise WrongContentType(f"expected {JSON}, got {request.content_type}")
    if (coding := request.headers.get("Content-Encoding", "identity").lower()) not in CODINGS:
        raise WrongContentType(f"expected a body in one of {', '.join(CODINGS)}, got {coding[:CODING_SHOWN_MAX]}")
    body = await read_body(request)
    if _is_plain(kind):
        with suppress(*_UNREADABLE):  # then it is decoded again below, to find every fault
            return Examined(msgspec.json.decode(body, type=kind))
    try:
        value = _read(body)
    except _UNREADABLE as error:
        raise BadRequest([Fault("", f"Not valid JSON: {_what_is_wrong(error)}")]) from None
    found = faults_of(kind, value)
    return Examined(_fitting(kind, value) if found else _decoded(kind, value), found)


async def read_body(request: web.Request) -> bytes:
    """Read the whole body; raise `TooSlow`, or `TooLarge`, without reading where `Content-Length` says so."""
    limits = request.app[LIMITS]
    if (request.content_length or 0) > limits.body_bytes_max:
        raise TooLarge(f"the body may have at most {limits.body_bytes_max} bytes")
    if request.content.is_eof():  # a small body arrives with its head, and there is nothing to wait for
        return await request.read()
    try:
        async with asyncio.timeout(limits.body_read_s_max):
            return await request.read()
    except TimeoutError:
        raise TooSlow(f"the body was not here after {limits.body_read_s_max:g} s") from None


async def decode_optional(request: web.Request, kind: type[T]) -> T:
    """Decode a JSON body; a missing one counts as an empty object."""
    return await decode(request, kind) if request.can_read_body else kind()


def parameters(request: web.Request, kind: type[T]) -> T:
    """Decode the query's parameters; raise `BadRequest` naming every invalid one."""
    assert_declared(request, "query", kind)
    pairs = [*request.query.items()]
    is_doubtful = any(REPLACED in text for _, text in pairs)
    return from_texts(pairs, kind, _unreadable(request.rel_url.raw_query_string) if is_doubtful else [])


def from_texts(pairs: Sequence[tuple[str, str]], kind: type[T], unreadable: Iterable[str] = ()) -> T:
    """Convert the named texts of a query or a form; raise `BadRequest` naming every invalid or unreadable one."""
    counts = Counter(name for name, _ in pairs)
    found = [Fault(f"/{name}", "Given more than once") for name, count in counts.items() if count > 1]
    found += [Fault(f"/{_escaped(name)}", "Expected UTF-8") for name in unreadable]
    given: Mapping[str, str] = dict(pairs)
    found += islice(_faults(kind, given, "", strict=False), FAULTS_MAX)
    if found:
        raise BadRequest(found[:FAULTS_MAX])
    return msgspec.convert(given, kind, strict=False)


def _unreadable(query: str) -> list[str]:
    """Name the parameters that are not valid UTF-8; they were decoded as if U+FFFD had been sent."""
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    return [_ESCAPED_BYTES.sub(REPLACED, name) for name, text in pairs if _ESCAPED_BYTES.search(text)]


def faults_of(kind: type[Struct], value: Any) -> list[Fault]:
    """Name what in a decoded JSON value does not fit the type, up to `FAULTS_MAX` faults."""
    return list(islice(_faults(kind, value, "", strict=True), FAULTS_MAX))


def _faults(kind: Any, value: Any, pointer: str, *, strict: bool) -> Iterator[Fault]:
    """Walk a value along its type and yield every fault."""
    if value is None and NoneType in get_args(_bare(kind)[0]):
        return
    kind = _chosen(kind)
    bare, check = _bare(kind)
    if isinstance(bare, type) and issubclass(bare, Struct):
        yield from _struct_faults(bare, value, pointer, strict=strict)
        return
    if get_origin(bare) is list and isinstance(value, list):
        if wrong := _list_fault(kind, value):
            yield Fault(pointer, wrong)
        for index, item in enumerate(value):
            yield from _faults(get_args(bare)[0], item, f"{pointer}/{index}", strict=strict)
        return
    if bare is Decimal and isinstance(value, str) and not _PLAIN_NUMBER.fullmatch(value):
        yield Fault(pointer, "Expected a number")  # Decimal itself would accept 1_000 and digits of other scripts
        return
    if bare is not Raw:  # a Raw holds whatever its check accepts
        try:
            value = msgspec.convert(value, kind, strict=strict)
        except msgspec.ValidationError as error:
            yield Fault(pointer, _worded(error))
            return
    if check and (wrong := check(value)):
        yield Fault(pointer, wrong)


def _struct_faults(kind: type[Struct], value: Any, pointer: str, *, strict: bool) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield Fault(pointer, "Expected an object")
        return
    known = _fields(kind)
    for name in value:
        if name not in known:
            yield Fault(f"{pointer}/{_escaped(name)}", "Unknown field")
    for name, field in known.items():
        if name in value:
            yield from _faults(field.type, value[name], f"{pointer}/{name}", strict=strict)
        elif field.required:
            yield Fault(f"{pointer}/{name}", "Required")


def _fitting(kind: Any, value: Any) -> Any:
    """Decode the valid parts at any depth; UNSET replaces what is invalid or missing."""
    if next(_faults(kind, value, "", strict=True), None) is None:
        return _decoded(kind, value)
    kind = _chosen(kind)
    bare, _ = _bare(kind)
    if isinstance(bare, type) and issubclass(bare, Struct):
        given = value if isinstance(value, dict) else {}
        fields = [(name, field) for name, field in _fields(bare).items() if name in given or field.required]
        return bare(**{field.name: _fitting(field.type, given.get(name, UNSET)) for name, field in fields})
    if get_origin(bare) is list and isinstance(value, list) and _list_fault(kind, value) is None:
        return [_fitting(get_args(bare)[0], item) for item in value]
    return UNSET


def _decoded(kind: Any, value: Any) -> Any:
    return msgspec.json.decode(_encoder.encode(value), type=kind)


@cache
def _fields(kind: type[Struct]) -> dict[str, FieldInfo]:
    """Give a type's fields by their JSON names; the cache is bounded by the number of types in the code."""
    return {field.encode_name: field for field in fields_of(kind)}


@cache
def _is_plain(kind: type[Struct]) -> bool:
    """Say whether msgspec alone can validate a body: all fields are strings without our checks."""
    is_strict = kind.__struct_config__.forbid_unknown_fields
    return is_strict and all(_bare(field.type) == (str, None) for field in fields_of(kind))


def _chosen(kind: Any) -> Any:
    """Give the only type in a union with null or UNSET; any other type is given as it is."""
    bare, _ = _bare(kind)
    choices = [choice for choice in get_args(bare) if choice not in (NoneType, UnsetType)]
    return choices[0] if get_origin(bare) in (Union, UnionType) and len(choices) == 1 else kind


def _bare(kind: Any) -> tuple[Any, Any]:
    """Unpack a type and its check from `Annotated`."""
    if get_origin(kind) is not Annotated:
        return kind, None
    bare, *metas = get_args(kind)
    return bare, next((m.extra["check"] for m in metas if m.extra and "check" in m.extra), None)


def _list_fault(kind: Any, value: list[Any]) -> str | None:
    """Say what is wrong with a list itself, such as its length, whatever its items are."""
    bounds = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    try:
        msgspec.convert(value, Annotated[list[Any], *bounds] if bounds else list[Any])
    except msgspec.ValidationError as error:
        return _worded(error)
    return None


def _worded(error: msgspec.ValidationError) -> str:
    """Write msgspec's message without backquotes, and with `float` in place of `decimal`."""
    return str(error).replace("`", "").replace("got decimal", "got float")


def _number(text: str) -> Decimal | int:
    """Read a number with a point or an exponent, exactly; one with an exponent too large becomes infinity."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")
    is_whole = number.adjusted() < WHOLE_DIGITS_MAX and number == number.to_integral_value()
    return int(number) if is_whole else number


def _read(body: bytes) -> Any:
    """Decode JSON without a type, even if an integer is longer than msgspec accepts."""
    try:
        return _untyped.decode(body)
    except msgspec.ValidationError:  # raised here only for that; cut to `HUGE_DIGITS`, it still exceeds every bound
        return _untyped.decode(_TEXT_OR_LONG_NUMBER.sub(lambda found: found["text"] or found[0][:HUGE_DIGITS], body))


_untyped: Final = msgspec.json.Decoder(float_hook=_number)
_encoder: Final = msgspec.json.Encoder(decimal_format="number")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _what_is_wrong(error: Exception) -> str:
    """Describe the error without Python's wording."""
    match error:
        case UnicodeDecodeError():
            return "it is not in UTF-8"
        case RecursionError():
            return "it is nested too deeply"
        case _:
            return str(error)


def _escaped(name: str) -> str:
    """Escape a name for a JSON pointer; cut where it is longer than any field's name."""
    return name[:NAME_SHOWN_MAX].replace("~", "~0").replace("/", "~1")
