"""The search on scores: words in the order of their importance, each replaced by what hurts most.

The importance of a word is the lead of wrong classes when it is left out. In that order each is
replaced by the candidate after which they lead furthest, if any does better than the word. Once the
model is wrong, changes that are not needed are taken back.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from crucibench_suites.adversarial.text.searching import Questions, Search

_RANKING = 0.5
"""The share of the budget that ranking words may spend."""


class Greedy(Search):
    """A `Search` that follows scores."""

    def _replaced(self, choices: dict[int, list[str]], clean: float) -> Questions:
        current: dict[int, str] = {}
        lead = clean
        for number in (yield from self._ranked(list(choices), clean)):
            made = [{**current, number: text} for text in choices[number]]
            leads = yield from self._ask([self.parsed.changed(words) for words in made])
            if not leads:
                return
            self._moved(leads, clean)
            best = int(np.argmax(leads))
            if leads[best] > lead:
                current, lead = made[best], leads[best]
            if lead > 0:
                self._note(current)
                yield from self._taken_back(current)
            if lead > 0 or len(current) == self.allowed[-1]:
                return

    def _ranked(
        self, numbers: list[int], lead: float
    ) -> Generator[list[Any], list[float], list[int]]:
        if len(numbers) == 1:
            return numbers
        most = int(_RANKING * (self.budget - self.queries))
        if len(numbers) > most:
            order = self.draw("rank", len(self.parsed.words))
            numbers = sorted(numbers, key=lambda number: (int(order[number]), number))
        leads = yield from self._ask([self.parsed.without(number) for number in numbers[:most]])
        self._moved(leads, lead)
        ranked = sorted(zip(leads, numbers, strict=False), key=lambda pair: (-pair[0], pair[1]))
        return [number for _, number in ranked] + numbers[len(leads) :]

    def _taken_back(self, current: dict[int, str]) -> Questions:
        # The last one was needed: without it the model was right.
        for number in list(current)[:-1]:
            less = {other: text for other, text in current.items() if other != number}
            leads = yield from self._ask([self.parsed.changed(less)])
            if leads and leads[0] > 0:
                current = less
                self._note(current)
