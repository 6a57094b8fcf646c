"""The contract of everything that is resampled: a statistic of weighted samples.

A weighted statistic gets B rows of weights over the n samples and gives B values. A weight says
how many times a sample counts: 1 for the sample as it is, whole numbers for a bootstrap replicate,
0 for a sample left out, and fractions where a stratum is scaled back to its size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucibench.contracts.statistic import Statistic, Sums

WeightedStatistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From (B, n) non-negative float64 weights, read-only, to (B,) values, nan where undefined.

It treats each row by itself, may divide by zero (floating-point warnings are off while it runs) and
must not depend on how rows are grouped into calls. Rows of weights do not add up to n where
clusters are resampled.
"""

_CHUNK = 8192
# Longer dot products are split over threads by BLAS, and then the last bit depends on their number.


def weighted_sums(
    weights: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the sums of some columns under some rows of weights, reproducibly.

    A matrix product would do the same in another order for another number of rows or threads;
    here each sum is the same bits however rows are grouped.

    Args:
        weights: (B, n) float64.
        columns: (k, n) float64, one row a column of the data.

    Returns:
        (B, k) sums, ``weights @ columns.T``.
    """
    # A product of strided rows may go another way than that of contiguous ones.
    weights, columns = np.ascontiguousarray(weights), np.ascontiguousarray(columns)
    total = np.zeros((weights.shape[0], columns.shape[0]))
    for start in range(0, weights.shape[1], _CHUNK):
        stop = start + _CHUNK
        total += np.vecdot(weights[:, None, start:stop], columns[None, :, start:stop])
    return total


@dataclass(frozen=True, eq=False)
class SumStatistic:
    """A statistic that is a function of weighted sums: means, ratios, everything from bins or a
    confusion table.

    It is a weighted statistic, and the fast kind: resampling groups of samples needs only their
    sums.

    Attributes:
        columns: (k, n) float64, what is summed; finite.
        finish: From (B, k) sums to (B,) values; row by row, nan where undefined.
    """

    columns: NDArray[np.float64]
    finish: Callable[[NDArray[np.float64]], NDArray[np.float64]] = field(repr=False)

    def __post_init__(self) -> None:
        columns = np.ascontiguousarray(self.columns, dtype=np.float64)
        if columns.ndim != 2:
            raise ValueError(f"columns: expected shape (k, n), got {columns.shape}")
        object.__setattr__(self, "columns", columns)

    def __call__(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (B,) values under (B, n) weights."""
        return self.finish(weighted_sums(weights, self.columns))

    @property
    def sums(self) -> Sums:
        """The statistic as a function of its columns' sums."""
        return Sums(len(self.columns), self._by_group, self.finish)

    def _by_group(self, codes: NDArray[np.intp], groups: int) -> NDArray[np.float64]:
        return np.stack(
            [np.bincount(codes, weights=column, minlength=groups) for column in self.columns],
            axis=1,
        )


def weighted_mean(values: ArrayLike) -> SumStatistic:
    """Return the mean of (n,) values as a weighted statistic; nan where no weight is left."""
    array = np.asarray(values, dtype=np.float64)
    return weighted_ratio(array, np.ones(array.shape))


def weighted_ratio(numerators: ArrayLike, denominators: ArrayLike) -> SumStatistic:
    """Return sum(numerators) / sum(denominators) as a weighted statistic.

    Args:
        numerators: (n,) numbers, e.g. 1 where a positive was found.
        denominators: (n,) numbers, e.g. 1 where there was a positive to find.

    Returns:
        The statistic; nan where the weighted denominators sum to 0.
    """
    columns = np.stack(
        [np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)]
    )
    return SumStatistic(columns, _ratio)


def _ratio(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    # 0 / 0 is nan by itself; x / 0 would be an infinity that means nothing.
    return np.where(sums[:, 1] == 0.0, np.nan, sums[:, 0] / sums[:, 1])


def difference(first: WeightedStatistic, second: WeightedStatistic) -> WeightedStatistic:
    """Return first minus second under the same weights, as one weighted statistic.

    Two `SumStatistic` over the same samples give one, so that the fast paths stay open.
    """
    if isinstance(first, SumStatistic) and isinstance(second, SumStatistic):
        k = first.columns.shape[0]
        finish_first, finish_second = first.finish, second.finish
        return SumStatistic(
            np.concatenate([first.columns, second.columns]),
            lambda sums: finish_first(sums[:, :k]) - finish_second(sums[:, k:]),
        )
    return _Difference(first, second)


@dataclass(frozen=True, eq=False)
class _Difference:
    """The difference of two weighted statistics of the same samples."""

    first: WeightedStatistic
    second: WeightedStatistic

    def __call__(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.first(weights) - self.second(weights)

    @property
    def sums(self) -> Sums | None:
        """Both statistics' sums side by side, where both are functions of sums."""
        first, second = sums_of(self.first), sums_of(self.second)
        if first is None or second is None:
            return None
        k = first.count

        def by_group(codes: NDArray[np.intp], groups: int) -> NDArray[np.float64]:
            parts = [one.by_group(codes, groups) for one in (first, second)]
            return np.concatenate(parts, axis=1)

        return Sums(
            k + second.count, by_group,
            lambda sums: first.value(sums[:, :k]) - second.value(sums[:, k:]),
        )  # fmt: skip


def average(parts: Sequence[WeightedStatistic], n: int) -> Statistic:
    """Return the mean of several weighted statistics of the same n samples, as one."""

    def sums() -> Sums | None:
        each = [found for one in parts if (found := sums_of(one)) is not None]
        if len(each) < len(parts):
            return None
        ends = np.cumsum([one.count for one in each])[:-1]
        return Sums(
            sum(one.count for one in each),
            lambda codes, groups: np.concatenate(
                [one.by_group(codes, groups) for one in each], axis=1
            ),
            lambda summed: np.mean(
                [
                    one.value(np.ascontiguousarray(part))
                    for one, part in zip(each, np.split(summed, ends, axis=1), strict=True)
                ],
                axis=0,
            ),
        )

    return Statistic(
        n=n, compute=lambda weights: np.mean([one(weights) for one in parts], axis=0), sums=sums
    )


def sums_of(statistic: WeightedStatistic) -> Sums | None:
    """Return a statistic as a function of sums over samples, where it is one."""
    if isinstance(statistic, Statistic):
        return None if statistic.sums is None else statistic.sums()
    return statistic.sums if isinstance(statistic, SumStatistic | _Difference) else None


def evaluate(
    name: str, statistic: WeightedStatistic, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Call a weighted statistic and hold it to its contract.

    Raises:
        ValueError: It returned another shape than one value a row.
    """
    # Undefined is nan by contract; the division that shows it is no cause for a warning.
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.asarray(statistic(weights), dtype=np.float64)
    return _held(name, values, weights.shape[0])


def evaluate_sums(name: str, statistic: Sums, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values of (B, M) sums, under the same contract as `evaluate`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.asarray(statistic.value(sums), dtype=np.float64)
    return _held(name, values, sums.shape[0])


def _held(name: str, values: NDArray[np.float64], rows: int) -> NDArray[np.float64]:
    if values.shape != (rows,):
        raise ValueError(
            f"{name}: expected a statistic that returns shape ({rows},) for {rows} rows of "
            f"weights, got shape {values.shape}"
        )
    return values
