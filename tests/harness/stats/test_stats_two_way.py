from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from crucibench.stats.two_way import (
    Components,
    TwoSources,
    _welch,
    components_of_one,
    difference_of_recipes,
    rows_alike,
    two_way,
)


def drawn(rng: np.random.Generator, s: int, n: int, training: float) -> np.ndarray:
    """A table whose samples have SD .7, alike for all trainings, and .7 by themselves."""
    return (
        training * rng.normal(size=(s, 1))
        + 0.7 * rng.normal(size=(1, n))
        + 0.7 * rng.normal(size=(s, n))
    )


def test_degrees_of_freedom_are_satterthwaites_up_to_twice_the_fewest() -> None:
    assert _welch([1.0, 9.0], [9, 9]) == pytest.approx(10**2 / (1 / 9 + 81 / 9))
    assert _welch([1.0, 9.0], [2, 50]) == 4


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


def nested(
    rng: np.random.Generator, s: int, g: int, r: int, binary: bool
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Draws answers (s, r, g), and the variance of one training's number by its source."""
    sides = 0.08, 0.15, 0.08
    shapes = (s, 1, 1), (1, 1, g), (s, 1, g)
    share = 0.65 + sum(a * rng.uniform(-1, 1, of) for a, of in zip(sides, shapes, strict=True))
    parts = [side**2 / 3 for side in sides]
    asked = 0.65 * 0.35 - sum(parts) if binary else 0.4**2
    if binary:
        answers = (rng.random((s, r, g)) < share).astype(float)
    else:
        answers = share + 0.4 * rng.normal(size=(s, r, g))
    return answers, (parts[0], parts[1] / g, parts[2] / g, asked / g)


def split(answers: np.ndarray) -> Components:
    return two_way(answers.mean(axis=1), list(answers)).components()


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize(("s", "r"), [(3, 2), (5, 3)])
def test_intervals_of_the_parts_of_a_variance_cover(s: int, r: int, binary: bool) -> None:
    rng, names = np.random.default_rng([s, r]), ("training", "samples", "residual", "repeat")
    hits, sums, truth = np.zeros(4), np.zeros(4), np.zeros(4)
    for _ in range(500):
        answers, truth_ = nested(rng, s, 300, r, binary)
        found, truth = split(answers)._asdict(), np.array(truth_)
        lower, upper = (
            np.array([found[f"{name}_{end}"] for name in names]) for end in ("lower", "upper")
        )
        hits += (lower <= truth) & (truth <= upper)
        sums += [found[name] for name in names]
    assert (hits / 500 >= 0.9).all()
    # None below 0, which moves the smallest part up where few trainings show it.
    assert sums[[0, 1, 3]] / 500 == pytest.approx(truth[[0, 1, 3]], rel=0.15)


def test_the_parts_are_those_of_a_mixed_model() -> None:
    import statsmodels.formula.api as formulas

    rng, (s, r, g) = np.random.default_rng(0), (5, 3, 12)
    answers = 0.4 * rng.normal(size=(s, r, g)) + rng.normal(size=(s, 1, g))
    answers += rng.normal(size=(s, 1, 1)) + rng.normal(size=(1, 1, g))
    t, _, i = np.indices(answers.shape)
    frame = pd.DataFrame({"y": answers.ravel(), "t": t.ravel(), "i": i.ravel(), "whole": 1})
    frame["both"] = 100 * frame.t + frame.i
    formula = {name: f"0 + C({name})" for name in ("both", "i", "t")}
    fitted = formulas.mixedlm("y ~ 1", frame, groups="whole", vc_formula=formula).fit(reml=True)
    found, (both, samples, training) = split(answers), fitted.vcomp
    assert found.training == pytest.approx(training, rel=1e-3)
    scaled = [g * part for part in (found.samples, found.residual, found.repeat)]
    assert scaled == pytest.approx([samples, both, fitted.scale], rel=1e-3)


def test_one_training_tells_samples_from_askings() -> None:
    rng = np.random.default_rng(1)
    answers = rng.normal(size=(1, 5000)) + 0.5 * rng.normal(size=(6, 5000))
    found = components_of_one(answers)
    assert found.training is found.residual is None
    assert 5000 * found.samples == pytest.approx(1.0, rel=0.1)
    assert 5000 * found.repeat == pytest.approx(0.25, rel=0.05)
    assert found.repeat_lower < found.repeat < found.repeat_upper < 1.2 * found.repeat


def test_trainings_that_were_asked_differently_often_share_what_they_show() -> None:
    rng = np.random.default_rng(2)
    answers = rng.normal(size=(6, 1, 4000)) + 0.5 * rng.normal(size=(6, 4, 4000))
    uneven = [one[: 1 + k % 4] for k, one in enumerate(answers)]
    found = two_way([one.mean(axis=0) for one in uneven], uneven).components()
    assert 4000 * found.residual == pytest.approx(1.0, rel=0.05)
    assert 4000 * found.repeat == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize("together", [0.0, 0.1])
def test_rows_are_alike_unless_they_move_together(together: float) -> None:
    rng, level = np.random.default_rng(4), 0.05
    found = []
    for _ in range(400):
        chance = 0.6 + together * rng.uniform(-1, 1, size=(4, 1)) + 0.2 * rng.uniform(-1, 1, 300)
        found.append(rows_alike(two_way((rng.random((4, 300)) < chance).astype(float))) < level)
    assert np.mean(found) < 0.08 if not together else np.mean(found) > 0.5
