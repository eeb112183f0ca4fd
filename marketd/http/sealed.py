"""
Authenticated encryption: AES-256 in Galois/Counter Mode (NIST SP 800-38D), by cryptography.

    SealBroken      the key is another one, or the bytes were changed
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES: Final = 12


class SealBroken(Exception):
    """These bytes were not sealed under this key."""


def seal(key: bytes, nonce: bytes, plain: bytes) -> bytes:
    """Encrypt bytes under a key of 32 bytes; a nonce of 12 bytes must never be used twice with one key."""
    return nonce + AESGCM(key).encrypt(nonce, plain, None)


def unseal(key: bytes, sealed: bytes) -> bytes:
    """Decrypt what was sealed; raise `SealBroken`."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
    except (InvalidTag, ValueError):
        raise SealBroken("these bytes were not sealed under this key") from None
