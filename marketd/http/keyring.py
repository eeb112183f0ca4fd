"""
The key ring: keeps what a running service signs with as it is in the folder, where `marketd keys rotate` puts new keys.

    rotate      a new `<kid>.pem` is put into the folder
    renew       the service sees it, and signs with it from then on; the old ones are still good for what they signed
    retire      when the newest is older than any token of the others can be, the others are removed
"""

import logging
from pathlib import Path
from typing import Final, NamedTuple

from marketd.clock import Clock
from marketd.http.tokens import AccessTokens, KeyUnusable, load_signing_keys

SLACK_S: Final = 60  # for a service that sees a new key late, and clocks of the disk that are not ours

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
        """Look every now and then, for ever."""
        while True:
            self.check()
            await self._clock.sleep(self._check_s)

    def check(self) -> None:
        """Take up what has changed, and remove what nobody needs any more; a key that is no good changes nothing."""
        try:
            found = self._retired(list_keys(self._folder))
            if found and found != self._seen:
                self._seen = found  # what can't be used is said once
                self._tokens.renew(load_signing_keys(self._folder, self._clock))
                log.info("signing with the key %s, of %d", found[-1].kid, len(found))
        except (KeyUnusable, OSError) as error:
            log.error("the keys stay as they were: %s", error)

    def _retired(self, keys: list[KeyFile]) -> list[KeyFile]:
        """Remove the keys whose last token has expired: none of them has signed since the newest was seen."""
        life_ms = int((self._tokens.seconds + self._check_s + SLACK_S) * 1000)
        if len(keys) < 2 or self._clock.now_ms() <= keys[-1].made_at_ms + life_ms:
            return keys
        for key in keys[:-1]:
            (self._folder / f"{key.kid}.pem").unlink(missing_ok=True)
            log.info("the key %s is removed: nothing that it signed is good any more", key.kid)
        return keys[-1:]


def list_keys(folder: Path) -> list[KeyFile]:
    """List the keys, the one that signs last."""
    paths = sorted(folder.glob("*.pem"), key=lambda path: path.stem)
    return [KeyFile(path.stem, path.stat().st_mtime_ns // 1_000_000) for path in paths]
