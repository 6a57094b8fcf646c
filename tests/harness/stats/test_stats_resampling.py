"""Weights: totals, distribution, determinism, clusters, strata, leaving out."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from crucibench.metrics.ranking import auroc_statistic, fpr_at_tpr_statistic
from crucibench.stats import (
    Resampler,
    SumStatistic,
    WeightedStatistic,
    auc,
    auc_interval,
    block_jackknife_many,
    clopper_pearson,
    delong,
    difference,
    hoeffding_interval,
    linearised_error,
    linearised_interval,
    resampling,
    weighted_mean,
    weighted_ratio,
)
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


def test_of_an_auroc_it_is_delongs() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(300) < 120
    scores = rng.normal(size=300) + truth
    area = auroc_statistic(scores, truth)
    assert area.influence is not None
    found = linearised_interval(area.value().value or 0, area.influence())
    expected = auc_interval(scores, truth)
    # On the logit scale, and from placements: alike where both classes are large.
    assert found is not None and found.method == "linearised-logit"
    np.testing.assert_allclose(found[:2], expected[:2], rtol=5e-3)
    error = math.sqrt(delong(scores, truth).variance)
    assert linearised_error(area.influence()) == pytest.approx(error, rel=5e-3)


def test_of_a_mean_it_is_the_usual_one() -> None:
    values = np.random.default_rng(1).normal(size=50)
    influences = (values - values.mean()) / 50
    assert linearised_error(influences) == pytest.approx(values.std(ddof=1) / math.sqrt(50))


def test_units_are_summed() -> None:
    values = np.random.default_rng(1).normal(size=30)
    twice = np.repeat((values - values.mean()) / 60, 2)
    units = np.repeat(np.arange(30), 2)
    assert linearised_error(twice, units) == pytest.approx(values.std(ddof=1) / math.sqrt(30))
    assert linearised_error(twice, units) > 1.3 * linearised_error(twice)


def test_without_spread_there_is_none() -> None:
    assert linearised_interval(1.0, np.zeros(9)) is None
    assert linearised_interval(0.5, np.zeros(9)) is None
    assert math.isnan(linearised_error([0.0]))
    with pytest.raises(ValueError, match="level"):
        linearised_interval(0.5, [0.1, -0.1], level=1.5)


def test_fpr_has_the_jackknifes_error() -> None:
    # One continuous draw: its error by leaving out groups, against that of the influences.
    rng = np.random.default_rng(2)
    truth = np.arange(4000) % 2 == 0
    scores = rng.normal(size=4000) + 1.5 * truth
    rate = fpr_at_tpr_statistic(scores, truth, tpr=0.95)
    groups = rng.permutation(4000) % 100
    weights = (groups[None] != np.arange(100)[:, None]).astype(float)
    left = rate(weights)
    jackknife = math.sqrt(99 / 100 * ((left - left.mean()) ** 2).sum())
    assert rate.influence is not None
    assert rate.influence().sum() == pytest.approx(0, abs=1e-9)
    assert linearised_error(rate.influence()) == pytest.approx(jackknife, rel=0.35)


def test_fpr_s_influences_by_hand() -> None:
    # At a rate of 3/4 of 4 positives the threshold is that of the fifth sample. Two standard errors
    # below 3/4 are the first 2 positives, above are all: between them 1 more negative is flagged.
    truth = np.array([True, False, False, True, True, False, True, False])
    influence = fpr_at_tpr_statistic(np.arange(8, 0, -1), truth, tpr=0.75).influence
    assert influence is not None
    flagged, slope = np.arange(8) <= 4, (1 / 4) / (2 / 4)
    expected = np.where(truth, -slope * (flagged - 3 / 4) / 4, (flagged - 2 / 4) / 4)
    np.testing.assert_allclose(influence(), expected)


def test_hoeffding_of_pairs_that_all_agree_is_exact() -> None:
    assert hoeffding_interval(1.0, 20).lower == pytest.approx(clopper_pearson(20, 20).lower)
    found = hoeffding_interval(0.7, 50)
    exact = clopper_pearson(35, 50)
    assert found.lower < exact.lower < 0.7 < exact.upper < found.upper


def block_jackknife(statistic: Any, n: int, **how: Any) -> Any:
    return block_jackknife_many({"statistic": statistic}, n, **how)["statistic"]


DRAW = {"seed": 4, "stream": "jackknife"}


def weighted_auc(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> WeightedStatistic:
    """AUC of samples that count 0 or 1 times."""

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array(
            [auc(scores[(row > 0) & labels], scores[(row > 0) & ~labels]) for row in weights]
        )

    return statistic


def slow(statistic: WeightedStatistic) -> WeightedStatistic:
    """The same statistic without the fast path of sums."""
    return partial(SumStatistic.__call__, statistic)


@pytest.mark.parametrize("n", [2, 30, 157])
def test_leaving_each_sample_out_gives_the_textbook_error_of_a_mean(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    result = block_jackknife(weighted_mean(values), n, groups=1000, **DRAW)
    error = values.std(ddof=1) / math.sqrt(n)
    assert_allclose(result.standard_error, error, rtol=1e-10)
    half = scipy.stats.t.ppf(0.975, n - 1) * error
    assert_allclose(
        result.interval[:2], (values.mean() - half, values.mean() + half), rtol=1e-9, atol=1e-12
    )
    assert result.interval.method == f"group-jackknife-{n}"


def test_groups_give_nearly_that_error() -> None:
    values = np.random.default_rng(0).lognormal(size=20_000)
    result = block_jackknife(weighted_mean(values), 20_000, **DRAW)
    # A variance from 200 groups has a relative error of sqrt(2 / 199) = 0.1, its root half that.
    assert_allclose(result.standard_error, values.std() / math.sqrt(20_000), rtol=0.2)
    assert result.interval.method == "group-jackknife-200"
    assert result.replicates_used == 200


def test_auc_error_is_delongs() -> None:
    rng = np.random.default_rng(1)
    labels = rng.random(2000) < 0.3
    scores = rng.normal(size=2000) + labels
    result = block_jackknife(weighted_auc(scores, labels), 2000, groups=400, **DRAW)
    estimate = delong(scores, labels)
    assert_allclose(result.estimate, estimate.auc, rtol=1e-13)
    assert_allclose(result.standard_error, math.sqrt(estimate.variance), rtol=3.5 * 0.036)
    small = slice(0, 150)
    each = block_jackknife(weighted_auc(scores[small], labels[small]), 150, groups=150, **DRAW)
    assert_allclose(
        each.standard_error, math.sqrt(delong(scores[small], labels[small]).variance), rtol=0.03
    )


def test_unequal_groups_follow_busing() -> None:
    # Five clusters of unequal size, each a group: the delete-m_j formulas written out.
    sizes = np.array([3, 10, 1, 6, 4])
    clusters = np.repeat(np.arange(5), sizes)
    values = np.random.default_rng(2).normal(size=24) + clusters
    result = block_jackknife(weighted_mean(values), 24, clusters=clusters, **DRAW)
    h = 24 / sizes
    without = np.array([values[clusters != j].mean() for j in range(5)])
    centre = 5 * values.mean() - np.sum((1 - sizes / 24) * without)
    pseudo = h * values.mean() - (h - 1) * without
    variance = np.mean((pseudo - centre) ** 2 / (h - 1))
    assert_allclose(result.standard_error, math.sqrt(variance), rtol=1e-12)
    assert result.interval.method == "cluster-group-jackknife-5 (5 clusters)"


@pytest.mark.parametrize(
    "codes", [{}, {"clusters": np.arange(300) // 3}, {"strata": np.arange(300) % 2}]
)
def test_the_fast_path_of_sums_equals_the_weights(codes: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    ratio = weighted_ratio(rng.random(300), rng.random(300))
    results = block_jackknife_many(
        {"fast": ratio, "slow": slow(ratio)}, 300, groups=20, **DRAW, **codes
    )
    assert_allclose(results["fast"].standard_error, results["slow"].standard_error, rtol=1e-9)
    assert_allclose(results["fast"].interval[:2], results["slow"].interval[:2], rtol=1e-9)
    for max_cells in (1, 1000):
        again = block_jackknife(slow(ratio), 300, groups=20, max_cells=max_cells, **DRAW, **codes)
        assert again == results["slow"]


def test_a_value_that_only_one_group_defines_is_undefined_without_it() -> None:
    numerators = np.random.default_rng(4).random(100)
    denominators = np.zeros(100)
    denominators[7] = 0.1
    ratio = weighted_ratio(numerators, denominators)
    for statistic in (ratio, slow(ratio)):
        result = block_jackknife(statistic, 100, groups=10, **DRAW)
        assert result.interval is None
        assert result.undefined == 1
        assert result.reason == "undefined without 1 of 10 groups"
    nowhere = block_jackknife(weighted_ratio(numerators, np.zeros(100)), 100, **DRAW)
    assert "undefined on the sample itself" in nowhere.reason


def test_one_huge_value_does_not_take_the_digits_of_the_others() -> None:
    values = np.random.default_rng(5).random(100)
    values[31] = 1e18
    huge = SumStatistic(
        np.stack([values, np.ones(100)]), lambda sums: np.log10(sums[:, 0] / sums[:, 1])
    )
    fast = block_jackknife(huge, 100, groups=10, **DRAW)
    reference = block_jackknife(slow(huge), 100, groups=10, **DRAW)
    assert_allclose(fast.standard_error, reference.standard_error, rtol=1e-9)


def test_no_spread_is_no_precision() -> None:
    result = block_jackknife(weighted_mean(np.full(50, 0.3)), 50, groups=7, **DRAW)
    assert result.degenerate
    assert result.interval is None
    assert result.standard_error == 0.0


def test_weights_are_bounded() -> None:
    shapes = []

    def watch(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        shapes.append(weights.shape)
        return weights @ np.arange(1000.0) / weights.sum(axis=1)

    block_jackknife(watch, 1000, groups=50, max_cells=7000, **DRAW)
    assert sum(rows for rows, _ in shapes) == 50 + 1
    assert max(rows for rows, _ in shapes) == 7


def test_coverage_with_few_groups_is_students() -> None:
    rng = np.random.default_rng(6)
    repetitions, covered = 1500, 0
    for repetition in range(repetitions):
        values = rng.exponential(size=400)
        interval = block_jackknife(
            weighted_mean(values), 400, groups=10, seed=repetition, stream="c"
        ).interval
        covered += interval.lower <= 1.0 <= interval.upper
    assert abs(covered / repetitions - 0.95) < 3.5 * math.sqrt(0.95 * 0.05 / repetitions)


def test_a_median_has_the_error_of_its_density() -> None:
    rng = np.random.default_rng(8)
    errors = []
    for seed in range(30):
        values = np.sort(rng.normal(size=4000))

        def median(
            weights: NDArray[np.float64], values: NDArray[np.float64] = values
        ) -> NDArray[np.float64]:
            running = np.cumsum(weights, axis=1)
            return values[np.argmax(running >= running[:, -1:] / 2, axis=1)]

        result = block_jackknife(median, 4000, groups=20, seed=seed, stream="median")
        errors.append(result.standard_error**2)
    # Leaving one in 20 of 4,000 out: groups of 200 > sqrt(4000), so the jackknife is consistent.
    theory = math.sqrt(math.pi / 2 / 4000)
    assert_allclose(math.sqrt(np.mean(errors)), theory, rtol=0.25)


@pytest.mark.parametrize(
    ("statistic", "options", "message"),
    [
        (weighted_mean(np.arange(5.0)), {"groups": 1}, "groups: expected an integer >= 2, got 1"),
        (
            weighted_mean(np.arange(5.0)), {"clusters": np.zeros(5, int)},
            "n: expected at least two units to leave out, got 1",
        ),
        (
            SumStatistic(np.ones((1, 5)), lambda sums: sums), {},
            "expected a statistic that returns shape",
        ),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(statistic: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        block_jackknife(statistic, 5, **options, **DRAW)


def test_the_groups_depend_on_seed_and_stream_alone() -> None:
    values = np.random.default_rng(9).random(500)
    one = block_jackknife(weighted_mean(values), 500, groups=20, **DRAW)
    assert one == block_jackknife(weighted_mean(values), 500, groups=20, **DRAW)
    other = block_jackknife(weighted_mean(values), 500, groups=20, seed=5, stream="jackknife")
    assert one.standard_error != other.standard_error
    assert_array_equal(one.estimate, other.estimate)


@pytest.mark.parametrize("strata", [None, STRATA])
def test_a_draw_that_is_kept_is_made_once_and_is_the_same(
    strata: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def counted(rng: Any, sizes: Any) -> Any:
        made.append(sizes)
        return draw(rng, sizes)

    def blocks() -> NDArray[Any]:
        resampler = Resampler(8, seed=0, stream=f"kept {strata is None}", strata=strata)
        return np.concatenate(list(resampler.blocks(30, max_cells=64)))

    draw = resampling._draw
    monkeypatch.setattr(resampling, "_draw", counted)
    first, again = blocks(), blocks()
    assert len(made) == 30
    monkeypatch.setattr(resampling, "_REMEMBERED", 0)
    assert_array_equal(blocks(), first)
    assert_array_equal(again, first)
    assert len(made) == 60


def test_no_more_draws_are_kept_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_known", {})
    monkeypatch.setattr(resampling, "_ALL_REMEMBERED", 3 * 30 * 8)
    for name in ("a", "b", "c", "a", "d"):
        list(Resampler(8, seed=0, stream=name).blocks(30))
    assert [stream for _, stream, *_ in resampling._known] == ["c", "a", "d"]
