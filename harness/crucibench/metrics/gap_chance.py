"""What chance alone makes of gaps between groups: permutation tests, and gaps less their noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Any, Literal

import numpy as np

from crucibench.metrics._inputs import FloatArray, IntArray
from crucibench.metrics.gaps import gap_of
from crucibench.stats.resampling import generator

DRAWS = 10_000
"""Of a permutation test: a p-value of 0.05 is known to 0.002."""


def p_chance_of_rates(
    rates: Sequence[tuple[FloatArray | IntArray, IntArray]],
    *,
    seed: int,
    stream: str,
    draws: int = DRAWS,
) -> float:
    """Returns the p-value of groups that differ by chance alone: an exact permutation test.

    If group has nothing to do with the outcome, given the groups' sizes and the number of
    successes, these fall to groups as a multivariate hypergeometric draw: what shuffling the
    samples' groups gives. The statistic is the largest difference between two groups, or between a
    group and all others together, in units of its standard error, over all rates.

    Args:
        rates: successes and trials by group, shape (G,) each, one pair for each rate that is
            looked at. Their samples must not overlap, as those of TPR and FPR don't.
        seed: of the draws.
        stream: names the draws.
        draws: how many.

    Returns:
        In (0, 1]: never below 1 / (draws + 1).

    Source:
        Good 2005, Permutation, Parametric and Bootstrap Tests of Hypotheses; the +1, Phipson and
        Smyth 2010, Statistical Applications in Genetics 9:39.
    """
    rng = generator(seed, stream)
    measured, drawn = 0.0, np.zeros(draws)
    for successes, trials in rates:
        sizes, hits = np.asarray(trials, dtype=np.int64), int(np.sum(successes))
        share = hits / int(sizes.sum())
        if share in (0.0, 1.0):
            continue
        scale = np.sqrt(share * (1 - share) / sizes)
        found = np.asarray(successes, dtype=np.float64) / sizes
        shuffled = rng.multivariate_hypergeometric(sizes, hits, draws) / sizes
        for farthest in (
            partial(widest, scale=scale),
            partial(_from_rest, sizes=sizes, scale=scale),
        ):
            measured = max(measured, float(farthest(found[None])[0]))
            drawn = np.maximum(drawn, farthest(shuffled))
    return beyond(drawn, measured)


def p_chance_of_means(
    means: FloatArray,
    errors: FloatArray,
    freedoms: FloatArray,
    *,
    seed: int,
    stream: str,
    draws: int = DRAWS,
) -> float:
    """Returns the p-value of groups whose means differ by chance alone, by simulation.

    The studentised range for unequal errors: means are drawn normal about one another, their
    errors are taken from chi-squared variances of their degrees of freedom, and the statistic is
    the largest difference between two groups in units of its standard error.

    Args:
        means: shape (G,).
        errors: shape (G,), standard errors, above 0.
        freedoms: shape (G,), degrees of freedom.
        seed: of the draws.
        stream: names the draws.
        draws: how many.
    """  # fmt: skip
    rng = generator(seed, stream)
    spread = np.asarray(errors, dtype=np.float64)
    measured = float(widest(means[None], spread)[0])
    shape = (draws, len(means))
    found = spread * np.sqrt(rng.chisquare(freedoms, shape) / freedoms)
    drawn = widest(spread * rng.standard_normal(shape), found)
    return beyond(drawn, measured)


def beyond(drawn: FloatArray, measured: float) -> float:
    """Returns the p-value of a statistic among draws of it: never below 1 / (draws + 1)."""
    # Equal but for rounding is a tie, and a tie counts against the difference.
    hits = int(np.count_nonzero(drawn >= measured * (1 - 1e-12)))
    return (1 + hits) / (len(drawn) + 1)


def widest(values: FloatArray, scale: FloatArray) -> FloatArray:
    """Returns the largest abs(v_i - v_j) / sqrt(s_i^2 + s_j^2) of each row of (B, G).

    A group whose value or scale is nan is left out; a difference of no scale is beyond all others.
    """
    # By columns: the largest of each short row takes several times as long.
    columns, square = np.ascontiguousarray(values.T), np.atleast_2d(scale**2).T
    found = np.zeros(len(values))
    with np.errstate(divide="ignore", invalid="ignore"):
        for one, other in combinations(range(len(columns)), 2):
            apart = np.abs(columns[other] - columns[one])
            apart /= np.sqrt(square[other] + square[one])
            np.fmax(found, apart, out=found)
    return found


def _from_rest(values: FloatArray, sizes: IntArray, scale: FloatArray) -> FloatArray:
    """Returns the largest distance of a group to all others together, in its errors, of each row.

    Args:
        values: shape (B, G).
        sizes: shape (G,), by which the others are weighted.
        scale: shape (G,), the groups' standard errors, of one spread for all samples.
    """
    others = sizes.sum() - sizes
    middle = ((values @ sizes)[:, None] - values * sizes) / others
    apart = np.abs(values - middle) / (scale * np.sqrt(1 + sizes / others))
    return np.asarray(apart.T.copy().max(axis=0))


def corrected_gap(
    rates: Sequence[tuple[FloatArray | IntArray, IntArray]],
    combine: Literal["worst", "mean"],
    *,
    seed: int,
    stream: str,
    draws: int = DRAWS,
) -> float:
    """Returns a gap in rates less what noise adds to it, and at least 0.

    Noise alone makes groups look apart. What it adds is estimated by the parametric bootstrap:
    twice the gap less the mean gap of repetitions, were the measured rates the true ones. Groups
    that are alike are still shown apart, but by less.

    Args:
        rates: successes and trials by group, shape (G,) each, one pair for each rate.
        combine: ``worst`` or ``mean`` of the gaps.
        seed: of the draws.
        stream: names the draws.
        draws: how many.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 10.
    """  # fmt: skip
    rng = generator(seed, stream)
    found, repeated = [], []
    for successes, trials in rates:
        sizes = np.asarray(trials, dtype=np.int64)
        share = np.asarray(successes, dtype=np.float64) / sizes
        found.append(float(gap_of(share, "difference")))
        drawn = rng.binomial(sizes, share, (draws, len(sizes))) / sizes
        repeated.append(gap_of(drawn, "difference"))
    ways: Mapping[str, Callable[..., Any]] = {"worst": np.max, "mean": np.mean}
    over = ways[combine]
    return max(0.0, 2 * float(over(found)) - float(np.mean(over(repeated, axis=0))))


def detectable_gap(
    n1: float, n2: float, share: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Returns the difference between two groups that their sizes would show.

    One group's rate is `share`, the other's lies apart on the side of 0.5, where more noise makes
    it the harder to see: near 0 or 1, half of that noise is not there while groups are alike.

    Args:
        n1: samples of one group, at least 1; an effective number need not be whole.
        n2: of the other.
        share: in (0, 1).
        alpha: probability of a false alarm, two-sided.
        power: probability of finding the difference.

    Returns:
        In (0, 1]; 1 where nothing less would be seen.

    Source:
        Fleiss, Levin and Paik 2003, Statistical Methods for Rates and Proportions, section 4.3,
        solved for the difference.
    """
    from scipy.special import ndtri

    alike, apart = -float(ndtri(alpha / 2)), float(ndtri(power))
    width = 0.0
    for _ in range(100):
        other = min(1.0, max(0.0, share + width if share < 0.5 else share - width))
        middle = (share + other) / 2
        none = middle * (1 - middle) * (1 / n1 + 1 / n2)
        some = max(share * (1 - share) / n1 + other * (1 - other) / n2,
                   share * (1 - share) / n2 + other * (1 - other) / n1)  # fmt: skip
        width, before = min(1.0, alike * math.sqrt(none) + apart * math.sqrt(some)), width
        if width == before:
            break
    return width
