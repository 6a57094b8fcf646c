"""Intervals from influence functions against DeLong, the jackknife and exact bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crucibench.metrics.ranking import auroc_statistic, fpr_at_tpr_statistic
from crucibench.stats import (
    clopper_pearson,
    delong,
    delong_interval,
    hoeffding_interval,
    linearised_error,
    linearised_interval,
)


def test_of_an_auroc_it_is_delongs() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(300) < 120
    scores = rng.normal(size=300) + truth
    area = auroc_statistic(scores, truth)
    assert area.influence is not None
    found = linearised_interval(area.value().value or 0, area.influence())
    expected = delong_interval(scores, truth)
    assert found is not None and found.method == "linearised-logit"
    np.testing.assert_allclose(found[:2], expected[:2], rtol=3e-3)
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


def test_hoeffding_of_pairs_that_all_agree_is_exact() -> None:
    assert hoeffding_interval(1.0, 20).lower == pytest.approx(clopper_pearson(20, 20).lower)
    found = hoeffding_interval(0.7, 50)
    exact = clopper_pearson(35, 50)
    assert found.lower < exact.lower < 0.7 < exact.upper < found.upper
