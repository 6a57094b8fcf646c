"""Looking while models are asked: false alarms at a true loss of exactly the margin, and when the
looks stop.

    python benchmarks/looks.py --repetitions 4000

Differences of two models are drawn; they are looked at by the product's own functions.
"""

from __future__ import annotations

import argparse
import math
import time
from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from _report import publish, table
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import beta

from crucibench.stats.sequences import Bets, Mixture

Floats = NDArray[np.float64]

LOOKS = 1000
STOP_LOOKS = 50
Draw = Callable[[np.random.Generator, int, float], Floats]


def _shares(flipped: float) -> Draw:
    """Differences of right answers: -1, 0 or 1, so many of them not 0."""

    def draw(rng: np.random.Generator, n: int, gain: float) -> Floats:
        odds = ((flipped - gain) / 2, 1 - flipped, (flipped + gain) / 2)
        return rng.choice([-1.0, 0.0, 1.0], n, p=odds)

    return draw


def _scores(rng: np.random.Generator, n: int, gain: float) -> Floats:
    """Differences of scores in [0, 1], most of them small."""
    return np.asarray(2 * rng.beta(4 * (1 + gain), 4 * (1 - gain), n) - 1)


def _losses(rng: np.random.Generator, n: int, gain: float) -> Floats:
    """Differences of losses without a bound, skewed: a few samples bear most of the loss."""
    return np.asarray(gain + 0.3 * (1 - rng.exponential(1.0, n) ** 1.5 / math.gamma(2.5)))


class Case(NamedTuple):
    """What is compared.

    Attributes:
        name: what the page calls it.
        draw: differences, more being better, with a mean.
        margin: the loss that is tolerated.
        bounded: whether it is a mean of numbers in [-1, 1]; else the asymptotic form holds it.
    """

    name: str
    draw: Draw
    margin: float
    bounded: bool = True


CASES = (
    Case("right answers, 2 % differ", _shares(0.02), 0.005),
    Case("right answers, 8 % differ", _shares(0.08), 0.02),
    Case("right answers, 30 % differ", _shares(0.3), 0.03),
    Case("scores in [0, 1]", _scores, 0.02),
    Case("skewed losses, asymptotic", _losses, 0.03, False),
)


def planned(case: Case, power: float = 0.9) -> int:
    """Returns the n at which equal models pass one look with so much power, two-sided 5 %."""
    spread = case.draw(np.random.default_rng(0), 200_000, 0.0).std()
    return math.ceil(((1.96 + float(ndtri(power))) * spread / case.margin) ** 2)


def first_look(case: Case, values: Floats, most: int, looks: int) -> tuple[int, bool] | None:
    """Returns after how many values a look decides, and whether it passes; None where none does."""
    block = max(1, -(-len(values) // looks))
    ends = np.append(np.arange(block, len(values), block), len(values))
    if case.bounded:

        def p(place: int) -> tuple[float, float]:
            bets = Bets(values[: ends[place]], -1, 1, block=block, most=most)
            return bets.evidence(-case.margin).p

        # A bet that is won stays won: halving finds the look.
        at = bisect_left(range(len(ends)), True, key=lambda place: min(p(place)) <= 0.05)
        return (int(ends[at]), p(at)[0] <= 0.05) if at < len(ends) else None
    means, squares = np.cumsum(values)[ends - 1] / ends, np.cumsum(values**2)[ends - 1] / ends
    errors = np.sqrt(np.maximum(squares - means**2, 0.0) / np.maximum(ends - 1, 1))
    for mean, error, n in zip(means.tolist(), errors.tolist(), ends.tolist(), strict=True):
        found = Mixture(mean, error, n, most=most).evidence(-case.margin).p
        if min(found) <= 0.05:
            return n, found[0] <= 0.05
    return None


def alarms(case: Case, repetitions: int) -> int:
    """Counts the sequences of a loss of exactly the margin in which any look decides anything."""
    n = 2 * planned(case)
    count = 0
    for k in range(repetitions):
        values = case.draw(np.random.default_rng([1, k]), n, -case.margin)
        if case.bounded:
            bets = Bets(values, -1, 1, block=max(1, -(-n // LOOKS)), most=n)
            count += min(bets.evidence(-case.margin).p) <= 0.05
        else:
            count += first_look(case, values, n, LOOKS) is not None
    return count


def stops(case: Case, gain: float, repetitions: int) -> tuple[float, float, float]:
    """Returns the median stop and the share decided rightly at the planned n and at twice that."""
    n = planned(case)
    found = [
        first_look(case, case.draw(np.random.default_rng([2, k]), 2 * n, gain), n, 2 * STOP_LOOKS)
        for k in range(repetitions)
    ]
    right = [one for one in found if one is not None and one[1] == (gain > -case.margin)]
    stop = [one[0] if one else 2 * n for one in found]
    return (
        float(np.median(stop)) / n, sum(one[0] <= n for one in right) / repetitions,
        len(right) / repetitions,
    )  # fmt: skip


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--repetitions", type=int, default=4000)
    many, start = parser.parse_args().repetitions, time.process_time()
    counts = [(case, alarms(case, many)) for case in CASES]
    worst = max(
        float(beta.ppf(1 - 0.05 / len(CASES), count + 1, many - count)) for _, count in counts
    )
    few = max(many // 8, 1)
    gains = {
        "equal": 0.0, "a gain of two margins": 2.0, "a loss of two": -2.0, "a loss of three": -3.0,
    }  # fmt: skip
    rows = []
    for case in CASES:
        for name, times in gains.items():
            median, at_n, at_twice = stops(case, times * case.margin, few)
            rows.append(
                (case.name, name, f"{planned(case):,}", f"{median:.2f}", percent(at_n),
                 percent(at_twice))
            )  # fmt: skip
    publish(
        "looks", "Looking while models are asked",
        [
            f"Made by `benchmarks/looks.py` in {time.process_time() - start:.0f} CPU s: {many:,} "
            f"sequences a number ({few} of stops).",
            "",
            "## False alarms",
            "",
            "The true loss is exactly the margin, so that every decision, pass or regression, is a "
            f"false one. Sequences of twice the planned n in which any of {LOOKS:,} looks decides; "
            f"the aim is 5 % at most. The upper bound of the worst, for all {len(CASES)} at once: "
            f"{percent(worst)}.",
            "",
            *table(
                ("difference", "margin", "n", "false alarms"),
                [(case.name, case.margin, f"{2 * planned(case):,}", percent(count / many))
                 for case, count in counts],
            ),
            "",
            "## When it stops",
            "",
            "The planned n is that of one look at which equal models pass with 90 % power, as a "
            "gate plans it. Looks at every fiftieth of it, up to twice as many samples.",
            "",
            *table(
                ("difference", "truth", "planned n", "median stop / planned n",
                 "right by the planned n", "right by twice that"), rows,
            ),
        ],
        "numpy", "scipy",
    )  # fmt: skip


if __name__ == "__main__":
    main()
