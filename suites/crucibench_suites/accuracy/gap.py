"""The gap between the train and the test role."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Value
from crucibench.stats import SumStatistic, difference, newcombe_unpaired, weighted_ratio
from crucibench_suites.accuracy.answers import (
    Floats,
    Ints,
    cluster_codes,
    read_answers,
    read_values,
)
from crucibench_suites.accuracy.rows import Number
from crucibench_suites.accuracy.sheet import Sheet


def gap_rows(evidence: Evidence, stream: str) -> list[Row]:
    """Returns train minus test, or nothing where there is no pass over train."""
    train, test = evidence.needs.get("train"), evidence.needs["test"]
    if train is None or not len(train.samples):
        return []
    roles = np.repeat([0, 1], [len(train.samples), len(test.samples)])
    sheet = Sheet(
        len(roles),
        options=evidence.options,
        stream=f"{stream}/train-minus-test",
        clusters=_clusters(train, test),
        strata=roles,
    )
    if evidence.task.kind == "regression":
        errors = [_errors(cell) for cell in (train, test)]
        number = Number(metric="mae-train-minus-test", value=_value(errors))
        sheet.resample(number, _gap(errors))
        return sheet.rows()
    hits = [read_answers(cell, evidence.task).correct.astype(np.float64) for cell in (train, test)]
    counts = [(int(hit.sum()), len(hit)) for hit in hits]
    sheet.closed(
        Number(metric="top-1-train-minus-test", value=_value(hits)),
        lambda level: newcombe_unpaired(*counts[0], *counts[1], level),
        lambda: _gap(hits),
    )
    return sheet.rows()


def _errors(cell: CellEvidence) -> Floats:
    predictions = read_values(cell.records, cell.samples.ids)
    return np.asarray(np.abs(predictions - cell.samples.targets))


def _value(parts: list[Floats]) -> Value:
    train, test = parts
    return Value(value=float(train.mean() - test.mean()), n=len(train) + len(test))


def _gap(parts: list[Floats]) -> SumStatistic:
    train, test = parts
    numbers = np.concatenate([train, test])
    of_train = np.repeat([1.0, 0.0], [len(train), len(test)])
    gap = difference(
        weighted_ratio(numbers * of_train, of_train),
        weighted_ratio(numbers * (1 - of_train), 1 - of_train),
    )
    if not isinstance(gap, SumStatistic):
        raise TypeError(f"gap: expected a SumStatistic, got {type(gap).__name__}")
    return gap


def _clusters(train: CellEvidence, test: CellEvidence) -> Ints | None:
    """Returns codes over both roles, train's first; a cluster in both counts as two."""
    first, second = cluster_codes(train.samples.clusters), cluster_codes(test.samples.clusters)
    if first is None or second is None:
        return None
    return np.concatenate([first, second + first.max(initial=-1) + 1])
