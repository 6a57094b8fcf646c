"""Influence functions are the derivatives of their statistics."""

from __future__ import annotations

import numpy as np
import pytest

from crucibench.contracts.statistic import Statistic
from crucibench.metrics.calibration import calibration_error_statistic
from crucibench.metrics.probabilistic import brier_statistic, log_loss_statistic
from crucibench.metrics.ranking import (
    auroc_ovr_macro_statistic,
    auroc_statistic,
    average_precision_ovr_macro_statistic,
    average_precision_statistic,
)
from crucibench.metrics.regression import rmse_statistic

_RNG = np.random.default_rng(0)
_N = 60
_TIED = _RNG.integers(0, 12, _N) / 12
_TRUE = _RNG.random(_N) < 0.4
_CLASS = _RNG.integers(0, 3, _N)
_MATRIX = _RNG.dirichlet(np.ones(3), _N)


@pytest.mark.parametrize(
    "statistic",
    [
        auroc_statistic(_TIED, _TRUE),
        average_precision_statistic(_TIED, _TRUE),
        auroc_ovr_macro_statistic(_MATRIX, _CLASS),
        average_precision_ovr_macro_statistic(_MATRIX, _CLASS),
        calibration_error_statistic(_TIED, _TRUE),
        brier_statistic(_TIED, _TRUE),
        log_loss_statistic(_MATRIX, _CLASS),
        rmse_statistic(_TIED, 2 * _TIED + _RNG.normal(size=_N)),
    ],
)
def test_influences_are_derivatives(statistic: Statistic) -> None:
    step = 1e-6
    up, down = np.ones((_N, _N)) + step * np.eye(_N), np.ones((_N, _N)) - step * np.eye(_N)
    assert statistic.influence is not None
    found = statistic.influence()
    expected = (statistic(up) - statistic(down)) / (2 * step)
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert found.sum() == pytest.approx(0.0, abs=1e-12)


def test_errors_that_are_all_zero_have_no_influence() -> None:
    influence = rmse_statistic(_TIED, _TIED).influence
    assert influence is not None and not influence().any()
