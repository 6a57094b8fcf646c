"""A fitted decision tree of scikit-learn as plain arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.tree import Tree

_LEAF = -2
"""scikit-learn's number of the column of a leaf."""


def is_tree(estimator: Any) -> bool:
    """Whether it is a decision tree for classes, alone and of one target."""
    from sklearn.tree import DecisionTreeClassifier

    return isinstance(estimator, DecisionTreeClassifier) and estimator.n_outputs_ == 1


def read_tree(
    estimator: Any,
    columns: Sequence[str],
    scores: Callable[[NDArray[np.float64]], NDArray[np.floating[Any]]],
) -> Tree:
    """Returns the tree.

    Args:
        estimator: for which `is_tree` holds.
        columns: names of the columns that it was fitted on, in their order.
        scores: from shares of the estimator's classes (nodes, classes) to scores of the data's.
    """
    held = estimator.tree_
    shares = held.value[:, 0, :]
    shares = shares / shares.sum(axis=1, keepdims=True)
    missing = getattr(held, "missing_go_to_left", np.zeros(held.node_count))
    return Tree(
        columns=tuple(columns),
        column=np.where(held.feature == _LEAF, -1, held.feature).astype(np.int64),
        threshold=held.threshold.astype(np.float64),
        left=held.children_left.astype(np.int64),
        right=held.children_right.astype(np.int64),
        missing_left=missing.astype(np.bool_),
        label=np.asarray(scores(shares).argmax(axis=1), dtype=np.int64),
    )
