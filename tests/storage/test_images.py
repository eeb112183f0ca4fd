"""Making images smaller in processes of their own: within limits, and whatever becomes of such a process."""

import asyncio
from pathlib import Path

import pytest

from marketd.storage.database import DiskTrouble
from marketd.storage.images import ImageLimits, ImagesBusy, ImageUnfit, Shrinker, has_variant
from tests.clock import settle
from tests.storage.pictures import opened, picture

pytestmark = pytest.mark.asyncio

ENDLESS = "while :; do :; done"


def source(folder: Path, data: bytes) -> Path:
    path = folder / "source"
    path.write_bytes(data)
    return path


async def shrink(folder: Path, data: bytes, limits: ImageLimits | None = None) -> None:
    await Shrinker(limits).shrink(source(folder, data), folder / "target")


def run_instead(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let a script take the place of the program."""
    monkeypatch.setattr("marketd.storage.images._command", lambda: ["/bin/sh", "-c", script])


async def test_a_variant_is_written(tmp_path: Path) -> None:
    await shrink(tmp_path, picture(1000, 500))

    assert (640, 320) == opened((tmp_path / "target").read_bytes()).size


async def test_what_is_no_image_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ImageUnfit, match=r"^Expected a PNG, JPEG, GIF or WebP image$"):
        await shrink(tmp_path, b"abc")


async def test_an_image_of_too_many_pixels_is_refused_undecoded(tmp_path: Path) -> None:
    with pytest.raises(ImageUnfit, match=r"^Expected an image of at most 50000000 pixels$"):
        await shrink(tmp_path, picture(12_000, 12_000, mode="1"))


async def test_who_takes_too_much_memory_has_no_variant(tmp_path: Path) -> None:
    with pytest.raises(ImageUnfit, match="less memory"):
        await shrink(tmp_path, picture(5_000, 5_000), ImageLimits(memory_bytes_max=128 * 1024 * 1024))


async def test_who_kills_the_process_has_no_variant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, "kill -SEGV $$")
    with pytest.raises(ImageUnfit, match="less memory and time"):
        await shrink(tmp_path, picture())


async def test_trouble_of_the_disk_is_called_that(tmp_path: Path) -> None:
    with pytest.raises(DiskTrouble, match=f"^{tmp_path}/absent: No such file or directory$"):
        await Shrinker().shrink(source(tmp_path, picture()), tmp_path / "absent" / "target")


async def test_nobody_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, ENDLESS)
    with pytest.raises(ImagesBusy, match="in time"):
        await shrink(tmp_path, picture(), ImageLimits(wait_s_max=0.05))


async def test_only_so_many_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_instead(monkeypatch, ENDLESS)
    shrinker = Shrinker(ImageLimits(at_once_max=1, queue_max=1))
    path = source(tmp_path, picture())
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(shrinker.shrink(path, tmp_path / f"target-{n}")) for n in range(2)]
        await settle(1)
        with pytest.raises(ImagesBusy, match="too many"):
            await shrinker.shrink(path, tmp_path / "target-2")
        for task in waiting:
            task.cancel()

    assert {"waiting": 0} == shrinker.statistics()


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        ("image/png", True),
        ("image/jpeg", True),
        ("image/gif", True),
        ("image/webp", True),
        ("image/svg+xml", False),
        ("application/zip", False),
        ("", False),
    ],
)
async def test_images_of_pixels_have_a_variant(media_type: str, expected: bool) -> None:
    assert expected == has_variant(media_type)
