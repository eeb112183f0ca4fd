"""
How values are shown to people: as TOML, in one line, and without what is secret.
"""

import json
import re
from typing import Final

from marketd.config.fields import FIELDS, Loaded

MASK: Final = "********"

BARE_KEY: Final = re.compile(r"[A-Za-z0-9_.-]+")

# "nats://user:password@host": all before the last @ goes, because an unescaped password may itself hold one.
CREDENTIALS: Final = re.compile(r"://\S*@")

# What JSON leaves as it is, but TOML refuses (DEL) or a reader takes for a new line.
UNESCAPED: Final = {code: f"\\u{code:04X}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}


def describe(loaded: Loaded) -> list[str]:
    """Write the settings in force as TOML, a line each, with its source: what `marketd config` prints."""
    lines: list[str] = []
    for key, field in FIELDS.items():
        if f"[{field.section}]" not in lines:
            lines += ["", f"[{field.section}]"]
        value = getattr(getattr(loaded.settings, field.section), field.name)
        lines.append(f"{field.name} = {shown(value, field.secret)}  # {loaded.sources[key]}")
    return lines[1:]


def shown(value: object, secret: bool = False) -> str:
    """
    Write a value as TOML. An unset value is `""`, because TOML has no null, and is loaded as unset again.

    Tables are `{…}`: no setting is one, and what a mistaken one holds may be secret.
    """
    match value:
        case None | "":
            return '""'
        case _ if secret:
            return f'"{MASK}"'
        case bool():
            return str(value).lower()
        case str():
            return quoted(without_credentials(value))
        case dict():
            return "{…}"
        case list() | tuple():
            return "[" + ", ".join(shown(part) for part in value) + "]"
        case _:
            return str(value)


def shown_key(key: str) -> str:
    """Write a key as it is, or quoted where it would break the line."""
    return key if BARE_KEY.fullmatch(key) else quoted(key)


def without_credentials(text: str) -> str:
    return CREDENTIALS.sub(f"://{MASK}@", text)


def quoted(text: str) -> str:
    """
    Write a TOML basic string, nearly the same as JSON's; bytes of the environment that are not UTF-8 stay readable.
    """
    readable = text.encode(errors="backslashreplace").decode()
    return json.dumps(readable, ensure_ascii=False).translate(UNESCAPED)
