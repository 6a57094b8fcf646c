"""A sample of one text or several, cut into the words that an attack may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, NamedTuple

from crucibench.util.graphemes import graphemes, is_letter

_WITHIN = frozenset("'\u2019-\u2010")
"""Signs that are part of a word where letters stand on both sides."""


class Place(NamedTuple):
    """Where a word is: characters `start` to `stop` of a column."""

    column: int
    start: int
    stop: int


@dataclass(frozen=True)
class SplitSample:
    """A sample, cut into words.

    Attributes:
        sample: as the model gets it: a text, or a tuple of texts.
        columns: the characters (grapheme clusters) of each column.
        words: all words of the columns that may be changed: what shares are of.
        open: the places in `words` of those that may be changed.
    """

    sample: Any
    columns: tuple[list[str], ...]
    words: tuple[Place, ...]
    open: tuple[int, ...]

    def word(self, number: int) -> list[str]:
        """Returns the characters of a word."""
        column, start, stop = self.words[number]
        return self.columns[column][start:stop]

    def changed(self, words: Mapping[int, str]) -> Any:
        """Returns the sample with other words in the places of some."""
        return self._put({number: (self.words[number], text) for number, text in words.items()})

    def without(self, number: int) -> Any:
        """Returns the sample without a word, and without the white space before or after it."""
        column, start, stop = self.words[number]
        characters = self.columns[column]
        if start and characters[start - 1].isspace():
            start -= 1
        elif stop < len(characters) and characters[stop].isspace():
            stop += 1
        return self._put({number: (Place(column, start, stop), "")})

    def _put(self, pieces: Mapping[int, tuple[Place, str]]) -> Any:
        columns = dict(enumerate(self._parts()))
        for column in {place.column for place, _ in pieces.values()}:
            characters = list(self.columns[column])
            for place, text in pieces.values():
                if place.column == column:
                    width = place.stop - place.start
                    characters[place.start : place.stop] = [text] + [""] * (width - 1)
            columns[column] = "".join(characters)
        parts = tuple(columns[number] for number in range(len(columns)))
        return parts if isinstance(self.sample, tuple) else parts[0]

    def _parts(self) -> tuple[Any, ...]:
        return parts_of(self.sample)


def parts_of(sample: Any) -> tuple[Any, ...]:
    """Returns the columns of a sample."""
    return sample if isinstance(sample, tuple) else (sample,)


def split_sample(
    sample: Any, stop_words: AbstractSet[str], protected: AbstractSet[int]
) -> SplitSample:
    """Cuts a sample into words.

    A word is a run of letters and digits, with apostrophes and hyphens between them; a Han
    character is one by itself. Scripts that set no space between words (Thai, kana) are taken run
    by run.

    Args:
        sample: a text, or a tuple of texts; lone surrogates included. What is no text is left
            alone.
        stop_words: words that may not be changed, as `plain_word` writes them.
        protected: numbers of columns that may not be changed.
    """
    columns: list[list[str]] = []
    words: list[Place] = []
    for number, part in enumerate(parts_of(sample)):
        characters = graphemes(part) if isinstance(part, str) else []
        columns.append(characters)
        if number not in protected:
            words += [Place(number, start, stop) for start, stop in _spans(characters)]
    open_ = [
        number
        for number, (column, start, stop) in enumerate(words)
        if plain_word("".join(columns[column][start:stop])) not in stop_words
    ]
    return SplitSample(sample, tuple(columns), tuple(words), tuple(open_))


def _spans(characters: Sequence[str]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    start: int | None = None
    last = len(characters) - 1
    for place, character in enumerate(characters):
        han = character[0].isalpha() and not is_letter(character)
        inside = character[0].isalnum() or (
            start is not None
            and character in _WITHIN
            and place < last
            and characters[place + 1][0].isalnum()
        )
        if start is not None and (han or not inside):
            spans.append((start, place))
            start = None
        if han:
            spans.append((place, place + 1))
        elif inside and start is None:
            start = place
    if start is not None:
        spans.append((start, last + 1))
    return spans


_PRONOUNS = """
i me my mine myself we us our ours ourselves you your yours yourself yourselves he him
his himself she her hers herself it its itself they them their theirs themselves who
whom whose which what this that these those
"""

_VERBS = """
am is are was were be been being have has had having do does did doing can could may
might must shall should will would ought
"""

_DENIAL = """
no not nor never none nothing neither cannot can't couldn't don't doesn't didn't isn't
aren't wasn't weren't hasn't haven't hadn't won't wouldn't shouldn't mustn't shan't
needn't ain't
"""

_CONTRACTED = """
i'm i've i'll i'd you're you've you'll you'd he's he'll he'd she's she'll she'd it's
it'll we're we've we'll we'd they're they've they'll they'd that's there's here's what's
who's let's
"""

_JOINING = """
a an the and but or if because as until while of at by for with about against between
into through during before after above below to from up down in out on off over under
again further then once here there when where why how all any both each few more most
other some such only own same so than too very just also now
"""

ENGLISH = frozenset(
    word for words in (_PRONOUNS, _VERBS, _DENIAL, _CONTRACTED, _JOINING) for word in words.split()
)
"""Pronouns, articles, conjunctions, auxiliary verbs and negations, in lower case."""


def plain_word(word: str) -> str:
    """Returns a word as lists hold it: in lower case, with straight apostrophes."""
    return word.casefold().replace("\u2019", "'")
