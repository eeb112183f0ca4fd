"""
What our letters say. They name nobody: who registers somebody else's address must not write in our name.

Each link carries its token behind the `#`, which a browser sends to no server and no log sees; the token stands on a
line of its own as well, for who uses another program.
"""

from datetime import datetime
from typing import Final, NamedTuple

from marketd.actors.account import Letter, LetterKind
from marketd.actors.address import Address
from marketd.actors.notices.port import Mail
from marketd.actors.notices.tokens import Claim, MailTokens
from marketd.clock import instant


class Words(NamedTuple):
    """Subject and text of one kind of letter."""

    subject: str
    text: str


WORDS: Final[dict[LetterKind, Words]] = {
    "verify-email": Words(
        "Confirm your e-mail address",
        """\
Somebody, probably you, made an account with this e-mail address at
{url}

To confirm that the address is yours, open

{url}/auth/verify-email#token={token}

or give this token to the program that you use:

{token}

It is good once, until {until}.
If it was not you, do nothing.
""",
    ),
    "password-reset": Words(
        "Choose a new password",
        """\
Somebody, probably you, has forgotten the password of the account with this
e-mail address at
{url}

To choose a new one, open

{url}/auth/password-reset#token={token}

or give this token to the program that you use:

{token}

It is good once, until {until}.
With the new password, everybody who is signed in is signed out.
If it was not you, do nothing: the password stays as it is.
""",
    ),
    "password-changed": Words(
        "Your password was changed",
        """\
The password of the account with this e-mail address at
{url}
was changed at {at}.

If it was not you, somebody else reads your mail: change the password of your
mailbox first, then that of the account.
""",
    ),
}


class Writer:
    """Writes the letters of the service that people call `url`."""

    def __init__(self, url: str, tokens: MailTokens) -> None:
        self._url, self._tokens = url, tokens

    def write(self, address: Address, letter: Letter, to: str) -> Mail:
        """Write a letter of this account, the same each time."""
        words = WORDS[letter.kind]
        text = words.text.format(
            url=self._url,
            token=self._token(address, letter),
            at=_said(instant(letter.due_at)),
            until=_said(instant(letter.expires_at)),
        )
        return Mail(f"{letter.letter_id}.{letter.kind}", to, words.subject, text, letter.due_at)

    def _token(self, address: Address, letter: Letter) -> str:
        if letter.kind == "password-changed":
            return ""
        return self._tokens.token(letter.kind, Claim(address.key, letter.letter_id))


def _said(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
