"""Changes of gaps between paired answers: closed forms, coverage, invariants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from crucibench.metrics.gap_change import Change, GapSide, Paired, change_of_largest


def side(hits: Any, codes: Any, k: int) -> GapSide:
    n = np.bincount(codes, minlength=k)
    means = np.bincount(codes, weights=hits, minlength=k) / n
    return GapSide(values=means, influence=(hits - means[codes]) / n[codes], trials=n)


def change(new: Any, old: Any, codes: Any, largest: Any = "difference", **more: Any) -> Change:
    k = int(codes.max()) + 1
    new, old = np.asarray(new, dtype=float), np.asarray(old, dtype=float)
    part = Paired(codes=codes, new=side(new, codes, k), old=side(old, codes, k))
    return change_of_largest([part], largest, level=more.pop("level", 0.95), **more)


def test_two_groups_far_apart_have_the_normal_interval_of_one_contrast() -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(4000) % 2
    old = rng.random(4000) < 0.9 - 0.3 * codes
    new = np.where(rng.random(4000) < 0.5, old, rng.random(4000) < 0.9 - 0.6 * codes)
    found = change(new, old, codes)
    # (new - old) of group 0 less that of group 1, each group with two pseudo-pairs.
    square, value = 0.0, 0.0
    for group, sign in ((0, 1), (1, -1)):
        a, b = (x[codes == group].astype(float) for x in (new, old))
        p, q, n = a.mean(), b.mean(), len(a)
        value += sign * (p - q)
        residuals = np.concatenate([(a - p) - (b - q), [(1 - p) + q, -p - (1 - q)]])
        square += (residuals**2).sum() / n**2
    half = norm.isf(0.9 * 0.025) * np.sqrt(square)
    assert found.interval is not None
    assert found.value == pytest.approx(value)
    assert found.interval[:2] == pytest.approx((value - half, value + half))
    assert found.p == pytest.approx(2 * norm.sf(abs(value) / np.sqrt(square)) / 0.9)


@pytest.mark.parametrize(
    ("new", "old", "seed"),
    [
        ((0.5, 0.5), (0.5, 0.5), 0),
        ((0.6, 0.8), (0.9, 0.9), 1),
        ((0.6, 0.8), (0.8, 0.6), 2),
        ((0.05, 0.05), (0.1, 0.05), 3),
        ((0.5, 0.8, 0.8, 0.8), (0.9, 0.9, 0.9, 0.9), 4),
    ],
)
def test_the_interval_covers(new: Any, old: Any, seed: int) -> None:
    """At least 95 %, less 3.5 standard errors of 300 repetitions; also where groups are alike."""
    rng = np.random.default_rng(seed)
    truth = (max(new) - min(new)) - (max(old) - min(old))
    n, covered, rejected = 300, 0, 0
    codes = np.arange(n) % len(new)
    for _ in range(300):
        first = rng.random(n)
        second = np.where(rng.random(n) < 0.7, first, rng.random(n))
        found = change(first < np.array(new)[codes], second < np.array(old)[codes], codes)
        assert found.interval is not None
        covered += found.interval.lower <= truth <= found.interval.upper
        rejected += found.p < 0.05
        outside = not found.interval.lower <= 0 <= found.interval.upper
        assert (found.p < 0.05) == outside
    assert covered / 300 >= 0.95 - 3.5 * np.sqrt(0.95 * 0.05 / 300)
    if truth == 0:
        assert rejected / 300 <= 0.05 + 3.5 * np.sqrt(0.95 * 0.05 / 300)


def test_a_planted_rise_is_found() -> None:
    rng = np.random.default_rng(5)
    codes = np.arange(600) % 2
    found = 0
    for _ in range(50):
        old = rng.random(600) < 0.9
        new = old & (rng.random(600) < 1 - 0.25 * codes)
        found += change(new, old, codes).p < 0.05
    assert found >= 40


@given(st.integers(0, 10_000), st.sampled_from(["difference", "lowest", "highest"]))
@settings(max_examples=40, deadline=None)
def test_exchanging_the_answers_turns_the_change(seed: int, largest: Any) -> None:
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(3), rng.integers(0, 3, 90)])
    new, old = rng.random((2, 93)) < rng.random((2, 1))
    one, other = change(new, old, codes, largest), change(old, new, codes, largest)
    assert one.value == pytest.approx(-other.value)
    assert one.interval is not None and other.interval is not None
    assert one.interval.lower == pytest.approx(-other.interval.upper)
    assert one.interval.upper == pytest.approx(-other.interval.lower)
    assert one.interval.lower <= one.value <= one.interval.upper
    assert one.p == pytest.approx(other.p)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_names_of_groups_and_the_order_of_samples_don_t_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = np.concatenate([np.arange(4), rng.integers(0, 4, 80)])
    new, old = rng.random((2, 84)) < 0.6
    order, names = rng.permutation(84), rng.permutation(4)
    one, other = change(new, old, codes), change(new[order], old[order], names[codes[order]])
    assert one.value == pytest.approx(other.value)
    assert one.interval is not None and other.interval is not None
    assert one.interval[:2] == pytest.approx(other.interval[:2])


def test_clusters_of_copies_say_no_more_than_one_sample() -> None:
    """Each sample four times: as clusters, the interval is that of the samples, but for C - 1."""
    rng = np.random.default_rng(6)
    codes = np.arange(200) % 2
    old, new = rng.random(200) < 0.8, rng.random(200) < 0.8 - 0.2 * codes
    own = np.arange(200)
    once = change(new, old, codes, clusters=own)
    copies = change(*(np.tile(x, 4) for x in (new, old, codes)), clusters=np.tile(own, 4))
    assert once.interval is not None and copies.interval is not None
    assert copies.interval[:2] == pytest.approx(once.interval[:2])
    taken_for_more = change(*(np.tile(x, 4) for x in (new, old, codes)))
    assert taken_for_more.interval is not None
    wide = once.interval.upper - once.interval.lower
    assert taken_for_more.interval.upper - taken_for_more.interval.lower < 0.6 * wide


def test_the_lowest_group_s_mean() -> None:
    codes = np.repeat([0, 1], 500)
    old = np.concatenate([np.arange(500) < 450, np.arange(500) < 400])
    new = np.concatenate([np.arange(500) < 250, np.arange(500) < 400])
    found = change(new, old, codes, "lowest")
    assert found.value == pytest.approx(0.5 - 0.8)
    assert found.interval is not None and found.interval.upper < -0.2
    assert change(new, old, codes, "highest").value == pytest.approx(0.8 - 0.9)


def test_nothing_to_tell_apart_has_no_interval() -> None:
    codes = np.arange(20) % 2
    flat = GapSide(values=np.zeros(2), influence=np.zeros(20))
    found = change_of_largest([Paired(codes=codes, new=flat, old=flat)], "difference", level=0.95)
    assert found.interval is None and np.isnan(found.p) and found.reason
    with pytest.raises(ValueError, match="parts: expected at least one"):
        change_of_largest([], "difference", level=0.95)
