"""Detectable differences: known answers, the defining equations, enumeration, simulation."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import brentq
from statsmodels.stats.power import NormalIndPower

from crucibench.stats import (
    detectable_mean,
    detectable_paired_proportions,
    required_n_mean,
    required_n_paired_proportions,
)


def test_the_reference_figures() -> None:
    paired = detectable_paired_proportions(10_000, 0.02)
    assert round(100 * paired, 2) == 0.40


@pytest.mark.parametrize("power", [0.3, 0.5, 0.8, 0.99])
@pytest.mark.parametrize("n", [40, 400, 10_000])
def test_paired_solves_connors_equation(n: int, power: float) -> None:
    psi = 0.3
    z_alpha, z_power = scipy.stats.norm.isf(0.025), scipy.stats.norm.ppf(power)

    def excess(d: float) -> float:
        need = z_alpha * math.sqrt(psi) + z_power * math.sqrt(psi - d * d)
        return d * math.sqrt(n) - need

    ours = detectable_paired_proportions(n, psi, power=power)
    if excess(psi) < 0:
        assert ours is None
    else:
        assert_allclose(ours, brentq(excess, 0.0, psi, xtol=1e-14), rtol=1e-9)


def test_paired_is_the_power_of_the_test_by_enumeration() -> None:
    n, psi = 2000, 0.1
    d = detectable_paired_proportions(n, psi)
    m = np.arange(n + 1)
    discordant = scipy.stats.binom.pmf(m, n, psi)
    keep = np.flatnonzero(discordant > 1e-12)
    power = 0.0
    for k in keep:
        b = np.arange(k + 1)
        rejected = np.abs(2 * b - k) > scipy.stats.norm.isf(0.025) * math.sqrt(k)
        hits = scipy.stats.binom.pmf(b, k, (psi + d) / (2 * psi))[rejected].sum()
        power += discordant[k] * hits
    assert abs(power - 0.8) < 0.01


def test_too_few_pairs_show_nothing() -> None:
    assert detectable_paired_proportions(10, 0.02) is None
    assert detectable_paired_proportions(1, 1.0) is None
    assert detectable_paired_proportions(1000, 0.02) is not None


def test_mean_equals_statsmodels() -> None:
    ours = detectable_mean(150, 2.5, power=0.9)
    effect = NormalIndPower().solve_power(
        effect_size=None, nobs1=150, alpha=0.05, power=0.9, ratio=0
    )
    assert_allclose(ours, 2.5 * effect, rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.01, 0.2), st.floats(0.2, 1.0), st.sampled_from([0.6, 0.8, 0.95]))
def test_required_n_is_the_smallest_that_detects(d: float, spread: float, power: float) -> None:
    n = required_n_paired_proportions(-d, spread, power=power)
    assert detectable_paired_proportions(n, spread, power=power) <= d + 1e-12
    if n > 1:
        fewer = detectable_paired_proportions(n - 1, spread, power=power)
        assert fewer is None or fewer > d

    n = required_n_mean(d, spread, power=power)
    assert detectable_mean(n, spread, power=power) <= d + 1e-12
    assert n == 1 or detectable_mean(n - 1, spread, power=power) > d


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detectable_paired_proportions(0, 0.1), "n: expected an integer >= 1, got 0"),
        (
            lambda: detectable_paired_proportions(9, 0.0),
            r"discordance: expected a share in \(0, 1\]",
        ),
        (lambda: detectable_mean(9, 0.0), "standard_deviation: expected a number other than 0"),
        (lambda: required_n_mean(0.0, 1.0), "difference: expected a number other than 0"),
        (lambda: required_n_mean(math.nan, 1.0), "difference: expected a finite number"),
        (lambda: required_n_paired_proportions(0.2, 0.1), "difference: expected at most"),
        (lambda: detectable_mean(9, 1.0, power=0.01), "power: expected more than"),
    ],
)
def test_bad_arguments_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
