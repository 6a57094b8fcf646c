"""The search of an attack on one text: what is asked, within its budget, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.attack import TOLERANCE, Attack, Norm, SpaceName
from crucibench_suites.adversarial.text.words import SplitSample

Candidates = Callable[[int], list[str]]
"""From a word's number to what it could become."""

Asking = Generator[list[Any], list[float], None]
"""Yields texts, and is sent how far wrong classes lead for each: above 0 where it is wrong."""

Drawn = Callable[[str, int], NDArray[np.uint32]]
"""From the name of a step to so many draws, of the sample's own."""


class OnTexts:
    """What attacks on texts have in common: each looks for the fewest words to change."""

    space: ClassVar[SpaceName] = "text"
    norms: ClassVar[tuple[Norm, ...]] = ("words",)
    nearest: ClassVar[bool] = True
    tolerance: ClassVar[float] = TOLERANCE


def words_allowed(share: float, words: int) -> int:
    """Returns how many of so many words may be changed: the share of them, rounded down."""
    # A product such as 0.3 * 10 may come out a little below the whole number that it is.
    return math.floor(share * words + 1e-9)


@dataclass
class TextSearch:
    """The attack on one text: the questions that are asked in its search, and what came out.

    Attributes:
        sample_words: the sample, split into words.
        shares: of the words that may be changed, ascending.
        budget: questions at most.
        draw: draws for a step, keyed by the sample.
        replaced: the words that are changed in the example with the fewest, by number; None where
            the model got none wrong.
        first: how many of the first example were.
        queries: questions asked.
        queries_to: by share, the questions until there was an example within it; NaN without.
        options: the words that may be changed, by number, and what each could become.
        clean: how far wrong classes lead for the sample as it is.
        moved: by how much at most any question moved the lead.
    """

    sample_words: SplitSample
    shares: Sequence[float]
    budget: int
    draw: Drawn
    replaced: dict[int, str] | None = None
    first: float = math.nan
    queries: int = 0
    queries_to: NDArray[np.float64] = field(init=False)
    options: dict[int, list[str]] = field(default_factory=dict)
    clean: float = math.nan
    moved: float = 0.0

    def __post_init__(self) -> None:
        self.queries_to = np.full(len(self.shares), np.nan)

    @property
    def allowed(self) -> list[int]:
        """How many words may be changed, by share."""
        return [words_allowed(share, len(self.sample_words.words)) for share in self.shares]

    @property
    def example(self) -> Any:
        """The sample with the fewest changed words that the model got wrong; None without."""
        return None if self.replaced is None else self.sample_words.changed(self.replaced)

    @property
    def changed(self) -> int:
        """How many words of the example are changed; 0 without one."""
        return len(self.replaced or ())

    def questions(self, candidates: Candidates, attack: Attack) -> Asking:
        """Searches: the texts to ask about, one round after the other."""
        if not self.allowed[-1]:
            return
        self.options = {
            number: found for number in self.sample_words.open if (found := candidates(number))
        }
        if not self.options:
            return
        leads = yield from self.ask([self.sample_words.sample])
        if leads and leads[0] > 0:
            self.note({})
        elif leads:
            self.clean = leads[0]
            yield from attack.run(self)

    def ask(self, texts: list[Any]) -> Generator[list[Any], list[float], list[float]]:
        """Asks about texts: returns how far wrong classes lead for those that are paid for."""
        asked = texts[: self.budget - self.queries]
        if not asked:
            return []
        self.queries += len(asked)
        return (yield asked)

    def watch(self, leads: Sequence[float], lead: float) -> None:
        """Keeps by how much at most answers moved the lead."""
        self.moved = max([self.moved, *(abs(one - lead) for one in leads)])

    def note(self, words: dict[int, str]) -> None:
        """Keeps words that make the model wrong, in the place of what was found before."""
        self.replaced = words
        if math.isnan(self.first):
            self.first = self.changed
        for at, allowed in enumerate(self.allowed):
            if self.changed <= allowed and math.isnan(self.queries_to[at]):
                self.queries_to[at] = self.queries


def run_together(
    searches: Sequence[Asking],
    ask: Callable[[list[int], list[Any]], list[float]],
) -> None:
    """Runs searches of questions side by side, so that the model is asked in large batches.

    Args:
        searches: of samples.
        ask: from the number of the search of each text, and the texts, to leads.
    """
    waiting: dict[int, list[Any]] = {}
    for number, search in enumerate(searches):
        texts = next(search, None)
        if texts is not None:
            waiting[number] = texts
    while waiting:
        numbers = [number for number, texts in waiting.items() for _ in texts]
        leads = iter(ask(numbers, [text for texts in waiting.values() for text in texts]))
        going: dict[int, list[Any]] = {}
        for number, texts in waiting.items():
            try:
                going[number] = searches[number].send([next(leads) for _ in texts])
            except StopIteration:
                continue
        waiting = going
