"""Midranks against scipy."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.stats import rankdata

from crucibench.stats import midranks


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from([-math.inf, -2.5, -0.0, 0.0, 1e-300, 3.0, math.inf]), min_size=1))
def test_ties_average_as_in_scipy(values: list[float]) -> None:
    ranks = midranks(values)
    assert ranks.dtype == np.float64
    assert_array_equal(ranks, rankdata(values))
    assert ranks.sum() == len(values) * (len(values) + 1) / 2


def test_many_values() -> None:
    values = np.random.default_rng(0).integers(0, 5000, 20_000)
    assert_array_equal(midranks(values), rankdata(values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "values: expected at least one value, got none"),
        ([1.0, math.nan, math.nan], "no nan value, got 2, the first at position 1"),
        ([[1.0]], r"values: expected one dimension, got shape \(1, 1\)"),
        (["a"], "values: expected an array of numbers"),
    ],
)
def test_what_has_no_rank_is_refused(values: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        midranks(values)
