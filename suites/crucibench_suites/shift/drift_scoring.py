"""Rows and the table of drift: one two-sample test a column, corrected for how many there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.columns import INPUT, MISSING, STATISTIC
from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, Findings, Scored
from crucibench.contracts.rows import Row
from crucibench.contracts.task import Task
from crucibench.contracts.verdict import Finding, Severity, no_samples
from crucibench.stats import (
    TwoSampleTest,
    chi_square,
    holm,
    kolmogorov_smirnov,
    maximum_mean_discrepancy,
    population_stability,
)
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import clean_answers
from crucibench_suites.shift.names import SIDES

PERMUTATIONS = 1999
"""The smallest p-value of a permutation test is 1 / 2000: low enough for some 100 columns."""

NO_INTERVAL = "a p-value has no interval"
_NO_INTERVAL = "no interval is defined for a count of tests"

_FEW = 30
"""With fewer samples on a side only gross drift is found."""

Column = NDArray[Any]


@dataclass(frozen=True)
class Tested:
    """One column, compared.

    Attributes:
        what: ``input``, ``missing``, ``model``.
        name: of the column.
        test: of home against here.
        index: its population stability index; NaN where it has none.
        noise: what the index is below in 95 of 100 samples without drift.
        home: the mean at home, NaN for categories.
        here: the mean here.
    """

    what: str
    name: str
    test: TwoSampleTest
    index: float = float("nan")
    noise: float = float("nan")
    home: float = float("nan")
    here: float = float("nan")


def score_drift(evidence: Evidence, stream: str) -> Scored:
    """Tests home against here."""
    tested = list(drift_tests(evidence, stream))
    if not tested:
        return Scored([])
    adjusted = holm([one.test.p_value for one in tested])
    known = adjusted[~np.isnan(adjusted)]
    indices = [one for one in tested if np.isfinite(one.index)]
    alpha = 1 - evidence.options.level
    how = "holm"
    if _clustered(evidence):
        how += "; one sample of each cluster"
    n = len(known)
    how += floor_note([one.test.method for one in tested], n, alpha)
    rows = [_none(metric.id, n) for metric in (metrics.DRIFTED, metrics.SMALLEST_P)]
    if n:
        rows = [
            Row(metric=metrics.DRIFTED.id, value=float((known < alpha).sum()), n=n,
                method=f"{how} at {alpha:.2g}", reason=_NO_INTERVAL),
            Row(metric=metrics.SMALLEST_P.id, value=float(known.min()), n=n,
                method=f"{how}; {_named(tested, adjusted)}", reason=NO_INTERVAL),
        ]  # fmt: skip
    if indices:
        largest = max(indices, key=lambda one: one.index)
        rows.append(
            Row(metric=metrics.LARGEST_PSI.id, value=largest.index, n=len(indices),
                method=f"it is {largest.name}; below {largest.noise:.2g} in 95 of 100 samples "
                "without drift", reason="an index has no interval here")
        )  # fmt: skip
    return Scored(rows, {"drift": _table(tested, adjusted, alpha)})


def audit_drift(evidence: Evidence, scenario: Any) -> Findings:
    """Reports sides with so few samples that no drift found says little."""
    sizes = {side: len(evidence.needs[f"{side}/inputs"].samples) for side in SIDES}
    if not min(sizes.values()):
        return [no_samples("samples")]
    if min(sizes.values()) >= _FEW:
        return []
    message = (
        f"{sizes['home']} samples at home and {sizes['here']} here: with fewer than {_FEW} on a "
        "side only gross drift is found"
    )
    return [
        Finding(
            code="too-few-samples-for-drift", severity=Severity.SUSPECT, message=message,
            evidence=sizes,
        )
    ]  # fmt: skip


def floor_note(methods: Sequence[str], n: int, alpha: float) -> str:
    """Returns what the method says where no test by permutation could find drift, else "".

    Args:
        methods: of the tests.
        n: how many of them are corrected for.
        alpha: below which a corrected p-value is drift.
    """
    permuted = sum("permutation" in method for method in methods)
    if not permuted or n / (PERMUTATIONS + 1) < alpha:
        return ""
    return (
        f"; {permuted} tests by permutation, whose p-values are 1/{PERMUTATIONS + 1} at least, "
        f"can find nothing alone among {n}"
    )


def drift_tests(evidence: Evidence, stream: str) -> Iterator[Tested]:
    """Yields the tests: of each input, what is missing, and what the model makes of it."""
    inputs = [evidence.needs[f"{side}/inputs"] for side in SIDES]
    kept = [_one_a_cluster(cell.samples) for cell in inputs]
    seed = evidence.options.seed
    columns = [name for name in inputs[0].records.table.column_names if _is_input(name)]
    for name in columns:
        home, here = (
            cell.records.aligned(cell.samples.ids).array(name)[rows]
            for cell, rows in zip(inputs, kept, strict=True)
        )
        yield from _column_tests(name.partition(":")[2], home, here, seed, stream)
    passes = [evidence.needs.get(f"{side}/pass") for side in SIDES]
    found = [cell for cell in passes if cell is not None]
    if len(found) == len(SIDES):
        yield from _model_tests(found, evidence.task, seed, stream)


def _is_input(name: str) -> bool:
    return name.startswith((INPUT, STATISTIC))


def _clustered(evidence: Evidence) -> bool:
    cells = [evidence.needs[f"{side}/inputs"] for side in SIDES]
    return any(cell.samples.clusters is not None for cell in cells)


def _one_a_cluster(samples: Samples) -> NDArray[np.int64]:
    """Returns the rows that count: of each cluster the one of the smallest id, which is a hash.

    The tests take samples for independent, which those of a cluster are not.
    """
    if samples.clusters is None:
        return np.arange(len(samples), dtype=np.int64)
    frame = pd.DataFrame({"cluster": samples.clusters, "id": samples.ids})
    first = frame.sort_values("id").drop_duplicates("cluster").index.to_numpy()
    return np.sort(first).astype(np.int64)


def _column_tests(
    name: str, home: Column, here: Column, seed: int, stream: str
) -> Iterator[Tested]:
    """Yields a test of a column's values, and one of what is missing where anything is."""
    named = f"{stream}/{name}"
    categories = home.dtype.kind == "i" and here.dtype.kind == "i"
    absent = [values == MISSING if categories else np.isnan(values) for values in (home, here)]
    first, second = (v[~gone] for v, gone in zip((home, here), absent, strict=True))
    if not len(first) or not len(second):
        reason = "all values are missing on one side"
        none = TwoSampleTest(np.nan, np.nan, "none", len(first), len(second), reason)
        yield Tested("input", name, none)
    elif categories:
        test = chi_square(first, second, seed=seed, stream=named, permutations=PERMUTATIONS)
        # As text: a number would be put into bins.
        stability = population_stability(first.astype(str), second.astype(str))
        yield Tested("input", name, test, stability.index, stability.noise)
    else:
        test = kolmogorov_smirnov(first, second, seed=seed, stream=named, permutations=PERMUTATIONS)
        stability = population_stability(first, second)
        yield Tested(
            "input", name, test, stability.index, stability.noise, float(first.mean()),
            float(second.mean()),
        )  # fmt: skip
    if any(gone.any() for gone in absent):
        codes = [gone.astype(np.int64) for gone in absent]
        test = chi_square(*codes, seed=seed, stream=f"{named}/missing", permutations=PERMUTATIONS)
        yield Tested(
            "missing", name, test, home=float(absent[0].mean()), here=float(absent[1].mean())
        )


def _model_tests(
    cells: Sequence[CellEvidence], task: Task, seed: int, stream: str
) -> Iterator[Tested]:
    """Yields tests of predictions, of confidence, and of features."""
    records = [cell.records.aligned(cell.samples.ids) for cell in cells]
    kept = [_one_a_cluster(cell.samples) for cell in cells]

    def both(values: Sequence[Column]) -> list[Column]:
        return [column[rows] for column, rows in zip(values, kept, strict=True)]

    options: Mapping[str, Any] = {"seed": seed, "permutations": PERMUTATIONS}
    if task.one_number:
        predicted = both([one.array("prediction").astype(np.float64) for one in records])
        test = kolmogorov_smirnov(*predicted, stream=f"{stream}/predictions", **options)
        index = population_stability(*predicted)
        yield Tested(
            "model", "predictions", test, index.index, index.noise, float(predicted[0].mean()),
            float(predicted[1].mean()),
        )  # fmt: skip
    else:
        answers = [clean_answers(cell, cell.samples.ids, task) for cell in cells]
        predicted = both([one.predictions for one in answers])
        test = chi_square(*predicted, stream=f"{stream}/predictions", **options)
        index = population_stability(*(codes.astype(str) for codes in predicted))
        yield Tested("model", "predicted classes", test, index.index, index.noise)
        if all(one.probabilistic for one in answers):
            sure = both([one.known_confidence for one in answers])
            test = kolmogorov_smirnov(*sure, stream=f"{stream}/confidence", **options)
            index = population_stability(*sure)
            yield Tested(
                "model", "confidence", test, index.index, index.noise, float(sure[0].mean()),
                float(sure[1].mean()),
            )  # fmt: skip
    if all("features" in one for one in records):
        features = both([one.array("features").astype(np.float64) for one in records])
        test = maximum_mean_discrepancy(*features, stream=f"{stream}/features", **options)
        yield Tested("model", "features (MMD)", test)


def _named(tested: Sequence[Tested], adjusted: NDArray[np.float64]) -> str:
    return f"it is of {tested[int(np.nanargmin(adjusted))].name}"


def _none(metric: str, n: int) -> Row:
    return Row(metric=metric, value=None, n=n, reason="no column can be tested")


def _table(tested: Sequence[Tested], adjusted: NDArray[np.float64], alpha: float) -> pd.DataFrame:
    """Returns a line a test, those that find drift first."""
    lines = [
        {
            "of": one.what,
            "column": one.name,
            "test": one.test.method,
            "statistic": one.test.statistic,
            "p": one.test.p_value,
            "p after holm": p,
            "drift": "yes" if p < alpha else "untested" if np.isnan(p) else "no",
            "psi": one.index,
            "psi without drift below": one.noise,
            "mean at home": one.home,
            "mean here": one.here,
            "n at home": one.test.first,
            "n here": one.test.second,
        }
        for one, p in zip(tested, adjusted, strict=True)
    ]
    frame = pd.DataFrame(lines)
    order = np.lexsort((np.arange(len(frame)), np.nan_to_num(adjusted, nan=2.0)))
    return frame.iloc[order].reset_index(drop=True)
