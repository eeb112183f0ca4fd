"""Header names that every request looks up, case-folded once; the others are in aiohttp's `hdrs`."""

from typing import Final

from multidict import istr

ETAG: Final = istr("ETag")  # aiohttp's own is spelt `Etag`
TRACEPARENT: Final = istr("traceparent")
X_REQUEST_ID: Final = istr("X-Request-Id")
