"""Means by group and figures over groups: closed forms, coverage, and the policy for small ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from crucibench.metrics.groups import GroupFigures, crossed, group_figures
from crucibench.stats import share_interval


def figures(groups: Any, outcomes: Any, **options: Any) -> GroupFigures:
    usual: dict[str, Any] = {"min_group_size": 30, "seed": 1, "stream": "test"}
    return group_figures(groups, outcomes, **usual | options)


def sized(**hits: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns groups and outcomes from (right, of) by name."""
    groups = np.concatenate([np.full(of, name, dtype=object) for name, (_, of) in hits.items()])
    outcomes = np.concatenate([np.arange(of) < right for right, of in hits.values()])
    return groups, outcomes.astype(float)


def test_shares_have_their_intervals_and_small_groups_don_t_count() -> None:
    found = figures(*sized(a=(90, 100), b=(20, 40), tiny=(0, 29)))
    a, b, tiny = found.groups
    assert (a.name, a.n, a.value) == ("a", 100, 0.9)
    assert a.interval == share_interval(90, 100, 0.95)
    assert b.counts and not tiny.counts and tiny.why_not == "fewer than 30 samples"
    assert tiny.value == 0.0 and tiny.interval == share_interval(0, 29, 0.95)
    assert found.worst is not None and found.worst.name == "b" and found.worst.value == 0.5
    assert found.average is not None and found.average.value == pytest.approx(0.7)
    half = stats.norm.ppf(0.975) * np.sqrt(0.9 * 0.1 / 99 + 0.25 / 39) / 2
    assert found.average.interval is not None
    assert found.average.interval.upper == pytest.approx(0.7 + half)
    assert figures(*sized(a=(90, 100), tiny=(0, 29)), min_group_size=29).worst is not None


def test_samples_of_no_known_group_are_shown_and_don_t_count() -> None:
    found = figures(*sized(a=(90, 100), b=(80, 100), **{"(missing)": (0, 500)}))
    assert found.groups[0].why_not == "the group of these samples is not known"
    assert found.worst is not None and found.worst.name == "b"


@pytest.mark.parametrize(
    ("hits", "reason"),
    [
        ({"a": (9, 10), "b": (1, 29)}, "no group has at least 30 samples"),
        ({"a": (9, 10), "b": (1, 30)}, "only 'b' has at least 30 samples"),
    ],
)
def test_figures_need_two_groups(hits: Any, reason: str) -> None:
    found = figures(*sized(**hits))
    assert found.reason == reason and len(found.groups) == 2
    assert found.worst is found.average is found.percentile_10 is None


def test_the_interval_of_the_worst_is_made_of_bounds() -> None:
    found = figures(*sized(a=(60, 100), b=(50, 80), c=(190, 200)))
    assert found.worst is not None and found.worst.interval is not None
    lower = min(share_interval(k, n, 0.95).lower for k, n in ((60, 100), (50, 80), (190, 200)))
    upper = min(
        share_interval(k, n, 1 - 0.05 / 3).upper for k, n in ((60, 100), (50, 80), (190, 200))
    )
    assert found.worst.interval.lower == pytest.approx(lower, abs=1e-12)
    assert found.worst.interval.upper == pytest.approx(upper, abs=1e-12)


@pytest.mark.parametrize("rates", [[0.8] * 8, [0.6, 0.9, 0.9, 0.9], [0.7, 0.75]])
def test_it_covers_the_lowest_true_mean(rates: list[float], monkeypatch: Any) -> None:
    monkeypatch.setattr("crucibench.metrics.groups.DRAWS", 10)
    rng = np.random.default_rng(4)
    names = np.repeat([f"g{place}" for place in range(len(rates))], 60)
    covered = []
    for _ in range(400):
        found = figures(names, (rng.random(len(names)) < np.repeat(rates, 60)).astype(float))
        assert found.worst is not None and found.worst.interval is not None
        low, high, *_ = found.worst.interval
        covered.append(low <= min(rates) <= high)
    # 0.95 less three standard errors of 400; the naive interval of the worst covers far less.
    assert np.mean(covered) > 0.917


def test_the_naive_interval_would_not(monkeypatch: Any) -> None:
    monkeypatch.setattr("crucibench.metrics.groups.DRAWS", 10)
    rng = np.random.default_rng(4)
    names = np.repeat([f"g{place}" for place in range(20)], 60)
    naive, ours = [], []
    for _ in range(150):
        found = figures(names, (rng.random(len(names)) < 0.8).astype(float))
        assert found.worst is not None and found.worst.interval is not None
        own = next(one for one in found.groups if one.name == found.worst.name).interval
        assert own is not None
        naive.append(own.lower <= 0.8 <= own.upper)
        ours.append(found.worst.interval.lower <= 0.8 <= found.worst.interval.upper)
    assert np.mean(naive) < 0.7 and np.mean(ours) > 0.9


def test_the_worst_of_alike_groups_is_what_order_statistics_give() -> None:
    found = figures(*sized(**{f"g{at}": (68, 80) for at in range(11)}, low=(60, 80)))
    # The lowest of twelve binomial shares with the common mean: the sum of P(lowest >= x).
    mean = (11 * 68 + 60) / (12 * 80)
    expected = sum(stats.binom.sf(np.arange(80), 80, mean) ** 12) / 80
    assert found.worst is not None and found.worst.if_alike == pytest.approx(expected, abs=0.004)
    losses = figures(*sized(a=(50, 50), b=(50, 50)))
    assert losses.worst is not None and losses.worst.if_alike == 1.0


def test_the_test_of_chance_is_exact_for_two_groups() -> None:
    # Two groups of one size: the largest distance is that of a two-sided permutation test, i.e.
    # Fisher's exact test of a symmetric table.
    found = figures(*sized(a=(35, 50), b=(25, 50)))
    assert found.worst is not None and found.worst.p_chance is not None
    exact = stats.fisher_exact([[35, 15], [25, 25]]).pvalue
    assert found.worst.p_chance == pytest.approx(exact, abs=4 * np.sqrt(exact / 10_000))


def test_the_test_of_chance_is_uniform_where_groups_are_alike(monkeypatch: Any) -> None:
    monkeypatch.setattr("crucibench.metrics.groups.DRAWS", 400)
    rng = np.random.default_rng(0)
    names = np.repeat(list("abcdef"), [30, 40, 60, 100, 100, 200]).astype(object)
    for outcomes in (
        lambda: (rng.random(len(names)) < 0.7).astype(float),
        lambda: rng.exponential(size=len(names)) ** 0.5,
    ):
        found = [figures(names, outcomes()).worst for _ in range(300)]
        below = np.mean([one is not None and (one.p_chance or 0) <= 0.1 for one in found])
        assert 0.05 < below < 0.16  # 0.1, three standard errors either way


def test_sureness() -> None:
    clear = figures(*sized(a=(95, 100), b=(50, 100), c=(96, 100))).worst
    assert clear is not None and clear.name == "b"
    assert clear.sureness == pytest.approx(1.0) and clear.p_chance == pytest.approx(1 / 10_001)
    even = figures(*sized(a=(80, 100), b=(80, 100))).worst
    assert even is not None and even.sureness == pytest.approx(0.5, abs=0.02)
    assert even.p_chance == 1.0 and even.name == "a"
    right = figures(*sized(a=(100, 100), b=(90, 90))).worst
    assert right is not None and right.value == 1.0 and right.p_chance == 1.0


def test_lower_is_better_mirrors() -> None:
    rng = np.random.default_rng(7)
    names = np.repeat(list("abc"), 50).astype(object)
    losses = rng.normal(np.repeat([1.0, 2.0, 1.2], 50), 1.0)
    low = figures(names, losses, direction="lower")
    high = figures(names, -losses)
    assert low.worst is not None and high.worst is not None
    assert low.worst.name == high.worst.name == "b"
    assert low.worst.value == pytest.approx(-high.worst.value)
    assert low.worst.interval is not None and high.worst.interval is not None
    assert low.worst.interval.lower == pytest.approx(-high.worst.interval.upper)
    assert low.worst.interval.upper == pytest.approx(-high.worst.interval.lower)
    assert low.percentile_10 is not None and high.percentile_10 is not None
    assert low.percentile_10.value == pytest.approx(-high.percentile_10.value)


def test_real_outcomes_have_student_s_interval() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=80)
    found = figures(np.repeat(["a", "b"], 40), values)
    for one, part in zip(found.groups, (values[:40], values[40:]), strict=True):
        low, high = stats.t.interval(0.95, 39, part.mean(), stats.sem(part))
        assert one.interval is not None
        assert one.interval[:2] == pytest.approx((low, high))


def test_clusters_widen_and_their_error_is_that_of_totals() -> None:
    rng = np.random.default_rng(5)
    clusters = np.repeat(np.arange(40), 5)
    values = np.repeat(rng.normal(size=40), 5)  # five copies of each
    names = np.repeat(["a", "b"], 100)
    found = figures(names, values, clusters=clusters)
    half = values[:100:5]
    low, high = stats.t.interval(0.95, 19, half.mean(), stats.sem(half))
    interval = found.groups[0].interval
    assert interval is not None and interval[:2] == pytest.approx((low, high))
    spanning = figures(names, values, clusters=np.tile(np.arange(20), 10))
    assert spanning.worst is not None and spanning.worst.interval is not None
    assert spanning.worst.sureness is None and spanning.worst.p_chance is None


def test_no_spread_gives_no_interval() -> None:
    found = figures(np.repeat(["a", "b"], 40), np.repeat([0.5, 0.7], 40))
    assert found.groups[0].reason == "all outcomes are the same"
    assert found.worst is not None and found.worst.value == 0.5 and found.worst.interval is None
    # Shares of 1 have intervals of their own; their mean has no error that was seen.
    right = figures(*sized(a=(40, 40), b=(50, 50)))
    assert right.worst is not None and right.worst.interval is not None
    assert right.average is not None and right.average.interval is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20)), min_size=2, max_size=12))
def test_percentile_is_that_of_the_group_means(hits: list[tuple[int, int]]) -> None:
    tables = {
        f"g{place:02}": (right, 30 + right + more) for place, (right, more) in enumerate(hits)
    }
    found = figures(*sized(**tables))
    means = [right / of for right, of in tables.values()]
    assert found.percentile_10 is not None and found.percentile_10.interval is not None
    assert found.percentile_10.value == pytest.approx(np.percentile(means, 10))
    low, high, *_ = found.percentile_10.interval
    assert low <= found.percentile_10.value <= high
    assert found.worst is not None and found.worst.interval is not None
    assert found.worst.interval.lower <= min(means) <= found.worst.interval.upper


def test_neither_order_nor_names_of_clusters_matter() -> None:
    groups, outcomes = sized(a=(35, 50), b=(25, 50), c=(40, 70))
    order = np.random.default_rng(0).permutation(len(groups))
    assert figures(groups, outcomes) == figures(groups[order], outcomes[order])


def test_intersections() -> None:
    frame = pd.DataFrame({"sex": ["f", "m", "f"], "age": ["1", "2", "(missing)"]})
    assert crossed(frame).tolist() == ["sex=f, age=1", "sex=m, age=2", "(missing)"]
    assert crossed(frame, ["sex"]).tolist() == ["sex=f", "sex=m", "sex=f"]
    with pytest.raises(ValueError, match="columns: expected some of sex, age, got 'race'"):
        crossed(frame, ["race"])
    with pytest.raises(ValueError, match="got none"):
        crossed(frame, [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": ["a"] * 3}, "groups: expected shape"),
        ({"outcomes": [0.0, np.nan]}, "outcomes"),
        ({"min_group_size": 0}, "min_group_size: expected at least 1, got 0"),
        ({"clusters": ["x"]}, "clusters: expected shape"),
    ],
)
def test_arguments(change: dict[str, Any], message: str) -> None:
    given_: dict[str, Any] = {"groups": ["a", "b"], "outcomes": [0.0, 1.0]} | change
    with pytest.raises(ValueError, match=message):
        figures(**given_)
