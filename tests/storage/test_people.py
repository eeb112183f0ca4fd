"""People: who is behind a user id, and no more than that."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from marketd.actors.account import address_of
from marketd.storage.people import FindPerson, Person
from marketd.storage.projector import AskReached
from tests.storage.history import market

pytestmark = pytest.mark.asyncio


async def test_who_registered_is_found(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("ann", name="Ann", role="buyer")
        key = address_of("ann@example.org").key

        assert Person("ann", key, "Ann", "buyer") == await m.ask(FindPerson("ann"))


async def test_who_was_renamed_is_found_under_the_new_name(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("ann")
        await m.register("bob")
        await m.rename("ann", "Anna")

        assert ("Anna", "Bob") == ((await m.ask(FindPerson("ann"))).name, (await m.ask(FindPerson("bob"))).name)


async def test_who_never_registered_is_not_found(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        assert await m.ask(FindPerson("ann")) is None


async def test_neither_address_nor_password_is_in_the_read_models(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("ann")
        await m.ask(AskReached())
    with closing(sqlite3.connect(tmp_path / "read.db")) as db:
        everything = "\n".join(db.iterdump())

    assert "example.org" not in everything and "argon2" not in everything
