"""Names of headers that are looked up in every request, folded once; the others are in aiohttp's `hdrs`."""

from typing import Final

from multidict import istr

ETAG: Final = istr("ETag")  # aiohttp has it, but writes it as nobody does
TRACEPARENT: Final = istr("traceparent")
X_REQUEST_ID: Final = istr("X-Request-Id")
