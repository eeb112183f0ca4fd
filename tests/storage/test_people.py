"""People: who is behind a user id, and no more than that."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from marketd.actors import account
from marketd.actors.account import address_of
from marketd.clock import instant
from marketd.storage.catalog import Rating
from marketd.storage.people import EndedOnes, FindPerson, FindSeller, Person, ReadEnded, Seller
from marketd.storage.projector import AskReached
from tests.storage.history import Market, market

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


# Sellers.


async def test_a_seller_is_shown_with_what_they_sell_and_how_it_is_rated(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        since = instant(m.now_ms)
        await m.register("sam", name="Sam")
        for key in ("lamp", "saw", "mug"):
            await m.list_product(key, seller="sam")
        await m.list_product("other")
        for key, rating in (("lamp", 5), ("saw", 2), ("other", 1)):
            await m.sell_and_review(key, rating)

        assert Seller("sam", "Sam", 3, Rating(3.5, 2), since) == await m.ask(FindSeller("sam"))


async def test_a_seller_of_nothing_has_a_card_too(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        since = instant(m.now_ms)
        await m.register("sam", name="Sam")

        assert Seller("sam", "Sam", 0, Rating(0.0, 0), since) == await m.ask(FindSeller("sam"))


async def test_what_was_withdrawn_is_not_on_sale_but_what_was_said_of_it_stays(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("sam")
        await m.list_product("lamp", seller="sam")
        await m.sell_and_review("lamp", 4)
        await m.withdraw("lamp", seller="sam")
        found = await m.ask(FindSeller("sam"))

        assert (0, Rating(4.0, 1)) == (found.products, found.rating)


@pytest.mark.parametrize("user", ["bob", "absent"])
async def test_who_is_no_seller_has_no_card(tmp_path: Path, user: str) -> None:
    async with market(tmp_path) as m:
        await m.register("bob", role="buyer")

        assert await m.ask(FindSeller(user)) is None


DAY_MS = 24 * 60 * 60 * 1000


async def sign_out(m: Market, session_id: str) -> int:
    """Open a session of Ann's and end it; give when it ended."""
    await m.sign_in_and_out("ann", session_id)
    return m.now_ms


async def test_sessions_that_ended_of_late_are_found_the_oldest_first(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("ann")
        first, second = await sign_out(m, "s2"), await sign_out(m, "s1")

        assert EndedOnes([("s2", first), ("s1", second)]) == await m.ask(ReadEnded(0))


async def test_sessions_that_ended_before_are_not_found(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("ann")
        first, second = await sign_out(m, "s1"), await sign_out(m, "s2")

        assert EndedOnes([("s2", second)]) == await m.ask(ReadEnded(first))


async def test_a_session_that_is_open_has_not_ended(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("ann")
        await m.tell(address_of("ann@example.org"), account.OpenSession(account.Session("s1", "hash", 2**53), 1))

        assert EndedOnes([]) == await m.ask(ReadEnded(0))


async def test_sessions_that_ended_more_than_a_day_ago_are_forgotten(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.register("ann")
        await sign_out(m, "s1")
        m.now_ms += DAY_MS
        ended = await sign_out(m, "s2")

        assert EndedOnes([("s2", ended)]) == await m.ask(ReadEnded(0))
