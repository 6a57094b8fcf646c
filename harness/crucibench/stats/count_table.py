"""Bootstrap of a table of counts: exact for whatever is a function of the table, at any n.

Resampling n rows and counting them into cells is one multinomial draw of the cells. A confusion
matrix by group has a few dozen cells, so 2,000 replicates cost the same for a million rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucibench.stats import _checks
from crucibench.stats.bootstrap import REPLICATES
from crucibench.stats.replicates import IntervalKind, ReplicateSummary, summarise, wants_bca
from crucibench.stats.resampling import MAX_CELLS, block_rows, generator
from crucibench.stats.results import BootstrapResult
from crucibench.stats.weighted import evaluate

TableStatistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From (B, cells) counts, read-only, to (B,) values, nan where undefined."""


def count_table_bootstrap(
    counts: ArrayLike,
    statistic: TableStatistic,
    *,
    level: float = 0.95,
    replicates: int = REPLICATES,
    seed: int,
    stream: str,
    strata: ArrayLike | None = None,
    kind: IntervalKind = "auto",
    max_cells: int = MAX_CELLS,
) -> BootstrapResult:
    """Return the bootstrap interval of one table statistic; see `count_table_many`."""
    results = count_table_many(
        counts,
        {"statistic": statistic},
        level=level,
        replicates=replicates,
        seed=seed,
        stream=stream,
        strata=strata,
        kind=kind,
        max_cells=max_cells,
    )
    return results["statistic"]


def count_table_many(
    counts: ArrayLike,
    statistics: Mapping[str, TableStatistic],
    *,
    level: float = 0.95,
    replicates: int = REPLICATES,
    seed: int,
    stream: str,
    strata: ArrayLike | None = None,
    kind: IntervalKind = "auto",
    max_cells: int = MAX_CELLS,
) -> dict[str, BootstrapResult]:
    """Return bootstrap intervals of several statistics of a table of independent counts.

    Not for clustered rows: the table no longer knows which rows belong together.

    Args:
        counts: (cells,) whole numbers >= 0, at least one above 0; flatten a table row by row.
        statistics: Name to statistic, from (B, cells) counts to (B,) values.
        level: Confidence level, in (0, 1).
        replicates: Number of multinomial draws, at least 2.
        seed: Any integer.
        stream: Name of the draw.
        strata: (cells,) integer or string codes of cells whose total is fixed by design; None for
            one total over all.
        kind: ``auto`` is BCa up to 1,000 occupied cells (the jackknife leaves one count out of
            each cell, so it is exact and cheap at any n) and percentile beyond.
        max_cells: Bound on the cells of one block of draws; it never changes a draw.

    Returns:
        Name to result; methods read ``bca-table-bootstrap-2000``.

    Raises:
        ValueError: Counts that are negative, broken or all 0, or another argument out of range.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 20 (a bootstrap
            sample is a multinomial vector); BCa, section 14.3.
    """
    summaries = table_summaries(
        counts,
        statistics,
        level=level,
        replicates=replicates,
        seed=seed,
        stream=stream,
        strata=strata,
        kind=kind,
        max_cells=max_cells,
    )
    return {name: summary.result for name, summary in summaries.items()}


def table_summaries(
    counts: ArrayLike,
    statistics: Mapping[str, TableStatistic],
    *,
    level: float,
    replicates: int,
    seed: int,
    stream: str,
    strata: ArrayLike | None,
    kind: IntervalKind,
    max_cells: int,
) -> dict[str, ReplicateSummary]:
    """Return what `count_table_many` returns, with the replicates and the correction."""
    level = _checks.level(level)
    replicates = _checks.count("replicates", replicates, minimum=2)
    table = _Table.of(counts, strata)
    accelerated = wants_bca(kind, int(np.count_nonzero(table.counts)))
    drawn = {name: np.empty(replicates) for name in statistics}
    done = 0
    for block in table.draws(replicates, generator(seed, stream), max_cells):
        rows = slice(done, done + block.shape[0])
        for name, statistic in statistics.items():
            drawn[name][rows] = evaluate(name, statistic, block)
        done = rows.stop
    whole = table.counts[None, :].astype(np.float64)
    multiplicities = np.concatenate([table.counts[cells] for cells in table.members])
    prefix = "stratified-" if table.stratified else ""
    return {
        name: summarise(
            drawn[name],
            float(evaluate(name, statistic, whole)[0]),
            level=level,
            influences=table.influences(name, statistic, max_cells) if accelerated else None,
            multiplicities=multiplicities.astype(np.float64),
            template=f"{prefix}{{kind}}-table-bootstrap-{replicates}",
        )
        for name, statistic in statistics.items()
    }


class _Table(NamedTuple):
    """A table of counts and the cells that share a total."""

    counts: NDArray[np.int64]  # (cells,)
    members: list[NDArray[np.intp]]  # the occupied cells of each stratum that has any
    stratified: bool

    @classmethod
    def of(cls, counts: ArrayLike, strata: ArrayLike | None) -> _Table:
        whole = _whole_counts(counts)
        if strata is None:
            return cls(whole, [np.flatnonzero(whole)], stratified=False)
        codes, k = _checks.codes("strata", strata, whole.size)
        members = [np.flatnonzero((codes == code) & (whole > 0)) for code in range(k)]
        return cls(whole, [cells for cells in members if cells.size], stratified=True)

    def draws(
        self, replicates: int, rng: np.random.Generator, max_cells: int
    ) -> Iterator[NDArray[np.float64]]:
        """Yield (B, cells) multinomial draws; the same numbers for every block size."""
        for rows in block_rows(replicates, self.counts.size, max_cells):
            block = np.zeros((rows, self.counts.size))
            for row in block:
                # Occupied cells alone: rounding in the last probability would otherwise let a
                # draw fall into a cell that has none.
                for cells in self.members:
                    total = int(self.counts[cells].sum())
                    row[cells] = rng.multinomial(total, self.counts[cells] / total)
            block.flags.writeable = False
            yield block

    def influences(
        self, name: str, statistic: TableStatistic, max_cells: int
    ) -> NDArray[np.float64]:
        """Jackknife influence of one count of each occupied cell, stratum by stratum."""
        parts = []
        for cells in self.members:
            weights = self.counts[cells]
            total = int(weights.sum())
            if total < 2:
                parts.append(np.zeros(cells.size))
                continue
            values = np.empty(cells.size)
            done = 0
            for rows in block_rows(cells.size, self.counts.size, max_cells):
                left = np.repeat(self.counts[None, :].astype(np.float64), rows, axis=0)
                left[np.arange(rows), cells[done : done + rows]] -= 1.0
                if self.stratified:
                    # The stratum keeps its total, as it does in the draws.
                    left[:, cells] *= total / (total - 1.0)
                left.flags.writeable = False
                values[done : done + rows] = evaluate(name, statistic, left)
                done += rows
            mean = float(np.average(values, weights=weights))
            parts.append((mean - values) * ((total - 1) / total))
        return np.concatenate(parts)


def _whole_counts(counts: ArrayLike) -> NDArray[np.int64]:
    values = _checks.vector("counts", counts)
    bad = (values < 0.0) | (values != np.floor(values))
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(f"counts: expected whole numbers >= 0, got {values[first]} at {first}")
    if not values.any():
        raise ValueError(f"counts: expected at least one count above 0, got {values.size} zeros")
    return values.astype(np.int64)
