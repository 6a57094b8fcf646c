"""How answers are judged: what is extracted, and how far it is the reference. Pure functions."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crucibench_suites.prompted.config import NAMED_EXTRACTORS

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def extracted(pattern: str, text: str) -> str | None:
    """Returns what a regular expression, or a built-in one by name, finds; None for nothing."""
    match = re.search(NAMED_EXTRACTORS.get(pattern, pattern), text)
    if match is None:
        return None
    return match[1] if match.re.groups else match[0]


def squad_form(text: str) -> str:
    """Returns a text in lower case without punctuation, articles and repeated spaces.

    Source: Rajpurkar et al., SQuAD, EMNLP 2016, the evaluation script.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def token_f1(answer: str, references: Sequence[str]) -> float:
    """Returns the F1 of the words that an answer shares with a reference, the best of several.

    Two texts without words agree; one without and one with words don't. Source: as `squad_form`.
    """
    return max((_f1(answer.split(), one.split()) for one in references), default=0.0)


def _f1(first: Sequence[str], second: Sequence[str]) -> float:
    if not first or not second:
        return float(first == second)
    shared = set(first) & set(second)
    both = sum(min(first.count(word), second.count(word)) for word in shared)
    return 2.0 * both / (len(first) + len(second))


def pass_at(k: int, tried: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the chance that one of k answers, drawn without replacement, is right, shape (n,).

    Without bias: 1 - C(n - c, k) / C(n, k) for c right ones of n. Source: Chen et al.,
    Evaluating Large Language Models Trained on Code, 2021.
    """
    missed = np.ones(len(tried))
    for at in range(k):
        missed *= np.clip(tried - right - at, 0, None) / (tried - at)
    return np.asarray(1.0 - missed)


def chosen(text: str, letters: Sequence[str], choices: Sequence[str]) -> int:
    """Returns the index of the choice that a text names by its words or letter; -1 for none.

    A text that is one choice names it. Else the first letter that stands by itself does, if it is
    one of a choice's.
    """
    plain = squad_form(text)
    same = [at for at, choice in enumerate(choices) if squad_form(choice) == plain]
    if len(same) == 1:
        return same[0]
    letter = extracted("letter", text)
    return letters.index(letter) if letter in letters else -1
