"""
Smaller variants of images, for mobiles, each made by a process of its own (see shrinking.py).

The one rule: a variant costs no more than its limits: so many at once, so many waiting, so much memory and time each.

    ImageUnfit      there is no variant of it, and there will be none: it is broken, too large, or no image
    ImagesBusy      too many wait already, or the machine did not get round to it in time
    DiskTrouble (storage.database)
"""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Final

from msgspec import Struct

from marketd.children import subordinate
from marketd.storage.database import DiskTrouble

MIB: Final = 1024 * 1024
VARIANT_TYPE: Final = "image/webp"
VARIED_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/jpg", "image/gif", "image/webp"})
REFUSED, UNWRITTEN = 3, 4  # as in shrinking.py, which nobody imports: Pillow stays out of this process


class ImageUnfit(Exception):
    """No variant can be made of it; the message says what was expected."""


class ImagesBusy(Exception):
    """Not now."""


class ImageLimits(Struct, frozen=True):
    """What images may cost; see the settings of the same names."""

    pixels_max: int = 50_000_000
    memory_bytes_max: int = 1024 * MIB
    cpu_s_max: int = 10
    wait_s_max: float = 30.0
    at_once_max: int = 2
    queue_max: int = 64


def has_variant(media_type: str) -> bool:
    """Say whether a file of this type has a smaller variant; an SVG, for one, is as small as it will get."""
    return media_type in VARIED_TYPES


class Shrinker:
    """Makes variants."""

    def __init__(self, limits: ImageLimits | None = None) -> None:
        self._limits = limits = limits or ImageLimits()
        self._places = asyncio.Semaphore(limits.at_once_max)
        self._waiting = 0

    def statistics(self) -> dict[str, int]:
        """How many are being made or wait for it."""
        return {"waiting": self._waiting}

    async def shrink(self, source: Path, target: Path) -> None:
        """Write the variant of an image; raise `ImageUnfit`, `ImagesBusy` or `DiskTrouble`, and maybe leave a part."""
        if self._waiting >= self._limits.at_once_max + self._limits.queue_max:
            raise ImagesBusy("too many images wait to be made smaller")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._limits.wait_s_max), self._places:
                await self._run(source, target)
        except TimeoutError:
            raise ImagesBusy("the image was not made smaller in time") from None
        finally:
            self._waiting -= 1

    async def _run(self, source: Path, target: Path) -> None:
        limits = map(str, (self._limits.pixels_max, self._limits.memory_bytes_max, self._limits.cpu_s_max))
        process = await asyncio.create_subprocess_exec(
            *(*_command(), str(source), str(target), *limits),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
            start_new_session=True,  # a Ctrl-C is for the service, which finishes what is in hand
            preexec_fn=subordinate(),
        )
        try:
            said, _ = await process.communicate()
        finally:
            await _end(process)
        if process.returncode == REFUSED:
            raise ImageUnfit(str(json.loads(said)))
        if process.returncode == UNWRITTEN:
            raise DiskTrouble(f"{target.parent}: {json.loads(said)}")
        if process.returncode:
            raise ImageUnfit("Expected an image that takes less memory and time")


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
        await process.wait()


def _command() -> list[str]:
    """Run this very program; a frozen one is its own interpreter."""
    return [sys.executable, "shrink"] if getattr(sys, "frozen", False) else [sys.executable, "-m", "marketd", "shrink"]
