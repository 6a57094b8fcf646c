"""The search on scores: words in the order of their importance, each replaced by what hurts most.

The importance of a word is the lead of wrong classes when it is left out. In that order each is
replaced by the candidate after which they lead furthest, if any does better than the word. Once the
model is wrong, changes that are not needed are taken back.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from crucibench.contracts.attack import ScoreAttack
from crucibench_suites.adversarial.text.searching import Asking, OnTexts, TextSearch

_RANKING = 0.5
"""The share of the budget that ranking words may spend."""


class Greedy(OnTexts, ScoreAttack):
    """Words in the order of their importance, by scores."""

    name = "text-greedy"

    def run(self, given: TextSearch) -> Asking:
        """Replaces words until the model is wrong, and as few as it finds."""
        choices = given.options
        current: dict[int, str] = {}
        clean = lead = given.clean
        for number in (yield from _ranked(given, list(choices), clean)):
            made = [{**current, number: text} for text in choices[number]]
            leads = yield from given.ask([given.sample_words.changed(words) for words in made])
            if not leads:
                return
            given.watch(leads, clean)
            best = int(np.argmax(leads))
            if leads[best] > lead:
                current, lead = made[best], leads[best]
            if lead > 0:
                given.note(current)
                yield from _taken_back(given, current)
            if lead > 0 or len(current) == given.allowed[-1]:
                return


def _ranked(
    given: TextSearch, numbers: list[int], lead: float
) -> Generator[list[Any], list[float], list[int]]:
    if len(numbers) == 1:
        return numbers
    most = int(_RANKING * (given.budget - given.queries))
    if len(numbers) > most:
        order = given.draw("rank", len(given.sample_words.words))
        numbers = sorted(numbers, key=lambda number: (int(order[number]), number))
    leads = yield from given.ask([given.sample_words.without(number) for number in numbers[:most]])
    given.watch(leads, lead)
    ranked = sorted(zip(leads, numbers, strict=False), key=lambda pair: (-pair[0], pair[1]))
    return [number for _, number in ranked] + numbers[len(leads) :]


def _taken_back(given: TextSearch, current: dict[int, str]) -> Asking:
    # The last one was needed: without it the model was right.
    for number in list(current)[:-1]:
        less = {other: text for other, text in current.items() if other != number}
        leads = yield from given.ask([given.sample_words.changed(less)])
        if leads and leads[0] > 0:
            current = less
            given.note(current)
