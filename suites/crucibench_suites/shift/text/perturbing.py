"""Perturbs texts at several severities from one set of draws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from crucibench.util.draws import Draws
from crucibench_suites.shift.perturbed.answering import Variant
from crucibench_suites.shift.perturbed.kinds import Perturbation
from crucibench_suites.shift.text import letters, words
from crucibench_suites.shift.text.edits import (
    Function,
    Planned,
    Words,
    applied,
    planned,
    share_out,
)

FUNCTIONS: Mapping[str, Function] = {
    function.__name__: function
    for function in (
        letters.keyboard_typo, letters.letter_swap, letters.letter_deletion,
        letters.letter_insertion, letters.ocr_confusion, letters.homoglyph, letters.casing,
        words.punctuation, words.white_space, words.contraction, words.emoji_noise,
        words.url_noise, words.leading_distractor, words.trailing_distractor,
    )
}  # fmt: skip


def perturbed_texts(
    kind: Perturbation, inputs: Sequence[Any], ids: Sequence[str], draws: Draws,
    severities: Sequence[int],
) -> Iterator[Variant]:  # fmt: skip
    """Yields texts at each severity: what is touched at a lower one is touched at a higher one.

    Args:
        kind: which perturbation.
        inputs: texts, or tuples of texts of several columns; what is no text stays as it is.
        ids: of the samples: draws depend on these, not on what else is in the batch.
        draws: of the perturbation's stream.
        severities: 1 to 5.

    Returns:
        Variants with ``distance`` and ``touched``: the share and number of places edited; `units`
        is what the share is of, over all columns of a sample together.
    """
    function = FUNCTIONS[kind.name]
    plans = [
        [
            planned(part, function, *_drawn(draws, identity, column))
            if isinstance(part, str)
            else None
            for column, part in enumerate(_parts(sample))
        ]
        for sample, identity in zip(inputs, ids, strict=True)
    ]
    for severity in severities:
        level = kind.levels[severity - 1]
        changed: list[Any] = []
        counts = []
        for sample, plan in zip(inputs, plans, strict=True):
            given = share_out([text for text in plan if text is not None], level)
            made = iter(given)
            said = tuple(
                part if text is None else applied(text, next(made))
                for part, text in zip(_parts(sample), plan, strict=True)
            )
            changed.append(said if isinstance(sample, tuple) else said[0])
            counts.append(sum(given))
        yield Variant(severity, changed, _columns(inputs, changed, plans, counts))


def _drawn(draws: Draws, identity: str, column: int) -> tuple[Any, Any]:
    def first(step: str, count: int) -> Words:
        words: Words = draws.words([identity], f"{column}/{step}", count)[0]
        return words

    return partial(first, "order"), partial(first, "choice")


def _parts(sample: Any) -> tuple[Any, ...]:
    return sample if isinstance(sample, tuple) else (sample,)


def _columns(
    inputs: Sequence[Any], changed: Sequence[Any], plans: Sequence[Sequence[Planned | None]],
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
