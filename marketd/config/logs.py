"""
Logging to stderr: one line a record, `2026-01-01T00:00:00.000Z info marketd.http started`. A record that belongs to a
request, also in an actor, a saga's step or the index, names it before the message: `request=… trace=…`.

The one rule: a record stays one line, whatever a client, a library or a traceback put into it. A line break is written
as `\\n`, so `sed 's/\\\\n/\\n/g'` unfolds a traceback. Our code logs no secrets; those that a library puts into a
message, in the URL of a server or as a signed token, are masked here. Libraries do not log below info at any level:
aiosqlite would log all that it writes.

In the format `json` a line is a JSON object instead: `time`, `level`, `logger`, `message`, and where there are such
`request`, `trace`, `traceback` and `stack`.
"""

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from marketd.config.shown import MASK, without_credentials
from marketd.trace import described, named

OURS: Final = "marketd"

# C0 and C1 controls, DEL, and Unicode's own line breaks: they would break the line, or move a terminal's cursor.
CONTROLS: Final = {code: repr(chr(code))[1:-1] for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)}

# Those of them that JSON leaves as they are in a string; the others it escapes.
ESCAPED: Final = {code: f"\\u{code:04x}" for code in CONTROLS if code >= 0x7F}

# A JSON Web Token (RFC 7519) in its compact form: its header is an object in base64url, so it begins with `{"`.
TOKEN: Final = re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+")


class OneLine(logging.Formatter):
    """Writes the time (RFC 3339, UTC), the level, the logger and the message, and the traceback after them."""

    def format(self, record: logging.LogRecord) -> str:
        return _masked(super().format(record)).translate(CONTROLS)

    def formatMessage(self, record: logging.LogRecord) -> str:
        head = f"{_time(record)} {record.levelname.lower()} {record.name}"
        return " ".join(filter(None, (head, described(), record.message)))


class JsonLine(logging.Formatter):
    """Writes a record as one JSON object (RFC 8259), on one line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            **named(),
            "message": _masked(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = _masked(self.formatException(record.exc_info))
        if record.stack_info:
            line["stack"] = _masked(record.stack_info)
        readable = {name: value.encode(errors="backslashreplace").decode() for name, value in line.items()}
        return msgspec.json.encode(readable).decode().translate(ESCAPED)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _masked(text: str) -> str:
    return TOKEN.sub(MASK, without_credentials(text))


def set_up(level: str, form: Literal["text", "json"] = "text") -> None:
    """
    Log records of `level` and above to stderr, but none of libraries below info. Requests are measured, not logged, so
    aiohttp's access log is left out.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLine() if form == "json" else OneLine())
    wanted = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(wanted, logging.INFO), handlers=[handler], force=True)
    logging.getLogger(OURS).setLevel(wanted)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
