"""
Sealed bytes: AES-256 in Galois/Counter Mode (NIST SP 800-38D), by cryptography.

    SealBroken      another key, or other bytes
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES: Final = 12


class SealBroken(Exception):
    """These bytes were not sealed under this key."""


def seal(key: bytes, nonce: bytes, plain: bytes) -> bytes:
    """Seal bytes under a key of 32; a nonce of 12 must never serve twice under one key."""
    return nonce + AESGCM(key).encrypt(nonce, plain, None)


def unseal(key: bytes, sealed: bytes) -> bytes:
    """Give back what was sealed; raise `SealBroken`."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
    except (InvalidTag, ValueError):
        raise SealBroken("these bytes were not sealed under this key") from None
