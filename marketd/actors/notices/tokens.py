"""
The tokens that go out by mail: each is made of a ticket and our key, so that it can be made again, but not by others.

    account key (20 bytes), ticket id (16), and the first 16 bytes of HMAC-SHA-256 (RFC 2104) over purpose and both

The one rule: a token is never kept. In the log there is its ticket, which is no good without the key.
"""

import hmac
from base64 import b64decode, urlsafe_b64encode
from typing import Final, NamedTuple

from marketd.actors.account import Purpose
from marketd.clock import pack_id, unpack_id

KEY_BYTES: Final = 20
PROOF_BYTES: Final = 16
TOKEN_CHARACTERS: Final = 70  # in base64url without its padding, so that it fits on a line of a mail
PADDING: Final = "=="


class Claim(NamedTuple):
    """What a token stands for."""

    account_key: str
    ticket_id: str


class MailTokens:
    """Makes and recognises the tokens of one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token(self, purpose: Purpose, claim: Claim) -> str:
        """Make the token of a ticket, the same each time."""
        body = bytes.fromhex(claim.account_key) + pack_id(claim.ticket_id)
        proof = hmac.digest(self._key, purpose.encode() + b"\0" + body, "sha256")[:PROOF_BYTES]
        return urlsafe_b64encode(body + proof).decode().rstrip("=")

    def read(self, purpose: Purpose, token: str) -> Claim | None:
        """Say what the token stands for; None if it is not one of ours, or was made for another purpose."""
        if len(token) != TOKEN_CHARACTERS:
            return None
        try:
            body = b64decode(token + PADDING, altchars=b"-_", validate=True)[:-PROOF_BYTES]
        except ValueError:
            return None
        claim = Claim(body[:KEY_BYTES].hex(), unpack_id(body[KEY_BYTES:]))
        return claim if hmac.compare_digest(self.token(purpose, claim), token) else None
