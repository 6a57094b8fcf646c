"""Intervals and tests hold what they say: enumerated where that is possible, else simulated.

`benchmarks/bias_simulations.py` does the same over a grid of sizes and base rates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from crucibench.contracts.evidence import ScoringOptions
from crucibench.metrics.catalogue_groups import GAPS, Gap
from crucibench.metrics.gap_chance import detectable_gap, p_chance_of_rates
from crucibench.metrics.gaps import contrast, of_rates
from crucibench.metrics.group_counts import RATES
from crucibench.stats import holm
from crucibench_suites.bias.gaps import GroupGap, find_gap
from crucibench_suites.bias.groupings import Grouping
from crucibench_suites.bias.measures import Measure, Measured, Tally, tally

TEN = tuple(
    [Gap(f"{rate}-difference", (rate,), "difference") for rate in RATES]
    + [GAPS["equalized-odds-difference"]]
)


def gap(which: Gap, counts: Any, seed: int) -> GroupGap:
    """Returns a gap between groups of decisions, shape (G, 4) in the order of `CELLS`."""
    measured = {}
    for rate in RATES.values():
        hits, trials = counts @ np.array(rate.hits), counts @ np.array(rate.among)
        by_group = Tally(hits=hits, trials=trials, size=trials.astype(np.float64))
        measured[rate.id] = Measured(id=rate.id, by_group=by_group)
    grouping = Grouping(
        columns=("g",), names=tuple(f"g={place}" for place in range(len(counts))),
        codes=np.repeat(np.arange(len(counts)), counts.sum(axis=1)), least=1,
    )  # fmt: skip
    return find_gap(
        which, grouping, measured, spans=False, options=ScoringOptions(seed=seed), stream="t"
    )


@pytest.mark.parametrize("rate", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("sizes", [(150, 150), (500, 500), (60, 240)])
def test_signed_contrasts_cover_exactly(rate: float, sizes: tuple[int, int]) -> None:
    """The probability of all pairs of counts whose Newcombe interval holds 0."""
    first, second = (part.ravel() for part in np.meshgrid(*(np.arange(n + 1) for n in sizes)))
    weight = binom(sizes[0], rate).pmf(first) * binom(sizes[1], rate).pmf(second)
    likely = weight > 1e-9
    first, second, weight = first[likely], second[likely], weight[likely]
    ends = contrast(
        of_rates(first, np.full(len(first), sizes[0])),
        of_rates(second, np.full(len(first), sizes[1])), "difference", 0.95,
    )  # fmt: skip
    held = np.array([interval.lower <= 0 <= interval.upper for _, interval in ends])
    assert weight[held].sum() >= 0.935
    assert weight.sum() > 0.999


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_the_permutation_test_s_size_is_enumerated(rate: float) -> None:
    """Two alike groups of 25: the probability of all pairs of counts that are called different."""
    each = np.arange(26)
    law, size = binom(25, rate).pmf(each), np.array([25, 25])
    wrong = 0.0
    for one in each:
        for other in each[: one + 1]:
            weight = law[one] * law[other] * (1 if one == other else 2)
            # Far apart is called different whatever is drawn; near and rare is not worth drawing.
            if weight < 1e-7:
                wrong += weight
                continue
            hits = np.array([one, other])
            p = p_chance_of_rates([(hits, size)], seed=0, stream="t", draws=2000)
            wrong += weight * (p <= 0.05)
    assert wrong <= 0.053


@pytest.mark.parametrize("runs", [20, pytest.param(200, marks=pytest.mark.thorough)])
def test_a_family_of_ten_gaps_between_five_groups_holds_its_level(runs: int) -> None:
    rng, wrong = np.random.default_rng(9), 0
    for run in range(runs):
        counts = np.array([rng.multinomial(80, [0.6, 0.15, 0.08, 0.17]) for _ in range(5)])
        p_values = np.array([gap(one, counts, run).p_chance for one in TEN])
        wrong += bool((holm(p_values) <= 0.05).any())
    assert wrong / runs <= 0.05 + 3.5 * np.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize(("size", "share"), [(25, 0.05), (150, 0.5), (1000, 0.05)])
def test_twice_the_stated_detectable_gap_is_found(size: int, share: float) -> None:
    """What is stated depends on the sample; what is planted on the truth."""
    width = 2 * detectable_gap(size, size, share)
    rng, runs, found, stated = np.random.default_rng(8), 60, 0, []
    for run in range(runs):
        right = rng.binomial(size, [share, share + width])
        zero = np.zeros(2, dtype=np.int64)
        one = gap(GAPS["top-1-difference"], np.stack([zero, size - right, zero, right], 1), run)
        found += one.p_chance <= 0.05
        stated.append(one.detectable)
    assert found / runs >= 0.8
    assert np.median(stated) == pytest.approx(width / 2, rel=0.5)


@pytest.mark.parametrize("of_all", [True, False])
@pytest.mark.parametrize("clustered", [True, False])
def test_a_tally_counts_each_group_and_no_sample_of_none(of_all: bool, clustered: bool) -> None:
    rng = np.random.default_rng(0)
    codes, among = rng.integers(-1, 3, 500), rng.random(500) < 0.6
    hits = (rng.random(500) < 0.3) & (among | of_all)
    clusters = np.arange(500) // 2
    measure = Measure("tpr", hits, None if of_all else among)
    # The last of five groups has no samples.
    found = tally(measure, np.where(codes == 2, 3, codes), 5, clusters if clustered else None)
    trials = [np.count_nonzero((codes == place) & (among | of_all)) for place in (0, 1, 2)]
    assert found.trials.tolist() == [*trials[:2], 0, trials[2], 0]
    hit = [np.count_nonzero((codes == place) & hits) for place in (0, 1, 2)]
    assert found.hits.tolist() == [*hit[:2], 0, hit[2], 0]
    assert found.clustered == clustered
    if found.clusters is not None:
        assert found.clusters.trials.sum() == sum(trials)
        assert found.clusters.totals.sum() == sum(hit)
