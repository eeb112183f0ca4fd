"""The archive: whole or not at all, and nothing that leads out of the folder it is unpacked into."""

import fcntl
import io
import tarfile
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import pytest

from marketd.storage.archive import (
    FORMAT,
    ArchiveDamaged,
    ArchiveError,
    ArchiveThere,
    ArchiveTrouble,
    ArchiveUnfit,
    Manifest,
    Member,
    is_plain,
    unpack,
    writing,
)

FILES: Final = {"events.db": b"the log" * 1_000, "files/ab/abc": b"the work" * 10_000, "empty": b""}


def nobody(done: int) -> None:
    pass


def manifest(files: dict[str, Member], format_: int = FORMAT) -> Manifest:
    return Manifest(format_, "9.9", "2026-01-01T00:00:00Z", 7, "ff", files)


def archive(folder: Path) -> Path:
    """An archive of `FILES`."""
    path, source = folder / "store.tar", folder / "source"
    source.write_bytes(b"")
    with writing(path, nobody) as writer:
        for name, content in FILES.items():
            source.write_bytes(content)
            writer.add(name, source)
        writer.finish(manifest(writer.members))
    return path


def crafted(path: Path, *entries: tarfile.TarInfo, text: bytes | None = None) -> Path:
    """An archive that no Writer would have made."""
    with tarfile.open(path, "w") as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * entry.size))
        text = msgspec.json.encode(manifest({})) if text is None else text
        last = tarfile.TarInfo("manifest.json")
        last.size = len(text)
        tar.addfile(last, io.BytesIO(text))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 1) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, size if kind == tarfile.REGTYPE else 0
    return made


def unpacked(path: Path, into: Path) -> dict[str, bytes]:
    into.mkdir()
    unpack(path, into, is_plain, nobody)
    return {str(found.relative_to(into)): found.read_bytes() for found in into.rglob("*") if found.is_file()}


def test_what_went_in_comes_out(tmp_path: Path) -> None:
    assert FILES == unpacked(archive(tmp_path), tmp_path / "out")


def test_any_tar_can_read_it(tmp_path: Path) -> None:
    with tarfile.open(archive(tmp_path)) as tar:
        assert [*FILES, "manifest.json"] == tar.getnames()


def test_it_is_for_nobody_else(tmp_path: Path) -> None:
    assert 0 == archive(tmp_path).stat().st_mode & 0o077


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = archive(tmp_path)
    with pytest.raises(ArchiveThere, match="overwrites nothing"), writing(path, nobody):
        pass


def test_what_was_given_up_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), writing(tmp_path / "store.tar", nobody):
        raise RuntimeError("given up")

    assert [] == list(tmp_path.iterdir())


def test_what_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "store.tar"
    writer = writing(path, nobody)
    writer.__enter__()
    path.write_bytes(b"somebody else's")
    with pytest.raises(ArchiveThere):
        writer.__exit__(None, None, None)

    assert b"somebody else's" == path.read_bytes()


def test_two_do_not_write_to_one(tmp_path: Path) -> None:
    path = tmp_path / "store.tar"
    with writing(path, nobody) as writer:
        with pytest.raises(ArchiveThere, match="another backup"), writing(path, nobody):
            pass
        writer.finish(manifest({}))

    assert path.exists()


def test_who_opens_what_another_has_just_finished_leaves_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lock = tmp_path / "store.tar", fcntl.flock
    first = writing(path, nobody)
    first.__enter__().finish(manifest({}))

    def finish_first(file: BinaryIO, how: int) -> None:
        monkeypatch.undo()
        first.__exit__(None, None, None)  # between the second's opening of the file and its lock
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", finish_first)
    with pytest.raises(ArchiveThere, match="just been written"), writing(path, nobody):
        pass

    assert 0 < path.stat().st_size


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ArchiveTrouble, match="No such file"), writing(tmp_path / "no" / "store.tar", nobody):
        pass


@pytest.mark.parametrize("share", [0, 1, 30, 60, 90])
def test_one_that_is_cut_off_is_refused(tmp_path: Path, share: int) -> None:
    path = archive(tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * share // 100])

    with pytest.raises(ArchiveDamaged):
        unpacked(path, tmp_path / "out")


def test_one_whose_last_file_is_missing_is_refused(tmp_path: Path) -> None:
    text = msgspec.json.encode(manifest({"events.db": Member(1, "00")}))

    with pytest.raises(ArchiveDamaged, match=r"events\.db is missing"):
        unpacked(crafted(tmp_path / "store.tar", text=text), tmp_path / "out")


@pytest.mark.parametrize("place", [600, 9_000, 50_000])
def test_a_changed_byte_is_found(tmp_path: Path, place: int) -> None:
    path = archive(tmp_path)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)

    with pytest.raises(ArchiveDamaged, match="is not what it was when the backup was made"):
        unpacked(path, tmp_path / "out")


def test_a_file_that_is_in_no_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveDamaged, match="extra is not in its manifest"):
        unpacked(crafted(tmp_path / "store.tar", entry("extra")), tmp_path / "out")


@pytest.mark.parametrize(
    "evil",
    [
        entry("../outside"),
        entry("files/../../outside"),
        entry("/etc/outside"),
        entry("files//outside"),
        entry("./events.db"),
        entry("events.db", tarfile.SYMTYPE, "/etc/passwd"),
        entry("events.db", tarfile.LNKTYPE, "../outside"),
        entry("events.db", tarfile.FIFOTYPE),
        entry("events.db", tarfile.CHRTYPE),
        entry("files", tarfile.DIRTYPE),
        entry("files\n/x"),
    ],
    ids=lambda evil: f"{evil.name!r}-{evil.type.decode()}",
)
def test_what_leads_elsewhere_is_refused(tmp_path: Path, evil: tarfile.TarInfo) -> None:
    with pytest.raises(ArchiveDamaged, match="is nothing that one has in it"):
        unpacked(crafted(tmp_path / "store.tar", evil), tmp_path / "out")

    assert {"store.tar", "out"} == {path.name for path in tmp_path.iterdir()}


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveDamaged, match="is nothing that one has in it"):
        unpacked(crafted(tmp_path / "store.tar", entry("a"), entry("a")), tmp_path / "out")


def test_one_of_a_newer_marketd_is_refused(tmp_path: Path) -> None:
    text = msgspec.json.encode(manifest({}, FORMAT + 1))

    with pytest.raises(ArchiveUnfit, match=r"made by marketd 9\.9"):
        unpacked(crafted(tmp_path / "store.tar", text=text), tmp_path / "out")


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b'{"format": "one"}'])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(ArchiveDamaged, match="manifest can't be read"):
        unpacked(crafted(tmp_path / "store.tar", text=text), tmp_path / "out")


@pytest.mark.parametrize("content", [b"", b"no tar at all", b"\0" * 10_240])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "store.tar").write_bytes(content)

    with pytest.raises(ArchiveError):
        unpacked(tmp_path / "store.tar", tmp_path / "out")
