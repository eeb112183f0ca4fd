"""The index on disk: its words, its segments, and what happens when it is damaged."""

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from marketd.storage import inverted
from marketd.storage.database import DiskTrouble
from marketd.storage.inverted import (
    IndexBroken,
    Inverted,
    Segment,
    Text,
    fold,
    folded,
    inverse_frequency,
    stems,
)
from marketd.storage.ranking import Documents, members

# Words.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Running shoes", ["run", "shoe"]),
        ("The lamp and the light", ["lamp", "light"]),
        ("lamp LAMP Lamps", ["lamp"]),
        ("Café CAFE", ["cafe"]),
        (
            "cafe\N{COMBINING ACUTE ACCENT} re\N{COMBINING ACUTE ACCENT}sume\N{COMBINING ACUTE ACCENT}",
            ["cafe", "resum"],
        ),
        ("résumé", ["resum"]),
        ("smørrebrød", ["smorrebrod"]),
        ("Привет МИР", ["привет", "мир"]),
        ("Καλημέρα ΚΌΣΜΕ", ["καλημέρα", "κόσμε"]),
        ("数据分析 course", ["数", "据", "分", "析", "cours"]),
        ("カタカナ", ["カ", "タ", "ナ"]),
        ("한국어", ["한", "국", "어"]),
        ("course数据", ["cours", "数", "据"]),
        ("O'Reilly’s", ["o", "reilli", "s"]),
        ("3D 2024 v1.5", ["3d", "2024", "v1", "5"]),
        ("foo_bar foo-bar", ["foo_bar", "foo", "bar"]),
        ("C++ c#", ["c"]),
        ("it is not", []),
        ("", []),
        ("!?.,;:-()[]{} \0 💡", []),
    ],
)
def test_what_words_a_text_has(text: str, expected: list[str]) -> None:
    assert expected == stems(text)


FEW = 16  # segments, of so few documents


def test_a_phrase_keeps_its_words_as_they_are() -> None:
    assert ["the", "running", "cafe", "the"] == folded("The running CAFÉ, the")


@pytest.mark.parametrize(
    "text", ["Café smørrebrød", "ÆØÅ Œuvre", "STRASSE Straße", "İstanbul", "e\u0301 ﬁ Ⅷ", "数据 Йод"]
)
def test_a_folded_text_has_the_words_that_are_cut_from_it(text: str) -> None:
    assert [] == [word for word in folded(text) if word not in fold(text)]


# Writing.


def text(key: int, title: str = "Lamp", description: str = "It shines", category: str = "light") -> Text:
    return Text(key, title, description, category)


def keys(segments: Iterable[tuple[Segment, Documents]], stem: str) -> list[int]:
    """The keys of the documents that have the word."""
    found = []
    for segment, live in segments:
        if postings := segment.word(stem):
            found += [segment.keys[number] for number in members(postings.documents & live, segment.count)]
    return sorted(found)


def test_an_empty_index_has_no_segments(tmp_path: Path) -> None:
    assert [] == Inverted.make(tmp_path / "search").segments()


def test_what_was_written_is_found_by_its_words(tmp_path: Path) -> None:
    index = Inverted.make(tmp_path / "search")
    index.write([text(1), text(2, "Saw", "It cuts", "tools"), text(2**40, "Lamps")], [])
    segments = index.segments()

    assert ([1, 2**40], [2], [1, 2**40], []) == tuple(keys(segments, word) for word in ("lamp", "cut", "light", "moon"))


@pytest.mark.parametrize("words", [("", "", ""), ("Lamp", "!!!", "it"), ("it", "the", "Lamp"), ("💡", "Lamp", "?")])
def test_a_text_may_be_without_words(tmp_path: Path, words: tuple[str, str, str]) -> None:
    index = Inverted.make(tmp_path / "search")
    index.write([Text(1, *words)], [])
    index.write([Text(2, *words), text(3)], [])

    assert [*([1, 2] if "Lamp" in words else []), 3] == keys(index.segments(), "lamp")


def test_what_is_written_again_replaces_what_was(tmp_path: Path) -> None:
    index = Inverted.make(tmp_path / "search")
    index.write([text(1), text(2)], [])
    index.write([text(1, "Lantern")], [])
    segments = index.segments()

    assert ([2], [1], [1, 2]) == tuple(keys(segments, word) for word in ("lamp", "lantern", "shine"))


def test_what_is_gone_is_not_found(tmp_path: Path) -> None:
    index = Inverted.make(tmp_path / "search")
    index.write([text(1), text(2)], [])
    index.write([], [1, 77])

    assert [2] == keys(index.segments(), "lamp")


def test_what_was_gone_may_come_back(tmp_path: Path) -> None:
    index = Inverted.make(tmp_path / "search")
    index.write([text(1)], [])
    index.write([], [1])
    index.write([text(1)], [])

    assert [1] == keys(index.segments(), "lamp")


def test_a_segment_stays_the_same_object_while_others_are_written(tmp_path: Path) -> None:
    index = Inverted.make(tmp_path / "search")
    index.write([text(1)], [])
    ((first, _),) = index.segments()
    index.write([text(2)], [])

    assert any(segment is first for segment, _ in index.segments())


def test_an_index_that_is_opened_has_what_was_written(tmp_path: Path) -> None:
    Inverted.make(tmp_path / "search").write([text(1)], [])

    assert [1] == keys(Inverted.open(tmp_path / "search").segments(), "lamp")


def test_an_index_that_is_made_anew_is_empty(tmp_path: Path) -> None:
    Inverted.make(tmp_path / "search").write([text(1)], [])

    assert [] == Inverted.make(tmp_path / "search").segments()


def test_a_write_that_broke_off_has_written_nothing_and_the_next_may_write(tmp_path: Path) -> None:
    def breaking() -> Iterable[Text]:
        yield text(2)
        raise KeyboardInterrupt

    index = Inverted.make(tmp_path / "search")
    index.write([text(1)], [])
    with pytest.raises(KeyboardInterrupt):
        index.write(breaking(), [1])
    found = keys(index.segments(), "lamp")
    index.write([text(3)], [])

    assert ([1], [1, 3]) == (found, keys(index.segments(), "lamp"))


# Merging.


def test_merging_loses_no_document_and_keeps_few_segments(tmp_path: Path) -> None:
    index, expected, counts = Inverted.make(tmp_path / "search"), dict[int, str](), []
    chance = random.Random(1)
    for round in range(40):
        size = chance.choice([1, 2, 5, 40])
        texts = [text(chance.randrange(300), f"Lamp edition{round}") for _ in range(size)]
        texts = list({text.key: text for text in texts}.values())
        gone = set(chance.sample(range(300), 3)) - {text.key for text in texts}
        index.write(texts, gone)
        expected |= {text.key: f"edition{round}" for text in texts}
        expected = {key: edition for key, edition in expected.items() if key not in gone}
        counts.append(len(index.segments()))
    segments = index.segments()

    assert (sorted(expected), True) == (keys(segments, "lamp"), max(counts) <= FEW)
    assert expected == {key: f"edition{n}" for n in range(40) for key in keys(segments, stems(f"edition{n}")[0])}


def test_what_was_deleted_leaves_the_files_when_they_are_merged(tmp_path: Path) -> None:
    index = Inverted.make(tmp_path / "search")
    for _ in range(30):
        index.write([text(1)], [])

    assert sum(segment.count for segment, _ in index.segments()) < 10


# Words that are in many documents, and words that are near.


def test_a_word_is_read_ahead_if_it_is_in_many_documents(tmp_path: Path) -> None:
    index = Inverted.make(tmp_path / "search")
    index.write([text(n, f"Lamp number{n}", "", "") for n in range(200)], [])
    ((segment, _),) = index.segments()

    steps = sum(1 for _ in segment.read_ahead())

    assert ({"lamp"}, True) == (set(segment._postings), steps > 1)


def test_words_near_are_those_of_titles_as_they_are_written(tmp_path: Path) -> None:
    index = Inverted.make(tmp_path / "search")
    index.write([text(1, "Running lamps"), text(2, "Lump", "lambs")], [])
    ((segment, _),) = index.segments()

    assert ({"lump", "lamps"}, {"running"}) == (
        set(segment.words_near("lamp", 1)),
        set(segment.words_near("runing", 1)),
    )


def test_postings_that_were_dropped_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inverted, "POSTINGS_BYTES_MIN", 1)
    monkeypatch.setattr(inverted, "POSTINGS_BYTES_PER_DOCUMENT", 0)
    index = Inverted.make(tmp_path / "search")
    index.write([text(1), text(2, "Saw")], [])
    segments = index.segments()

    found = [keys(segments, word) for word in ("lamp", "saw", "lamp", "moon", "saw")]
    assert [[1], [2], [1], [], [2]] == found
    assert 1 == len(segments[0][0]._postings)


# What words say.


def impact(index: Inverted, stem: str, key: int) -> float:
    for segment, live in index.segments():
        postings = segment.word(stem)
        for number, found in enumerate(segment.keys):
            if found == key and live >> number & 1 and postings:
                return postings.impact(number)
    raise AssertionError(key)


def test_a_word_in_the_title_says_three_times_as_much(tmp_path: Path) -> None:
    index = Inverted.make(tmp_path / "search")
    index.write([text(1, "kettle", "brass", "iron"), text(2, "iron", "kettle", "brass")], [])

    assert 3.0 == pytest.approx(impact(index, "kettl", 1) / impact(index, "kettl", 2), rel=1e-5)


def test_a_word_in_several_places_says_the_sum(tmp_path: Path) -> None:
    index = Inverted.make(tmp_path / "search")
    index.write([text(1, "kettle", "kettle", "kettle"), text(2, "iron", "kettle", "iron")], [])

    assert 5.0 == pytest.approx(impact(index, "kettl", 1) / impact(index, "kettl", 2), rel=1e-5)


def test_a_repeated_word_says_more_but_less_than_as_often(tmp_path: Path) -> None:
    index = Inverted.make(tmp_path / "search")
    index.write([text(1, "kettle kettle iron iron"), text(2, "kettle brass iron steel")], [])

    assert 1 < impact(index, "kettl", 1) / impact(index, "kettl", 2) < 2


def test_a_word_in_a_short_text_says_more_than_in_a_long_one(tmp_path: Path) -> None:
    index = Inverted.make(tmp_path / "search")
    index.write([text(1, "kettle"), text(2, "kettle of brass iron steel copper gold")], [])

    assert impact(index, "kettl", 1) > impact(index, "kettl", 2)


def test_a_rare_word_counts_more_than_a_frequent_one_and_each_counts_something() -> None:
    assert inverse_frequency(1, 100) > inverse_frequency(50, 100) > inverse_frequency(100, 100) > 0


# Damage.


def look_around(folder: Path) -> list[int]:
    """Open an index and read of it whatever can be read."""
    index = Inverted.open(folder)
    segments = index.segments()
    for segment, _ in segments:
        list(segment.read_ahead())
        segment.words_near("lmap", 2)
    found = [len(keys(segments, word)) for word in ("lamp", "shine", "saw", "cut", "light", "tool")]
    index.write([text(5_000)], [3])
    return found


def furnish(folder: Path) -> list[int]:
    """Make an index of two segments; give what is seen in it."""
    index = Inverted.make(folder)
    index.write([text(n, f"Lamp {n}", "shines " * (n % 3 + 1)) for n in range(300)], [])
    index.write([text(1_000 + n, f"Saw {n}", "cuts", "tools") for n in range(3)], [])
    return [300, 300, 3, 3, 300, 3]


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if "LOCK" not in path.name)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "gone": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "something else": lambda path: path.write_bytes(b"This is a letter, not an index. " * 200),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_file_that_is_damaged_is_noticed(tmp_path: Path, what: str, number: int) -> None:
    furnish(tmp_path / "search")
    DAMAGE[what](files_of(tmp_path / "search")[number])

    with pytest.raises(IndexBroken):
        look_around(tmp_path / "search")


def test_bits_that_flipped_are_harmless_or_noticed(tmp_path: Path) -> None:
    """Nothing but `IndexBroken` comes of them; and of most of them nothing at all."""
    chance = random.Random(4)
    furnish(tmp_path / "search")
    contents = {path: path.read_bytes() for path in files_of(tmp_path / "search")}
    for path, content in contents.items():
        for _ in range(30):
            damaged = bytearray(content)
            for _ in range(3):
                damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
            try:
                look_around(tmp_path / "search")
            except IndexBroken:
                pass
            for written in files_of(tmp_path / "search"):
                written.unlink()
            for other, whole in contents.items():
                other.write_bytes(whole)

    assert furnish(tmp_path / "other") == look_around(tmp_path / "search")


@pytest.mark.parametrize("is_there", [True, False])
def test_where_there_is_no_index_there_is_none_to_open(tmp_path: Path, is_there: bool) -> None:
    if is_there:
        (tmp_path / "search").mkdir()

    with pytest.raises(IndexBroken):
        Inverted.open(tmp_path / "search")


def test_an_index_is_made_in_place_of_whatever_is_there(tmp_path: Path) -> None:
    furnish(tmp_path / "search")
    for path in files_of(tmp_path / "search"):
        DAMAGE["something else"](path)
    index = Inverted.make(tmp_path / "search")
    index.write([text(1)], [])

    assert [1] == keys(index.segments(), "lamp")


def test_who_writes_while_another_does_is_told(tmp_path: Path) -> None:
    index, other = Inverted.make(tmp_path / "search"), Inverted.open(tmp_path / "search")

    def interrupted() -> Iterable[Text]:
        with pytest.raises(DiskTrouble):
            other.write([text(2)], [])
        yield text(1)

    index.write(interrupted(), [])

    assert [1] == keys(index.segments(), "lamp")
