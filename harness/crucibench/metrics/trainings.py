"""One number of several trainings as a table: what two-way components are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.statistic import Form, Ranking, RowMetric, Share, Statistic
from crucibench.metrics.forms import as_rows, counted, evaluate
from crucibench.stats.jackknife import deletions
from crucibench.stats.resampling import Resampler

Floats = NDArray[np.float64]

GROUPS = 200
"""Groups of samples that are left out in turn, of a number without derivatives."""


@dataclass(frozen=True, eq=False)
class SampleUnits:
    """What the trainings of a recipe were all asked about.

    Attributes:
        n: how many samples.
        stream: names the draw of groups.
        seed: of it.
        clusters: codes of samples drawn together, shape (n,), or None.
        strata: codes within which samples are drawn, shape (n,), or None.
    """

    n: int
    stream: str
    seed: int = 0
    clusters: NDArray[np.int64] | None = None
    strata: NDArray[np.int64] | None = None


def table_of_trainings(forms: Sequence[Form], units: SampleUnits) -> Floats:
    """Returns pseudo-values of one number, a row a training and a column a sample.

    The mean of a row is the training's number, and a column is what its samples add to that: of a
    mean the samples' own values; of what has derivatives its linear part (Efron 1982, chapter 6);
    of anything else what leaving out one of 200 groups of samples shows (Busing, Meijer and van der
    Leeden 1999, Statistics and Computing 9:3). Samples of a cluster share a column.

    Args:
        forms: one a training, over the same samples in the same order.
        units: the samples.

    Returns:
        Shape (S, G), the same columns for all trainings; nan where a number is undefined. G is 1
        where all samples are of one unit.
    """
    values = np.array([evaluate(form, units.n) for form in forms])
    resampler = Resampler(
        units.n, seed=units.seed, stream=units.stream, clusters=units.clusters, strata=units.strata
    )
    influences = [influence_of(form) for form in forms]
    known = [one for one in influences if one is not None]
    if resampler.units < 2 or not np.isfinite(values).all():
        return np.broadcast_to(values[:, None], (len(values), min(2, resampler.units)))
    if len(known) == len(forms):
        parts = np.stack(known)
        if resampler.clustered:
            parts = np.stack(
                [np.bincount(resampler.unit_of, weights=row, minlength=resampler.units)
                 for row in parts]
            )  # fmt: skip
    else:
        count = min(GROUPS, resampler.units)
        group_of = resampler.groups(count)
        without = deletions(
            {str(k): as_rows(form) for k, form in enumerate(forms)}, group_of, count
        )
        rest = 1.0 - np.bincount(group_of, minlength=count) / units.n
        parts = np.stack([(value - without[str(k)]) * rest for k, value in enumerate(values)])
    parts = parts - parts.mean(axis=1, keepdims=True)
    return np.asarray(values[:, None] + parts.shape[1] * parts)


def influence_of(form: Form) -> Floats | None:
    """Returns a number's derivatives by the weights of samples, shape (n,), where it has any."""
    if isinstance(form, Share):
        hits, among = counted(form)
        if form.of_share is not None or not among.any():
            return None
        return np.asarray(among * (hits - hits.sum() / among.sum()) / among.sum())
    if isinstance(form, RowMetric):
        return None if form.influence is None else form.influence()
    if isinstance(form, Ranking):
        statistic = as_rows(form)
        if isinstance(statistic, Statistic) and statistic.influence is not None:
            return statistic.influence()
    return None
