"""Forms of numbers: made, evaluated, aligned with others, and as functions of weights."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from crucibench.contracts.statistic import (
    BoundedMean,
    Extreme,
    Form,
    Ranking,
    RowMetric,
    Share,
    Statistic,
    Sums,
    TableMetric,
    plain_weights,
)
from crucibench.metrics.ranking import auroc_statistic
from crucibench.metrics.statistic import mean_statistic
from crucibench.stats import SumStatistic, WeightedStatistic, weighted_ratio

Floats = NDArray[np.float64]

_CELLS = 1 << 21
"""Most float64 cells of the tables that are made at a time (16 MiB)."""

_TABLE_SUMS = 1000
"""Most cells of a table that are summed each; of a larger one its margins, where these do."""


class Aligner:
    """Brings forms to some of their samples, in another order.

    Arrays that several forms share are still shared afterwards, so that what is counted from them
    is counted once.
    """

    def __init__(self, n: int, rows: NDArray[np.int64] | None) -> None:
        """Takes the order.

        Args:
            n: how many samples the forms are of.
            rows: which of them, in the order wanted; None for all as they are.
        """
        self._n = n
        self._rows = rows
        self._done: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}

    def __call__(self, form: Form) -> Form:
        """Returns the form over the rows."""
        if self._rows is None:
            return form
        if isinstance(form, Share):
            among = None if form.among is None else self._take(form.among)
            return replace(form, hits=self._take(form.hits), among=among)
        if isinstance(form, Ranking):
            return Ranking(self._take(form.scores), self._take(form.positives))
        if isinstance(form, TableMetric):
            predicted, truth = self._take(form.predictions), self._take(form.targets)
            return TableMetric(predicted, truth, form.classes, form.of_tables)
        return self._row_metric(form, self._rows)

    def _row_metric(self, form: RowMetric, rows: NDArray[np.int64]) -> RowMetric:
        n, all_of_them = self._n, len(rows) == self._n

        def of_rows(weights: NDArray[Any]) -> Floats:
            whole = np.zeros((len(weights), n))
            whole[:, rows] = weights
            return form.of_rows(whole)

        def influence() -> Floats | None:
            # On a part of the samples the derivative is another one.
            found = form.influence() if form.influence and all_of_them else None
            return None if found is None else found[rows]

        extreme = None if form.extreme is None else self._extreme(form.extreme)
        bounded = None if form.bounded is None else self._bounded(form.bounded, rows)
        by_sample = None if form.by_sample is None else self._take(form.by_sample)
        return RowMetric(
            of_rows, influence, form.bias, form.cost, form.parts, extreme, bounded=bounded,
            rare=form.rare, by_sample=by_sample, askings=tuple(map(self, form.askings)),
        )  # fmt: skip

    def _bounded(self, bounded: BoundedMean, rows: NDArray[np.int64]) -> BoundedMean:
        by_label = bounded.by_label
        return replace(
            bounded, values=self._take(bounded.values),
            by_label=None if by_label is None else lambda: by_label()[rows],
        )  # fmt: skip

    def _extreme(self, extreme: Extreme) -> Extreme:
        parts = tuple(
            replace(
                part, codes=self._take(part.codes), numbers=self._take(part.numbers),
                among=self._take(part.among),
            )
            for part in extreme.parts
        )  # fmt: skip
        return replace(extreme, parts=parts)

    def _take(self, array: NDArray[Any]) -> NDArray[Any]:
        if id(array) not in self._done:
            # The original is kept alive with its id.
            self._done[id(array)] = (array, array[self._rows])
        return self._done[id(array)][1]


def counted(share: Share) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Returns a proportion's successes and trials as masks of all samples, (n,) each."""
    if share.among is None:
        return share.hits, np.ones(len(share.hits), dtype=np.bool_)
    return share.hits & share.among, share.among


def evaluate(form: Form, n: int) -> float:
    """Returns the number itself; nan where it is undefined."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if isinstance(form, Share):
            hits, among = counted(form)
            trials = int(np.count_nonzero(among))
            share = int(np.count_nonzero(hits)) / trials if trials else float("nan")
            return share if form.of_share is None else float(form.of_share(np.array([share]))[0])
        if isinstance(form, Ranking):
            return float(auroc_statistic(form.scores, form.positives)(plain_weights(n))[0])
        if isinstance(form, TableMetric):
            return float(form.of_tables(table_of(form)[None])[0])
        return float(form.of_rows(plain_weights(n))[0]) if form.value is None else form.value


def bounded_by(form: Form) -> BoundedMean | None:
    """Returns a number as the mean of bounded values of all samples, where it is one."""
    if not isinstance(form, Share):
        return form.bounded if isinstance(form, RowMetric) else None
    if form.among is not None or form.of_share is not None:
        return None
    return BoundedMean(form.hits.astype(np.float64), 0.0, 1.0)


def as_rows(form: Form) -> WeightedStatistic:
    """Returns any form as a statistic of weighted samples, for clusters."""
    if isinstance(form, Share):
        hits, among = counted(form)
        return through(form, weighted_ratio(hits, among))
    if isinstance(form, Ranking):
        return auroc_statistic(form.scores, form.positives)
    if isinstance(form, TableMetric):
        return _of_table(form)
    return form.of_rows


def through(form: Share, share: WeightedStatistic) -> WeightedStatistic:
    """Returns the number that a statistic of its share makes."""
    of_share = form.of_share
    if of_share is None:
        return share
    if isinstance(share, SumStatistic):
        finish = share.finish
        return SumStatistic(share.columns, lambda sums: of_share(finish(sums)))
    return lambda weights: of_share(share(weights))


def _of_table(form: TableMetric) -> Statistic:
    """Returns a table metric as a function of weights."""
    n, classes = len(form.targets), form.classes
    size, cells = classes**2, form.targets * classes + form.predictions
    step = max(1, _CELLS // size)

    @cache
    def spread() -> csr_array:
        order = np.argsort(cells, kind="stable").astype(np.int32)
        pointers = np.zeros(size + 1, dtype=np.int32)
        pointers[1:] = np.bincount(cells, minlength=size).cumsum()
        return csr_array((np.ones(n), order, pointers), shape=(size, n))

    def compute(weights: Floats) -> Floats:
        parts = []
        for start in range(0, len(weights), step):
            part = np.ascontiguousarray(weights[start : start + step].T)
            parts.append(of_cells(np.ascontiguousarray((spread() @ part).T)))
        return np.concatenate(parts)

    def of_cells(summed: Floats) -> Floats:
        return form.of_tables(summed.reshape(-1, classes, classes))

    def cells_by_group(codes: NDArray[np.intp], groups: int) -> Floats:
        counts = np.bincount(codes * size + cells, minlength=groups * size)
        return counts.reshape(groups, size).astype(np.float64)

    def margins_by_group(codes: NDArray[np.intp], groups: int) -> Floats:
        right = form.targets == form.predictions
        counts = [
            np.bincount(of[chosen] + (codes * classes)[chosen], minlength=groups * classes)
            for of, chosen in (
                (form.targets, right), (form.targets, slice(None)), (form.predictions, slice(None)),
            )
        ]  # fmt: skip
        return np.concatenate([c.reshape(groups, -1) for c in counts], axis=1, dtype=np.float64)

    def sums() -> Sums | None:
        of_margins = form.of_tables.of_margins
        if size <= _TABLE_SUMS or of_margins is None:
            return Sums(size, cells_by_group, of_cells) if size <= _TABLE_SUMS else None
        return Sums(
            3 * classes, margins_by_group,
            lambda summed: of_margins(*map(np.ascontiguousarray, np.split(summed, 3, axis=1))),
        )  # fmt: skip

    return Statistic(n=n, compute=compute, sums=sums)


def table_of(form: TableMetric) -> Floats:
    """Returns the confusion table of a table metric, shape (K, K), a row a true class."""
    cells = form.targets * form.classes + form.predictions
    table = np.bincount(cells, minlength=form.classes**2).astype(np.float64)
    return table.reshape(form.classes, form.classes)


def mean_form(values: ArrayLike) -> RowMetric:
    """Returns the form of a mean over samples, shape (n,)."""
    return RowMetric(mean_statistic(values))
