"""The catalogue's words: what a query finds, in which order, and that no query is too strange."""

from pathlib import Path
from typing import Any

import pytest

from tests.storage.history import Market, market

pytestmark = pytest.mark.asyncio


async def found(m: Market, q: str, **query: Any) -> list[str]:
    return [hit.card.id for hit in (await m.browse(q=q, **query)).hits]


async def score(m: Market, q: str) -> float:
    page = await m.browse(q=q)
    return float(page.hits[0].score)


async def furnish(m: Market) -> None:
    await m.list_product("cafe", title="Café au lait", description="Running recipes", category="drinks")
    await m.list_product("street", title="Straße", description="Lamps for the street", category="light")
    await m.list_product("lamp", title="Lamp", description="It shines", category="light")
    await m.list_product("data", title="数据分析 course", description="foo_bar C++ 3D résumé", category="courses")


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("lamp", ["lamp", "street"]),
        ("LAMP", ["lamp", "street"]),
        ("lamps", ["lamp", "street"]),
        ("light", ["lamp", "street"]),
        ("cafe", ["cafe"]),
        ("CAFÉ", ["cafe"]),
        ("cafe\N{COMBINING ACUTE ACCENT}", ["cafe"]),
        ("re\N{COMBINING ACUTE ACCENT}sume\N{COMBINING ACUTE ACCENT}", ["data"]),
        ("run", ["cafe"]),
        ("recipe runs", ["cafe"]),
        ("lamp street", ["street"]),
        ("lamp cafe", []),
        ("Straße", ["street"]),
        ("数据分析", ["data"]),
        ("foo_bar", ["data"]),
        ("foo bar", ["data"]),
        ("c++", ["data"]),
        ("3d", ["data"]),
        ("  lamp\t\n shines ", ["lamp"]),
        ("lam", []),
    ],
)
async def test_what_words_find(tmp_path: Path, q: str, expected: list[str]) -> None:
    async with market(tmp_path) as m:
        await furnish(m)

        assert expected == await found(m, q)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ('"lamp"', ["lamp", "street"]),
        ('"lamp', ["lamp", "street"]),
        ('lamp"" shines', ["lamp"]),
        ("lamp*", ["lamp", "street"]),
        ("*", []),
        ("lamp AND", []),
        ("lamp OR cafe", []),
        ("NOT lamp", []),
        ("NEAR(", []),
        ("NEAR(lamp shines, 5)", []),
        ("title:lamp", []),
        ("{title}: lamp", []),
        ("^lamp", ["lamp", "street"]),
        ("-lamp", ["lamp", "street"]),
        ("lamp + shines", ["lamp"]),
        ("lamp'); DROP TABLE products; --", []),
        ("!?.,;:-()[]{}", []),
        ("_", []),
        ("lamp _", ["lamp", "street"]),
        ("\0", []),
        ("lamp\0shines", ["lamp"]),
        ("💡", []),
        ("💡 lamp", ["lamp", "street"]),
        ("\u202elamp", ["lamp", "street"]),
        ("\N{ARABIC TATWEEL}", []),
        ("x" * 10_000, []),
        ("lamp " * 2_000, ["lamp", "street"]),
        ("((((" * 2_500, []),
        ('"' * 10_000, []),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_no_query_is_an_order_to_the_database(tmp_path: Path, q: str, expected: list[str]) -> None:
    async with market(tmp_path) as m:
        await furnish(m)

        assert expected == await found(m, q)


@pytest.mark.parametrize("q", ["", " ", "\t\n"])
async def test_a_query_of_nothing_finds_everything(tmp_path: Path, q: str) -> None:
    async with market(tmp_path) as m:
        await furnish(m)

        assert ["data", "lamp", "street", "cafe"] == await found(m, q)


async def test_only_so_many_words_of_a_query_count(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)

        assert ["lamp", "street"] == await found(m, "lamp " * 32 + "absent")


async def test_a_word_in_the_title_weighs_more_than_one_in_the_description(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await m.list_product("one", title="Kettle", description="Brass and steel")
        await m.list_product("two", title="Brass", description="Kettle and steel")
        await m.list_product("three", title="Other", description="Wholly different")

        assert ["one", "two"] == await found(m, "kettle")


async def test_among_equals_the_newest_comes_first(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        for key in ("old", "middle", "new"):
            await m.list_product(key, title="Kettle")

        assert ["new", "middle", "old"] == await found(m, "kettle")


async def test_what_was_found_by_words_can_be_put_in_another_order(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)

        assert ["lamp", "street"] == await found(m, "lamp", sort="newest")


async def test_a_score_is_above_nothing(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)

        assert await score(m, "shines") > 0


async def test_words_find_only_what_fits_the_other_conditions(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        await m.list_product("saw", title="Lamp saw", category="tools")
        page = await m.browse(q="lamp", category="light")

        assert (2, {"light": 2}) == (page.total, page.categories)


async def test_after_a_revision_the_new_words_find_it(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        await m.revise("lamp", title="Lantern")

        assert ["lamp"] == await found(m, "lantern")


async def test_after_a_revision_the_old_words_do_not(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        await m.revise("lamp", title="Lantern")

        assert ["street"] == await found(m, "lamp")


async def test_only_what_is_on_sale_is_counted(tmp_path: Path) -> None:
    async with market(tmp_path) as m:
        await furnish(m)
        await m.withdraw("street")
        page = await m.browse(q="lamp")

        assert (1, {"light": 1}) == (page.total, page.categories)
