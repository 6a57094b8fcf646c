"""Orders and ranks; references: NumPy's stable sort, SciPy's ranks."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.stats import rankdata

from crucibench.metrics._ties import TieGroups
from crucibench.stats._checks import codes
from crucibench.stats.ranks import average_ranks, stable_order, tie_groups


@pytest.mark.parametrize("n", [1, 2, 500, 20_000])  # the last is kept for who asks again
@pytest.mark.parametrize("decimals", [0, 2, 4, 15])
def test_orders_are_stable_and_ranks_averaged(n: int, decimals: int) -> None:
    values = np.random.default_rng(n).normal(size=n).round(decimals)
    for _ in range(2):
        assert_array_equal(stable_order(values), np.argsort(values, kind="stable"))
    assert_array_equal(average_ranks(values), rankdata(values))
    order, starts = tie_groups(values)
    assert_array_equal(values[order][starts], np.unique(values))


def test_a_kept_order_is_that_of_the_values_as_they_were() -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    stable_order(values)
    values[:10] += 1.0
    assert_array_equal(stable_order(values), np.argsort(values, kind="stable"))


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.uint64, "U6"])
@pytest.mark.parametrize("highest", [3, 100, 10_000])
def test_codes_are_numbered_in_sorted_order(kind: type, highest: int) -> None:
    rng = np.random.default_rng(0)
    given = rng.integers(0, min(highest, 100 if kind in {np.int8, np.uint8} else highest), 200)
    names, places = np.unique(given.astype(kind), return_inverse=True)
    found, count = codes("clusters", given.astype(kind), 200)
    assert_array_equal(found, places)
    assert count == len(names)
    assert_array_equal(
        codes("clusters", given - 5, 200)[0], np.unique(given, return_inverse=True)[1]
    )


@pytest.mark.parametrize("n", [0, 1, 30, 20_000])
@pytest.mark.parametrize("decimals", [0, 15])
@pytest.mark.parametrize("descending", [False, True])
def test_groups_of_equal_keys_are_summed(n: int, decimals: int, descending: bool) -> None:
    rng = np.random.default_rng(n)
    key, weights = rng.normal(size=n).round(decimals), rng.integers(0, 3, (2, n)).astype(float)
    groups = TieGroups(key, descending=descending)
    levels, level_of = np.unique(key, return_inverse=True)
    if descending:
        levels, level_of = levels[::-1], len(levels) - 1 - level_of
    expected = [np.bincount(level_of, row, len(levels)) for row in weights]
    assert_array_equal(groups.rows(), level_of)
    assert_array_equal(groups.sums(weights), expected)
    assert_array_equal(groups.first(key), levels)
