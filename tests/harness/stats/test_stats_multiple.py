"""Adjusted p-values against statsmodels."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from statsmodels.stats.multitest import multipletests

from crucibench.stats import holm


@pytest.fixture(autouse=True, scope="module")
def _no_collection() -> Iterator[None]:
    """Statsmodels' Holm collects garbage at each call, which takes long beside all else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gc.collect", lambda: 0)
        yield


@settings(deadline=None, max_examples=40)
@given(
    p=st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.05, 1.0]), min_size=1, max_size=30)
)
def test_equal_statsmodels(
    p: list[float],
) -> None:
    assert_allclose(holm(p), multipletests(p, method="holm")[1], rtol=0, atol=1e-12)
    assert (holm(p) >= np.asarray(p) - 1e-15).all()


def test_a_worked_example() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert_allclose(holm(p), [0.03, 0.06, 0.06, 0.02])


def test_tests_that_could_not_be_made_are_not_counted() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03, np.nan])
    assert_array_equal(holm(p)[[1, 4]], [np.nan, np.nan])
    assert_allclose(holm(p)[[0, 2, 3]], multipletests(p[[0, 2, 3]], method="holm")[1], rtol=1e-12)
    assert np.isnan(holm([np.nan])).all()
    assert holm([]).shape == (0,)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.1, np.nan, 1.5], r"p_values: expected values in \[0, 1\], got .*1.5.* at 2"),
        ([[0.1]], "p_values: expected one dimension of numbers"),
        ([0.1, None], "p_values: expected one dimension of numbers"),
    ],
)
def test_what_is_no_p_value_is_refused(values: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        holm(values)
