"""
The letters of an account: what proves that somebody reads its mail, and that its password was changed.

They name nobody: who registers somebody else's address must not write in our name. Each link carries its token behind
the `#`, which a browser sends to no server and no log sees; the token stands on a line of its own as well, for who uses
another program.
"""

from datetime import datetime

from marketd.actors.account import Letter
from marketd.actors.address import Address
from marketd.actors.notices.port import Mail
from marketd.actors.notices.templates import Templates
from marketd.actors.notices.tokens import Claim, MailTokens
from marketd.clock import instant


class Writer:
    """Writes the letters of the service that people call `url`."""

    def __init__(self, url: str, tokens: MailTokens, templates: Templates) -> None:
        self._url, self._tokens, self._templates = url, tokens, templates

    def write(self, address: Address, letter: Letter, to: str) -> Mail:
        """Write a letter of this account, the same each time."""
        token = self._token(address, letter)
        values = {
            "url": self._url,
            "token": token,
            "link": f"{self._url}/auth/{letter.kind}#token={token}",
            "at": said(instant(letter.due_at)),
            "until": said(instant(letter.expires_at)),
        }
        words = self._templates.write(letter.kind, values)
        return Mail(f"{letter.letter_id}.{letter.kind}", to, words.subject, words.text, letter.due_at, words.html)

    def _token(self, address: Address, letter: Letter) -> str:
        if letter.kind == "password-changed":
            return ""
        return self._tokens.token(letter.kind, Claim(address.key, letter.letter_id))


def said(time: datetime) -> str:
    """Write a time as people read it."""
    return f"{time:%Y-%m-%d %H:%M} UTC"
