"""An estimator that answers with a number of threads, where its kind divides the work at all."""

from __future__ import annotations

import copy
import re
from typing import Any

from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

_THREADS = re.compile(r"threads-([1-9]\d{0,2})")


def in_threads(estimator: Any, name: str) -> tuple[Any, int]:
    """Returns a copy of `estimator` that answers with the threads that a variant names, and how
    many those are.

    Raises:
        InputError: if there is no such variant, or the estimator's answers take one thread anyway.
    """
    threads = _THREADS.fullmatch(name)
    if threads is None:
        raise InputError(unknown("variant", name, ("fp32", "threads-1")))
    count = int(threads[1])
    made = copy.deepcopy(estimator)
    parts = [part for part in _parts(made) if _divides(part)]
    if not parts:
        raise InputError(
            f"variant {name!r} is one for forests, bagging and nearest neighbours (n_jobs): "
            f"{type(estimator).__name__} does not divide the work of an answer"
        )
    for part in parts:
        part.set_params(n_jobs=count)
    return made, count


def _parts(estimator: Any) -> list[Any]:
    from sklearn.pipeline import Pipeline

    if isinstance(estimator, Pipeline):
        return [part for _, step in estimator.steps for part in _parts(step)]
    return [estimator]


def _divides(part: Any) -> bool:
    """Whether answering, and not only fitting, heeds ``n_jobs``."""
    from sklearn.ensemble import BaggingClassifier, BaggingRegressor
    from sklearn.ensemble._forest import BaseForest
    from sklearn.neighbors._base import NeighborsBase

    kinds = (BaseForest, BaggingClassifier, BaggingRegressor, NeighborsBase)
    return isinstance(part, kinds) and "n_jobs" in part.get_params()
