"""
Mails as files: what there is until a mail server is set up. Each is an `.eml` that mail programs open.

The one rule: they are for the service's own user alone, and there are never more than so many; the oldest goes first.
"""

import asyncio
from pathlib import Path
from threading import Lock

from marketd.actors.notices.mime import Sender, message_of
from marketd.actors.notices.port import Mail, NoticeFailed, Rejected, Sent
from marketd.whole import make_folder, write_whole


class Outbox:
    """Keeps mails in a folder."""

    def __init__(self, folder: Path, sender: Sender, *, files_max: int) -> None:
        self._folder, self._sender, self._files_max = folder, sender, files_max
        self._names: dict[str, None] | None = None  # the oldest first
        self._writing = Lock()

    async def send(self, mail: Mail) -> Sent | Rejected:
        """Write the file; that of a repeat takes its place."""
        try:
            await asyncio.to_thread(self._write, mail)
        except OSError as error:
            raise NoticeFailed(f"the mail can't be kept: {error.strerror}") from None
        return Sent()

    def _write(self, mail: Mail) -> None:
        """In a thread, of which there may be several at a time."""
        make_folder(self._folder, 0o700)
        path = self._folder / f"{mail.mail_id}.eml"
        with self._writing:
            if self._names is None:  # before we write any: who finds one twice would take it for a newer one than it is
                kept = sorted(path.name for path in self._folder.glob("*.eml"))  # ids sort by age
                self._names = dict.fromkeys(kept)
        write_whole(path, message_of(mail, self._sender).as_bytes())
        with self._writing:
            for oldest in self._surplus(path.name):
                (self._folder / oldest).unlink(missing_ok=True)

    def _surplus(self, name: str) -> list[str]:
        """Take a name in, and give those that are too many."""
        assert self._names is not None
        self._names.setdefault(name)
        surplus = list(self._names)[: -self._files_max]
        for oldest in surplus:
            del self._names[oldest]
        return surplus
