"""
The free space on the disk of the data directory, and what is still accepted.

    ok      everything
    low     less than `free_bytes_min` is free: sales go on; uploads, products, reviews and new accounts are refused
    full    less than FULL_BYTES is free: neither the log nor the files beside it accept writes
"""

import logging
import shutil
from pathlib import Path
from typing import Final, Literal

from marketd.clock import Clock
from marketd.storage.database import DiskTrouble

FULL_BYTES: Final = 1024 * 1024
LOOK_S: Final = 5.0

State = Literal["ok", "low", "full"]

log = logging.getLogger("marketd.disk")


class Room:
    """The free space of one directory's disk."""

    def __init__(self, folder: Path, *, free_bytes_min: int) -> None:
        self._folder, self._free_bytes_min = folder, free_bytes_min
        self._told: State = "ok"

    @property
    def free_bytes(self) -> int:
        """Give the number of free bytes."""
        return shutil.disk_usage(self._folder).free

    @property
    def state(self) -> State:
        """Say what is still accepted."""
        free = self.free_bytes
        return "full" if free < FULL_BYTES else "low" if free < self._free_bytes_min else "ok"

    def statistics(self) -> dict[str, int]:
        """Give how many bytes are free, and how many of them are reserved for sales."""
        return {"free_bytes": self.free_bytes, "free_bytes_min": self._free_bytes_min}

    def see(self, needed: int = 0) -> None:
        """Raise `DiskTrouble` if `needed` bytes more would leave less than the reserve for sales."""
        if self.free_bytes < self._free_bytes_min + needed:
            raise DiskTrouble(f"{self._folder}: less than {self._free_bytes_min} bytes would be free")

    async def run(self, clock: Clock) -> None:
        """Log each change of state, for ever."""
        while True:
            self.look()
            await clock.sleep(LOOK_S)

    def look(self) -> None:
        """Log a change of state, if there is one."""
        before, now = self._told, self.state
        if now == before:
            return
        self._told = now
        free = f"{self._folder}: {self.free_bytes} bytes are free"
        if now == "full":
            log.error("the disk is full: nothing more is taken in, and orders wait; %s", free)
        elif now == "low":
            log.warning("the disk is nearly full: uploads, products, reviews and new accounts are refused; %s", free)
        else:
            log.info("there is room on the disk again; %s", free)
