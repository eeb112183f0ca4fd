"""
The key ring: keeps the signing keys of a running service in step with the folder, to which `marketd keys rotate` adds.

    rotate      a new `<kid>.pem` is put into the folder
    renew       the service loads it, and signs with it from then on; the old ones still verify what they signed
    retire      once every token that the older keys have signed must have expired, they are removed
"""

import logging
from pathlib import Path
from typing import Final, NamedTuple

from marketd.clock import Clock
from marketd.http.tokens import AccessTokens, KeyUnusable, load_signing_keys

SLACK_S: Final = 60  # for a service that loads a new key late, and a disk whose clock differs from ours

log = logging.getLogger("marketd.keys")


class KeyFile(NamedTuple):
    """One key in the folder; `made_at_ms` is when its file was written."""

    kid: str
    made_at_ms: int


class KeyRing:
    """Watches a folder of keys; run it for as long as the service lives."""

    def __init__(self, folder: Path, tokens: AccessTokens, clock: Clock, *, check_s: float) -> None:
        self._folder, self._tokens, self._clock, self._check_s = folder, tokens, clock, check_s
        self._seen = list_keys(folder)

    async def run(self) -> None:
        """Check the folder every `check_s`, for ever."""
        while True:
            self.check()
            await self._clock.sleep(self._check_s)

    def check(self) -> None:
        """Load keys that have changed and remove expired ones; if a key is unusable, keep the loaded ones."""
        try:
            found = self._retired(list_keys(self._folder))
            if found and found != self._seen:
                self._seen = found  # set first, so that an unusable key is logged once
                self._tokens.renew(load_signing_keys(self._folder, self._clock))
                log.info("signing with the key %s, of %d", found[-1].kid, len(found))
        except (KeyUnusable, OSError) as error:
            log.error("the keys stay as they were: %s", error)

    def _retired(self, keys: list[KeyFile]) -> list[KeyFile]:
        """Remove the keys whose last token has expired: they have not signed since the newest was loaded."""
        life_ms = int((self._tokens.seconds + self._check_s + SLACK_S) * 1000)
        if len(keys) < 2 or self._clock.now_ms() <= keys[-1].made_at_ms + life_ms:
            return keys
        for key in keys[:-1]:
            (self._folder / f"{key.kid}.pem").unlink(missing_ok=True)
            log.info("the key %s is removed: nothing that it signed is good any more", key.kid)
        return keys[-1:]


def list_keys(folder: Path) -> list[KeyFile]:
    """List the keys, the one that signs last in the list."""
    paths = sorted(folder.glob("*.pem"), key=lambda path: path.stem)
    return [KeyFile(path.stem, path.stat().st_mtime_ns // 1_000_000) for path in paths]
