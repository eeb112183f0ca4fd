"""
The Whoosh index on disk: its words, its writer, and its segments as ranking.py wants them.

Whoosh analyses, writes and finds words; ranking is our own (ranking.py), because a pass over each posting in Python
costs a second where an answer may cost a few hundredths. Segments never change but for what is deleted from them, so
what was read of one stays good.

    IndexBroken     the files are missing, damaged, or written by another version: make them again
    DiskTrouble     (database.py) they can't be written now: the disk is full, or another process has them
"""

from __future__ import annotations

import shutil
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EACCES, EDQUOT, EMFILE, ENFILE, ENOSPC, EROFS
from math import floor, log
from pathlib import Path
from typing import Any, Final, NamedTuple
from unicodedata import normalize

from whoosh import fields, index
from whoosh.analysis.filters import CharsetFilter, LowercaseFilter, StopFilter
from whoosh.analysis.morph import StemFilter
from whoosh.analysis.tokenizers import RegexTokenizer
from whoosh.index import LockError
from whoosh.lang.snowball.english import EnglishStemmer
from whoosh.reading import SegmentReader
from whoosh.support.charset import accent_map

from marketd.storage.database import DiskTrouble
from marketd.storage.ranking import IMPACT_MAX, Documents, Postings, document_set

VERSION: Final = 1
TITLE_WEIGHT: Final = 3.0
BOOSTS: Final = {"title": TITLE_WEIGHT, "description": 1.0, "category": 1.0}
# BM25's parameters (Robertson and Zaragoza, 2009): how soon repeats stop counting, and how much length counts.
K1: Final = 1.2
B: Final = 0.75
# What a word says once in a text of common length is 1: a whole number of steps, and then so is three times that.
IMPACT_STEP: Final = 1 / floor(IMPACT_MAX / (K1 + 1) / sum(BOOSTS.values()))
# What a segment keeps in memory of its words' postings: that of its frequent words, and some of what was asked last.
POSTINGS_BYTES_PER_DOCUMENT: Final = 512
POSTINGS_BYTES_MIN: Final = 1024 * 1024
FREQUENT: Final = 64  # a word in one of so many documents is read before anybody asks for it
TERMS_A_STEP: Final = 200  # that are looked at while nothing else can go on: about a millisecond
MERGED_DOCUMENTS_MAX: Final = 1_500  # about a second's work: while it is done, no change is found
MERGED_MIN: Final = 6
MERGE_FACTOR: Final = 2
MERGE_SMALLEST: Final = 64
WRITER_MIB: Final = 16
SPELLING_DISTANCE_MAX: Final = 2

# Scripts that are written without spaces are indexed sign by sign; everything else word by word.
SIGNS: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\u0e00-\u0e7f"
_WORDS = RegexTokenizer(rf"[{SIGNS}]|[^\W{SIGNS}]+")
_stem_filter: Callable[..., Any] = StemFilter  # untyped there
_accents: Any = accent_map  # wrongly typed there
_FOLDED = _WORDS | LowercaseFilter() | CharsetFilter(accent_map)
_STEMMED = _FOLDED | StopFilter(minsize=1) | _stem_filter(stemfn=EnglishStemmer().stem)


class IndexBroken(Exception):
    """The files can't be used: make them again."""


class Text(NamedTuple):
    """What is indexed of one product; `key` is its number in the catalogue."""

    key: int
    title: str
    description: str
    category: str


def stems(text: str) -> list[str]:
    """Cut a text into words as the index knows them: folded, without stop words, stemmed; each once, in order."""
    return list(dict.fromkeys(token.text for token in _STEMMED(normalize("NFC", text))))


def folded(text: str) -> list[str]:
    """Cut a text into words, in small letters and without accents."""
    return [token.text for token in _FOLDED(normalize("NFC", text))]


def fold(text: str) -> str:
    """Write a text in the letters of its words, with all that stands between them."""
    return normalize("NFC", text).lower().translate(_accents)


class Segment:
    """Documents by number, and the postings of its words, read when asked and kept if there is room."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.count: int = reader.doc_count_all()
        keys = reader.column_reader("key")
        self.keys = array("q", (keys[number] for number in range(self.count)))
        self._lengths = {
            field: array(
                "H", (min(reader.doc_field_length(number, field, 0) or 0, 0xFFFF) for number in range(self.count))
            )
            for field in BOOSTS
        }
        self._means = {field: max(1.0, sum(lengths) / self.count) for field, lengths in self._lengths.items()}
        self._postings: OrderedDict[str, Postings | None] = OrderedDict()
        self._bytes = 0
        self._bytes_max = max(POSTINGS_BYTES_MIN, POSTINGS_BYTES_PER_DOCUMENT * self.count)

    def refresh(self, reader: Any) -> Documents:
        """Read by this reader from now on; give the documents that it does not know to be deleted."""
        self._reader = reader
        deleted = reader.segment().deleted_docs()
        return ((1 << self.count) - 1) & ~document_set(deleted, self.count)

    def word(self, stem: str) -> Postings | None:
        """
        Give the postings of a word over all fields; None where no document has it. Deleted ones are among them. Raise
        `IndexBroken`.
        """
        if stem in self._postings:
            self._postings.move_to_end(stem)
            return self._postings[stem]
        postings = self._read(stem)
        self._postings[stem] = postings
        self._bytes += postings.size_bytes if postings else 0
        while self._bytes > self._bytes_max and len(self._postings) > 1:
            _, dropped = self._postings.popitem(last=False)
            self._bytes -= dropped.size_bytes if dropped else 0
        return postings

    def read_ahead(self) -> Iterator[None]:
        """Read the words that are in so many documents that reading them takes time, a little at each step."""
        with _reading():
            for number, (field, text) in enumerate(self._reader.all_terms()):
                if field in BOOSTS and self._reader.doc_frequency(field, text) * FREQUENT >= self.count:
                    self.word(text.decode())
                    yield
                elif number % TERMS_A_STEP == 0:
                    yield

    def words_near(self, word: str, distance: int) -> list[str]:
        """Give words of the index as they are written, within so many changed letters."""
        with _reading():
            return list(self._reader.terms_within("title", word, distance, prefix=1))

    def _read(self, stem: str) -> Postings | None:
        impacts: dict[int, float] = {}
        with _reading():
            for field, boost in BOOSTS.items():
                lengths, mean = self._lengths[field], self._means[field]
                for numbers, counts in _blocks(self._reader, field, stem):
                    for number, count in zip(numbers, counts, strict=True):
                        damped = count * (K1 + 1) / (count + K1 * (1 - B + B * lengths[number] / mean))
                        impacts[number] = impacts.get(number, 0.0) + boost * damped
        if not impacts:
            return None
        numbers = sorted(impacts)
        return Postings(array("I", numbers), bytes(_small(impacts[number]) for number in numbers), self.count)


class Inverted:
    """The index of one folder. `open` it, or `make` it anew; `write` adds a segment, `segments` shows them all."""

    def __init__(self, folder: Path, opened: Any) -> None:
        self._folder, self._index = folder, opened
        self._segments: dict[str, Segment] = {}

    @classmethod
    def make(cls, folder: Path) -> Inverted:
        """Throw away what is there, and begin an empty index."""
        if folder.is_dir():
            shutil.rmtree(folder)
        else:
            folder.unlink(missing_ok=True)
        folder.mkdir(parents=True)
        return cls(folder, index.create_in(str(folder), _schema()))

    @classmethod
    def open(cls, folder: Path) -> Inverted:
        """Open what is there; raise `IndexBroken`."""
        with _reading():
            return cls(folder, index.open_dir(str(folder)))

    def segments(self) -> list[tuple[Segment, Documents]]:
        """Give all segments as they are now, each with what is not deleted of it; raise `IndexBroken`."""
        found = []
        with _reading():
            readers = [reader for reader, _ in self._index.reader().leaf_readers() if reader.doc_count_all()]
            known, self._segments = self._segments, {}
            for reader in readers:
                name = reader.segment().segment_id()
                segment = self._segments[name] = known.get(name) or Segment(reader)
                found.append((segment, segment.refresh(reader)))
        return found

    def write(self, texts: Iterable[Text], gone: Iterable[int]) -> None:
        """
        Put these in the place of what was known under their keys, and take out those that are gone; raise `IndexBroken`
        or `DiskTrouble`.
        """
        with _reading():  # it reads what it merges
            writer = self._index.writer(limitmb=WRITER_MIB)
            try:
                for key in gone:
                    writer.delete_by_term("key", key)
                for key, *words in texts:
                    writer.delete_by_term("key", key)
                    title, description, category = (normalize("NFC", text) for text in words)
                    writer.add_document(key=key, title=title, description=description, category=category)
                writer.commit(mergetype=_merge_small)
            except BaseException:
                with suppress(Exception):
                    writer.cancel()
                raise


def inverse_frequency(documents: int, total: int) -> float:
    """Say how much a word counts that is in so many of all documents."""
    return log(1 + (total - documents + 0.5) / (documents + 0.5))


@contextmanager
def _reading() -> Iterator[None]:
    """Whatever Whoosh stumbles over in damaged files is one error; what the disk refuses is another."""
    try:
        yield
    except (DiskTrouble, IndexBroken):
        raise
    except LockError:
        raise DiskTrouble("another process is writing the index") from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT, EROFS, EACCES, EMFILE, ENFILE):
            raise DiskTrouble(f"the index: {error}") from None
        raise IndexBroken(repr(error)) from None


def _small(impact: float) -> int:
    """Write an impact as ranking.py wants it; 0 says nothing, so it is none."""
    return min(max(round(impact / IMPACT_STEP), 1), IMPACT_MAX)


def _schema() -> Any:
    text = fields.TEXT(analyzer=_STEMMED, phrase=False)
    return fields.Schema(
        key=fields.NUMERIC(int, bits=64, signed=True, unique=True, sortable=True),
        title=fields.TEXT(analyzer=_STEMMED, phrase=False, spelling=True),
        description=text,
        category=text,
    )


def _merge_small(writer: Any, segments: Sequence[Any]) -> list[Any]:
    """
    Keep few small segments: several of about the same size become one, so that each document is written again only as
    often as its segment grows by a factor. What would take longer than a change may take to be found is left alone.
    """
    by_size = sorted(segments, key=lambda segment: segment.doc_count())
    merged: list[Any] = []
    documents = 0
    for segment in by_size:
        size = segment.doc_count()
        is_larger = merged and size > MERGE_FACTOR * max(documents, MERGE_SMALLEST)
        if is_larger or documents + size > MERGED_DOCUMENTS_MAX:
            break
        merged.append(segment)
        documents += size
    if len(merged) < MERGED_MIN:
        return list(segments)
    for segment in merged:
        reader = SegmentReader(writer.storage, writer.schema, segment)
        writer.add_reader(reader)
        reader.close()
    return by_size[len(merged) :]


def _blocks(reader: Any, field: str, stem: str) -> Iterator[tuple[Sequence[int], Sequence[float]]]:
    """
    Give a word's postings block by block, as they lie in the file: ten times faster than one by one. Whoosh's matchers
    have no public way for it, so this is the one place that knows their inside.
    """
    if (field, stem) not in reader:
        return
    matcher = reader.postings(field, stem)
    matcher = getattr(matcher, "child", matcher)  # behind the filter of deleted documents
    if not hasattr(matcher, "_next_block"):  # a rare word's postings lie in the word list itself
        while matcher.is_active():
            yield (matcher.id(),), (matcher.weight(),)
            matcher.next()
        return
    while True:
        if matcher._ids is None:
            matcher._read_ids()
        if matcher._weights is None:
            matcher._read_weights()
        yield matcher._ids, matcher._weights
        if matcher._lastblock:
            return
        matcher._next_block()
