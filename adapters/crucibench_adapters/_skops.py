"""Reading ``.skops`` files: scikit-learn's own types, nothing else unless it is trusted by name.

skops makes sure that a file runs no code of types that the reader does not trust. Trusted here are
the classes that scikit-learn itself defines, with a few helpers that it stores beside them, and the
estimators and boosters of XGBoost and LightGBM, where these are installed: boosters are read by
these libraries' own parsers of model files, from bytes or text, never from an address. Trees
are read too, although scikit-learn follows the node numbers in them without looking: they are
looked at here, before the estimator is used.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crucibench.util.errors import InputError
from crucibench.util.user_errors import one_line, user_traceback

_HELPERS = frozenset(
    {
        "collections.OrderedDict",
        "functools.partial",
        "numpy.dtype",
        "scipy.interpolate._bsplines.BSpline",
        "sklearn.utils.validation.check_array",
    }
)
_BOOSTERS = {"xgboost.core": "xgboost.sklearn", "lightgbm.basic": "lightgbm.sklearn"}
"""Where a class called Booster stands, and the estimators that hold one."""
_FUNCTION_MODULES = ("sklearn.metrics.", "sklearn.feature_selection.")
_LEFT_OUT = frozenset(
    {"externals", "tests", "datasets", "conftest", "_testing", "_mocking", "experimental"}
)
# Their node numbers are followed without looking, as those of trees, and can't be looked at.
_UNCHECKED = frozenset(
    {
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neighbors._kd_tree.KDTree64",
        "sklearn.neighbors._kd_tree.KDTree32",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._ball_tree.BallTree64",
        "sklearn.neighbors._ball_tree.BallTree32",
    }
)


def load_skops(file: Path, trust: Sequence[str]) -> tuple[Any, list[str]]:
    """Returns what is in `file`, and what the libraries warned of.

    Args:
        file: a ``.skops`` file.
        trust: further types that may be loaded, by full name.

    Raises:
        InputError: if it holds types that are not trusted, or can't be read.
    """
    from crucibench_adapters._skops_io import skops_io

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            listed = skops_io.get_untrusted_types(file=file)
            foreign = [name for name in listed if name not in trust and not _is_own(name)]
            estimator = None if foreign else skops_io.load(file, trusted=listed)
        except Exception as error:
            message = f"{file.name} can't be read by skops: {one_line(error)}"
            raise InputError(message, detail=user_traceback(error)) from error
    if foreign:
        raise InputError(
            f"{file.name} holds types that are not scikit-learn's own: {', '.join(foreign)}; "
            f"if you trust them, add trust={','.join(foreign)}"
        )
    for fault in _tree_faults(estimator, None, set()):
        raise InputError(f"{file.name} is damaged or made to do damage: {fault}")
    return estimator, [str(warning.message).splitlines()[0] for warning in caught]


def _is_own(name: str) -> bool:
    """Whether `name` is a class that a known library defines under that name, or a known helper."""
    from sklearn.base import BaseEstimator

    if name in _HELPERS or name in _UNCHECKED:
        return name in _HELPERS
    module, _, attribute = name.rpartition(".")
    parts = module.split(".")
    boosted = attribute == "Booster" if module in _BOOSTERS else module in _BOOSTERS.values()
    if not boosted and (parts[0] != "sklearn" or _LEFT_OUT & set(parts)):
        return False
    try:
        value = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError):
        return False
    if f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}" != name:
        return False  # another module's, imported there
    if boosted:
        return attribute == "Booster" or (
            isinstance(value, type) and issubclass(value, BaseEstimator)
        )
    return isinstance(value, type) or (
        inspect.isfunction(value) and name.startswith(_FUNCTION_MODULES)
    )


def _tree_faults(value: Any, parent: Any, seen: set[int]) -> Iterator[str]:
    """Yields what is wrong with the trees below `value`."""
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
    from sklearn.tree._tree import Tree

    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, list | tuple | set):
        for entry in value:
            yield from _tree_faults(entry, parent, seen)
    elif isinstance(value, dict):
        yield from _tree_faults(list(value.values()), parent, seen)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        yield from _tree_faults(value.ravel().tolist(), parent, seen)
    elif isinstance(value, TreePredictor):
        yield from _predictor_faults(value, parent)
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        tree = vars(value).get("tree_")
        if isinstance(tree, Tree):
            yield from _decision_tree_faults(tree, _columns(value, parent))
        for entry in list(vars(value).values()):
            yield from _tree_faults(entry, value, seen)


def _columns(estimator: Any, parent: Any) -> int:
    """Returns how many columns a tree will be shown: a forest hands its own to its trees."""
    from sklearn.ensemble._forest import BaseForest
    from sklearn.ensemble._gb import BaseGradientBoosting

    counts = [vars(estimator).get("n_features_in_", 0)]
    if isinstance(parent, BaseForest | BaseGradientBoosting):
        counts.append(vars(parent).get("n_features_in_", 0))
    return int(min(counts))


def _decision_tree_faults(tree: Any, columns: int) -> Iterator[str]:
    if not 0 < tree.node_count <= tree.capacity:
        yield f"a tree counts {tree.node_count} nodes and holds {tree.capacity}"
        return
    left, right = tree.children_left, tree.children_right
    inner = left != -1
    yield from _node_faults(left[inner], right[inner], tree.feature[inner], inner, columns)


def _predictor_faults(predictor: Any, parent: Any) -> Iterator[str]:
    nodes = predictor.nodes
    if not len(nodes):
        yield "a tree has no nodes"
        return
    inner = nodes["is_leaf"] == 0
    columns = int(vars(parent).get("n_features_in_", 0)) if parent is not None else 0
    yield from _node_faults(
        nodes["left"][inner].astype(np.int64),
        nodes["right"][inner].astype(np.int64),
        nodes["feature_idx"][inner],
        inner,
        columns,
    )
    categorical = inner & (nodes["is_categorical"] != 0)
    if (nodes["bitset_idx"][categorical] >= len(predictor.raw_left_cat_bitsets)).any():
        yield "a tree names categories that it does not hold"


def _node_faults(left: Any, right: Any, feature: Any, inner: Any, columns: int) -> Iterator[str]:
    # Children come after their parent, so that no path is endless.
    own = np.flatnonzero(inner)
    for children in (left, right):
        if ((children <= own) | (children >= len(inner))).any():
            yield "a tree's node leads nowhere"
            return
    if ((feature < 0) | (feature >= columns)).any():
        yield f"a tree asks for a column beyond the {columns} that there are"
