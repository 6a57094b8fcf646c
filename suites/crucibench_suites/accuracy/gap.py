"""The gap between the train and the test role."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.statistic import Interval, Number, RowMetric, Units
from crucibench.stats import SumStatistic, difference, newcombe_unpaired, weighted_ratio
from crucibench.tasks.classification.view import Floats

METRICS = ("top-1-train-minus-test", "mae-train-minus-test")


def gap_numbers(evidence: Evidence) -> list[Number]:
    """Returns train minus test, or nothing where there is no pass over train."""
    train, test = evidence.needs.get("train"), evidence.needs["test"]
    kind = evidence.task.definition
    metric = f"{kind.headline}-train-minus-test"
    if train is None or not len(train.samples) or metric not in METRICS:
        return []
    parts = [kind.quality(kind.view(cell, evidence.task)) for cell in (train, test)]
    roles = np.repeat([0, 1], [len(part) for part in parts])
    units = Units(_both(train.samples, test.samples), "train-minus-test", roles)
    make = partial(_form, *parts, proportion=evidence.task.one_class)
    return [Number(metric=metric, make=make, units=units)]


def _form(train: Floats, test: Floats, *, proportion: bool) -> RowMetric:
    counts = [(int(part.sum()), len(part)) for part in (train, test)]

    def closed(level: float) -> Interval:
        return newcombe_unpaired(*counts[0], *counts[1], level)

    return RowMetric(_gap(train, test), closed=closed if proportion else None)


def _gap(train: Floats, test: Floats) -> SumStatistic:
    numbers = np.concatenate([train, test])
    of_train = np.repeat([1.0, 0.0], [len(train), len(test)])
    gap = difference(
        weighted_ratio(numbers * of_train, of_train),
        weighted_ratio(numbers * (1 - of_train), 1 - of_train),
    )
    if not isinstance(gap, SumStatistic):
        raise TypeError(f"gap: expected a SumStatistic, got {type(gap).__name__}")
    return gap


def _both(train: Samples, test: Samples) -> Samples:
    """Returns the samples of both roles, train's first; a cluster in both counts as two."""
    clusters = None
    if train.clusters is not None and test.clusters is not None:
        named = [
            [f"{place} {name}" for name in samples.clusters]
            for place, samples in enumerate((train, test))
            if samples.clusters is not None
        ]
        clusters = np.array([name for part in named for name in part], dtype=object)
    ids = [f"{place} {name}" for place, part in enumerate((train, test)) for name in part.ids]
    return Samples(
        np.array(ids, dtype=object), np.concatenate([train.targets, test.targets]),
        pd.DataFrame(index=range(len(ids))), clusters,
    )  # fmt: skip
