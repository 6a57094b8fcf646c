from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crucibench.data.subset import take
from crucibench.util.draws import order_key

CLASSES = st.lists(st.integers(0, 4), min_size=1, max_size=80)


def names(count: Any) -> Any:
    return [f"{row:032x}" for row in range(count)]


@settings(deadline=None)
@given(CLASSES, st.integers(1, 90), st.integers(1, 90), st.integers(0, 3))
def test_smaller_limits_are_subsets(classes: Any, one: Any, other: Any, seed: Any) -> None:
    targets = np.array(classes)
    small, large = sorted((one, other))
    few = take(names(len(targets)), targets, small, seed)
    many = take(names(len(targets)), targets, large, seed)
    assert set(few) <= set(many)
    assert len(few) == min(small, len(targets))
    assert few.tolist() == sorted(few)
    assert few.dtype == np.int64


@settings(deadline=None)
@given(CLASSES, st.integers(1, 90))
def test_classes_are_cut_at_the_same_fraction(classes: Any, limit: Any) -> None:
    targets = np.array(classes)
    chosen = targets[take(names(len(targets)), targets, limit, 0)]
    # Some fraction f leaves each class with f * size samples, to within half a sample.
    low, high = 0.0, 1.0
    for name in np.unique(targets):
        size, count = (targets == name).sum(), (chosen == name).sum()
        low, high = max(low, (count - 0.5) / size), min(high, (count + 0.5) / size)
    assert low <= high + 1e-12


@settings(deadline=None)
@given(CLASSES, st.integers(1, 90), st.randoms())
def test_order_does_not_matter(classes: Any, limit: Any, random: Any) -> None:
    ids, targets = names(len(classes)), np.array(classes)
    before = {ids[row] for row in take(ids, targets, limit, 0)}
    rows = list(range(len(ids)))
    random.shuffle(rows)
    ids = [ids[row] for row in rows]
    assert {ids[row] for row in take(ids, targets[rows], limit, 0)} == before


def test_numbers_go_by_hash_alone() -> None:
    ids = names(50)
    expected = sorted(range(50), key=lambda row: order_key(3, ids[row]))[:7]
    assert take(ids, np.linspace(0, 1, 50), 7, 3).tolist() == sorted(expected)


def test_the_seed_matters_and_no_limit_takes_all() -> None:
    ids, targets = names(40), np.arange(40) % 2
    assert take(ids, targets, 10, 0).tolist() != take(ids, targets, 10, 1).tolist()
    assert take(ids, targets, None, 0).tolist() == list(range(40))
    assert take(ids, targets, 40, 0).tolist() == list(range(40))
    with pytest.raises(ValueError, match="limit: expected at least 1, got 0"):
        take(ids, targets, 0, 0)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(5, 60), st.integers(1, 20))
def test_a_limit_on_a_limited_part_is_the_limit_on_the_whole(
    seed: int, large: int, small: int
) -> None:
    rng = np.random.default_rng(seed)
    ids = np.array([f"{value:032x}" for value in rng.permutation(200)], dtype=object)
    targets = rng.choice(4, 200, p=[0.6, 0.3, 0.08, 0.02]).astype(np.int64)
    sizes = np.bincount(targets, minlength=4).tolist()
    part = take(ids, targets, large, 7)
    again = take(ids[part], targets[part], min(small, large), 7, sizes)
    assert set(ids[part][again]) == set(ids[take(ids, targets, min(small, large), 7)])
