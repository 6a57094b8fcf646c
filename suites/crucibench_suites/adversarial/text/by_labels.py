"""The search on labels alone: random beginnings, cut back to the words that are needed.

After the attack on hard labels of Maheshwary, Maheshwary and Pudi 2021: many words are replaced at
random until the model is wrong, and then as many as can be put back. In the place of their genetic
search, beginnings are repeated. In an order of the words a binary search finds the first so many
whose replacement makes the model wrong; of these, words are put back one by one, those first that
earlier beginnings could do without. What was needed most often leads every second order.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from crucibench.contracts.attack import LabelAttack
from crucibench_suites.adversarial.text.searching import Asking, OnTexts, TextSearch

_FAILED = 100
"""Beginnings in a row after which no words that were replaced have made the model wrong."""

Asked = Generator[list[Any], list[float], bool]


class ByLabels(OnTexts, LabelAttack):
    """Random beginnings, cut back, by labels alone."""

    name = "text-by-labels"

    def run(self, given: TextSearch) -> Asking:
        """Replaces words until the model is wrong, and as few as it finds."""
        choices = given.options
        words = len(given.sample_words.words)
        needed, tested = np.zeros(words), np.zeros(words)
        failed, start = 0, 0
        while failed < _FAILED and given.queries < given.budget and not _done(given):
            share = (1 + needed) / (2 + tested)
            order, new = _order(given, choices, share, start, failed)
            start += 1
            if not (yield from _wrong(given, new, order)):
                failed += 1
                continue
            failed = 0
            order = yield from _first_wrong(given, new, order)
            kept = yield from _put_back(given, new, order, share)
            tested[order] += 1
            needed[kept] += 1


def _done(given: TextSearch) -> bool:
    """Whether the smallest share is reached, or a single word is changed."""
    return given.replaced is not None and given.changed <= max(1, given.allowed[0])


def _order(
    given: TextSearch, choices: dict[int, list[str]], share: np.ndarray, start: int, failed: int
) -> tuple[list[int], dict[int, str]]:
    """Returns words in an order, and what takes the place of each."""
    drawn = given.draw(f"labels/{start}", 2 * len(given.sample_words.words) + 1)
    place, option = drawn[:-1].reshape(2, -1)
    new = {at: found[int(option[at]) % len(found)] for at, found in choices.items()}
    order = sorted(new, key=lambda at: (int(place[at]), at))
    if start % 2 and given.replaced is not None:
        order.sort(key=lambda at: -share[at])
    if failed % 2:
        # All at once may be what the model gets right again.
        order = order[: 1 + int(drawn[-1]) % len(order)]
    return order, new


def _wrong(given: TextSearch, new: dict[int, str], numbers: list[int]) -> Asked:
    """Asks about the sample with some words replaced."""
    words = {number: new[number] for number in numbers}
    leads = yield from given.ask([given.sample_words.changed(words)])
    if not leads or leads[0] <= 0:
        return False
    given.watch(leads, -1.0)
    if given.replaced is None or len(words) < given.changed:
        given.note(words)
    return True


def _first_wrong(
    given: TextSearch, new: dict[int, str], order: list[int]
) -> Generator[list[Any], list[float], list[int]]:
    """Returns a beginning of an order that makes the model wrong, and without its last not."""
    low, high = 0, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        if (yield from _wrong(given, new, order[:middle])):
            high = middle
        else:
            low = middle
    return order[:high]


def _put_back(
    given: TextSearch, new: dict[int, str], order: list[int], share: np.ndarray
) -> Generator[list[Any], list[float], list[int]]:
    """Returns what is left of an order when words are put back that are not needed."""
    kept = order
    # The last one was needed: without it the model was right.
    for number in sorted(order[:-1], key=lambda at: share[at]):
        less = [at for at in kept if at != number]
        if (yield from _wrong(given, new, less)):
            kept = less
    return kept
