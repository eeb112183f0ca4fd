"""The key ring: a new key is taken up by a running service, and an old one goes when nothing that it signed is good."""

import asyncio
import os
from pathlib import Path

import jwt
import pytest

from marketd.http.keyring import SLACK_S, KeyRing, list_keys
from marketd.http.tokens import AccessTokens, Principal, TokenInvalid, load_signing_keys, make_signing_key
from tests.clock import TestClock

pytestmark = pytest.mark.asyncio

ANN = Principal("ann", "buyer", "s1")
LIFE_S = 15 * 60 + 2 + SLACK_S


class Service:
    """What signs and verifies, and its ring."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.folder = TestClock(), folder
        self.tokens = AccessTokens(load_signing_keys(folder, self.clock), self.clock, minutes=15)
        self.dates()
        self.ring = KeyRing(folder, self.tokens, self.clock, check_s=2)

    @property
    def kid(self) -> str:
        """Which key signs."""
        return str(jwt.get_unverified_header(self.tokens.issue(ANN))["kid"])

    @property
    def public(self) -> list[str]:
        return [key["kid"] for key in self.tokens.jwks()["keys"]]

    def dates(self) -> None:
        """Let the files be written at the time of the test's clock."""
        for path in self.folder.glob("*.pem"):
            if path.stat().st_mtime > self.clock.now_ms() / 1000 + 1:
                os.utime(path, (self.clock.now_ms() / 1000,) * 2)

    async def rotate(self) -> str:
        await self.clock.advance(1)
        kid = make_signing_key(self.folder, self.clock)
        self.dates()
        return kid


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path / "keys")


async def test_a_new_key_is_taken_up(service: Service) -> None:
    kid = await service.rotate()
    service.ring.check()

    assert kid == service.kid


async def test_what_the_old_key_signed_is_still_good(service: Service) -> None:
    token = service.tokens.issue(ANN)
    await service.rotate()
    service.ring.check()

    assert ANN == service.tokens.verify(token)


async def test_both_keys_are_public_while_both_are_needed(service: Service) -> None:
    old, new = service.kid, await service.rotate()
    service.ring.check()
    await service.clock.advance(LIFE_S)
    service.ring.check()

    assert [old, new] == service.public


async def test_the_old_key_is_removed_when_nothing_that_it_signed_is_good(service: Service) -> None:
    new = await service.rotate()
    await service.clock.advance(LIFE_S + 1)
    service.ring.check()

    assert ([new], [new]) == (service.public, [key.kid for key in list_keys(service.folder)])


async def test_the_only_key_is_never_removed(service: Service) -> None:
    await service.clock.advance(100 * LIFE_S)
    service.ring.check()

    assert [service.kid] == [key.kid for key in list_keys(service.folder)]


async def test_of_several_rotations_only_the_last_counts(service: Service) -> None:
    await service.rotate()
    await service.clock.advance(LIFE_S)
    last = await service.rotate()
    service.ring.check()
    await service.clock.advance(LIFE_S)
    service.ring.check()
    before = len(service.public)
    await service.clock.advance(2)
    service.ring.check()

    assert (3, [last]) == (before, service.public)


async def test_a_key_that_the_operator_takes_away_is_good_no_more(service: Service) -> None:
    token, old = service.tokens.issue(ANN), service.kid
    await service.rotate()
    (service.folder / f"{old}.pem").unlink()
    service.ring.check()

    with pytest.raises(TokenInvalid):
        service.tokens.verify(token)


async def test_a_file_that_is_no_key_changes_nothing(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    kid = service.kid
    (service.folder / "z.pem").write_text("a shopping list")
    service.dates()
    service.ring.check()
    service.ring.check()

    assert (kid, 1) == (service.kid, len(caplog.records))


async def test_without_any_key_the_one_in_memory_is_used(service: Service) -> None:
    kid = service.kid
    (service.folder / f"{kid}.pem").unlink()
    service.ring.check()

    assert kid == service.kid


async def test_the_ring_looks_again_and_again(service: Service) -> None:
    run = asyncio.ensure_future(service.ring.run())
    kid = await service.rotate()
    await service.clock.advance(2)
    run.cancel()
    await asyncio.wait([run])

    assert kid == service.kid
