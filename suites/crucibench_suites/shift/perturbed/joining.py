"""Rows, tables and comparables of all perturbations together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.statistic import RowMetric, Share
from crucibench.stats import SumStatistic
from crucibench_suites.shift.answers import Answers, Bools, Floats, cluster_codes
from crucibench_suites.shift.cells import OWN
from crucibench_suites.shift.comparing import mean_form, number
from crucibench_suites.shift.joining import (
    Joined,
    by_corruption,
    forms_of_joined,
    join,
    put_joined,
)
from crucibench_suites.shift.perturbed import metrics
from crucibench_suites.shift.perturbed.values import read_values
from crucibench_suites.shift.sheet import Sheet

Families = Mapping[str, str]
"""Each perturbation to its family, in a fixed order."""


def score_joined(evidence: Evidence, families: Families, stream: str) -> Scored:
    """Scores all perturbations together."""
    names = _present(evidence, families)
    if not names or not len(evidence.own.samples):
        return Scored([])
    sheet = _sheet(evidence, stream)
    if evidence.task.kind == "regression":
        found = _Errors(evidence, names)
        _put_errors(sheet, found)
        return Scored(
            sheet.rows(), {"by-perturbation": _by_perturbation(evidence, found, families)}
        )
    joined = join(evidence, names=names)
    if joined is None or joined.clean is None:
        return Scored([])
    put_joined(sheet, joined)
    sheet.share(metrics.INVARIANCE, _unchanged(joined, joined.clean))
    return Scored(sheet.rows(), {"by-corruption": by_corruption(evidence, joined, families)})


def comparables_of_joined(evidence: Evidence, families: Families) -> list[Comparable]:
    """Returns the numbers over all perturbations as statistics of samples."""
    names = _present(evidence, families)
    if not names or not len(evidence.own.samples):
        return []
    if evidence.task.kind == "regression":
        found = _Errors(evidence, names)
        return [
            number(metrics.CORRUPTED_MAE, "", mean_form(found.average)),
            number(metrics.MAE_RISE, "", mean_form(found.average - found.clean)),
            number(metrics.WORST_CORRUPTION_MAE, "", RowMetric(_highest(found.means))),
            number(metrics.WORST_CASE_MAE, "", mean_form(found.worst)),
        ]
    joined = join(evidence, names=names)
    if joined is None or joined.clean is None:
        return []
    forms = {**forms_of_joined(joined), metrics.INVARIANCE: Share(_unchanged(joined, joined.clean))}
    return [number(metric, "", form) for metric, form in forms.items()]


class _Errors:
    """Absolute errors under every perturbation, on the same samples.

    Attributes:
        names: of the perturbations.
        clean: of the clean samples, shape (n,).
        means: over severities, (perturbations, n).
        average: over perturbations, too, (n,).
        worst: the largest of each sample, (n,).
    """

    def __init__(self, evidence: Evidence, names: list[str]) -> None:
        values = [read_values(evidence, OWN + name) for name in names]
        self.names = names
        self.clean = values[0].clean_errors
        errors = [one.all_errors() for one in values]
        self.means = np.stack([one.mean(axis=0) for one in errors])
        self.average = self.means.mean(axis=0)
        self.worst = np.concatenate(errors).max(axis=0)


def _present(evidence: Evidence, families: Families) -> list[str]:
    return [name for name in families if OWN + name in evidence.needs]


def _sheet(evidence: Evidence, stream: str) -> Sheet:
    samples = evidence.own.samples
    return Sheet(
        len(samples), options=evidence.options, stream=stream,
        clusters=cluster_codes(samples.clusters),
    )  # fmt: skip


def _unchanged(joined: Joined, clean: Answers) -> Bools:
    said = clean.predictions
    return np.asarray(np.all([said == one.predictions for one in joined.everything()], axis=0))


def _put_errors(sheet: Sheet, found: _Errors) -> None:
    sheet.mean(metrics.CORRUPTED_MAE, found.average)
    sheet.mean(metrics.MAE_RISE, found.average - found.clean)
    worst = found.names[int(found.means.mean(axis=1).argmax())]
    sheet.resampled(metrics.WORST_CORRUPTION_MAE, _highest(found.means), note=f"it is {worst}")
    sheet.mean(metrics.WORST_CASE_MAE, found.worst)


def _highest(means: Floats) -> SumStatistic:
    """Returns the highest of several means over samples, (perturbations, n), as a statistic."""
    columns = np.concatenate([np.ones((1, means.shape[1])), means])
    return SumStatistic(columns, lambda sums: (sums[:, 1:] / sums[:, :1]).max(axis=1))


def _by_perturbation(evidence: Evidence, found: _Errors, families: Families) -> pd.DataFrame:
    """Returns a line a perturbation: means over severities."""
    sheet = _sheet(evidence, "by-perturbation")
    for means in found.means:
        sheet.mean(metrics.MEAN_MAE, means)
    clean = float(found.clean.mean())
    return pd.DataFrame(
        [
            {
                "perturbation": name,
                "family": families[name],
                "mae": row.value,
                "lower": row.lower,
                "upper": row.upper,
                "rise": None if row.value is None else row.value - clean,
            }
            for name, row in zip(found.names, sheet.rows(), strict=True)
        ]
    )
