"""
The certificate that the front shows where it speaks TLS by itself: read at the start, and again when its files change.

The one rule: a certificate is taken up whole, with its key, or not at all. Whatever renews it may write its files one
after the other; until both fit each other the old one goes on.

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
    """Two files in PEM: the certificate with those between it and its root, and its key; run it to follow changes."""

    def __init__(self, chain: Path, key: Path, clock: Clock, *, check_s: float) -> None:
        self._chain, self._key, self._clock, self._check_s = chain, key, clock, check_s
        self._seen = self._stamp()
        self._shown = self._loaded()
        self.context = self._loaded()  # what connections begin with, and never change: they are handed on from it
        self.context.sni_callback = self._hand_on

    async def run(self) -> None:
        """Look every now and then, for ever."""
        while True:
            await self._clock.sleep(self._check_s)
            self.check()

    def check(self) -> None:
        """Take up what has changed; what is no good changes nothing."""
        try:
            stamp = self._stamp()
            if stamp != self._seen:
                self._seen = stamp  # what can't be used is said once
                self._shown = self._loaded()
                log.info("showing the certificate that is now in %s", self._chain)
        except CertificateUnusable as error:
            log.error("the certificate stays as it was: %s", error)

    def _hand_on(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Let a connection that begins have today's; OpenSSL asks whether a client names a host or not."""
        connection.context = self._shown

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        try:
            stats = [path.stat() for path in (self._chain, self._key)]
        except OSError as error:
            raise CertificateUnusable(f"can't read {error.filename}: {error.strerror}") from None
        return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats)

    def _loaded(self) -> ssl.SSLContext:
        """Read both files: TLS 1.2 and later (RFC 8996), and nothing of 1.2 that is not wanted any more."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")  # of TLS 1.2 (RFC 9325, section 4.2); 1.3 has no other sort
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
    """Keep OpenSSL from asking at the terminal: there is nobody."""
    raise CertificateUnusable("the certificate's key is encrypted, and nobody is there to be asked for its password")
