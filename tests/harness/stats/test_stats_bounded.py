"""Means within bounds, and functions of the confusion table, at the edges."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import beta

from crucibench.metrics.classification import balanced_accuracy, f1_macro, f1_weighted, mcc
from crucibench.stats import bounded_mean, clopper_pearson, share_interval, table_interval
from crucibench.stats.bounded import _beyond
from crucibench.stats.composed import Tables


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (1, 30), (3, 100), (50, 100), (99, 100), (7, 7)])
def test_of_zeros_and_ones_it_is_clopper_pearson(hits: int, n: int) -> None:
    exact = clopper_pearson(hits, n)
    assert_allclose(bounded_mean(np.arange(n) < hits, 0, 1)[:2], exact[:2], atol=4e-3)
    moved = bounded_mean(np.where(np.arange(n) < hits, 3.0, -1.0), -1, 3)
    assert_allclose(moved[:2], 4 * np.array(exact[:2]) - 1, atol=2e-2)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (3, 20), (50, 100), (7, 7)])
def test_with_half_an_unseen_value_ends_are_quantiles_of_beta_laws(hits: int, n: int) -> None:
    found = bounded_mean(np.arange(n) < hits, 0, 1, halved=True)
    upper = beta.ppf(0.975, hits + 0.5, n - hits) if hits < n else 1.0
    lower = beta.ppf(0.025, hits, n - hits + 0.5) if hits else 0.0
    assert_allclose(found[:2], [lower, upper], atol=1e-2)
    assert (found.lower == 0.0, found.upper == 1.0) == (hits == 0, hits == n)
    assert (found.method, found.level) == ("gaffke-halved", 0.95)
    assert bounded_mean([2.0], 2, 2) == (2.0, 2.0, 0.95, "gaffke")


@pytest.mark.parametrize("at", [0.1, 0.24, 0.25, 0.26, 0.6])
def test_of_two_points_the_weight_beyond_is_a_beta_laws(at: float) -> None:
    # 0.25 is the mean, where the saddlepoint's formula has a limit of its own.
    found = _beyond(np.array([0.0, 1.0]), np.array([9.0, 3.0]), at)
    assert found == pytest.approx(beta.sf(at, 3, 9), abs=2e-3)


def test_it_is_the_quantile_of_random_weights() -> None:
    rng = np.random.default_rng(3)
    values = rng.beta(0.3, 3, 40)
    weights = rng.dirichlet(np.ones(41), 200_000)
    found = bounded_mean(values, 0, 1)
    assert_allclose(found.lower, np.quantile(weights @ np.append(values, 0.0), 0.025), atol=1e-3)
    assert_allclose(found.upper, np.quantile(weights @ np.append(values, 1.0), 0.975), atol=1e-3)


def test_of_many_values_it_is_the_normal_interval() -> None:
    values = np.random.default_rng(4).uniform(0.2, 0.9, 20_000)
    half = 1.959964 * values.std() / np.sqrt(values.size)
    found = bounded_mean(values, 0, 1)
    assert_allclose(found[:2], [values.mean() - half, values.mean() + half], atol=0.05 * half)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.booleans())
def test_it_holds_the_mean_and_has_width(values: list[float], halved: bool) -> None:
    found = bounded_mean(values, 0, 1, halved=halved)
    mean = float(np.mean(values))
    assert 0 <= found.lower <= mean + 1e-9 and mean - 1e-9 <= found.upper <= 1
    assert found.upper - found.lower > 0.01
    mirrored = bounded_mean(1 - np.array(values), 0, 1, halved=halved)
    assert_allclose(mirrored[:2], [1 - found.upper, 1 - found.lower], atol=1e-6)


def test_a_rare_large_loss_is_covered() -> None:
    # A model that is right 99 times of 100: the bootstrap covers 45 and 70 %.
    rng = np.random.default_rng(5)
    for n in (30, 100):
        covered = 0
        for _ in range(300):
            losses = np.where(rng.random(n) < 0.01, rng.uniform(0.3, 1, n), 1e-3)
            found = bounded_mean(losses, 0, 1)
            covered += found.lower <= 0.99 * 1e-3 + 0.01 * 0.65 <= found.upper
        assert covered >= 280


def test_many_values_are_grouped_without_moving_the_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    for values in (
        np.random.default_rng(0).beta(0.3, 2.0, 140_000),
        np.random.default_rng(1).random(140_000) < 1e-4,
    ):
        grouped = bounded_mean(values, 0.0, 1.0)
        with monkeypatch.context() as patch:
            patch.setattr("crucibench.stats.bounded._MANY", len(values))
            each = bounded_mean(values, 0.0, 1.0)
        assert grouped[:2] == pytest.approx(each[:2], abs=1e-10)


@pytest.mark.parametrize(
    ("values", "bounds", "message"),
    [([], (0, 1), "at least 1"), ([0.5, 1.2], (0, 1), "got 0.5 to 1.2"), ([np.nan], (0, 1), "nan")],
)
def test_bad_values_are_refused(
    values: list[float], bounds: tuple[float, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        bounded_mean(values, *bounds)


STATISTICS = {"balanced": balanced_accuracy, "macro": f1_macro, "weighted": f1_weighted, "mcc": mcc}


def test_a_mean_of_recalls_is_square_and_add() -> None:
    table = np.array([[40, 10], [5, 95]])
    parts = [share_interval(40, 50), share_interval(95, 100)]
    below = np.hypot(0.8 - parts[0].lower, 0.95 - parts[1].lower) / 2
    above = np.hypot(parts[0].upper - 0.8, parts[1].upper - 0.95) / 2
    found = table_interval(table, balanced_accuracy)
    assert_allclose(found[:2], [0.875 - below, 0.875 + above], rtol=1e-6)


def test_where_much_was_seen_it_is_the_delta_method() -> None:
    table = np.array([[3000, 1000], [800, 3200]])
    rng = np.random.default_rng(6)
    draws = rng.multinomial(8000, table.ravel() / 8000, 20_000).reshape(-1, 2, 2)
    for statistic in STATISTICS.values():
        spread = statistic(draws).std()
        found = table_interval(table, statistic)
        assert_allclose((found.upper - found.lower) / 2, 1.96 * spread, rtol=0.03)


@pytest.mark.parametrize("name", STATISTICS)
@pytest.mark.parametrize(
    "shares",
    [
        [[0.9801, 0.0099], [0.004, 0.006]],
        [[0.4995, 0.0005], [0.0005, 0.4995]],
        [[0.38, 0.01, 0.01], [0.02, 0.53, 0.04], [0.004, 0.001, 0.005]],
    ],
    ids=["prevalence 1 %", "99.9 % right", "three classes"],
)
def test_rare_classes_and_good_models_are_covered(name: str, shares: list[list[float]]) -> None:
    # The bootstrap of the table covers 22 to 92 % here.
    rng, statistic = np.random.default_rng(7), STATISTICS[name]
    truth = float(statistic(np.array([shares]))[0])
    covered = asked = 0
    for _ in range(200):
        table = rng.multinomial(300, np.ravel(shares)).reshape(len(shares), -1)
        if table.sum(axis=1).all() and np.isfinite(statistic(table[None])[0]):
            found = table_interval(table, statistic)
            asked += 1
            covered += found.lower <= truth <= found.upper
    assert covered / asked > 0.95 - 3.5 * np.sqrt(0.95 * 0.05 / asked)


def test_a_table_without_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        table_interval(np.zeros((2, 2)), balanced_accuracy)
    undefined: Tables = mcc
    with pytest.raises(ValueError, match="got none"):
        table_interval(np.array([[5, 5], [0, 0]]), undefined)
