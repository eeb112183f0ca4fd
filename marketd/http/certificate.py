"""
The TLS certificate of the HTTP front: loaded at the start, and again when its files change.

The one rule: a certificate is loaded together with its key, or not at all. A renewal may write its files one after the
other; until they match, the old certificate stays in use.

    CertificateUnusable    the files can't be read, or are no certificate and its key
"""

import logging
import ssl
from pathlib import Path
from typing import Final

from marketd.clock import Clock

PROTOCOLS: Final = ("http/1.1",)

log = logging.getLogger("marketd.http")


class CertificateUnusable(Exception):
    """The message is one line for the operator."""


class Certificate:
    """Two PEM files: the certificate with its intermediates, and its key; run it to follow changes."""

    def __init__(self, chain: Path, key: Path, clock: Clock, *, check_s: float) -> None:
        self._chain, self._key, self._clock, self._check_s = chain, key, clock, check_s
        self._seen = self._stamp()
        self._shown = self._loaded()
        self.context = self._loaded()  # each connection begins with this one; `_hand_on` switches it to the current one
        self.context.sni_callback = self._hand_on

    async def run(self) -> None:
        """Check for changes every `check_s`, for ever."""
        while True:
            await self._clock.sleep(self._check_s)
            self.check()

    def check(self) -> None:
        """Load the files if they have changed; if they are unusable, keep the old certificate."""
        try:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp  # set first, so that an unusable file is logged once
                self._shown = self._loaded()
                log.info("showing the certificate that is now in %s", self._chain)
        except CertificateUnusable as error:
            log.error("the certificate stays as it was: %s", error)

    def _hand_on(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Give a new connection the current certificate; OpenSSL calls this with or without a host name (SNI)."""
        connection.context = self._shown

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        try:
            stats = [path.stat() for path in (self._chain, self._key)]
        except OSError as error:
            raise CertificateUnusable(f"can't read {error.filename}: {error.strerror}") from None
        return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)

    def _loaded(self) -> ssl.SSLContext:
        """Load both files, for TLS 1.2 and later (RFC 8996), without the obsolete parts of 1.2."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # for TLS 1.2 (RFC 9325, section 4.2); 1.3 has no others
        context.set_alpn_protocols(PROTOCOLS)
        try:
            for path in (self._chain, self._key):
                path.read_bytes()  # OpenSSL does not say which of them it can't read
            context.load_cert_chain(self._chain, self._key, password=_no_password)
        except ssl.SSLError as error:
            raise CertificateUnusable(self._named(error)) from None
        except OSError as error:
            raise CertificateUnusable(f"can't read {error.filename}: {error.strerror}") from None
        return context

    def _named(self, error: ssl.SSLError) -> str:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"the key in {self._key} is not that of the certificate in {self._chain}"
        return f"{self._chain} and {self._key} are no certificate and its key in PEM: {error.reason or error}"


def _no_password() -> str:
    """Keep OpenSSL from asking for a password at the terminal: nobody would answer."""
    raise CertificateUnusable("the certificate's key is encrypted, and nobody is there to be asked for its password")
