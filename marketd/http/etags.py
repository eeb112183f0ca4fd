"""
Answers that a client need not be sent twice: a strong ETag, and 304 to who has it already (RFC 9110, section 8.8.3).

The tag is a hash of the JSON, so it is the same whichever process made it; who compresses an answer makes another
representation of it, and has to make another tag too.
"""

from hashlib import sha256
from typing import Final

from aiohttp import web

from marketd.http.answers import encoded

DIGITS: Final = 32


def validated(request: web.Request, body: bytes, headers: dict[str, str]) -> web.Response:
    """Answer with JSON that is written already, or with 304 where `If-None-Match` names it."""
    tag = sha256(body).hexdigest()[:DIGITS]
    headers = {**headers, "ETag": f'"{tag}"'}
    known = {known.value for known in request.if_none_match or ()}
    if known & {tag, "*"}:
        return web.Response(status=304, headers=headers)
    return encoded(body, headers=headers)
