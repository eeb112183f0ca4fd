"""Made-up products: 80-word descriptions, 12 categories, words as frequent as in real texts (Zipf), always the same."""

import random
from itertools import accumulate
from typing import Final, NamedTuple

VOCABULARY: Final = 30_000
DESCRIPTION_WORDS: Final = 80
TITLE_WORDS: Final = 5
CATEGORIES: Final = tuple(f"category-{number}" for number in range(12))
SEED: Final = 7


class Sample(NamedTuple):
    """What a product is made of; the price in cents."""

    title: str
    description: str
    category: str
    cents: int


class Words:
    """A vocabulary, the most frequent word first."""

    def __init__(self) -> None:
        self._chance = random.Random(SEED)
        self.all = self._invent()
        self._weights = list(accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))

    def sample(self) -> Sample:
        """Make one product."""
        return Sample(
            " ".join(self._some(TITLE_WORDS)),
            " ".join(self._some(DESCRIPTION_WORDS)),
            self._chance.choice(CATEGORIES),
            self._chance.randint(100, 25_000),
        )

    def ranked(self, first: int, last: int) -> list[str]:
        """Give the words of these ranks, from 0."""
        return self.all[first:last]

    def _some(self, count: int) -> list[str]:
        return self._chance.choices(self.all, cum_weights=self._weights, k=count)

    def _invent(self) -> list[str]:
        syllables = [consonant + vowel for consonant in "bcdfghklmnprtvz" for vowel in "aeiou"]
        words: dict[str, None] = {}
        while len(words) < VOCABULARY:
            parts = self._chance.choices(syllables, k=self._chance.randint(2, 4))
            words["".join(parts) + self._chance.choice("nrlkm")] = None
        return list(words)
