"""The confusion table."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from crucibench.metrics._inputs import IntArray, class_indices, require_same_length


def confusion_table(targets: ArrayLike, predictions: ArrayLike, classes: int) -> IntArray:
    """Counts samples by target (row) and prediction (column).

    Args:
        targets: class indices, shape (n,), in 0..classes-1.
        predictions: class indices, shape (n,).
        classes: the number K of classes, at least 2.

    Returns:
        Shape (K, K), int64.

    Raises:
        ValueError: if indices are out of range, lengths differ or there are fewer than 2 classes.
    """
    if classes < 2:
        raise ValueError(f"classes: expected at least 2, got {classes}")
    truth = class_indices("targets", targets, classes)
    predicted = class_indices("predictions", predictions, classes)
    require_same_length(targets=truth, predictions=predicted)
    cells = truth * classes + predicted
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)
