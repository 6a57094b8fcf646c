"""Several models' numbers over the same samples: who is told apart, and joint replicates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import erfc

from crucibench.comparing.resampled import ResamplingSettings
from crucibench.contracts.statistic import Form, Share, Statistic, Sums
from crucibench.metrics.forms import as_rows, counted, evaluate
from crucibench.metrics.scoring import BOOTSTRAP_UP_TO
from crucibench.stats import WeightedStatistic, mcnemar_exact, replicates_of
from crucibench.stats.bootstrap import MIN_UNITS
from crucibench.stats.weighted import sums_of

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LinedUp:
    """One number of M models over the same n samples, in one order.

    Attributes:
        ids: of the samples, shape (n,).
        clusters: names of samples drawn together, shape (n,), or None.
        forms: one a model, each over all n samples.
    """

    ids: NDArray[np.object_]
    clusters: NDArray[np.object_] | None
    forms: tuple[Form, ...]

    def values(self) -> Floats:
        """Returns the numbers themselves, shape (M,); nan where undefined."""
        return np.array([evaluate(form, len(self.ids)) for form in self.forms])


def too_many(lined: Sequence[LinedUp]) -> str:
    """Says why these columns are not resampled together; "" where they are."""
    n = len(_all_ids(lined))
    if n > BOOTSTRAP_UP_TO:
        return f"{n} samples, more than the {BOOTSTRAP_UP_TO} that are resampled jointly"
    return ""


def joint_replicates(lined: Sequence[LinedUp], settings: ResamplingSettings) -> list[Floats]:
    """Resamples all columns under the same draws, so that their dependence is kept.

    What is drawn are the samples of all columns together (or their clusters); a column that is
    measured on some of them gets the draws of those.

    Returns:
        For each column replicates of shape (B, M), nan where undefined.
    """
    ids = _all_ids(lined)
    statistics: dict[str, WeightedStatistic] = {}
    shared: dict[bytes, _Rows] = {}
    for c, column in enumerate(lined):
        indices = ids.get_indexer(pd.Index(column.ids))
        rows = shared.setdefault(indices.tobytes(), _Rows(indices, len(ids)))
        for m, form in enumerate(column.forms):
            statistics[f"{c}/{m}"] = rows.within(as_rows(form))
    drawn = replicates_of(
        statistics, len(ids), replicates=settings.replicates, seed=settings.seed,
        stream=settings.stream, clusters=_all_clusters(lined, ids),
    )  # fmt: skip
    return [
        np.stack([drawn[f"{c}/{m}"] for m in range(len(column.forms))], axis=1)
        for c, column in enumerate(lined)
    ]


def pair_p_values(column: LinedUp, replicates: Floats | None) -> Floats:
    """Tests every pair of models of a column: two-sided p-values of no difference.

    Proportions of the same independent samples by McNemar's exact test; all else by the bootstrap's
    standard error of the paired difference and the normal distribution.

    Args:
        column: the models.
        replicates: of the column, shape (B, M); None where it was not resampled.

    Returns:
        Shape (M, M), symmetric; nan where a pair can't be tested.
    """
    m = len(column.forms)
    p_values = np.full((m, m), np.nan)
    exact = _discordant(column)
    units = len(column.ids if column.clusters is None else np.unique(column.clusters.astype(str)))
    values = column.values()
    for j, k in combinations(range(m), 2):
        if exact is not None:
            p = mcnemar_exact(int(exact[j, k]), int(exact[k, j]))
        elif replicates is None or units < MIN_UNITS:
            continue
        else:
            p = _normal_p(float(values[j] - values[k]), replicates[:, j] - replicates[:, k])
        p_values[j, k] = p_values[k, j] = p
    return p_values


def _discordant(column: LinedUp) -> NDArray[np.int64] | None:
    """Returns (M, M) how often the first alone is a hit; None where McNemar's test does not fit."""
    shares = [form for form in column.forms if isinstance(form, Share)]
    if column.clusters is not None or len(shares) != len(column.forms):
        return None
    if any(share.of_share is not None or not share.same_samples for share in shares):
        return None
    masks = [counted(share) for share in shares]
    if any(not np.array_equal(among, masks[0][1]) for _, among in masks):
        return None
    # Sums of zeros and ones are exact in float64.
    hits = np.stack([hit for hit, _ in masks]).astype(np.float64)
    both = hits @ hits.T
    return np.rint(np.diag(both)[:, None] - both).astype(np.int64)


def _normal_p(difference: float, replicates: Floats) -> float:
    finite = replicates[np.isfinite(replicates)]
    if not math.isfinite(difference) or len(finite) < 0.95 * len(replicates):
        return math.nan
    error = float(np.std(finite, ddof=1))
    if error <= 1e-13 * float(np.abs(finite).max(initial=0.0)):
        # No sample tells the two apart, which proves nothing but where they are equal.
        return 1.0 if difference == 0.0 else math.nan
    return float(erfc(abs(difference) / error / math.sqrt(2.0)))


def _all_ids(lined: Sequence[LinedUp]) -> pd.Index:
    # In the order of ids, so that neither the order of columns nor that of runs moves a draw.
    found: pd.Index = pd.Index(
        np.unique(np.concatenate([column.ids for column in lined]).astype(str))
    )
    return found


def _all_clusters(lined: Sequence[LinedUp], ids: pd.Index) -> NDArray[np.object_] | None:
    if all(column.clusters is None for column in lined):
        return None
    # What names no cluster is one of its own.
    names = np.array([f"id {name}" for name in ids], dtype=object)
    for column in lined:
        if column.clusters is not None:
            rows = ids.get_indexer(pd.Index(column.ids))
            names[rows] = [f"cluster {name}" for name in column.clusters]
    return names.astype(str)


class _Rows:
    """Some of all samples, in an order of their own: what statistics of them are made of."""

    def __init__(self, rows: NDArray[np.intp], n: int) -> None:
        self._rows = rows
        self._n = n
        self._whole = len(rows) == n and np.array_equal(rows, np.arange(n))
        self._last: tuple[object, Floats] | None = None

    def within(self, own: WeightedStatistic) -> WeightedStatistic:
        """Returns a statistic of these samples as one of all."""
        if self._whole:
            return own
        sums = sums_of(own)

        def among() -> Sums | None:
            if sums is None:
                return None
            by_group = sums.by_group
            return replace(sums, by_group=lambda codes, groups: by_group(codes[self._rows], groups))

        return Statistic(n=self._n, compute=lambda weights: own(self._of(weights)), sums=among)

    def _of(self, weights: Floats) -> Floats:
        # All models of all columns ask for the same block, one after the other.
        if self._last is None or self._last[0] is not weights:
            self._last = weights, np.ascontiguousarray(weights[:, self._rows])
        return self._last[1]
