"""
Bodies and parameters, strictly decoded: each wrong field is named, not only the first.

Types say what is right: msgspec's own constraints, and checks of our own as `Meta(extra={"check": …})`, each a function
from a value to a sentence about what is wrong with it, or None. Beside each stands what it comes to in JSON Schema
(`extra_json_schema`), so that the document of the API says what is checked; where it can be, one pattern is both.
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
CODINGS: Final = ("identity", "gzip", "deflate")  # which aiohttp reads, whatever else is installed
CODING_SHOWN_MAX: Final = 20
WHOLE_DIGITS_MAX: Final = 20  # no field takes a whole number that is longer
HUGE_DIGITS: Final = 2 * WHOLE_DIGITS_MAX
FAULTS_MAX: Final = 100  # who sends more gets an answer that is no larger for it
NAME_SHOWN_MAX: Final = 100
REPLACED: Final = "\ufffd"  # what stands where bytes were no text
_ESCAPED_BYTES: Final = re.compile("[\ud800-\udfff]")  # PEP 383

# Patterns are written so that they mean the same in Python and in ECMA 262, which JSON Schema takes them from.
# UNSEEN is what shows nothing, breaks lines or turns them around, but for the joiners that emoji and scripts need.
UNSEEN: Final = r"\u0000-\u001f\u007f-\u009f\u200b\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb"
SEEN: Final = rf"[^\s\u200c-\u200f{UNSEEN}]"
_UNSEEN_BUT_BREAKS: Final = UNSEEN.replace(r"\u0000-\u001f", r"\u0000-\u0008\u000b\u000c\u000e-\u001f")
# What may stand before the first that is SEEN; the two have nothing in common, so a text is read through once.
_BLANK: Final = r" \u00a0\u1680\u2000-\u200a\u200c-\u200f\u202f\u205f\u3000"
LINE: Final = rf"[{_BLANK}]*{SEEN}[^{UNSEEN}]*"
LINES: Final = rf"[\t\n\r{_BLANK}]*{SEEN}[^{_UNSEEN_BUT_BREAKS}]*"
MEDIA_TYPE: Final = r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*"
_FILE_NAME: Final = rf"[{_BLANK}]*[^/\\\s\u200c-\u200f{UNSEEN}][^/\\{UNSEEN}]*"
# Texts are found so that nothing in them is, also one without an end, or each quote in it would be a beginning. The
# digits before a point or an exponent are no whole number.
_TEXT_OR_LONG_NUMBER: Final = re.compile(
    rb'(?P<text>"[^"\\]*(?:\\.[^"\\]*)*"?)|(?<![0-9.eE+-])-?[0-9]{%d,}(?![0-9.eE])' % (HUGE_DIGITS + 1), re.DOTALL
)
_PLAIN_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def formed(pattern: str, fault: str, but_not: tuple[str, ...] = ()) -> dict[str, Any]:
    """Say for `Meta` that the whole of a text has this form, once for the check and once for the schema."""
    form = re.compile(pattern)

    def check(text: str) -> str | None:
        return None if form.fullmatch(text) and text not in but_not else fault

    schema: dict[str, Any] = {"pattern": f"^(?:{pattern})$"} | ({"not": {"enum": list(but_not)}} if but_not else {})
    return {"extra": {"check": check}, "extra_json_schema": schema}


def _price_fault(price: object) -> str | None:
    if isinstance(price, bool) or not isinstance(price, int | Decimal):
        return "Expected a number"
    if not 0 < price <= PRICE_MAX:
        return f"Expected a number above 0, at most {PRICE_MAX}"
    exact = Decimal(price)
    is_short = exact == exact.quantize(Decimal(1).scaleb(-PRICE_DECIMALS_MAX))
    return None if is_short else f"Expected at most {PRICE_DECIMALS_MAX} decimals"


def media_type_fault(media_type: str) -> str | None:
    """Say what is wrong with a media type (RFC 6838, section 4.2); parameters are no part of it."""
    if len(media_type) <= MEDIA_TYPE_MAX and re.fullmatch(MEDIA_TYPE, media_type):
        return None
    return "Expected a media type in lower case, such as application/zip"


def _currency_fault(code: str) -> str | None:
    return None if code in CURRENCIES else "Expected an ISO 4217 code"


# What many bodies have in common.

_LINE: Final = formed(LINE, "Expected one line with something to read, without control characters")
_LINES: Final = formed(LINES, "Expected something to read, and no control characters but line breaks and tabs")
_NAME: Final = formed(_FILE_NAME, "Expected the name of a file, without folders", but_not=(".", ".."))

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
        """As the read models want it."""
        return Page(self.page, self.size)


def price_of(raw: Raw) -> Decimal:
    """Read a price that has passed its check, exactly."""
    return Decimal(bytes(raw).decode())


class Examined(Struct, Generic[T]):
    """A body as far as it fits its type: UNSET stands for whatever does not, and `faults` names it."""

    fitting: T
    faults: list[Fault] = []

    def body(self, further: Iterable[Fault] = ()) -> T:
        """Give the body where nothing is wrong with it, by further rules neither; raise `BadRequest` naming it all."""
        named = {fault.pointer for fault in self.faults}
        faults = self.faults + [fault for fault in further if fault.pointer not in named]
        if faults:
            raise BadRequest(faults[:FAULTS_MAX])
        return self.fitting


async def decode(request: web.Request, kind: type[T]) -> T:
    """
    Decode a JSON body; raise `BadRequest` naming every field at fault, or what else is wrong with it.

    Of a name given twice the last value counts. A number is whole if its value is: 5.0 is 5, as JSON Schema has it.
    """
    return (await examine(request, kind)).body()


async def examine(request: web.Request, kind: type[T]) -> Examined[T]:
    """The same where more is asked of the fields than their types say; raise `BadRequest` for what is no JSON."""
    assert_declared(request, "body", kind)
    if request.content_type != JSON and not request.content_type.endswith("+json"):
        raise WrongContentType(f"expected {JSON}, got {request.content_type}")
    if (coding := request.headers.get("Content-Encoding", "identity").lower()) not in CODINGS:
        raise WrongContentType(f"expected a body in one of {', '.join(CODINGS)}, got {coding[:CODING_SHOWN_MAX]}")
    body = await read_body(request)
    if _is_plain(kind):
        with suppress(*_UNREADABLE):  # then it is looked at again, for all that is wrong with it
            return Examined(msgspec.json.decode(body, type=kind))
    try:
        value = _read(body)
    except _UNREADABLE as error:
        raise BadRequest([Fault("", f"Not valid JSON: {_what_is_wrong(error)}")]) from None
    found = faults_of(kind, value)
    return Examined(_fitting(kind, value) if found else _decoded(kind, value), found)


async def read_body(request: web.Request) -> bytes:
    """Read the whole body; raise `TooLarge` before anything of it is read where its length is told, or `TooSlow`."""
    limits = request.app[LIMITS]
    if (request.content_length or 0) > limits.body_bytes_max:
        raise TooLarge(f"the body may have at most {limits.body_bytes_max} bytes")
    if request.content.is_eof():  # small ones come with their head, and there is nothing to wait for
        return await request.read()
    try:
        async with asyncio.timeout(limits.body_read_s_max):
            return await request.read()
    except TimeoutError:
        raise TooSlow(f"the body was not here after {limits.body_read_s_max:g} s") from None


async def decode_optional(request: web.Request, kind: type[T]) -> T:
    """The same, where no body at all is as good as an empty one."""
    return await decode(request, kind) if request.can_read_body else kind()


def parameters(request: web.Request, kind: type[T]) -> T:
    """Decode the query's parameters; raise `BadRequest` naming every one at fault."""
    assert_declared(request, "query", kind)
    pairs = [*request.query.items()]
    is_doubtful = any(REPLACED in text for _, text in pairs)
    return from_texts(pairs, kind, _unreadable(request.rel_url.raw_query_string) if is_doubtful else [])


def from_texts(pairs: Sequence[tuple[str, str]], kind: type[T], unreadable: Iterable[str] = ()) -> T:
    """Convert named texts, as queries and forms have them; raise `BadRequest` as above, for the unreadable ones too."""
    counts = Counter(name for name, _ in pairs)
    found = [Fault(f"/{name}", "Given more than once") for name, count in counts.items() if count > 1]
    found += [Fault(f"/{_escaped(name)}", "Expected UTF-8") for name in unreadable]
    given: Mapping[str, str] = dict(pairs)
    found += islice(_faults(kind, given, "", strict=False), FAULTS_MAX)
    if found:
        raise BadRequest(found[:FAULTS_MAX])
    return msgspec.convert(given, kind, strict=False)


def _unreadable(query: str) -> list[str]:
    """Name the parameters whose bytes are no UTF-8; they were read as if somebody had written U+FFFD."""
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    return [_ESCAPED_BYTES.sub(REPLACED, name) for name, text in pairs if _ESCAPED_BYTES.search(text)]


def faults_of(kind: type[Struct], value: Any) -> list[Fault]:
    """Name everything in a decoded JSON value that does not fit the type, as far as anybody would read it."""
    return list(islice(_faults(kind, value, "", strict=True), FAULTS_MAX))


def _faults(kind: Any, value: Any, pointer: str, *, strict: bool) -> Iterator[Fault]:
    """Walk a value along its type and give whatever does not fit."""
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
        yield Fault(pointer, "Expected a number")  # Decimal itself would take 1_000 and numbers of other scripts
        return
    if bare is not Raw:  # which holds whatever its check lets through
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
    """Decode what fits, however deep in it something does not; UNSET stands for that, and for what is missing."""
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
    """Give a type's fields by their names in JSON; there are as many types as are written in the code."""
    return {field.encode_name: field for field in fields_of(kind)}


@cache
def _is_plain(kind: type[Struct]) -> bool:
    """Say whether msgspec alone knows whether a body fits: it has texts and no checks of ours."""
    is_strict = kind.__struct_config__.forbid_unknown_fields
    return is_strict and all(_bare(field.type) == (str, None) for field in fields_of(kind))


def _chosen(kind: Any) -> Any:
    """Take the one type out of a union of it with null, or with nothing."""
    bare, _ = _bare(kind)
    choices = [choice for choice in get_args(bare) if choice not in (NoneType, UnsetType)]
    return choices[0] if get_origin(bare) in (Union, UnionType) and len(choices) == 1 else kind


def _bare(kind: Any) -> tuple[Any, Any]:
    """Take a type and its check out of `Annotated`."""
    if get_origin(kind) is not Annotated:
        return kind, None
    bare, *metas = get_args(kind)
    return bare, next((m.extra["check"] for m in metas if m.extra and "check" in m.extra), None)


def _list_fault(kind: Any, value: list[Any]) -> str | None:
    """Say what is wrong with a list by its own bounds, whatever its items are."""
    bounds = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    try:
        msgspec.convert(value, Annotated[list[Any], *bounds] if bounds else list[Any])
    except msgspec.ValidationError as error:
        return _worded(error)
    return None


def _worded(error: msgspec.ValidationError) -> str:
    """Write msgspec's sentence without its quotes, and with JSON's word for a number."""
    return str(error).replace("`", "").replace("got decimal", "got float")


def _number(text: str) -> Decimal | int:
    """Read a number with a point or an exponent, exactly; one whose exponent nobody can hold is beyond every bound."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        return Decimal("Infinity")
    is_whole = number.adjusted() < WHOLE_DIGITS_MAX and number == number.to_integral_value()
    return int(number) if is_whole else number


def _read(body: bytes) -> Any:
    """Read JSON of no type in particular, also where a number is longer than msgspec reads."""
    try:
        return _untyped.decode(body)
    except msgspec.ValidationError:  # which of no type says that alone; so much shorter it is beyond every bound still
        return _untyped.decode(_TEXT_OR_LONG_NUMBER.sub(lambda found: found["text"] or found[0][:HUGE_DIGITS], body))


_untyped: Final = msgspec.json.Decoder(float_hook=_number)
_encoder: Final = msgspec.json.Encoder(decimal_format="number")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _what_is_wrong(error: Exception) -> str:
    """Say it without the words of Python."""
    match error:
        case UnicodeDecodeError():
            return "it is not in UTF-8"
        case RecursionError():
            return "it is nested too deeply"
        case _:
            return str(error)


def _escaped(name: str) -> str:
    """Write a name in a pointer; one that no field of ours is as long as, cut."""
    return name[:NAME_SHOWN_MAX].replace("~", "~0").replace("/", "~1")
