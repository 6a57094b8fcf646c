"""XGBoost's and LightGBM's classifiers as trees, read from their dumps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.util.errors import InputError

_CHECKED = 64
"""Points at which trees must give what the estimator answers."""

_APART = 1e-4
"""Relative to the largest answer."""

_CATEGORIES = "its trees split categories"

Held = list[tuple[Any, NDArray[np.float64]]]
"""Of each tree its nodes, named as scikit-learn's, and what each adds to its class, (nodes,)."""


def is_booster(estimator: Any) -> bool:
    """Whether it is a classifier of XGBoost or LightGBM."""
    return type(estimator).__module__.partition(".")[0] in {"xgboost", "lightgbm"}


def read_booster(estimator: Any) -> tuple[Held, NDArray[np.float64]]:
    """Returns its trees, in turn of its classes (or of the second of two), and what they add to.

    The start is what the estimator's answers leave when the trees are taken off, which must be one
    everywhere: so a booster that makes something else of its trees is refused.

    Raises:
        InputError: if its trees don't give its answers, or split categories.
    """
    of_xgboost = type(estimator).__module__.startswith("xgboost")
    held = _xgboost(estimator) if of_xgboost else _lightgbm(estimator)
    edges = np.concatenate([one.threshold[one.feature >= 0] for one, _ in held] + [np.zeros(1)])
    width = int(estimator.n_features_in_)
    rng = np.random.default_rng(0)
    rows = rng.uniform(edges.min() - 0.1, edges.max() + 0.1, (_CHECKED, width)).astype(np.float32)
    asked = {"output_margin": True} if of_xgboost else {"raw_score": True}
    answers = np.asarray(estimator.predict(rows, **asked), dtype=np.float64).reshape(_CHECKED, -1)
    added = np.zeros_like(answers)
    for at, (nodes, gives) in enumerate(held):
        added[:, at % answers.shape[1]] += gives[_leaves(nodes, rows)]
    start = np.median(answers - added, axis=0)
    if np.abs(answers - added - start).max() > _APART * (1 + np.abs(answers).max()):
        raise InputError("its trees alone don't give its answers")
    return held, start


def _leaves(nodes: Any, rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns the leaf of each row."""
    at = np.zeros(len(rows), dtype=np.int64)
    while (inner := nodes.feature[at] >= 0).any():
        left = rows[np.arange(len(rows)), nodes.feature[at]] <= nodes.threshold[at]
        child = np.where(left, nodes.children_left[at], nodes.children_right[at])
        at = np.where(inner, child, at)
    return at


def _nodes(
    feature: Sequence[int], threshold: Any, left: Sequence[int], right: Sequence[int]
) -> SimpleNamespace:
    return SimpleNamespace(
        feature=np.asarray(feature, dtype=np.int64), threshold=np.asarray(threshold),
        children_left=np.asarray(left), children_right=np.asarray(right), node_count=len(left),
    )  # fmt: skip


def _xgboost(estimator: Any) -> Held:
    dump = json.loads(bytes(estimator.get_booster().save_raw("json")))["learner"]
    model = dump["gradient_booster"].get("model", {})
    if "trees" not in model:
        raise InputError(f"there is nothing here on boosters of {dump['gradient_booster']['name']}")
    best = getattr(estimator, "best_iteration", None)
    count = len(model["trees"]) if best is None else model["iteration_indptr"][best + 1]
    found: Held = []
    for tree in model["trees"][:count]:
        if any(tree["split_type"]):
            raise InputError(_CATEGORIES)
        left, held = np.array(tree["left_children"]), np.array(tree["split_conditions"])
        # It goes left below the threshold, in float32: up to the number before.
        edge = np.nextafter(held.astype(np.float32), np.float32(-np.inf)).astype(np.float64)
        feature = np.where(left < 0, -2, np.array(tree["split_indices"]))
        found.append((_nodes(feature.tolist(), edge, left.tolist(), tree["right_children"]),
                      np.where(left < 0, held, 0.0)))  # fmt: skip
    return found


def _lightgbm(estimator: Any) -> Held:
    found: Held = []
    for tree in estimator.booster_.dump_model()["tree_info"]:
        order, left, right = [tree["tree_structure"]], [], []
        for node in order:  # grows while it is read
            inner = "left_child" in node
            if inner and node["decision_type"] != "<=":
                raise InputError(_CATEGORIES)
            if inner and node["missing_type"] == "Zero":
                raise InputError("it takes zeros for missing values")
            left.append(len(order) if inner else -1)
            right.append(len(order) + 1 if inner else -1)
            order += [node["left_child"], node["right_child"]] if inner else []
        gives = np.array([node.get("leaf_value", 0.0) for node in order])
        feature = [node.get("split_feature", -2) for node in order]
        edge = np.array([node.get("threshold", 0.0) for node in order], dtype=np.float64)
        found.append((_nodes(feature, edge, left, right), gives))
    return found
