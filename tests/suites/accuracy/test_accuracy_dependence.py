import numpy as np
import pytest

from crucibench_suites.accuracy.audits import _agreement


@pytest.mark.parametrize(("n", "levels"), [(200, 40), (1000, 33)])
def test_agreement_is_held_against_all_orders_of_the_samples(n: int, levels: int) -> None:
    rng = np.random.default_rng(n)
    values, codes = rng.exponential(size=n), rng.integers(0, levels, n)

    def squared_sums(ordered: np.ndarray) -> float:
        sums = np.bincount(codes, ordered - values.mean())
        return float(sums @ sums)

    shuffled = np.array([squared_sums(rng.permutation(values)) for _ in range(4000)])
    sureness, effect = _agreement(values, codes)
    expected = (squared_sums(values) - shuffled.mean()) / shuffled.std()
    assert sureness == pytest.approx(expected, abs=0.1)
    assert effect == pytest.approx(squared_sums(values) / (n * values.var()))
