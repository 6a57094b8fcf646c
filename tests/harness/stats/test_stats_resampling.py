"""Weights: totals, distribution, determinism, clusters, strata, leaving out."""

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from crucibench.stats import Resampler, SumStatistic, difference, weighted_mean, weighted_ratio
from crucibench.stats.resampling import delete_groups, generator
from crucibench.stats.weighted import evaluate, weighted_sums

CLUSTERS = np.array([7, 7, 3, 3, 3, 9, 1, 1])
STRATA = np.array([0, 0, 0, 0, 0, 1, 1, 1])


def drawn(
    replicates: int = 50,
    max_cells: int = 1 << 20,
    *,
    n: int = 8,
    seed: int = 1,
    stream: str = "s",
    **codes: Any,
) -> NDArray[np.float64]:
    blocks = Resampler(n, seed=seed, stream=stream, **codes).blocks(replicates, max_cells)
    return np.concatenate(list(blocks))


@pytest.mark.parametrize(
    "codes",
    [{}, {"clusters": CLUSTERS}, {"strata": STRATA}, {"clusters": CLUSTERS, "strata": STRATA}],
)
def test_block_size_never_changes_a_draw(codes: dict[str, Any]) -> None:
    whole = drawn(**codes)
    for max_cells in (1, 8, 24, 100):
        assert drawn(max_cells=max_cells, **codes).tobytes() == whole.tobytes()
    # Fewer replicates are the first of more.
    assert_array_equal(drawn(replicates=7, **codes), whole[:7])


def test_seed_and_stream_change_the_draw_and_nothing_else_does() -> None:
    assert not np.array_equal(drawn(), drawn(seed=2))
    assert not np.array_equal(drawn(), drawn(stream="t"))
    assert_array_equal(drawn(), drawn())
    # The seed and the stream are kept apart: 1, "2" is not 12, "".
    assert generator(1, "2").integers(1 << 62) != generator(12, "").integers(1 << 62)
    assert generator(-1, "x").integers(1 << 62) != generator(1, "x").integers(1 << 62)


def test_the_draw_is_pinned() -> None:
    # Published intervals depend on these bytes: a change belongs under "Numbers that change".
    assert_array_equal(drawn(replicates=2), [[1, 1, 2, 1, 2, 1, 0, 0], [0, 1, 2, 0, 1, 2, 1, 1]])


def test_counts_are_multinomial() -> None:
    n, replicates = 40, 4000
    weights = drawn(replicates=replicates, n=n)
    assert_array_equal(weights.sum(axis=1), n)
    # Each count is binomial(n, 1/n), and two of them are correlated by -1 / (n - 1).
    values, observed = np.unique(weights, return_counts=True)
    expected = scipy.stats.binom.pmf(np.arange(5), n, 1 / n) * weights.size
    assert values[0] == 0
    assert_allclose(observed[:5], expected, atol=5 * np.sqrt(expected.max()))
    correlation = np.corrcoef(weights.T)[np.triu_indices(n, 1)]
    assert abs(correlation.mean() + 1 / (n - 1)) < 0.002


@pytest.mark.parametrize("n", [65_535, 65_536, 65_537])
def test_large_n_reaches_every_position(n: int) -> None:
    weights = drawn(replicates=12, n=n)
    assert_array_equal(weights.sum(axis=1), n)
    reached = (weights.sum(axis=0) > 0).mean()
    assert_allclose(reached, 1 - math.exp(-12), atol=1e-4)
    assert abs(weights[:, -100:].mean() - 1) < 0.15


def test_clusters_are_drawn_whole() -> None:
    weights = drawn(replicates=400, clusters=CLUSTERS)
    for code in np.unique(CLUSTERS):
        members = weights[:, np.flatnonzero(code == CLUSTERS)]
        assert (members == members[:, :1]).all()
    firsts = weights[:, [6, 2, 0, 5]]
    assert_array_equal(firsts.sum(axis=1), 4)
    assert abs(firsts.mean() - 1) < 1e-12
    # Names of clusters are names: strings in the same order draw the same.
    named = drawn(replicates=400, clusters=np.array([f"c{code}" for code in CLUSTERS]))
    assert_array_equal(named, weights)


def test_strata_keep_their_size() -> None:
    weights = drawn(replicates=200, strata=STRATA)
    assert_array_equal(weights[:, STRATA == 0].sum(axis=1), 5)
    assert_array_equal(weights[:, STRATA == 1].sum(axis=1), 3)
    both = drawn(replicates=200, clusters=CLUSTERS, strata=STRATA)
    assert_array_equal(both[:, [0, 2]].sum(axis=1), 2)
    assert_array_equal(both[:, [5, 6]].sum(axis=1), 2)
    assert both.std() > 0


def test_leave_one_out_weights() -> None:
    whole = np.concatenate(list(Resampler(4, seed=0, stream="").leave_one_out(max_cells=8)))
    assert_array_equal(whole, 1 - np.eye(4))
    clustered = Resampler(8, seed=0, stream="", clusters=CLUSTERS)
    rows = np.concatenate(list(clustered.leave_one_out()))
    assert_array_equal(rows, np.unique(CLUSTERS)[:, None] != CLUSTERS)
    stratified = Resampler(8, seed=0, stream="", strata=STRATA)
    rows = np.concatenate(list(stratified.leave_one_out(max_cells=16)))
    assert_array_equal(rows[0], [0, 1.25, 1.25, 1.25, 1.25, 1, 1, 1])
    assert_array_equal(rows[7], [1, 1, 1, 1, 1, 1.5, 1.5, 0])
    single = Resampler(3, seed=0, stream="", strata=[0, 0, 1])
    assert len(np.concatenate(list(single.leave_one_out()))) == 2


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 60), st.integers(2, 60), st.integers(0, 99))
def test_groups_are_even_and_keep_strata_and_clusters(
    n: int, count: tuple[int, int], seed: int
) -> None:
    count = min(n, count)
    strata = np.arange(n) % 3
    groups = Resampler(n, seed=seed, stream="g", strata=strata).groups(count)
    sizes = np.bincount(groups, minlength=count)
    assert sizes.max() - sizes.min() <= 1
    for stratum in range(3):
        shares = np.bincount(groups[strata == stratum], minlength=count)
        assert shares.max() - shares.min() <= 1
    clusters = np.arange(2 * n) // 2
    groups = Resampler(2 * n, seed=seed, stream="g", clusters=clusters).groups(count)
    assert_array_equal(groups[::2], groups[1::2])
    weights = np.concatenate(list(delete_groups(groups, count, max_cells=50)))
    assert_array_equal(weights, groups != np.arange(count)[:, None])


def test_blocks_are_bounded_and_read_only() -> None:
    blocks = list(Resampler(100, seed=0, stream="").blocks(50, max_cells=450))
    assert [block.shape for block in blocks] == [(4, 100)] * 12 + [(2, 100)]
    with pytest.raises(ValueError, match="read-only"):
        blocks[0][0, 0] = 3
    clustered = Resampler(8, seed=0, stream="", clusters=CLUSTERS)
    for block in (*clustered.blocks(5), *clustered.leave_one_out()):
        assert block.flags.c_contiguous


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0}, "n: expected an integer >= 1, got 0"),
        ({"n": 3, "clusters": [0, 1]}, r"clusters: expected shape \(3,\), got \(2,\)"),
        ({"n": 2, "clusters": [0.0, math.nan]}, "clusters: expected integer or string codes"),
        ({"n": 2, "strata": [None, "a"]}, "strata: expected integer or string codes"),
        (
            {"n": 4, "clusters": [0, 0, 1, 1], "strata": [0, 0, 0, 1]},
            "strata: expected each cluster within one stratum, got 1 samples",
        ),
    ],
)
def test_bad_units_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Resampler(seed=0, stream="", **arguments)


def test_too_many_groups_and_empty_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="count: expected at most 3 groups, got 4"):
        Resampler(3, seed=0, stream="").groups(4)
    with pytest.raises(ValueError, match="max_cells: expected an integer >= 1, got 0"):
        next(Resampler(3, seed=0, stream="").blocks(1, max_cells=0))


def test_weighted_sums_are_the_same_bits_for_any_grouping_of_rows() -> None:
    rng = np.random.default_rng(0)
    weights, columns = rng.random((9, 20_001)), rng.normal(size=(3, 20_001))
    whole = weighted_sums(weights, columns)
    assert_allclose(whole, weights @ columns.T, rtol=1e-9, atol=1e-9)
    assert weighted_sums(np.asfortranarray(weights), columns).tobytes() == whole.tobytes()
    for start, stop in ((0, 1), (3, 5), (2, 9)):
        assert weighted_sums(weights[start:stop], columns).tobytes() == whole[start:stop].tobytes()


def test_statistics_of_sums() -> None:
    values = np.array([1.0, 2.0, 6.0])
    weights = np.array([[1.0, 1.0, 1.0], [0.0, 3.0, 1.0], [0.0, 0.0, 0.0]])
    assert_array_equal(evaluate("s", weighted_mean(values), weights), [3.0, 3.0, np.nan])
    ratio = weighted_ratio([1, 0, 0], [1, 0, 1])
    assert_array_equal(evaluate("s", ratio, weights), [0.5, 0.0, np.nan])
    gap = difference(weighted_mean(values), ratio)
    assert isinstance(gap, SumStatistic)
    assert_array_equal(evaluate("s", gap, weights), [2.5, 3.0, np.nan])
    plain = difference(lambda w: w @ values, lambda w: w.sum(axis=1))
    assert_array_equal(evaluate("s", plain, weights), [6.0, 8.0, 0.0])


def test_a_statistic_of_the_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"top1: expected a statistic that returns shape \(2,\)"):
        evaluate("top1", lambda w: w.sum(), np.ones((2, 5)))
    with pytest.raises(ValueError, match=r"columns: expected shape \(k, n\), got \(3,\)"):
        SumStatistic(np.ones(3), lambda sums: sums[:, 0])
