"""Whether a metric keeps its promises: the value of its form is that of its reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.lists import Lists
from crucibench.contracts.metric import Metric
from crucibench.metrics.forms import as_rows, evaluate
from crucibench.metrics.numbers import numbers_of
from crucibench.stats.weighted import sums_of
from crucibench.tasks.classification.view import ClassView
from crucibench.tasks.detection.matching import match
from crucibench.tasks.detection.precision import DetectionView
from crucibench.tasks.multilabel.kind import LabelsView
from crucibench.tasks.regression.kind import NumberView
from crucibench.util.names import Names

_SAMPLES = 60

_DISTINCT = 4
"""Answers of samples whose answers are tied."""

_GROUPS = 7
"""Groups of samples that are left out in turn."""

_STEP = 1e-6
"""Of a sample's weight, for the derivative of a metric by it."""


def check_metric(metric: Metric, views: Sequence[Any] = ()) -> None:
    """Checks that a metric is what its reference says, on samples as they are and repeated.

    Args:
        metric: the metric.
        views: answers as a kind of its own reads them, frozen dataclasses whose arrays and lists
            have a row a sample; by default the metric's
            own examples, or made-up ones of the bundled kinds that it takes.

    Raises:
        AssertionError: naming the promise that is broken, and how.
    """
    _require(bool(metric.info.definition), metric, "has no definition")
    tried = 0
    for view in views or metric.examples() or made_up_views(metric):
        for number in numbers_of([metric], view):
            if number.make is None:
                _require(bool(number.undefined), metric, "gives neither a number nor a reason")
                continue
            tried += _check_number(metric, view, number.group, number.form)
    _require(tried > 0, metric, "is defined for none of the answers that it was tried on")


def made_up_views(metric: Metric) -> list[Any]:
    """Returns answers of the bundled kinds of task that a metric takes."""
    rng = np.random.default_rng(0)
    views: list[Any] = []
    if "classification" in metric.kinds:
        views += [_classes(rng, 2, logits=False), _classes(rng, 7, logits=True)]
        views += [_tied(views[0]), _tied(views[1])]
    if "regression" in metric.kinds:
        targets = rng.normal(size=_SAMPLES)
        answers = targets + rng.normal(size=_SAMPLES)
        views += [NumberView(_ids(), targets, x) for x in (answers, np.round(answers), targets)]
    if "multilabel" in metric.kinds:
        views += [_labels(rng, 4), _labels(rng, 9)]
        views += [replace(one, ranking=(4 * one.ranking).round() / 4) for one in views[:2]]
    if "detection" in metric.kinds:
        views += [_boxes(rng, tied=tied) for tied in (False, True)]
    return views


def _check_number(metric: Metric, view: Any, group: str, form: Any) -> bool:
    given = (group,) if metric.by_class else ()
    value, expected = evaluate(form, len(view)), metric.reference(view, *given)
    if math.isnan(expected):
        _require(math.isnan(value), metric, f"is {value}, but undefined by its reference")
        return False
    _require(
        math.isclose(value, expected, rel_tol=metric.tolerance, abs_tol=metric.tolerance),
        metric, f"is {value!r}, its reference {expected!r}",
    )  # fmt: skip
    _require(
        metric.info.lower - 1e-9 <= value <= metric.info.upper + 1e-9, metric,
        f"is {value}, outside {metric.info.lower} to {metric.info.upper}",
    )  # fmt: skip
    _check_influence(metric, form, len(view))
    _check_sums(metric, form, len(view))
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 3, size=len(view))
    repeated = _take(view, np.repeat(np.arange(len(view)), weights))
    found = float(as_rows(form)(weights[None].astype(np.float64))[0])
    again = metric.reference(repeated, *given)
    _require(
        math.isnan(again) or math.isclose(found, again, rel_tol=1e-6, abs_tol=1e-6), metric,
        f"is {found!r} where samples are counted 0, 1 or 2 times, its reference {again!r}",
    )  # fmt: skip
    return True


def _check_influence(metric: Metric, form: Any, n: int) -> None:
    """Checks influences against central differences."""
    influence = getattr(form, "influence", None) or getattr(as_rows(form), "influence", None)
    found = influence() if influence is not None else None
    if found is None or getattr(form, "closed", None) is not None:
        return  # beside a closed form it is for correlations alone, and may be that of the limit
    up, down = (as_rows(form)(1.0 + step * np.eye(n)) for step in (_STEP, -_STEP))
    slopes = (up - down) / (2 * _STEP)
    # More of the same samples may move a number a little, which is no influence.
    apart = float(np.abs(found - (slopes - slopes.mean())).max())
    stepwise = float(np.abs(slopes).max()) > 1.0 / _STEP**0.5
    _require(
        apart < 1e-5 or stepwise, metric,
        f"has influences that lie {apart:.2g} from its derivatives",
    )  # fmt: skip


def _check_sums(metric: Metric, form: Any, n: int) -> None:
    """Checks a number as a function of sums, where it gives one, against weights."""
    sums = sums_of(as_rows(form))
    if sums is None:
        return
    parts = sums.by_group(np.arange(n) % _GROUPS, _GROUPS)
    whole = sums.by_group(np.zeros(n, dtype=np.intp), 1)
    found = sums.value(np.concatenate([whole, parts.sum(axis=0, keepdims=True)]))
    weighed = as_rows(form)(np.ones((1, n)))
    _require(
        parts.shape == (_GROUPS, sums.count)
        and np.allclose(found, weighed, atol=1e-9, equal_nan=True),
        metric, f"is {found} as a function of sums, {weighed[0]} by weights",
    )  # fmt: skip


def _classes(rng: np.random.Generator, count: int, *, logits: bool) -> ClassView:
    targets = rng.integers(0, count, size=_SAMPLES)
    raw = rng.normal(size=(_SAMPLES, count))
    raw[np.arange(_SAMPLES), targets] += 1.0
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    probabilities = powers / powers.sum(axis=1, keepdims=True)
    return ClassView(
        names=Names(_ids()), targets=targets, predictions=probabilities.argmax(axis=1),
        classes=tuple(f"c{k}" for k in range(count)), scores=raw if logits else probabilities,
        probabilities=probabilities, logits=raw if logits else None, why_none="",
        positive=1 if count == 2 else None, at_threshold=count == 2,
    )  # fmt: skip


def _labels(rng: np.random.Generator, count: int) -> LabelsView:
    """Returns answers of many labels; no sample has the last, and some have none or all others."""
    targets = rng.random((_SAMPLES, count)) < rng.uniform(0.1, 0.9, size=count)
    targets[:5], targets[5:8], targets[:, -1] = False, True, False
    raw = rng.normal(size=targets.shape) + targets
    return LabelsView(
        ids=_ids(), targets=targets, classes=tuple(f"c{k}" for k in range(count)), ranking=raw,
        probabilities=1.0 / (1.0 + np.exp(-raw)),
    )  # fmt: skip


def _tied(view: ClassView) -> ClassView:
    """Returns answers that repeat: those of the first samples, in turn."""
    repeated = _take(view, np.arange(_SAMPLES) % _DISTINCT)
    tied: ClassView = replace(repeated, names=view.names, targets=view.targets)
    return tied


def _boxes(rng: np.random.Generator, *, tied: bool) -> DetectionView:
    lengths = np.arange(_SAMPLES) % 4
    n = int(lengths.sum())
    corners, sizes = rng.uniform(0, 200, (n, 2)), rng.choice([20.0, 60.0, 120.0], n)[:, None]
    labels = rng.integers(0, 3, n)
    sizes = sizes * rng.uniform(0.8, 1.2, (n, 2))
    flags = rng.random(n) < 0.1
    truth = np.column_stack([corners, sizes, labels, sizes.prod(axis=1), flags])
    boxes = np.column_stack([corners, corners + sizes]) + rng.uniform(-6, 6, (n, 4))
    # Tied between images: within one, copies of it would take turns, which no weight says.
    place = np.arange(n) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    scores = 1 - place / 4 if tied else rng.random(n)
    named = np.where(rng.random(n) < 0.2, rng.integers(0, 3, n), labels)
    parts = [Lists.of(lengths, one) for one in (boxes, named, scores, truth)]
    found = match(parts[0], parts[1], parts[2], parts[3])
    return DetectionView(_ids(), ("c0", "c1", "c2"), *found)


def _ids() -> NDArray[np.object_]:
    return np.array([f"{row:032x}" for row in range(_SAMPLES)], dtype=object)


def _take(view: Any, rows: NDArray[np.int64]) -> Any:
    arrays: dict[str, Any] = {
        name: value[rows]
        for name, value in vars(view).items()
        if isinstance(value, np.ndarray | Lists) and name in type(view).__dataclass_fields__
    }
    if isinstance(view, ClassView):
        arrays["names"] = view.names.take(rows)
    return replace(view, **arrays)


def _require(kept: bool, metric: Metric, broken: str) -> None:
    if not kept:
        raise AssertionError(f"metric {metric.name!r} {broken}")
