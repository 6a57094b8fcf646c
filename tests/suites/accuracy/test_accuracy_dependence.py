from itertools import permutations

import numpy as np
import pytest

from crucibench_suites.accuracy.audits import _agreement, _tenths


@pytest.mark.parametrize("codes", [[0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 2, 2, 2, 2]])
def test_agreement_is_held_against_all_orders_of_the_samples(codes: list[int]) -> None:
    values = np.random.default_rng(0).exponential(size=len(codes))

    def squared_sums(ordered: np.ndarray) -> float:
        sums = np.bincount(codes, ordered - values.mean())
        return float(sums @ sums)

    every = np.array([squared_sums(np.array(order)) for order in permutations(values)])
    sureness, effect = _agreement(values, np.array(codes))
    assert sureness == pytest.approx((squared_sums(values) - every.mean()) / every.std())
    assert effect == pytest.approx(squared_sums(values) / (len(codes) * values.var()))


def test_tenths_hold_a_tenth_each() -> None:
    values = np.random.default_rng(0).permutation(100)
    assert _tenths(values).tolist() == (values // 10).tolist()
