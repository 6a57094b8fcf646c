"""Rows and tables of regression."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.rows import Row
from crucibench.metrics.regression import (
    mae_statistic,
    median_absolute_error_statistic,
    r2_statistic,
    rmse_statistic,
    spearman_statistic,
)
from crucibench_suites.accuracy.answers import Floats, cluster_codes, read_values
from crucibench_suites.accuracy.ledger import Ledger
from crucibench_suites.accuracy.sheet import Sheet

_BUILD = {
    "mae": mae_statistic,
    "rmse": rmse_statistic,
    "median-absolute-error": median_absolute_error_statistic,
    "r2": r2_statistic,
    "spearman": spearman_statistic,
}
_TENTHS = 10


def regression_rows(evidence: Evidence, stream: str) -> list[Row]:
    """Returns the errors and correlations of the test role."""
    cell = evidence.needs["test"]
    predictions = read_values(cell.records, cell.samples.ids)
    sheet = Sheet(
        len(predictions),
        options=evidence.options,
        stream=stream,
        clusters=cluster_codes(cell.samples.clusters),
    )
    put_errors(sheet, predictions, cell.samples.targets)
    return sheet.rows()


def put_errors(sheet: Ledger, predictions: Floats, targets: Floats) -> None:
    """Puts down errors and correlations."""
    for metric, build in _BUILD.items():
        sheet.resampled(metric, partial(build, predictions, targets))


def regression_tables(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Returns ``error-by-target``: tenths of the samples, ordered by target."""
    cell = evidence.needs["test"]
    predictions = read_values(cell.records, cell.samples.ids)
    targets = cell.samples.targets.astype(np.float64)
    # Equal targets in the order of ids, so that the table does not hang on the order of rows.
    order = np.lexsort((cell.samples.ids.astype(str), targets))
    parts = [part for part in np.array_split(order, _TENTHS) if len(part)]
    table = pd.DataFrame(
        {
            "lowest_target": [targets[part].min() for part in parts],
            "highest_target": [targets[part].max() for part in parts],
            "count": [len(part) for part in parts],
            "mean_target": [targets[part].mean() for part in parts],
            "mean_prediction": [predictions[part].mean() for part in parts],
            "mae": [np.abs(predictions[part] - targets[part]).mean() for part in parts],
        }
    )
    return {"error-by-target": table}
