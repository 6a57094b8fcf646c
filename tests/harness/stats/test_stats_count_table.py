"""The bootstrap of a count table against that of its rows, and exact moments."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from crucibench.stats import (
    Resampler,
    TableStatistic,
    WeightedStatistic,
    bootstrap_interval,
    count_table_bootstrap,
    count_table_many,
    replicates_of,
    weighted_sums,
)
from crucibench.stats.bootstrap import summaries_of
from crucibench.stats.count_table import table_summaries

COUNTS = np.array([40, 10, 0, 15, 60, 3])  # true positives, false negatives, -, false positives...
DRAW = {"seed": 3, "stream": "table"}


def f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2 * counts[:, 0] / (2 * counts[:, 0] + counts[:, 1] + counts[:, 3])


def replicates(
    counts: NDArray[np.float64], statistic: TableStatistic, number: int = 2000, **options: Any
) -> NDArray[np.float64]:
    defaults = {"level": 0.95, "strata": None, "kind": "percentile", "max_cells": 1 << 20}
    summaries = table_summaries(
        counts, {"s": statistic}, replicates=number, **DRAW, **(defaults | options)
    )
    return summaries["s"].finite


def rows_statistic(counts: NDArray[np.float64], statistic: TableStatistic) -> WeightedStatistic:
    """The same statistic of weighted rows, by counting them into cells."""
    cell = np.repeat(np.arange(counts.size), counts)
    indicators = (cell == np.arange(counts.size)[:, None]).astype(float)
    return lambda weights: statistic(weighted_sums(weights, indicators))


def test_distribution_equals_that_of_resampled_rows() -> None:
    table = replicates(COUNTS, f1, 6000)
    n = int(COUNTS.sum())
    rows = replicates_of({"s": rows_statistic(COUNTS, f1)}, n, replicates=6000, **DRAW)["s"]
    spread = rows.std()
    assert abs(table.mean() - rows.mean()) < 4 * spread * math.sqrt(2 / 6000)
    assert_allclose(table.std(), spread, rtol=4 / math.sqrt(6000))
    assert scipy.stats.ks_2samp(table, rows).pvalue > 1e-3


def test_moments_are_the_multinomials() -> None:
    def share(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        return counts[:, 0] / counts.sum(axis=1)

    n, p = COUNTS.sum(), 40 / 128
    drawn = replicates(COUNTS, share, 8000)
    error = math.sqrt(p * (1 - p) / n)
    assert abs(drawn.mean() - p) < 4 * error / math.sqrt(8000)
    assert_allclose(drawn.std(), error, rtol=4 / math.sqrt(2 * 8000))


def test_bca_corrects_as_the_rows_do() -> None:
    n = int(COUNTS.sum())
    table = count_table_bootstrap(COUNTS, f1, replicates=20_000, **DRAW)
    rows = bootstrap_interval(rows_statistic(COUNTS, f1), n, replicates=20_000, **DRAW)
    assert_allclose(table.estimate, rows.estimate, rtol=1e-14)
    # Other draws, so the ends agree within Monte-Carlo error: about 0.02 standard errors.
    assert_allclose(table.interval[:2], rows.interval[:2], atol=0.1 * rows.standard_error)
    assert table.interval.method == "bca-table-bootstrap-20000"

    common = {"level": 0.95, "replicates": 50, "max_cells": 1 << 20, **DRAW}
    ours = table_summaries(COUNTS, {"s": f1}, strata=None, kind="bca", **common)["s"].correction
    from_rows = np.concatenate(
        [f1(COUNTS - np.eye(6)[[cell]]) for cell in np.repeat(np.arange(6), COUNTS)]
    )
    influences = from_rows.mean() - from_rows
    expected = np.sum(influences**3) / (6 * np.sum(influences**2) ** 1.5)
    assert_allclose(ours.acceleration, expected, rtol=1e-12)


def test_strata_keep_their_totals_and_empty_cells_stay_empty() -> None:
    strata = np.array([0, 0, 0, 1, 1, 1])
    seen = []

    def watch(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        seen.append(counts.copy())
        return f1(counts)

    result = count_table_bootstrap(
        COUNTS, watch, strata=strata, replicates=300, kind="percentile", **DRAW
    )
    drawn = np.concatenate(seen)
    assert_array_equal(drawn[:, :3].sum(axis=1), 50)
    assert_array_equal(drawn[:, 3:].sum(axis=1), 78)
    assert_array_equal(drawn[:, 2], 0)
    assert result.interval.method == "stratified-percentile-table-bootstrap-300"
    bca = count_table_bootstrap(COUNTS, f1, strata=strata, replicates=300, **DRAW)
    assert bca.interval.method == "stratified-bca-table-bootstrap-300"

    common = {"level": 0.95, "replicates": 50, "kind": "bca", "max_cells": 1 << 20}
    table = table_summaries(COUNTS, {"s": f1}, strata=strata, **DRAW, **common)["s"]
    units = Resampler(int(COUNTS.sum()), strata=np.repeat(strata, COUNTS), **DRAW)
    rows = summaries_of({"s": rows_statistic(COUNTS, f1)}, units, **common)["s"]
    assert_allclose(table.correction.acceleration, rows.correction.acceleration, rtol=1e-9)


def test_block_size_never_changes_a_result() -> None:
    whole = replicates(COUNTS, f1)
    for max_cells in (1, 30, 1000):
        assert replicates(COUNTS, f1, max_cells=max_cells).tobytes() == whole.tobytes()


def test_a_million_rows_cost_no_more_than_a_hundred() -> None:
    counts = COUNTS * 10_000
    result = count_table_bootstrap(counts, f1, **DRAW)
    small = count_table_bootstrap(COUNTS, f1, **DRAW)
    assert_allclose(result.estimate, small.estimate, rtol=1e-14)
    assert_allclose(result.standard_error * 100, small.standard_error, rtol=0.1)


def test_undefined_and_degenerate_tables_have_no_interval() -> None:
    results = count_table_many(
        [0, 5, 20],
        {
            "nowhere": lambda counts: counts[:, 0] / counts[:, 0],
            "sure": lambda counts: counts[:, 1] / (counts[:, 0] + counts[:, 1]),
            "some": lambda counts: counts[:, 1] / counts.sum(axis=1),
        },
        **DRAW,
    )
    assert "undefined on the sample" in results["nowhere"].reason
    assert results["sure"].degenerate
    assert results["sure"].interval is None
    assert results["some"].interval is not None
    one = count_table_bootstrap([0, 1], lambda counts: counts[:, 1], **DRAW)
    assert one.interval is None


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ([1, -1], {}, r"counts: expected whole numbers >= 0, got -1.0 at 1"),
        ([1, 0.5], {}, r"counts: expected whole numbers >= 0, got 0.5 at 1"),
        ([0, 0], {}, "counts: expected at least one count above 0, got 2 zeros"),
        ([], {}, "counts: expected at least one count above 0, got 0 zeros"),
        ([1, 2], {"strata": [1]}, r"strata: expected shape \(2,\)"),
        ([1, 2], {"kind": "normal"}, "kind: expected"),
    ],
)
def test_bad_tables_are_refused(counts: list[float], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_table_bootstrap(counts, lambda table: table[:, 0], **DRAW, **options)
