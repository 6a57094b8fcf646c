"""Roots: where they are known, and beside `scipy.optimize.brentq`."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from scipy.optimize import brentq

from crucibench.stats.roots import root

FUNCTIONS: dict[str, tuple[Callable[[float], float], float, float]] = {
    "flat beside the root": (lambda x: x**9 - 1e-3, 0.0, 1.0),
    "a step": (lambda x: math.tanh(50 * (x - 0.3)), 0.0, 1.0),
    "falling": (lambda x: 2.0 - math.exp(x), 0.0, 5.0),
    "a root at an end": (lambda x: x - 1.0, 1.0, 2.0),
    "steep at an end": (lambda x: math.log(max(x, 1e-300)) + 5.0, 0.0, 1.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_root_is_that_of_brentq(name: str, swapped: bool) -> None:
    of, low, high = FUNCTIONS[name]
    asked: list[float] = []

    def counted(x: float) -> float:
        asked.append(x)
        return of(x)

    ends = (high, low) if swapped else (low, high)
    assert root(counted, *ends, tolerance=1e-12) == pytest.approx(
        brentq(of, low, high, xtol=1e-13), abs=1e-12
    )
    assert len(asked) < 40 and low <= min(asked) <= max(asked) <= high


def test_an_infinite_value_is_bisected_and_one_sign_is_refused() -> None:
    assert root(lambda x: math.inf if x > 0.25 else x - 0.25, 0, 1, tolerance=1e-9) == (
        pytest.approx(0.25, abs=1e-9)
    )
    with pytest.raises(ValueError, match="one sign at both ends: 1 at 0, 2 at 1"):
        root(lambda x: x + 1.0, 0.0, 1.0, tolerance=1e-9)
