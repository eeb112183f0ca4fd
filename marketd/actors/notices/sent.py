"""
Which notices went out after the notifiers' checkpoints, in a file of its own: `notices.db`.

It is no truth: the log says what is due. It only keeps what went out from going out again after a restart, so it needs
no fsync, and where it is lost some notices are repeated under the ids that they had.
"""

from pathlib import Path
from typing import Final, Self

from marketd.actors.notices.port import NoticeFailed
from marketd.storage.database import Connection, Database, StorageError

SCHEMA_VERSION: Final = 1
TABLES: Final = """
    CREATE TABLE sent(
        channel TEXT NOT NULL,
        notice_id TEXT NOT NULL,
        copy TEXT NOT NULL,
        position INTEGER NOT NULL,
        PRIMARY KEY(channel, notice_id, copy)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX sent_by_position ON sent(channel, position);
"""


class SentFile:
    """The file; enter it to open."""

    def __init__(self, path: Path) -> None:
        self.database = Database(path, SCHEMA_VERSION, TABLES, durable=False)

    async def __aenter__(self) -> Self:
        await self.database.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.database.__aexit__(*raised)


class SentByChannel:
    """What went out over one channel; raises `NoticeFailed` where the disk is in trouble."""

    def __init__(self, file: SentFile, channel: str) -> None:
        self._file, self._channel = file, channel

    async def of(self, notice_id: str) -> set[str]:
        """Say who has got it."""
        try:
            return await self._file.database.run(_of, self._channel, notice_id)
        except StorageError as error:
            raise NoticeFailed(str(error)) from None

    async def keep(self, notice_id: str, copy: str, position: int) -> None:
        """Note that somebody has got what the record at a position made due."""
        try:
            await self._file.database.run(_keep, self._channel, notice_id, copy, position)
        except StorageError as error:
            raise NoticeFailed(str(error)) from None

    async def forget(self, position: int) -> None:
        """Strike out what was made due up to a position."""
        try:
            await self._file.database.run(_forget, self._channel, position)
        except StorageError as error:
            raise NoticeFailed(str(error)) from None


def _of(db: Connection, channel: str, notice_id: str) -> set[str]:
    rows = db.execute("SELECT copy FROM sent WHERE channel = ? AND notice_id = ?", (channel, notice_id))
    return {copy for (copy,) in rows}


def _keep(db: Connection, channel: str, notice_id: str, copy: str, position: int) -> None:
    db.execute("INSERT OR IGNORE INTO sent VALUES(?,?,?,?)", (channel, notice_id, copy, position))


def _forget(db: Connection, channel: str, position: int) -> None:
    db.execute("DELETE FROM sent WHERE channel = ? AND position <= ?", (channel, position))
