"""Edits of texts: which there could be, which are made at a severity, and in what order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.corruption import Changed, CorruptionContext, Function, Level
from crucibench.util.draws import Draws
from crucibench.util.graphemes import graphemes

Words = NDArray[np.uint32]


class Edit(NamedTuple):
    """Puts `text` in the place of the characters from `start` to `stop`."""

    start: int
    stop: int
    text: str


class EditCandidates(NamedTuple):
    """What a perturbation could do to a text.

    Attributes:
        edits: each at places of its own, unless `stacked`.
        units: what the share of a severity is of.
        by_letter: whether edits keep a character apart, and touch a third of a word's letters at
            most (one in a shorter one): it can still be read.
        stacked: whether the edits are at one place, and are made in their own order.
    """

    edits: list[Edit]
    units: int
    by_letter: bool = False
    stacked: bool = False


Proposal = Callable[[Sequence[str], Words], EditCandidates]
"""From characters (grapheme clusters) and a 32-bit word for each, and one more, to candidates."""


class PlannedEdits(NamedTuple):
    """A text with its edits in the order in which severities take them up.

    Attributes:
        characters: grapheme clusters.
        edits: no two overlap.
        ranks: increasing: what orders edits across the columns of a sample.
        units: see `EditCandidates`.
    """

    characters: list[str]
    edits: list[Edit]
    ranks: list[int]
    units: int


def planned(text: str, function: Proposal, order: Callable[[int], Words],
            choices: Callable[[int], Words]) -> PlannedEdits:  # fmt: skip
    """Chooses edits of a text.

    Args:
        text: any; lone surrogates included.
        function: what they could be.
        order: the first so many words of the draws that decide which come first.
        choices: the first so many words of those that decide what they are.
    """
    characters = graphemes(text)
    places = len(characters) + 1
    found = function(characters, choices(places))
    if not found.edits:
        return PlannedEdits(characters, [], [], found.units)
    if found.stacked:
        return PlannedEdits(characters, found.edits, list(range(len(found.edits))), found.units)
    first = order(places)
    ranked = sorted(found.edits, key=lambda edit: (int(first[edit.start]), edit.start))
    kept = _apart(characters, ranked) if found.by_letter else ranked
    return PlannedEdits(characters, kept, [int(first[edit.start]) for edit in kept], found.units)


def allowed(level: float, units: int) -> int:
    """Returns how many edits a level allows: the share of `units`, rounded up."""
    # A product such as 0.2 * 5 may come out a little above the whole number that it is.
    return math.ceil(level * units - 1e-9)


def share_out(texts: Sequence[PlannedEdits], level: float) -> list[int]:
    """Returns how many edits each column of a sample gets: the first of all of them, by rank."""
    ranked = sorted(
        (rank, column) for column, text in enumerate(texts) for rank in text.ranks
    )  # fmt: skip
    counts = [0] * len(texts)
    for _, column in ranked[: allowed(level, sum(text.units for text in texts))]:
        counts[column] += 1
    return counts


def applied(text: PlannedEdits, count: int) -> str:
    """Returns a text with the first `count` of its edits made."""
    pieces = [*text.characters, ""]
    before: dict[int, str] = {}
    for edit in text.edits[:count]:
        if edit.start == edit.stop:
            before[edit.start] = before.get(edit.start, "") + edit.text
        else:
            pieces[edit.start : edit.stop] = [edit.text] + [""] * (edit.stop - edit.start - 1)
    for place, added in before.items():
        pieces[place] = added + pieces[place]
    return "".join(pieces)


def _apart(characters: Sequence[str], ranked: Sequence[Edit]) -> list[Edit]:
    """Keeps the edits that leave a word readable, earlier ones first."""
    words = word_numbers(characters)
    letters = [0] * (max(words, default=-1) + 1)
    for word, character in zip(words, characters, strict=True):
        if word >= 0:
            letters[word] += character[0].isalpha()
    left = [max(1, count // 3) for count in letters]
    free = [True] * (len(characters) + 2)
    kept = []
    for edit in ranked:
        word = words[edit.start]
        around = range(max(0, edit.start - 1), max(edit.stop, edit.start + 1) + 1)
        if left[word] and all(free[place] for place in around):
            left[word] -= 1
            for place in range(edit.start, max(edit.stop, edit.start + 1)):
                free[place] = False
            kept.append(edit)
    return kept


def word_numbers(characters: Sequence[str]) -> list[int]:
    """Returns the number of each character's word, from 0; -1 for white space."""
    numbers = []
    number = -1
    inside = False
    for character in characters:
        space = character.isspace()
        if not space and not inside:
            number += 1
        inside = not space
        numbers.append(-1 if space else number)
    return numbers


def word_spans(characters: Sequence[str]) -> list[tuple[int, int]]:
    """Returns where each word starts and stops: runs of what is not white space."""
    spans: list[tuple[int, int]] = []
    for place, number in enumerate(word_numbers(characters)):
        if number == len(spans):
            spans.append((place, place + 1))
        elif number >= 0:
            spans[number] = (spans[number][0], place + 1)
    return spans


def by_edits(proposal: Proposal) -> Function:
    """Returns the corruption of texts that makes a share of the edits that `proposal` could make.

    What is touched at a lower level is touched at a higher one. Texts may be tuples of several
    columns, which share the edits of a sample; what is no text stays as it is. ``distance`` and
    ``edits`` are the share and the number of places edited, ``units`` what the share is of, over
    all columns of a sample together.
    """

    @wraps(proposal)
    def corrupted(
        texts: Sequence[Any], levels: Sequence[Level], context: CorruptionContext
    ) -> Iterator[Changed]:
        plans = [
            [
                planned(part, proposal, *_drawn(context.draws, identity, column))
                if isinstance(part, str)
                else None
                for column, part in enumerate(_parts(sample))
            ]
            for sample, identity in zip(texts, context.ids, strict=True)
        ]
        for (level,) in levels:
            changed: list[Any] = []
            counts = []
            for sample, plan in zip(texts, plans, strict=True):
                given = share_out([text for text in plan if text is not None], level)
                made = iter(given)
                edited = tuple(
                    part if text is None else applied(text, next(made))
                    for part, text in zip(_parts(sample), plan, strict=True)
                )
                changed.append(edited if isinstance(sample, tuple) else edited[0])
                counts.append(sum(given))
            yield Changed(changed, _columns(texts, changed, plans, counts))

    return corrupted


def _drawn(draws: Draws, identity: str, column: int) -> tuple[Any, Any]:
    def first(step: str, count: int) -> Words:
        words: Words = draws.words([identity], f"{column}/{step}", count)[0]
        return words

    return partial(first, "order"), partial(first, "choice")


def _parts(sample: Any) -> tuple[Any, ...]:
    return sample if isinstance(sample, tuple) else (sample,)


def _columns(
    inputs: Sequence[Any], changed: Sequence[Any], plans: Sequence[Sequence[PlannedEdits | None]],
    counts: Sequence[int],
) -> dict[str, Any]:  # fmt: skip
    units = [sum(text.units for text in plan if text is not None) for plan in plans]
    pairs = [
        list(zip(_parts(old), _parts(new), strict=True))
        for old, new in zip(inputs, changed, strict=True)
    ]
    return {
        "distance": np.array(
            [count / max(1, unit) for count, unit in zip(counts, units, strict=True)],
            dtype=np.float32,
        ),
        "touched": np.array(
            [any(old != new for old, new in pair) for pair in pairs], dtype=np.bool_
        ),
        "edits": np.array(counts, dtype=np.int32),
        "units": np.array(units, dtype=np.int32),
        "spoilt": np.array(
            [any(_unreadable(old, new) for old, new in pair) for pair in pairs], dtype=np.bool_
        ),
    }


def _unreadable(old: Any, new: Any) -> bool:
    """Whether a text has lost more than half of its letters and digits."""
    if not isinstance(old, str):
        return False
    return 2 * sum(map(str.isalnum, new)) < sum(map(str.isalnum, old))
