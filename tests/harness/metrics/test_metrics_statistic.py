import numpy as np
import pytest

from crucibench.contracts import statistic
from crucibench.contracts.statistic import Statistic, Value, value_of
from crucibench.metrics.statistic import mean_statistic


def test_a_value_is_a_number_or_a_reason() -> None:
    assert Value(value=0.5, n=4, note="of 4").note == "of 4"
    assert Value(value=None, n=0, reason="no samples").value is None
    with pytest.raises(ValueError, match="expected a value or a reason"):
        Value(value=None, n=3)
    with pytest.raises(ValueError, match="expected a value or a reason"):
        Value(value=1.0, n=3, reason="why")
    with pytest.raises(ValueError, match="expected a finite value, got inf"):
        Value(value=np.inf, n=3)


def test_nan_becomes_none_with_its_reason() -> None:
    assert value_of(np.nan, 2, reason="no positive sample") == Value(
        value=None, n=2, reason="no positive sample"
    )
    assert value_of(0.25, 2, reason="unused") == Value(value=0.25, n=2)
    assert value_of(np.inf, 2, reason="unused").reason == "too large for a 64-bit float"


def test_a_mean_under_weights() -> None:
    mean = mean_statistic([1.0, 2.0, 6.0])
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 0, 0]])
    np.testing.assert_allclose(mean(weights), [3.0, 8 / 3, np.nan])
    assert mean.value() == Value(value=3.0, n=3)


def test_without_rows_everything_is_undefined() -> None:
    empty = mean_statistic([])
    assert empty.value() == Value(value=None, n=0, reason="no samples")
    assert np.isnan(empty(np.zeros((2, 0)))).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"weights: expected shape \(B, 3\), got \(3,\)"),
        (np.ones((2, 4)), r"weights: expected shape \(B, 3\), got \(2, 4\)"),
        ([[1, -1, 1]], r"weights: expected numbers >= 0, got -1"),
        ([[1, np.nan, 1]], r"weights: expected numbers >= 0, got nan"),
    ],
)
def test_bad_weights_are_refused(weights: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_statistic([1.0, 2.0, 3.0])(weights)


def test_bad_columns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"losses: expected shape \(n,\), got \(1, 2\)"):
        mean_statistic([[1.0, 2.0]], name="losses")
    with pytest.raises(ValueError, match=r"losses: expected finite numbers, got nan at \[1\]"):
        mean_statistic([1.0, np.nan], name="losses")


def test_long_weights_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def compute(weights: np.ndarray) -> np.ndarray:
        sizes.append(len(weights))
        return weights[:, 0]

    monkeypatch.setattr(statistic, "_BLOCK", 12)
    weights = np.arange(21).reshape(7, 3)
    assert Statistic(n=3, compute=compute)(weights).tolist() == weights[:, 0].tolist()
    assert sizes == [4, 3]
    sizes.clear()
    Statistic(n=3, compute=compute, width=100)(weights)
    assert sizes == [1] * 7


def test_weights_are_left_as_they_were() -> None:
    weights = np.ones((2, 3))
    mean_statistic([1.0, 2.0, 3.0])(weights)
    assert (weights == 1).all()
