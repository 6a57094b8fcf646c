"""How many weights an estimator has learnt, where that is a question for its kind."""

from __future__ import annotations

from typing import Any

import numpy as np

_NAMES = ("coef_", "intercept_", "coefs_", "intercepts_")


def count_weights(estimator: Any) -> int | None:
    """Returns the weights of a linear model or a network of layers; None for other kinds."""
    count = 0
    for name in _NAMES:
        value = getattr(estimator, name, None)
        if isinstance(value, np.ndarray | float | list):
            arrays = value if isinstance(value, list) else [value]
            count += sum(np.size(array) for array in arrays)
    return count or None
