"""The course of an attack on one text: what is asked, within its budget, and what came of it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench_suites.adversarial.text.words import Parsed

Candidates = Callable[[int], list[str]]
"""From a word's number to what it could become."""

Questions = Generator[list[Any], list[float], None]
"""Yields texts, and is sent how far wrong classes lead for each: above 0 where it is wrong."""

Drawn = Callable[[str, int], NDArray[np.uint32]]
"""From the name of a step to so many draws, of the sample's own."""


def words_allowed(share: float, words: int) -> int:
    """Returns how many of so many words may be changed: the share of them, rounded down."""
    # A product such as 0.3 * 10 may come out a little below the whole number that it is.
    return math.floor(share * words + 1e-9)


@dataclass
class Search(ABC):
    """The attack on one sample, as a course of questions (`questions`), and what came out.

    Attributes:
        parsed: the sample.
        shares: of the words that may be changed, ascending.
        budget: questions at most.
        draw: draws for a step, keyed by the sample.
        replaced: the words that are changed in the example with the fewest, by number; None where
            the model got none wrong.
        first: how many of the first example were.
        queries: questions asked.
        queries_to: by share, the questions until there was an example within it; NaN without.
        choices: how many words there was a candidate for.
        moved: by how much at most any question moved the lead.
    """

    parsed: Parsed
    shares: Sequence[float]
    budget: int
    draw: Drawn
    replaced: dict[int, str] | None = None
    first: float = math.nan
    queries: int = 0
    queries_to: NDArray[np.float64] = field(init=False)
    choices: int = 0
    moved: float = 0.0

    labels: ClassVar[bool] = False
    """Whether it is told right or wrong, and no scores."""

    def __post_init__(self) -> None:
        self.queries_to = np.full(len(self.shares), np.nan)

    @property
    def allowed(self) -> list[int]:
        """How many words may be changed, by share."""
        return [words_allowed(share, len(self.parsed.words)) for share in self.shares]

    @property
    def example(self) -> Any:
        """The sample with the fewest changed words that the model got wrong; None without."""
        return None if self.replaced is None else self.parsed.changed(self.replaced)

    @property
    def changed(self) -> int:
        """How many words of the example are changed; 0 without one."""
        return len(self.replaced or ())

    def questions(self, candidates: Candidates) -> Questions:
        """Searches: the texts to ask about, one round after the other."""
        if not self.allowed[-1]:
            return
        choices = {number: found for number in self.parsed.open if (found := candidates(number))}
        self.choices = len(choices)
        clean = (yield from self._ask([self.parsed.sample])) if choices else []
        if clean and clean[0] > 0:
            self._note({})
        elif clean:
            yield from self._replaced(choices, clean[0])

    @abstractmethod
    def _replaced(self, choices: dict[int, list[str]], clean: float) -> Questions:
        """Searches on from the sample as it is, for which wrong classes lead by `clean`."""

    def _ask(self, texts: list[Any]) -> Generator[list[Any], list[float], list[float]]:
        asked = texts[: self.budget - self.queries]
        if not asked:
            return []
        self.queries += len(asked)
        return (yield asked)

    def _moved(self, leads: Sequence[float], lead: float) -> None:
        self.moved = max([self.moved, *(abs(one - lead) for one in leads)])

    def _note(self, words: dict[int, str]) -> None:
        self.replaced = words
        if math.isnan(self.first):
            self.first = self.changed
        for at, allowed in enumerate(self.allowed):
            if self.changed <= allowed and math.isnan(self.queries_to[at]):
                self.queries_to[at] = self.queries


def run_together(
    courses: Sequence[Questions],
    ask: Callable[[list[int], list[Any]], list[float]],
) -> None:
    """Runs courses of questions side by side, so that the model is asked in large batches.

    Args:
        courses: of samples.
        ask: from the number of the course of each text, and the texts, to leads.
    """
    waiting: dict[int, list[Any]] = {}
    for number, course in enumerate(courses):
        texts = next(course, None)
        if texts is not None:
            waiting[number] = texts
    while waiting:
        numbers = [number for number, texts in waiting.items() for _ in texts]
        leads = iter(ask(numbers, [text for texts in waiting.values() for text in texts]))
        going: dict[int, list[Any]] = {}
        for number, texts in waiting.items():
            try:
                going[number] = courses[number].send([next(leads) for _ in texts])
            except StopIteration:
                continue
        waiting = going
