from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from crucibench.stats.two_way import TwoSources, difference_of_recipes, two_way


def drawn(rng: np.random.Generator, s: int, n: int, training: float) -> np.ndarray:
    """A table whose samples have SD .7, alike for all trainings, and .7 by themselves."""
    return (
        training * rng.normal(size=(s, 1))
        + 0.7 * rng.normal(size=(1, n))
        + 0.7 * rng.normal(size=(s, n))
    )


def test_mean_squares_of_a_table_by_hand() -> None:
    found = two_way([[1.0, 2.0, 3.0], [3.0, 4.0, 8.0]])
    # Row means 2 and 5, column means 2, 3 and 5.5, mean 3.5.
    assert found.estimate == 3.5
    assert found.between == pytest.approx(3 * (1.5**2 + 1.5**2))
    assert found.columnwise == pytest.approx(2 * (1.5**2 + 0.5**2 + 2.0**2) / 2)
    assert found.residual == pytest.approx((0.5**2 * 4 + 1.0**2 * 2) / 2)


def test_without_samples_the_interval_is_students_t() -> None:
    values = np.array([0.71, 0.74, 0.69, 0.80])
    sources = two_way(np.repeat(values[:, None], 50, axis=1)).sources
    expected = stats.t.interval(0.95, 3, values.mean(), stats.sem(values))
    assert sources.interval(values.mean(), 0.95)[:2] == pytest.approx(expected)


@pytest.mark.parametrize(
    "sources", [TwoSources(0.01, 2.5, 0.002, 300), TwoSources(0.0, 4, 0.002, 300)]
)
@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
def test_the_p_value_inverts_the_interval(sources: TwoSources, level: float) -> None:
    assert sources.p(sources.half(level)) == pytest.approx(1 - level, rel=1e-6)
    assert sources.p(0.0) == 1.0 and math.isnan(TwoSources(0.0, 2, 0.0, 9).p(0.1))


@pytest.mark.parametrize("training", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("s", [3, 8])
def test_the_interval_of_a_recipe_covers(s: int, training: float) -> None:
    rng = np.random.default_rng([s, int(100 * training)])
    hits = 0
    for _ in range(1000):
        table = two_way(drawn(rng, s, 60, training))
        interval = table.sources.interval(table.estimate, 0.95)
        hits += interval.lower <= 0 <= interval.upper
    assert 0.93 <= hits / 1000 <= 0.985


@pytest.mark.parametrize(
    ("s", "t", "shared"), [(3, 3, 0), (3, 8, 0), (8, 8, 0), (5, 5, 3), (10, 4, 3), (8, 8, 8)]
)
@pytest.mark.parametrize("training", [0.05, 0.5])
def test_the_interval_of_a_difference_covers(s: int, t: int, shared: int, training: float) -> None:
    rng = np.random.default_rng([s, t, shared, int(100 * training)])
    hits = 0
    for _ in range(800):
        moved = training * rng.normal(size=(s + t, 1))
        # A seed that both sides share moves them alike, in part.
        moved[:shared] = 0.6 * moved[:shared] + 0.8 * moved[s : s + shared]
        table = moved + drawn(rng, s + t, 60, 0.0)
        estimate, sources = difference_of_recipes(table[:s], table[s:], shared=shared)
        hits += abs(estimate) <= sources.half(0.95)
    assert 0.925 <= hits / 800 <= 0.99


def test_shared_seeds_take_out_what_both_sides_share() -> None:
    rng = np.random.default_rng(3)
    shared = drawn(rng, 6, 80, 0.5)
    other = shared + 0.02 * rng.normal(size=shared.shape) + 0.1
    apart = difference_of_recipes(shared, other)
    paired = difference_of_recipes(shared, other, shared=6)
    partly = difference_of_recipes(shared, other, shared=4)
    assert paired[0] == partly[0] == pytest.approx(apart[0])
    assert paired[1].half(0.95) < 0.1 * apart[1].half(0.95)
    assert paired[1].half(0.95) < partly[1].half(0.95) < apart[1].half(0.95)
    # Paired throughout, it is the table of the differences.
    table = two_way(other - shared).sources
    assert paired[1] == pytest.approx(table)
    with pytest.raises(ValueError, match="shared: expected"):
        difference_of_recipes(shared, other, shared=1)


@pytest.mark.parametrize("values", [[[1.0, 2.0]], [[1.0], [2.0]], [[1.0, math.nan], [0.0, 1.0]]])
def test_a_table_that_is_none_is_refused(values: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="values: expected"):
        two_way(values)
