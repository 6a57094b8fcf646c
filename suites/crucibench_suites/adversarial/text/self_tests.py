"""The self-test of attacks on texts: a linear bag of words, whose best removal is known.

Each word of a text adds its weight to the lead of the true class, and a word that the model does
not know adds nothing. To make the model wrong with the fewest changed words is to take away the
heaviest, one after the other, until what is left is below the bias: the optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from crucibench.contracts.attack import (
    TOLERANCE,
    Attack,
    KnownAnswers,
    Norm,
    SelfTestResult,
)
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.self_test import judged
from crucibench_suites.adversarial.text.searching import TextSearch, run_together
from crucibench_suites.adversarial.text.texts import (
    CANDIDATES,
    CandidateKind,
    MakeCandidates,
    drawn,
)
from crucibench_suites.adversarial.text.words import split_sample

_SAMPLES, _WORDS, _QUERIES = 16, 20, 500
_KNOWN = """
anchor basket candle desert engine forest garden hammer island jacket kitten ladder
marble needle orange pencil quartz rabbit silver tunnel umpire velvet window yellow
"""
_OTHER = "unheard"


def weights() -> dict[str, float]:
    """Returns what each word that the model knows adds to the lead of the true class."""
    return {word: 1.0 + place for place, word in enumerate(_KNOWN.split())}


def text(sample: int) -> str:
    """Returns a text of the test: twenty known words, in an order of its own."""
    known = list(weights())
    order = np.random.default_rng(sample).permutation(len(known))[:_WORDS]
    return " ".join(known[place] for place in order)


def optimum(words: Sequence[float], bias: float) -> int:
    """Returns how many of the weights have to go, at least, until the rest is below `bias`."""
    left, count = sum(words), 0
    for weight in sorted(words, reverse=True):
        if left < bias:
            break
        left, count = left - weight, count + 1
    return count


class TextAnswers(KnownAnswers):
    """Attacks on texts, with every kind of candidates there is."""

    name = "text"

    def self_test(self, attack: Attack, norm: Norm) -> SelfTestResult:
        """Returns how an attack does with the candidates that suit it least."""
        results = [tested(attack.name, made, attack) for made in CANDIDATES.values()]
        return max(results, key=lambda one: (not one.passed, one.ratio))


def tested(name: str, made: CandidateKind, attack: Attack) -> SelfTestResult:
    """Returns how an attack does where the answer is known, tested once a process."""
    return _tested(name, made, attack, type(attack).run)


@cache
def _tested(name: str, made: CandidateKind, attack: Attack, body: object) -> SelfTestResult:
    return self_test(name, made.make(*made.known(list(weights()), _OTHER)), attack)


def self_test(name: str, make: MakeCandidates, attack: Attack) -> SelfTestResult:
    """Attacks texts of a linear bag of words.

    Args:
        name: of the attack.
        make: what words could become.
        attack: how it searches; on labels alone it is given 1 and -1.
    """
    known = weights()
    samples = [split_sample(text(sample), frozenset(), frozenset()) for sample in range(_SAMPLES)]
    sums = [sum(known[word] for word in one.sample.split()) for one in samples]
    # A text is taken for the other class once it has lost between a tenth and half of its weight.
    biases = [whole * (0.9 - 0.4 * row / _SAMPLES) - 0.5 for row, whole in enumerate(sums)]
    best = [
        optimum([known[word] for word in one.sample.split()], bias)
        for one, bias in zip(samples, biases, strict=True)
    ]
    draws = Draws(0, "self-test")
    searches = [
        TextSearch(one, (0.0, 1.0), _QUERIES, drawn(draws, str(row)))
        for row, one in enumerate(samples)
    ]

    def ask(rows: list[int], texts: list[Any]) -> list[float]:
        leads = [
            biases[row] - sum(known.get(word, 0.0) for word in asked.split())
            for row, asked in zip(rows, texts, strict=True)
        ]
        return (
            [1.0 if lead > 0 else -1.0 for lead in leads] if attack.access == "decision" else leads
        )

    candidates = make(samples, [str(row) for row in range(_SAMPLES)])
    run_together(
        [search.questions(one, attack) for search, one in zip(searches, candidates, strict=True)],
        ask,
    )
    wrong = [
        search.replaced is not None and ask([row], [search.example])[0] > 0
        for row, search in enumerate(searches)
    ]
    changed = [float(s.changed) if ok else np.inf for s, ok in zip(searches, wrong, strict=True)]
    ratios = np.array(changed) / np.array(best)
    found, ratio = float(np.mean(wrong)), float(np.median(ratios))
    return judged(
        name, "words", "nearest", ratio=ratio, tolerance=TOLERANCE,
        distances=np.array(changed) / _WORDS, optimum=float(np.median(best)),
        nearer=int((ratios < 1).sum()),
        reason=f"on linear bags of words it finds an example of {found:.0%} of the texts and "
        f"changes {ratio:.3g} times as many words as are needed (median; up to {TOLERANCE:g} pass)",
    )  # fmt: skip
