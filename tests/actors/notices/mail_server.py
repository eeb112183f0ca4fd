"""A real mail server, aiosmtpd's, that keeps what it takes and does as the test says."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import Message
from email.parser import BytesParser
from email.policy import default
from typing import Any, Final

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.clock import settle

USER: Final = "marketd"
PASSWORD: Final = "let me in"


class MailServer:
    """`answers` are what it says to the commands of these names, in the place of its own words."""

    def __init__(self) -> None:
        self.answers: dict[str, str] = {}
        self.taken: list[tuple[list[str], Message]] = []
        self.seen: list[str] = []
        self.logged_in: list[bytes] = []
        self.hangs = self.dies_after_data = False
        self.port = 0

    @property
    def ids(self) -> list[str]:
        """The Message-IDs of what it has taken."""
        return [str(message["Message-ID"]) for _, message in self.taken]

    # What aiosmtpd calls.

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        self.seen.append(f"EHLO {hostname}")
        session.host_name = hostname
        if self.hangs:
            await asyncio.Event().wait()
        return responses

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        is_secret = server.transport is not None and server.transport.get_extra_info("ssl_object") is not None
        self.seen.append(f"MAIL {'over TLS' if is_secret else 'in the clear'}")
        envelope.mail_from = address
        return self.answers.get("MAIL", "250 OK")

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.answers.get("RCPT", "250 OK")
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = self.answers.get("DATA", "250 taken")
        if answer.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.taken.append((list(envelope.rcpt_tos), BytesParser(policy=default).parsebytes(envelope.content)))
        if self.dies_after_data and isinstance(server.transport, asyncio.WriteTransport):
            server.transport.abort()
        return answer

    def authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        is_right = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        if is_right:
            self.logged_in.append(data.login)
        return AuthResult(success=is_right, handled=is_right)

    @asynccontextmanager
    async def up(
        self, *, port: int = 0, tls: ssl.SSLContext | None = None, at_once: bool = False, wants_login: bool = False
    ) -> AsyncIterator[None]:
        """Serve; with `tls` after STARTTLS, or from the first byte on."""
        connected: list[SMTP] = []

        def talk() -> SMTP:
            connected.append(
                SMTP(
                    self,
                    hostname="mail.test",
                    tls_context=None if at_once else tls,
                    require_starttls=tls is not None and not at_once,
                    auth_required=wants_login,
                    authenticator=self.authenticate,
                    loop=asyncio.get_running_loop(),
                )
            )
            return connected[-1]

        loop = asyncio.get_running_loop()
        listening = await loop.create_server(talk, "127.0.0.1", port, ssl=tls if at_once else None)
        self.port = listening.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            listening.close()
            await listening.wait_closed()
            for one in connected:
                if isinstance(one.transport, asyncio.WriteTransport):
                    one.transport.abort()
            await settle()
