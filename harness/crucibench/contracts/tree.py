"""A decision tree as plain arrays: what a model can be told about in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A single decision tree over columns of numbers, which it compares as float32.

    A row goes left where its value is no larger than the threshold.

    Attributes:
        columns: names of the columns that nodes look at, by number.
        column: which each node looks at, -1 of leaves, shape (nodes,); node 0 is the root.
        threshold: float64, shape (nodes,).
        left: the node on the left, -1 of leaves.
        right: the node on the right.
        missing_left: whether rows without a value go left.
        label: the class of each leaf, in the data's order; of other nodes anything.
    """

    columns: tuple[str, ...]
    column: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    label: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Trees whose leaves add up to scores: a forest, or boosting.

    Attributes:
        trees: over the same columns; `Tree.label` is the node itself.
        scores: what each node of each tree adds to the scores of the data's classes, (nodes, K).
        base: what they start from, (K,).
        rounding: what adding the scores up may lose, relative to 1 and their largest sizes.
    """

    trees: tuple[Tree, ...]
    scores: tuple[NDArray[np.float64], ...]
    base: NDArray[np.float64]
    rounding: float = 1e-9


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A model whose scores are weight times sample plus bias.

    Attributes:
        weight: shape (K, d).
        bias: shape (K,).
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
