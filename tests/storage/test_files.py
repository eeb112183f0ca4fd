"""Uploaded bytes: whole or not at all, once for all who send them, and seen only by whom they are for."""

import asyncio
import errno
import hashlib
import os
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from marketd.storage.database import DiskTrouble
from marketd.storage.files import FileStore, FileTooLarge, Stored, digest_of
from marketd.storage.images import ImageLimits, ImagesBusy, Shrinker
from tests.storage.pictures import opened, picture

pytestmark = pytest.mark.asyncio

HELLO = hashlib.sha256(b"hello").hexdigest()
MIB = 1024 * 1024


async def store(folder: Path) -> FileStore:
    files = FileStore(folder / "files")
    await files.prepare()
    return files


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def breaking_off(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    raise ConnectionResetError


def kept(folder: Path) -> list[str]:
    """Every file there is, by its path."""
    return sorted(str(path.relative_to(folder / "files")) for path in folder.rglob("*") if path.is_file())


async def hello(files: FileStore) -> Stored:
    return await files.receive(chunks(b"hel", b"lo"), MIB)


async def test_what_was_sent_is_kept_under_its_digest(tmp_path: Path) -> None:
    files = await store(tmp_path)
    stored = await hello(files)

    assert (Stored(HELLO, 5), b"hello") == (stored, files.path(HELLO).read_bytes())


async def test_the_same_bytes_are_kept_once(tmp_path: Path) -> None:
    files = await store(tmp_path)
    await asyncio.gather(*(hello(files) for _ in range(10)))

    assert [f"{HELLO[:2]}/{HELLO}"] == kept(tmp_path)


async def test_nothing_is_a_file_too(tmp_path: Path) -> None:
    files = await store(tmp_path)

    assert Stored(hashlib.sha256().hexdigest(), 0) == await files.receive(chunks(), MIB)


async def test_a_file_may_be_as_large_as_is_allowed(tmp_path: Path) -> None:
    files = await store(tmp_path)

    assert 5 == (await files.receive(chunks(b"hel", b"lo"), 5)).size


async def test_a_file_may_not_be_larger(tmp_path: Path) -> None:
    files = await store(tmp_path)
    with pytest.raises(FileTooLarge, match=r"^a file may have at most 4 bytes$"):
        await files.receive(chunks(b"hel", b"lo"), 4)

    assert [] == kept(tmp_path)


async def test_of_a_file_too_large_no_more_is_read_than_needed(tmp_path: Path) -> None:
    files = await store(tmp_path)
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += MIB
            yield bytes(MIB)

    with pytest.raises(FileTooLarge):
        await files.receive(endless(), 3 * MIB)

    assert 4 * MIB == read


async def test_of_a_file_that_breaks_off_nothing_is_kept(tmp_path: Path) -> None:
    files = await store(tmp_path)
    with pytest.raises(ConnectionResetError):
        await files.receive(breaking_off(bytes(MIB), b"more"), 2 * MIB)

    assert [] == kept(tmp_path)


async def test_of_a_file_that_nobody_waits_for_any_more_nothing_is_kept(tmp_path: Path) -> None:
    files = await store(tmp_path)
    stuck = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        stuck.set()
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        receiving = tasks.create_task(files.receive(stalling(), 2 * MIB))
        await stuck.wait()
        receiving.cancel()

    assert [] == kept(tmp_path)


async def test_who_is_cancelled_writes_into_no_file_of_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed file's number is given to the next file that is opened: a thread must not write to a number it noted."""
    files = await store(tmp_path)
    other = tmp_path / "other"
    loop, digesting, opened = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    class Slow:
        """A digest that takes its time."""

        def update(self, data: bytearray) -> None:
            loop.call_soon_threadsafe(digesting.set)
            asyncio.run_coroutine_threadsafe(opened.wait(), loop).result(10)

    monkeypatch.setattr("marketd.storage.files.hashlib.sha256", Slow)
    async with asyncio.TaskGroup() as tasks:
        receiving = tasks.create_task(files.receive(chunks(b"a" * MIB), MIB))
        await digesting.wait()
        receiving.cancel()
        await asyncio.wait([receiving], timeout=0.05)
        with other.open("wb"):  # gets the number, if it is free
            opened.set()
            await asyncio.wait([receiving])
            await loop.run_in_executor(None, lambda: None)

    assert 0 == other.stat().st_size


async def test_on_a_full_disk_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = await store(tmp_path)
    write = os.write

    def write_a_little(file: int, data: memoryview) -> int:
        if len(data) < MIB // 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data[: MIB // 2])

    monkeypatch.setattr("os.write", write_a_little)
    with pytest.raises(DiskTrouble, match=f"^{tmp_path}/files: No space left on device$"):
        await files.receive(chunks(bytes(MIB), bytes(MIB - 1)), 2 * MIB)
    monkeypatch.undo()

    assert [] == kept(tmp_path)


async def test_a_disk_that_takes_little_at_a_time_gets_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = await store(tmp_path)
    sent, write = os.urandom(1000), os.write
    monkeypatch.setattr("os.write", lambda file, data: write(file, data[:7]))
    stored = await files.receive(chunks(sent), MIB)
    monkeypatch.undo()

    assert sent == files.path(stored.digest).read_bytes()


async def test_where_the_folder_is_gone_that_is_trouble_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble, match=f"^{tmp_path}/absent: No such file or directory$"):
        await hello(FileStore(tmp_path / "absent"))


async def test_a_note_that_cannot_be_written_is_trouble_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble, match=f"^{tmp_path}/files: No such file or directory$"):
        await (await store(tmp_path)).note_owner(HELLO, "ann")


async def test_what_a_crash_left_half_written_is_cleared_away(tmp_path: Path) -> None:
    files = await store(tmp_path)
    await hello(files)
    (tmp_path / "files" / "incoming" / "half").write_bytes(b"hal")
    await files.prepare()

    assert [f"{HELLO[:2]}/{HELLO}"] == kept(tmp_path)


async def test_who_uploaded_a_file_owns_it(tmp_path: Path) -> None:
    files = await store(tmp_path)
    await hello(files)
    await files.note_owner(HELLO, "ann")

    assert (5, None) == (await files.size_if_owned(HELLO, "ann"), await files.size_if_owned(HELLO, "bob"))


async def test_a_file_may_have_many_owners(tmp_path: Path) -> None:
    files = await store(tmp_path)
    await hello(files)
    for owner in ("ann", "bob", "ann"):
        await files.note_owner(HELLO, owner)

    assert (5, 5) == (await files.size_if_owned(HELLO, "ann"), await files.size_if_owned(HELLO, "bob"))


async def test_one_person_may_upload_the_same_bytes_many_times_at_once(tmp_path: Path) -> None:
    files = await store(tmp_path)
    stored = await hello(files)
    await asyncio.gather(*(files.note_owner(stored.digest, "sue") for _ in range(50)))

    assert 5 == await files.size_if_owned(stored.digest, "sue")


async def test_a_file_that_is_not_there_has_no_owner(tmp_path: Path) -> None:
    assert await (await store(tmp_path)).size_if_owned(HELLO, "ann") is None


async def test_owners_outlive_sending_the_same_bytes_again(tmp_path: Path) -> None:
    files = await store(tmp_path)
    await hello(files)
    await files.note_owner(HELLO, "ann")
    await hello(files)

    assert 5 == await files.size_if_owned(HELLO, "ann")


async def test_a_file_is_public_only_when_it_was_published(tmp_path: Path) -> None:
    files = await store(tmp_path)
    await hello(files)
    before = await files.public_type(HELLO)
    await files.publish(HELLO, "image/png")

    assert (None, "image/png") == (before, await files.public_type(HELLO))


async def test_a_large_file_takes_little_memory(tmp_path: Path) -> None:
    files = await store(tmp_path)
    part = bytes(64 * 1024)

    async def large() -> AsyncIterator[bytes]:
        for _ in range(1_024):
            yield part

    tracemalloc.start()
    try:
        stored = await files.receive(large(), 128 * MIB)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 64 * MIB == stored.size
    assert peak < 2 * MIB


@pytest.mark.parametrize(
    "url", ["", "https://example.org/a", "upload://", "upload://..", f"upload://{HELLO}/", f"upload://{HELLO.upper()}"]
)
async def test_any_other_address_is_no_upload(url: str) -> None:
    assert digest_of(url) is None


async def test_the_address_of_an_upload_has_its_digest() -> None:
    assert HELLO == digest_of(Stored(HELLO, 5).url)


# Smaller variants of images.

PICTURE = picture(1000, 500)
PICTURE_DIGEST = hashlib.sha256(PICTURE).hexdigest()
PICTURE_PATH = f"{PICTURE_DIGEST[:2]}/{PICTURE_DIGEST}"


async def test_an_image_is_kept_with_its_variant(tmp_path: Path) -> None:
    files = await store(tmp_path)
    await files.receive(chunks(PICTURE), MIB, "image/png")

    assert [PICTURE_PATH, f"{PICTURE_PATH}.mobile"] == kept(tmp_path)


async def test_what_is_not_said_to_be_an_image_is_kept_alone(tmp_path: Path) -> None:
    files = await store(tmp_path)
    await files.receive(chunks(PICTURE), MIB, "application/octet-stream")

    assert [PICTURE_PATH] == kept(tmp_path)


async def test_a_broken_image_is_kept_and_has_no_variant(tmp_path: Path) -> None:
    files = await store(tmp_path)
    stored = await files.receive(chunks(PICTURE[:-30]), MIB, "image/png")

    assert (len(PICTURE) - 30, None) == (stored.size, await files.variant(stored.digest))


async def test_of_an_image_that_is_not_made_smaller_in_time_nothing_is_kept(tmp_path: Path) -> None:
    files = FileStore(tmp_path / "files", Shrinker(ImageLimits(wait_s_max=0.001)))
    await files.prepare()
    with pytest.raises(ImagesBusy):
        await files.receive(chunks(PICTURE), MIB, "image/png")

    assert [] == kept(tmp_path)


async def test_a_variant_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = await store(tmp_path)
    await files.receive(chunks(PICTURE), MIB, "image/png")
    monkeypatch.delattr(Shrinker, "shrink")
    await files.receive(chunks(PICTURE), MIB, "image/png")

    assert tmp_path / "files" / f"{PICTURE_PATH}.mobile" == await files.variant(PICTURE_DIGEST)


async def test_a_variant_that_is_missing_is_made_when_it_is_asked_for(tmp_path: Path) -> None:
    files = await store(tmp_path)
    await files.receive(chunks(PICTURE), MIB)
    path = await files.variant(PICTURE_DIGEST)

    assert path is not None and (640, 320) == opened(path.read_bytes()).size


async def test_what_can_have_no_variant_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = await store(tmp_path)
    await hello(files)
    first = await files.variant(HELLO)
    monkeypatch.delattr(Shrinker, "shrink")

    assert (None, None) == (first, await files.variant(HELLO))
