"""Do samples belong together that the data doesn't say belong together?

A test of 400 rows from 40 patients holds less than one of 400: a patient's rows are right or
wrong together. Where the data declares no cluster, every interval and test takes them for
independent.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from crucibench.contracts.evidence import CellEvidence, Evidence, Findings
from crucibench.contracts.lists import Lists
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.verdict import Finding, Severity

Floats = NDArray[np.float64]

_LEVELS = 20
"""Columns of fewer levels are groups, whose error rates may differ, and not clusters."""

_MEMBERS = 1.5
"""Samples a level, on average, below which there is nothing to belong together."""

_SURE = 4.0
"""Standard deviations beyond what samples in random order agree: chance gives one in 30,000."""

_EFFECT = 1.2
"""Variance of a mean, against that of independent samples, from which intervals are too short."""

_NEIGHBOURS = 10
"""Samples that follow each other in the data and are looked at as one level."""

_BINS = 10


def undeclared_dependence(evidence: Evidence, scenario: Scenario) -> Findings:
    """Proposes the column within whose levels errors agree the most, as a cluster.

    Where no column explains it, samples that lie next to each other in the data may agree.
    """
    cell = evidence.needs["test"]
    if cell.samples.clusters is not None or len(cell.samples) < 2 * _LEVELS:
        return []
    unexplained, found = _unexplained(cell, evidence, alike=False), []
    for column, codes in _columns(cell.samples.groups):
        sureness, effect = _agreement(unexplained, codes)
        if sureness > _SURE and effect > _EFFECT:
            found.append((effect, column, int(codes.max()) + 1))
    if not found:
        return _neighbours(cell, evidence, scenario)
    effect, column, levels = max(found)
    n = len(unexplained)
    message = (
        f"errors agree within the {levels} levels of {column!r} beyond what confidence explains: "
        f"{n} samples say as much as {round(n / effect)} independent ones, and intervals are "
        f"{np.sqrt(effect):.2g} times too short; declare it: cluster={column}"
    )
    figures = {"column": column, "levels": levels, "design_effect": effect, "n": n}
    return [
        Finding(
            code="undeclared-clusters", severity=Severity.SUSPECT, message=message, evidence=figures
        )
    ]


def _neighbours(cell: CellEvidence, evidence: Evidence, scenario: Scenario) -> Findings:
    """Looks whether samples that follow each other are right and wrong together.

    Data that is sorted by its target or by a column of groups is no dependence: their error rates
    may differ.
    """
    if isinstance(cell.samples.targets, Lists) or cell.samples.targets.ndim != 1:
        return []  # what is sorted by lists of targets can't be told from what belongs together
    unexplained = _unexplained(cell, evidence, alike=True)
    n = len(unexplained)
    sureness, effect = _agreement(unexplained, np.arange(n) // _NEIGHBOURS)
    if not (sureness > _SURE and effect > _EFFECT):
        return []
    message = (
        f"errors agree among {_NEIGHBOURS} samples that follow each other in the data beyond what "
        f"confidence, target and groups explain: {n} samples say as much as {round(n / effect)} "
        "independent ones; were they drawn together (one patient, page or session)? Then name "
        "what they share: cluster=COLUMN"
    )
    figures = {"neighbours": _NEIGHBOURS, "design_effect": effect, "n": n}
    return [
        Finding(code="neighbours-agree", severity=Severity.INFO, message=message, evidence=figures)
    ]


def _columns(groups: pd.DataFrame) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yields the columns of many levels with the codes of their levels."""
    for column in groups.columns:
        codes, names = pd.factorize(groups[column])
        if (codes >= 0).all() and len(names) >= _LEVELS and len(codes) >= _MEMBERS * len(names):
            yield str(column), codes.astype(np.int64)


def _unexplained(cell: CellEvidence, evidence: Evidence, *, alike: bool) -> Floats:
    """Returns how much better or worse each answer is than others of like confidence, (n,).

    Args:
        cell: the plain pass.
        evidence: of the cell that is audited.
        alike: compare only with samples of like target and of the same groups.
    """
    kind = evidence.task.definition
    view = kind.view(cell, evidence.task)
    quality = np.asarray(kind.quality(view), dtype=np.float64)
    confidence = getattr(view, "assurance", None)
    bins = np.zeros(len(quality), dtype=np.int64)
    if confidence is not None:
        bins = _tenths(confidence)
    left = pd.Series(quality) - pd.Series(quality).groupby(bins).transform("mean")
    if alike:
        targets = cell.samples.targets
        left -= left.groupby(_tenths(targets) if kind.one_number else targets).transform("mean")
        for column in cell.samples.groups:
            left -= left.groupby(cell.samples.groups[column].to_numpy()).transform("mean")
    return np.asarray(left, dtype=np.float64)


def _tenths(values: ArrayLike) -> NDArray[np.int64]:
    """Returns in which tenth of all each value lies, (n,)."""
    ranks = pd.Series(values).rank(method="average").to_numpy()
    return np.minimum(_BINS - 1, ((ranks - 0.5) / len(ranks) * _BINS).astype(np.int64))


def _agreement(values: Floats, codes: NDArray[np.int64]) -> tuple[float, float]:
    """Returns how far members of a level agree, in standard deviations, and the design effect.

    Moran's I with a weight of one between members of a level, against its mean and variance over
    all orders of the samples (Cliff and Ord 1981, Spatial Processes, section 2.3).
    """
    n, left = len(values), values - values.mean()
    squares = float(left @ left)
    if squares == 0.0:
        return 0.0, 1.0
    sums, sizes = np.bincount(codes, left), np.bincount(codes).astype(np.float64)
    seen = float(sums @ sums)
    pairs = float(sizes @ (sizes - 1.0))
    s1, s2 = 2.0 * pairs, 4.0 * float(sizes @ (sizes - 1.0) ** 2)
    tails = n * float((left**2) @ (left**2)) / squares**2
    over_orders = (
        n * ((n**2 - 3 * n + 3) * s1 - n * s2 + 3 * pairs**2)
        - tails * ((n**2 - n) * s1 - 2 * n * s2 + 6 * pairs**2)
    ) / ((n - 1.0) * (n - 2) * (n - 3) * pairs**2)  # fmt: skip
    variance = max(over_orders - 1.0 / (n - 1) ** 2, 1e-300)
    moran = n / pairs * (seen - squares) / squares
    # The variance of a sum of clusters over that of as many independent samples.
    return (moran + 1.0 / (n - 1)) / np.sqrt(variance), seen / squares
