"""Average precision and recall as statistics of weighted images.

Detections are sorted once; a weighting of images then costs cumulative sums over them, and no image
is matched again. Equal scores keep the order of images; those of one image are weighed one after
the other. A class without objects that count has no number, and is left out of means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.lists import Lists
from crucibench.contracts.statistic import Statistic
from crucibench.metrics._rows import row_steps
from crucibench.tasks.detection.matching import AREAS, KINDS, THRESHOLDS

Floats = NDArray[np.float64]

RECALLS: Floats = np.linspace(0.0, 1.0, 101)
_AREA_NAMES = tuple(AREAS)

BINS = 15
"""Of scores, where they are held against the share of right detections."""

SCORE_FROM = 0.5
"""The score from which on a detection enters the kinds of errors."""


@dataclass(frozen=True)
class _Class:
    """The detections of a class, by falling score.

    Attributes:
        images: of each, shape (m,).
        ranks: its place among those of its image and class, shape (m,).
        right: bits of thresholds, shape (m, areas).
        left_out: likewise.
    """

    images: NDArray[np.int64]
    ranks: NDArray[np.int64]
    right: NDArray[np.int64]
    left_out: NDArray[np.int64]


@dataclass(frozen=True)
class DetectionView:
    """What a detector found in n images, as far as metrics need it.

    Attributes:
        ids: sample ids, shape (n,).
        classes: the class names.
        matches: as `crucibench.tasks.detection.matching.Matches`.
        objects: likewise.
        thresholds: of IoU, how many there are in `matches`.
    """

    ids: NDArray[np.object_]
    classes: tuple[str, ...]
    matches: Lists
    objects: Lists
    thresholds: int = len(THRESHOLDS)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def counts(self) -> NDArray[np.float64]:
        """Objects that count by area, class and image, shape (areas, classes, n)."""
        found = np.zeros((len(AREAS), len(self.classes), len(self)))
        values = self.objects.values
        found[:, values[:, 0].astype(np.int64), self.objects.rows] = values[:, 1:].T
        return found

    @cached_property
    def shares(self) -> Floats:
        """The share of each image's objects that is found, over thresholds; 1 without any."""
        bits = self.matches.values[:, 3].astype(np.int64)
        hits = sum((bits >> at) & 1 for at in range(self.thresholds))
        found = np.bincount(self.matches.rows, weights=hits, minlength=len(self)) / self.thresholds
        objects = self.counts[0].sum(axis=0)
        whole: Floats = np.divide(found, objects, out=np.ones(len(self)), where=objects > 0)
        return whole

    @cached_property
    def by_class(self) -> tuple[_Class, ...]:
        """The detections of each class."""
        values, images = self.matches.values, self.matches.rows
        order = np.lexsort((-values[:, 1], values[:, 0]))  # stable: equal scores by image
        labels, rank = values[:, 0], np.arange(len(values))
        starts = np.ones(len(values), dtype=np.bool_)
        starts[1:] = (np.diff(labels) != 0) | (np.diff(images) != 0)
        rank = rank - np.maximum.accumulate(np.where(starts, rank, 0))
        bits = values[:, 3:].astype(np.int64)
        edges = np.searchsorted(labels[order], np.arange(len(self.classes) + 1))
        return tuple(
            _Class(images[part], rank[part], bits[part, : len(AREAS)], bits[part, len(AREAS) :])
            for part in (order[low:high] for low, high in pairwise(edges))
        )

    def undefined(self, area: str, name: str = "") -> str:
        """Returns why a mean over classes, or a class, has no number; "" where it has one."""
        counts = self.counts[_AREA_NAMES.index(area)].sum(axis=1)
        size = "" if area == "all" else f"{area} "
        if name:
            counted = counts[self.classes.index(name)]
            return "" if counted else f"no {size}object of {name} is there"
        return "" if counts.any() else f"no {size}object is there"


def average_precision(
    view: DetectionView,
    area: str = "all",
    thresholds: Sequence[int] | None = None,
    name: str = "",
) -> Statistic:
    """Returns AP: precision at 101 recalls, its mean over thresholds and classes.

    Args:
        view: the detections.
        area: one of `AREAS`.
        thresholds: positions among those of the view; None for all.
        name: of one class; "" for the mean over all that have objects.
    """
    chosen = tuple(range(view.thresholds)) if thresholds is None else tuple(thresholds)
    parts = [_curve(view, index, area, chosen) for index in _indices(view, name)]
    return _mean_over_classes(view, area, name, parts)


def average_recall(view: DetectionView, most: int) -> Statistic:
    """Returns AR: the share of objects found, with at most so many detections an image and class.

    Its mean over thresholds and classes.
    """
    parts = [_recall(view, index, most) for index in _indices(view, "")]
    return _mean_over_classes(view, "all", "", parts)


_Part = Callable[[Floats, Floats], Floats]
"""From weights (b, n) and the weighted number of objects (b,) to a class's number (b,)."""


def _indices(view: DetectionView, name: str) -> Sequence[int]:
    return [view.classes.index(name)] if name else range(len(view.classes))


def _mean_over_classes(
    view: DetectionView, area: str, name: str, parts: Sequence[_Part]
) -> Statistic:
    counts = view.counts[_AREA_NAMES.index(area)]
    pairs = [
        (counts[index], part)
        for index, part in zip(_indices(view, name), parts, strict=True)
        if counts[index].any()
    ]

    def compute(weights: Floats) -> Floats:
        total, defined = np.zeros(len(weights)), np.zeros(len(weights))
        for objects, part in pairs:
            number = weights @ objects
            there = number > 0
            total += np.where(there, part(weights, np.where(there, number, 1.0)), 0.0)
            defined += there
        return total / np.where(defined > 0, defined, np.nan)

    lacking = len(view.classes) - len(pairs)
    note = f"{lacking} of {len(view.classes)} classes without objects left out" if lacking else ""
    widest = max((len(one.images) for one in view.by_class), default=0)
    return Statistic(
        n=len(view), compute=compute, undefined=view.undefined(area, name) or "no object is there",
        note="" if name else note, width=widest,
    )  # fmt: skip


def _curve(view: DetectionView, index: int, area: str, thresholds: tuple[int, ...]) -> _Part:
    found, at = view.by_class[index], _AREA_NAMES.index(area)
    right, left = found.right[:, at], found.left_out[:, at]
    plans = []
    for threshold in thresholds:
        counted = ((left >> threshold) & 1) == 0
        hits = np.flatnonzero((right >> threshold) & 1)
        plans.append((hits, None if counted.all() else counted))

    def compute(weights: Floats, objects: Floats) -> Floats:
        each = weights[:, found.images]
        whole = np.cumsum(each, axis=1)
        total = np.zeros(len(weights))
        for hits, counted in plans:
            if len(hits):
                before = whole if counted is None else np.cumsum(each * counted, axis=1)
                total += _interpolated(each[:, hits], before[:, hits], objects)
        return total / len(plans)

    return compute


def _interpolated(hits: Floats, ranked: Floats, objects: Floats) -> Floats:
    """Returns the mean of precision at 101 recalls.

    Precision is highest where a detection is right, so that only those are looked at.

    Args:
        hits: weights of the right detections, shape (b, k).
        ranked: the weight of all that count up to each, shape (b, k).
        objects: weighted number of objects, shape (b,).
    """
    true = np.cumsum(hits, axis=1)
    precision = true / np.where(ranked > 0, ranked, 1.0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = true / objects[:, None]
    # How many of the 101 recalls are reached: the guess is off by rounding at most.
    reached = np.minimum((recall * 100).astype(np.int64), 100)
    reached += (reached < 100) & (RECALLS[np.minimum(reached + 1, 100)] <= recall)
    reached -= RECALLS[reached] > recall
    steps = row_steps(reached + 1.0)
    return np.asarray(np.einsum("bk,bk->b", steps, best) / len(RECALLS))


def precision_by_recall(view: DetectionView) -> Callable[[Floats], Floats] | None:
    """Returns precision at 101 recalls and an IoU of 0.5 as a function of weights (b, n).

    Its mean over the classes that have objects, shape (b, 101); None where there is no object.
    """
    parts = []
    for index, found in enumerate(view.by_class):
        if view.counts[0, index].any():
            hits = np.flatnonzero(found.right[:, 0] & 1)
            parts.append((found, hits, (found.left_out[:, 0] & 1) == 0, view.counts[0, index]))

    def compute(weights: Floats) -> Floats:
        total, defined = np.zeros((len(weights), len(RECALLS))), np.zeros((len(weights), 1))
        for found, hits, counted, objects in parts:
            number = (weights @ objects)[:, None]
            each = weights[:, found.images]
            ranked = np.cumsum(each * counted, axis=1)[:, hits]
            true = np.cumsum(each[:, hits], axis=1)
            precision = true / np.where(ranked > 0, ranked, 1.0)
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            recall = true / np.where(number > 0, number, 1.0)
            for row in range(len(weights)):
                at = np.searchsorted(recall[row], RECALLS - 1e-12)
                total[row] += np.append(best[row], 0.0)[at] * (number[row] > 0)
            defined += number > 0
        return total / np.where(defined > 0, defined, np.nan)

    return compute if parts else None


def _recall(view: DetectionView, index: int, most: int) -> _Part:
    found = view.by_class[index]
    chosen = found.ranks < most
    bits = found.right[chosen, 0]
    hits = sum((bits >> at) & 1 for at in range(view.thresholds))
    per_image = np.bincount(found.images[chosen], weights=hits, minlength=len(view))
    return lambda weights, objects: weights @ per_image / objects / view.thresholds


def errors_by_object(view: DetectionView, kind: str) -> tuple[Floats, Floats]:
    """Returns errors of a kind and objects of each image, both shape (n,).

    Args:
        view: the detections, of which those with a score of at least `SCORE_FROM` enter.
        kind: one of `KINDS`, or ``missed``.
    """
    values = view.matches.values
    objects = view.counts[0].sum(axis=0)
    of_kind = KINDS.index("right" if kind == "missed" else kind)
    chosen = (values[:, 1] >= SCORE_FROM) & (values[:, 2] == of_kind)
    found = np.bincount(view.matches.rows[chosen], minlength=len(view)).astype(np.float64)
    return (objects - found if kind == "missed" else found), objects


def calibration_bins(view: DetectionView) -> tuple[Floats, Floats, Floats]:
    """Returns detections, their scores' sum and how many are right, by image and bin of score.

    At an IoU of 0.5; detections that are left out don't count. Each of shape (n, 15): the bins are
    of one width, from 0 to 1, their upper ends among them.
    """
    values = view.matches.values
    counted = values[:, 2] != KINDS.index("left-out")
    scores = values[counted, 1]
    place = np.clip(np.ceil(scores * BINS).astype(np.int64) - 1, 0, BINS - 1)
    cells = view.matches.rows[counted] * BINS + place
    right = (values[counted, 2] == KINDS.index("right")).astype(np.float64)
    found = (
        np.bincount(cells, weights=weights, minlength=len(view) * BINS).reshape(-1, BINS)
        for weights in (np.ones(len(scores)), scores, right)
    )
    return tuple(found)  # type: ignore[return-value]
