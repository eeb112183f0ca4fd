"""Passwords: hashed slowly on purpose, and not by more at once than there is room for."""

import asyncio
from collections.abc import Iterator

import pytest

from marketd.bus.port import Busy
from marketd.http.passwords import Passwords
from tests.clock import settle

pytestmark = pytest.mark.asyncio


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(threads=1, queue_max=2, memory_kib=8, time_cost=1)
    yield made
    made.close()


async def test_the_password_that_was_hashed_fits(passwords: Passwords) -> None:
    assert await passwords.verify("Passw0rd", await passwords.hash("Passw0rd"))


@pytest.mark.parametrize("password", ["", "passw0rd", "Passw0rd ", "a password that nobody has", "x" * 1024, "🐻"])
async def test_another_does_not(passwords: Passwords, password: str) -> None:
    assert not await passwords.verify(password, await passwords.hash("Passw0rd"))


@pytest.mark.parametrize("password", ["Passw0rd", "a password that nobody has"])
async def test_nobody_has_no_password(passwords: Passwords, password: str) -> None:
    assert not await passwords.verify(password, None)


@pytest.mark.parametrize("hashed", ["", "x", "$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA", "$2b$12$abc"])
async def test_what_is_no_hash_fits_nothing(passwords: Passwords, hashed: str) -> None:
    assert not await passwords.verify("Passw0rd", hashed)


async def test_the_same_password_is_hashed_differently_each_time(passwords: Passwords) -> None:
    assert await passwords.hash("Passw0rd") != await passwords.hash("Passw0rd")


async def test_a_hash_says_how_it_was_made(passwords: Passwords) -> None:
    assert (await passwords.hash("Passw0rd")).startswith("$argon2id$v=19$m=8,t=1,p=1$")


async def test_who_finds_no_room_is_told_so(passwords: Passwords) -> None:
    results = await asyncio.gather(*(passwords.hash("Passw0rd") for _ in range(5)), return_exceptions=True)

    assert [False, False, False, True, True] == [isinstance(result, Busy) for result in results]


async def test_there_is_room_again_afterwards(passwords: Passwords) -> None:
    await asyncio.gather(*(passwords.hash("Passw0rd") for _ in range(3)))

    assert await passwords.hash("Passw0rd")


async def test_who_does_not_wait_any_more_gives_up_the_place(passwords: Passwords) -> None:
    waiting = [asyncio.ensure_future(passwords.hash("Passw0rd")) for _ in range(3)]
    await settle(1)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

    assert await passwords.hash("Passw0rd")
