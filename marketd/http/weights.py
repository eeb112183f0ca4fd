"""
Quality values: which of several things a client prefers (RFC 9110, sections 12.4.2 and 12.5.1).

The one rule: what is malformed is ignored. A malformed element does not affect the others; an overlong header counts as
missing.
"""

import re
from functools import lru_cache
from typing import Final

from aiohttp import hdrs, web

from marketd.http.operation import JSON

LINE_CHARACTERS_MAX: Final = 1_000

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9a-z-]+"
_PARAMETER: Final = rf"[ \t]*;[ \t]*(?!q=){_TOKEN}=(?:{_TOKEN}|\"[^\"]*\")"  # which a media type may have
_WEIGHED: Final = re.compile(
    rf"[ \t]*({_TOKEN}(?:/{_TOKEN}(?:{_PARAMETER})*)?)(?:[ \t]*;[ \t]*q=(0(?:\.\d{{0,3}})?|1(?:\.0{{0,3}})?))?[ \t]*",
    re.ASCII,
)


def weights(line: str) -> dict[str, float]:
    """
    Parse a header in lower case: each name with its weight, from 0 for what is not acceptable to 1. What we have has no
    parameters, so those of a media type are ignored.
    """
    found = (_WEIGHED.fullmatch(element) for element in line.split(","))
    return {element[1].partition(";")[0].rstrip(): float(element[2] or 1) for element in found if element}


def prefers(request: web.Request, media_type: str) -> bool:
    """Say whether `Accept` gives this type more weight than JSON, or names it and gives it as much."""
    headers = request.headers
    if hdrs.ACCEPT not in headers:
        return False
    line = ",".join(headers.getall(hdrs.ACCEPT))
    return len(line) <= LINE_CHARACTERS_MAX and _prefers(line.lower(), media_type)


@lru_cache(maxsize=256)
def _prefers(line: str, media_type: str) -> bool:
    given = weights(line)
    weight, usual = _weight(given, media_type), _weight(given, JSON)
    return weight > usual or (weight == usual > 0 and media_type in given)


def _weight(given: dict[str, float], media_type: str) -> float:
    """Give the weight of the narrowest range that a type is in."""
    ranges = (media_type, f"{media_type.partition('/')[0]}/*", "*/*")
    return next((given[name] for name in ranges if name in given), 0.0)
