"""
A backup as one file: a tar of the store's files, followed by a manifest with the SHA-256 and the size of each.

The two rules: a file with the name of a backup is complete, because it is renamed only when all of it is on the disk;
and nothing in a backup is trusted before its manifest, the last entry, has been read.

    ArchiveError
    ├── ArchiveThere      a file of that name exists, or another backup is being written to it
    ├── ArchiveUnfit      a newer marketd made it
    ├── ArchiveDamaged    it is no backup of marketd's, or something in it is missing, changed or not allowed
    └── ArchiveTrouble    it can't be read or written, or the disk is full
"""

import fcntl
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from marketd.whole import sync

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
MANIFEST_BYTES_MAX: Final = 1024 * 1024 * 1024
CHUNK_BYTES: Final = 1024 * 1024
PRIVATE_FILE: Final = 0o600

Tell = Callable[[int], None]  # is told how many more bytes are done


class ArchiveError(Exception):
    """The message is one line for the operator."""


class ArchiveThere(ArchiveError):
    pass


class ArchiveUnfit(ArchiveError):
    pass


class ArchiveDamaged(ArchiveError):
    pass


class ArchiveTrouble(ArchiveError):
    pass


class Member(Struct, frozen=True):
    """One file: its size in bytes, and its SHA-256 in hex."""

    size: int
    sha256: str


class Manifest(Struct, frozen=True):
    """What a backup contains: the log up to `position`, where its hash chain ends with `hash`, and the files."""

    format: int
    marketd: str
    made_at: str
    position: int
    hash: str
    files: dict[str, Member]


class Writer:
    """Writes an archive, file by file."""

    def __init__(self, tar: tarfile.TarFile, tell: Tell) -> None:
        self._tar, self._tell = tar, tell
        self.members: dict[str, Member] = {}

    def add(self, name: str, path: Path) -> Member:
        """Add a file as it is now, chunk by chunk."""
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            hashing = _Hashing(file, self._tell)
            self._tar.addfile(_entry(name, size), hashing)
        self.members[name] = Member(size, hashing.digest.hexdigest())
        return self.members[name]

    def finish(self, manifest: Manifest) -> None:
        """Add the manifest; an archive without one is invalid."""
        text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
        self._tar.addfile(_entry(MANIFEST, len(text)), io.BytesIO(text))


@contextmanager
def writing(path: Path, tell: Tell) -> Iterator[Writer]:
    """Write to `path` plus `.new`, and rename the file at the end; raise `ArchiveError`."""
    _refuse_there(path)
    fresh = path.with_name(f"{path.name}.new")
    try:
        with _private(fresh) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArchiveThere(f"another backup is being written to {path}") from None
            if not (fresh.exists() and os.path.samestat(os.fstat(file.fileno()), fresh.stat())):
                raise ArchiveThere(f"another backup has just been written to {path}")  # our file was renamed
            file.truncate()
            try:
                with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK_BYTES) as tar:
                    yield Writer(tar, tell)
                file.flush()
                os.fsync(file.fileno())
                _refuse_there(path)
                fresh.rename(path)
            finally:
                fresh.unlink(missing_ok=True)
        sync(path.parent)
    except OSError as error:
        raise ArchiveTrouble(f"{path} can't be made: {_why(error)}") from None


def unpack(path: Path, folder: Path, is_known: Callable[[str], bool], tell: Tell) -> Manifest:
    """Extract a backup into a folder, and compare the files with its manifest; raise `ArchiveError`."""
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|", bufsize=CHUNK_BYTES) as tar:
            manifest, found = _unpack(path, tar, folder, is_known, tell)
    except (tarfile.TarError, EOFError) as error:
        raise ArchiveDamaged(f"{path} is no backup, or is cut off: {error}") from None
    except OSError as error:
        raise ArchiveTrouble(f"{path} can't be unpacked: {_why(error)}") from None
    for name in sorted(found.keys() | manifest.files.keys()):
        if found.get(name) != manifest.files.get(name):
            why = (
                "is missing" if name not in found else "is not in its manifest" if name not in manifest.files else None
            )
            raise ArchiveDamaged(f"{path} is damaged: {name} {why or 'is not what it was when the backup was made'}")
    return manifest


def _unpack(
    path: Path, tar: tarfile.TarFile, folder: Path, is_known: Callable[[str], bool], tell: Tell
) -> tuple[Manifest, dict[str, Member]]:
    found: dict[str, Member] = {}
    for entry in tar:
        if not entry.isreg() or (entry.name != MANIFEST and not is_known(entry.name)) or entry.name in found:
            raise ArchiveDamaged(f"{path} is no backup of marketd: {entry.name!r} is nothing that one has in it")
        file = tar.extractfile(entry)
        assert file is not None
        if entry.name == MANIFEST:
            if entry.size > MANIFEST_BYTES_MAX:
                raise ArchiveDamaged(f"{path} is damaged: its manifest is too long")
            return _manifest(path, file.read()), found
        target = folder / entry.name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _private(target, exclusive=True) as out:
            digest = hashlib.sha256()
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                out.write(chunk)
                tell(len(chunk))
            out.flush()
            os.fsync(out.fileno())
        found[entry.name] = Member(entry.size, digest.hexdigest())
    raise ArchiveDamaged(f"{path} is no backup of marketd, or is cut off: it ends without a manifest")


def _manifest(path: Path, text: bytes) -> Manifest:
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except msgspec.DecodeError as error:
        raise ArchiveDamaged(f"{path} is damaged: its manifest can't be read: {error}") from None
    if manifest.format > FORMAT:
        raise ArchiveUnfit(
            f"{path} has format {manifest.format}, made by marketd {manifest.marketd}; this one knows format {FORMAT}"
        )
    return manifest


def _refuse_there(path: Path) -> None:
    if os.path.lexists(path):
        raise ArchiveThere(f"{path} is there already: a backup overwrites nothing")


def _why(error: OSError) -> str:
    return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)


class _Hashing:
    """A file that is hashed as it is read."""

    def __init__(self, file: BinaryIO, tell: Tell) -> None:
        self._file, self._tell = file, tell
        self.digest = hashlib.sha256()

    def read(self, count: int = -1) -> bytes:
        chunk = self._file.read(count)
        self.digest.update(chunk)
        self._tell(len(chunk))
        return chunk


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, PRIVATE_FILE
    return entry


def _private(path: Path, *, exclusive: bool = False) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | (os.O_EXCL if exclusive else 0)
    return os.fdopen(os.open(path, flags, PRIVATE_FILE), "wb")


def is_plain(name: str) -> bool:
    """Say whether a name in an archive stays inside the target: no root, `..`, empty part or unusual character."""
    return all(re.fullmatch(r"[\w-][\w.@-]*", part, re.ASCII) for part in name.split("/"))
