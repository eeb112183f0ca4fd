"""
The tokens that go out by mail: each is made of a ticket and our key, so that it can be made again, but not by others.

    account key (20 bytes), ticket id (16), and the first 16 bytes of HMAC-SHA-256 (RFC 2104) over purpose and both
    account key (20 bytes), and the same over a topic that its holder may switch off

The one rule: a token is never kept. In the log there is its ticket, which is no good without the key.
"""

import hmac
from base64 import b64decode, urlsafe_b64encode
from typing import Final, NamedTuple, get_args

from marketd.actors.account import Purpose
from marketd.actors.preferences import Topic
from marketd.clock import pack_id, unpack_id

KEY_BYTES: Final = 20
PROOF_BYTES: Final = 16
TOKEN_CHARACTERS: Final = 70  # in base64url without its padding, so that it fits on a line of a mail
PADDING: Final = "=="
STOP_CHARACTERS: Final = 48


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

    def stop(self, account_key: str, topic: Topic) -> str:
        """Make the token by which an account is sent no more mails of a topic, whoever shows it."""
        return urlsafe_b64encode(bytes.fromhex(account_key) + self._stop_proof(account_key, topic)).decode()

    def read_stop(self, token: str) -> tuple[str, Topic] | None:
        """Say whose mails of which topic it stops; None if it is not one of ours."""
        if len(token) != STOP_CHARACTERS:
            return None
        try:
            body = b64decode(token, altchars=b"-_", validate=True)
        except ValueError:
            return None
        account_key = body[:KEY_BYTES].hex()
        proofs: dict[Topic, bytes] = {topic: self._stop_proof(account_key, topic) for topic in get_args(Topic)}
        known = (topic for topic, proof in proofs.items() if hmac.compare_digest(proof, body[KEY_BYTES:]))
        return next(((account_key, topic) for topic in known), None)

    def _stop_proof(self, account_key: str, topic: Topic) -> bytes:
        return hmac.digest(self._key, f"stop {topic}\0".encode() + bytes.fromhex(account_key), "sha256")[:PROOF_BYTES]
