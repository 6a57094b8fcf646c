"""Perturbations of words and what stands between them: form, and distraction."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

from crucibench_suites.shift.corruptions.text_edits import (
    Edit,
    EditCandidates,
    Words,
    by_edits,
    word_spans,
)

_MARKS = (",", ".", ";", ":", " -")
"""None of them asks or exclaims: a mark is not to tell how something is meant."""

_SPACES = ("  ", "\t", "\u00a0", "\n", "")
EMOJI = ("🔹", "🔸", "📎", "📌", "🔵", "🟣", "🕒", "📷", "🌍", "📝", "🔖", "🧾")
"""Pictures of things, none of which says how anyone feels."""

_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"

SENTENCES = (
    "This was written on a Tuesday.",
    "The text has several words.",
    "One and one is two.",
    "There are seven days in a week.",
    "The sun rises in the east.",
    "Water consists of hydrogen and oxygen.",
    "A year has twelve months.",
    "The alphabet has twenty-six letters.",
    "Paper is made from wood.",
    "The page has a margin.",
)
"""Sentences that are true of anything, and say nothing of what a text is about."""

_AT_MOST = 5

_CONTRACTED: Mapping[str, str] = {
    "cannot": "can't", "can not": "can't", "will not": "won't", "shall not": "shan't",
    **{
        f"{verb} not": f"{verb}n't"
        for verb in (
            "do", "does", "did", "is", "are", "was", "were", "has", "have", "had", "could",
            "would", "should", "must", "need",
        )
    },
    "i am": "i'm", "it is": "it's", "that is": "that's", "there is": "there's",
    "what is": "what's", "here is": "here's", "who is": "who's",
    **{f"{who} are": f"{who}'re" for who in ("you", "we", "they")},
    **{f"{who} have": f"{who}'ve" for who in ("i", "you", "we", "they")},
    **{
        f"{who} will": f"{who}'ll" for who in ("i", "you", "he", "she", "it", "we", "they")
    },
}  # fmt: skip

_EXPANDED: Mapping[str, str] = {
    short: long
    for long, short in _CONTRACTED.items()
    # "it's" may be "it has"; expanding that to "it is" would change what is said.
    if not short.endswith("'s") and long != "can not"
}

_FORMS = re.compile(
    r"(?<![\w'\u2019])(?:"
    + "|".join(sorted(map(re.escape, {*_CONTRACTED, *_EXPANDED}), key=len, reverse=True))
    + r")(?![\w'\u2019])",
    re.IGNORECASE,
)


@by_edits
def punctuation(characters: Sequence[str], choices: Words) -> EditCandidates:
    """A word loses the comma, stop, colon or semicolon at its end, or gets one."""
    edits = []
    spans = word_spans(characters)
    for start, stop in spans:
        last = characters[stop - 1]
        if last in {",", ".", ";", ":"} and stop - start > 1:
            edits.append(Edit(stop - 1, stop, ""))
        elif last[0].isalnum():
            mark = _MARKS[int(choices[stop]) % len(_MARKS)]
            edits.append(Edit(stop - 1, stop, last + mark))
    return EditCandidates(edits, len(spans))


@by_edits
def white_space(characters: Sequence[str], choices: Words) -> EditCandidates:
    """The space between two words is doubled, is another kind of space, or is missing."""
    edits = []
    spans = word_spans(characters)
    for (_, stop), (start, _) in pairwise(spans):
        kinds = [kind for kind in _SPACES if kind != "".join(characters[stop:start])]
        edits.append(Edit(stop, start, kinds[int(choices[stop]) % len(kinds)]))
    return EditCandidates(edits, len(spans))


@by_edits
def emoji_noise(characters: Sequence[str], choices: Words) -> EditCandidates:
    """A picture without a mood follows a word."""
    return _after_words(characters, [EMOJI[int(word) % len(EMOJI)] for word in choices])


@by_edits
def url_noise(characters: Sequence[str], choices: Words) -> EditCandidates:
    """A short address follows a word; its host is reserved for examples (RFC 2606)."""
    return _after_words(characters, [f"https://example.com/{_base36(int(w))}" for w in choices])


@by_edits
def contraction(characters: Sequence[str], choices: Words) -> EditCandidates:
    """What English contracts is contracted, and what is contracted is written out."""
    starts = [0, *accumulate(map(len, characters))]
    places = {offset: place for place, offset in enumerate(starts)}
    text = "".join(characters)
    edits = []
    for match in _FORMS.finditer(text):
        start, stop = places.get(match.start()), places.get(match.end())
        if start is None or stop is None or not _english(characters):
            continue
        word = match.group().lower()
        other = _CONTRACTED.get(word) or _EXPANDED[word]
        edits.append(Edit(start, stop, _cased(other, match.group())))
    return EditCandidates(edits, len(edits))


@by_edits
def leading_distractor(characters: Sequence[str], choices: Words) -> EditCandidates:
    """Sentences that say nothing stand before the text."""
    edits = [Edit(0, 0, f"{sentence} ") for sentence in _sentences(characters, choices)]
    return EditCandidates(edits, len(edits), stacked=True)


@by_edits
def trailing_distractor(characters: Sequence[str], choices: Words) -> EditCandidates:
    """Sentences that say nothing follow the text."""
    end = len(characters)
    edits = [Edit(end, end, f" {sentence}") for sentence in _sentences(characters, choices)]
    return EditCandidates(edits, len(edits), stacked=True)


def _after_words(characters: Sequence[str], pieces: Sequence[str]) -> EditCandidates:
    spans = word_spans(characters)
    return EditCandidates([Edit(stop, stop, f" {pieces[stop]}") for _, stop in spans], len(spans))


def _sentences(characters: Sequence[str], choices: Words) -> list[str]:
    """Returns five unlike sentences, from a place of the list on."""
    if not _english(characters):
        return []
    first = int(choices[0]) % len(SENTENCES)
    step = (1, 3, 7, 9)[int(choices[0] >> 8) % 4]
    return [SENTENCES[(first + step * number) % len(SENTENCES)] for number in range(_AT_MOST)]


def _english(characters: Sequence[str]) -> bool:
    """Whether there are letters, and half of them or more are Latin."""
    letters = [character[0] for character in characters if character[0].isalpha()]
    latin = sum(
        letter.isascii() or "LATIN" in unicodedata.name(letter, "") for letter in letters
    )  # fmt: skip
    return bool(letters) and 2 * latin >= len(letters)


def _cased(text: str, model: str) -> str:
    if len(model) > 2 and model.isupper():
        return text.upper()
    capital = model[0].isupper() or text.startswith("i'")
    return text[0].upper() + text[1:] if capital else text


def _base36(number: int) -> str:
    digits = ""
    for _ in range(6):
        number, rest = divmod(number, 36)
        digits += _BASE36[rest]
    return digits
