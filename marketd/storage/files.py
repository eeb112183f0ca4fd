"""
Uploaded bytes, kept by their SHA-256: `files/ab/ab12…` is the file, `files/ab/ab12….owners/` who uploaded it, and
`files/ab/ab12….mobile` the smaller variant of an image, empty where none can be made.

The one rule: a file is there whole or not at all. Bytes go to a temporary file first, are counted and hashed on the
way, reach the disk, and only then get their name. The same bytes are kept once, however many people upload them.

    FileTooLarge    more bytes came than are allowed; nothing is kept
    DiskTrouble (storage.database)
    ImagesBusy (storage.images)
"""

import asyncio
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterable, Callable
from io import FileIO
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from marketd.storage.database import DiskTrouble
from marketd.storage.images import ImageUnfit, Shrinker, has_variant
from marketd.storage.room import Room
from marketd.whole import sync

T = TypeVar("T")

SCHEME: Final = "upload://"
PUBLIC: Final = "public"
WRITE_BYTES: Final = 256 * 1024

_DIGEST = re.compile(r"[0-9a-f]{64}")


class FileTooLarge(Exception):
    """More bytes came than are allowed."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__(f"a file may have at most {bytes_max} bytes")
        self.bytes_max = bytes_max


class Stored(Struct, frozen=True):
    """A file that is kept: its SHA-256 in hex, and how many bytes it has."""

    digest: str
    size: int

    @property
    def url(self) -> str:
        """How a product refers to it."""
        return f"{SCHEME}{self.digest}"


def digest_of(url: str) -> str | None:
    """Read the digest off an `upload://` address; None for any other."""
    digest = url.removeprefix(SCHEME)
    return digest if url.startswith(SCHEME) and _DIGEST.fullmatch(digest) else None


def path_in(folder: Path, digest: str) -> Path:
    """Say where in a folder of files the bytes are."""
    assert _DIGEST.fullmatch(digest), digest
    return folder / digest[:2] / digest


class FileStore:
    """The files of one data directory."""

    def __init__(self, folder: Path, shrinker: Shrinker | None = None, *, free_bytes_min: int = 0) -> None:
        self._folder, self._shrinker = folder, shrinker or Shrinker()
        self._room = Room(folder, free_bytes_min=free_bytes_min)
        self._incoming = folder / "incoming"

    async def prepare(self) -> None:
        """Make the folder, and clear away what a crash left half-written."""
        await self._on_disk(self._prepare)

    def path(self, digest: str) -> Path:
        """Say where the bytes are."""
        return path_in(self._folder, digest)

    async def receive(self, chunks: AsyncIterable[bytes], bytes_max: int, media_type: str = "") -> Stored:
        """
        Keep what comes, an image with its smaller variant if there can be one; raise `FileTooLarge`, `ImagesBusy` or
        `DiskTrouble`, and then keep nothing.
        """
        incoming = self._incoming / secrets.token_hex(16)
        digest, size = hashlib.sha256(), 0
        waiting = bytearray()
        try:
            with self._create(incoming) as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > bytes_max:
                        raise FileTooLarge(bytes_max)
                    waiting += chunk
                    if len(waiting) >= WRITE_BYTES:
                        await self._on_disk(self._write, file.fileno(), waiting, digest)
                        waiting = bytearray()
                await self._on_disk(self._write, file.fileno(), waiting, digest)
                await self._on_disk(os.fsync, file.fileno())
            path = self.path(digest.hexdigest())
            is_unfit = False
            if has_variant(media_type) and not await self._on_disk(_size, _variant(path)):
                is_unfit = not await self._vary(incoming, _variant(path))
            await self._on_disk(_settle, incoming, path)
            if is_unfit:
                await self._on_disk(_variant(path).touch)
        finally:
            incoming.unlink(missing_ok=True)
        return Stored(digest.hexdigest(), size)

    async def see_room(self) -> None:
        """Raise `DiskTrouble` where no more may be taken in than what sales need."""
        await self._on_disk(self._room.see)

    async def variant(self, digest: str) -> Path | None:
        """Give the smaller variant of an image, made now where it is missing; None where there can be none."""
        path = self.path(digest)
        size = await self._on_disk(_size, _variant(path))
        if size is None and not await self._vary(path, _variant(path)):
            await self._on_disk(_variant(path).touch)
            return None
        return None if size == 0 else _variant(path)

    async def note_owner(self, digest: str, owner: str) -> None:
        """Note that this person uploaded the file."""
        await self._on_disk(self._note, digest, owner, "")

    async def publish(self, digest: str, media_type: str) -> None:
        """Note that everybody may see the file, and as what."""
        await self._on_disk(self._note, digest, PUBLIC, media_type)

    async def public_type(self, digest: str) -> str | None:
        """Give the media type of a file that everybody may see; None for any other."""
        return await self._on_disk(self._public_type, digest)

    async def size_if_owned(self, digest: str, owner: str) -> int | None:
        """Give the size of a file that this person uploaded; None if they did not."""
        return await self._on_disk(self._size_if_owned, digest, owner)

    async def _vary(self, source: Path, target: Path) -> bool:
        """Make the smaller variant, and say whether there can be one."""
        incoming = self._incoming / secrets.token_hex(16)
        try:
            await self._shrinker.shrink(source, incoming)
            await self._on_disk(sync, incoming)
            await self._on_disk(_settle, incoming, target)
        except ImageUnfit:
            return False
        else:
            return True
        finally:
            incoming.unlink(missing_ok=True)

    def _create(self, path: Path) -> FileIO:
        try:
            return path.open("xb", buffering=0)
        except OSError as error:
            raise self._trouble(error) from None

    def _trouble(self, error: OSError) -> DiskTrouble:
        return DiskTrouble(f"{self._folder}: {error.strerror}")

    async def _on_disk(self, function: Callable[..., T], *arguments: object) -> T:
        """Run it in a thread, to its end even if its caller is cancelled: no file may be closed under it."""
        running = asyncio.get_running_loop().run_in_executor(None, function, *arguments)
        try:
            return await asyncio.shield(running)
        except OSError as error:
            raise self._trouble(error) from None
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    def _write(self, file: int, data: bytearray, digest: "hashlib._Hash") -> None:
        self._room.see(len(data))  # without it the log could not be written either
        _write(file, data, digest)

    def _prepare(self) -> None:
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._incoming.mkdir(parents=True)

    def _note(self, digest: str, owner: str, text: str) -> None:
        note = self._owners(digest) / owner
        note.parent.mkdir(exist_ok=True)
        # Not by `write_whole`: they may upload the same bytes twice at once. As private as uploads, by the umask.
        fresh = note.with_name(f"{owner}.{secrets.token_hex(8)}.new")
        with fresh.open("wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(note)
        sync(note.parent)

    def _public_type(self, digest: str) -> str | None:
        note = self._owners(digest) / PUBLIC
        return note.read_text(encoding="utf-8") if note.exists() else None

    def _size_if_owned(self, digest: str, owner: str) -> int | None:
        if not (self._owners(digest) / owner).exists():
            return None
        return self.path(digest).stat().st_size

    def _owners(self, digest: str) -> Path:
        path = self.path(digest)
        return path.with_name(f"{path.name}.owners")


def _variant(path: Path) -> Path:
    return path.with_name(f"{path.name}.mobile")


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def _write(file: int, data: bytearray, digest: "hashlib._Hash") -> None:
    digest.update(data)
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _settle(incoming: Path, path: Path) -> None:
    """Give the file its name, so that a power cut leaves either all of it or none."""
    path.parent.mkdir(exist_ok=True)
    incoming.replace(path)
    sync(path.parent)
    sync(path.parent.parent)
