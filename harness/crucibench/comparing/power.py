"""How many pairs of samples a difference needs to be shown."""

from __future__ import annotations

import math

from crucibench.comparing.results import MetricDifference, RecipeSpread
from crucibench.stats import required_n_mean, required_n_paired_proportions, wilson
from crucibench.stats.two_way import TwoSources

POWER = 0.8
_Z = 1.959963984540054


def standard_error(difference: MetricDifference) -> float | None:
    """Returns the standard error of the difference, from its interval if need be; None if 0."""
    error = difference.standard_error
    if error is not None and math.isfinite(error) and error > 0:
        return error
    if difference.interval is None:
        return None
    half = (difference.interval.upper - difference.interval.lower) / 2
    return half / _Z if half > 0 else None


def n_needed(difference: MetricDifference, size: float, power: float = POWER) -> int | None:
    """Returns the pairs that a loss of `size` needs: of equal models, `power` pass then.

    The spread of the difference is taken to stay as it is.
    """
    n = difference.n
    if n < 1:
        return None
    if difference.spread is not None:
        return samples_needed(difference.spread, n, size, power)
    if difference.flips is not None:
        if size > 1:
            return None
        return required_n_paired_proportions(
            size, max(share_flipped(difference), size), power=power
        )
    error = standard_error(difference)
    return None if error is None else required_n_mean(size, error * math.sqrt(n), power=power)


def share_flipped(difference: MetricDifference) -> float:
    """Returns the share of pairs that tell two models apart, or the most that none seen allows."""
    assert difference.flips is not None
    flipped = len(difference.flips.lost) + len(difference.flips.gained)
    return flipped / difference.n if flipped else wilson(0, difference.n).upper


MOST_TRAININGS = 200
"""More trainings a side than anybody would make are not planned."""
_MOST_SAMPLES = 10**8


def sources_at(spread: RecipeSpread, trainings: int, scale: float, n: int) -> TwoSources:
    """Returns the variance that a difference would have with another number of each.

    Args:
        spread: as measured.
        trainings: a side, at least 2.
        scale: samples, as a multiple of those measured.
        n: samples, for the degrees of freedom.
    """
    sides = 1 if spread.by_seed else 2
    drawn = sides / trainings
    return TwoSources(
        spread.training * drawn, sides * (trainings - 1),
        (spread.common + spread.residual * drawn) / scale, max(2, n),
    )  # fmt: skip


def trainings_needed(
    spread: RecipeSpread, n: int, size: float, power: float = POWER, scale: float = 1.0
) -> int | None:
    """Returns the trainings a side with which a margin of `size` is kept by equal recipes.

    None if not even 200 would do on so many samples.
    """
    for trainings in range(2, MOST_TRAININGS + 1):
        if sources_at(spread, trainings, scale, round(n * scale)).detectable(power) <= size:
            return trainings
    return None


def samples_needed(
    spread: RecipeSpread, n: int, size: float, power: float = POWER, trainings: int | None = None
) -> int | None:
    """Returns the samples that do the same with so many trainings a side, by default as many as
    the side with fewer has; None where no number of samples would.
    """
    count = max(2, min(spread.trainings) if trainings is None else trainings)

    def enough(samples: int) -> bool:
        return sources_at(spread, count, samples / n, samples).detectable(power) <= size

    if not enough(_MOST_SAMPLES):
        return None
    least, most = 1, _MOST_SAMPLES
    while least < most:
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle + 1, most)
    return least


_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


def recipe_plan(
    spread: RecipeSpread, n: int, size: float, power: float = POWER
) -> list[tuple[int, int]]:
    """Returns trainings a side and samples: each pair would show a loss of `size`.

    From a quarter of the samples at hand to sixteen times as many; more samples that save no
    training are left out.
    """
    found: list[tuple[int, int]] = []
    for scale in _SCALES:
        needed = trainings_needed(spread, n, size, power, scale)
        if needed is not None and (not found or needed < found[-1][0]):
            found.append((needed, max(2, round(n * scale))))
    return found
