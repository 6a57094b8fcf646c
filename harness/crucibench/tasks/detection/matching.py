"""Detections held against the objects of their image, by COCO's rules.

What is kept of an image says nothing of where a box lies: for each detection its class, its score,
and whether it counts as right or is left out, by IoU threshold and range of areas; for each class
how many objects there are.

The rules (Lin et al., Microsoft COCO, ECCV 2014; `pycocotools`): of each class the 100 detections
with the highest scores, equal ones in their order. The highest first, each takes the free object
that it overlaps most, the last of equal ones; an object that counts goes before one that does not.
A crowd may be taken often, and overlap with it is measured by the detection's own area. What takes
an object that does not count is left out, and so is what takes none and is of another size.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.lists import Lists

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
"""IoU from which on a detection is right."""

AREAS = {"all": (0.0, 1e10), "small": (0.0, 1024.0), "medium": (1024.0, 9216.0),
         "large": (9216.0, 1e10)}  # fmt: skip
"""Square pixels, both ends among them: sides of 32 and 96 pixels."""

MOST = 100
"""Detections of a class in an image that count."""

KINDS = ("right", "duplicate", "wrong-class", "badly-localised", "background", "left-out")
"""What a detection is at an IoU of 0.5."""

CROWD, IGNORED = 1, 2
"""Flags of an object that does not count."""

_TOUCHES = 0.1
"""IoU from which on a box lies at an object, though badly (Bolya et al., TIDE, ECCV 2020)."""

_ENDS = np.array(list(AREAS.values()))


class Matches(NamedTuple):
    """What is kept of n images.

    Attributes:
        matches: n lists of (class, score, kind of `KINDS`, for each of `AREAS` the thresholds at
            which it is right as bits, and likewise at which it is left out); by class, and
            within a class by falling score.
        objects: n lists of (class, for each of `AREAS` the objects that count).
    """

    matches: Lists
    objects: Lists


def match(
    boxes: Lists, labels: Lists, scores: Lists, targets: Lists, thresholds: Floats = THRESHOLDS
) -> Matches:
    """Matches the detections of n images.

    Args:
        boxes: (m, 4), left, top, right, bottom.
        labels: (m,), class indices.
        scores: (m,).
        targets: (m, 7), as `crucibench.tasks.detection.kind.Detection` stores them.
        thresholds: of IoU, ascending, at most 52; kinds of errors are those at the first.
    """
    found = []
    for row in range(len(boxes)):
        here = slice(boxes.offsets[row], boxes.offsets[row + 1])
        truth = targets.values[targets.offsets[row] : targets.offsets[row + 1]]
        found.append(
            _image(
                boxes.values[here].astype(np.float64), labels.values[here].astype(np.int64),
                scores.values[here].astype(np.float64), truth, thresholds,
            )
        )  # fmt: skip
    whole = np.concatenate([np.zeros((0, 3 + 2 * len(AREAS))), *found])
    return Matches(Lists.of([len(part) for part in found], whole), _objects(targets))


def _objects(targets: Lists) -> Lists:
    """Returns the objects that count by class and area, a list of classes an image."""
    labels = targets.values[:, 4].astype(np.int64)
    count = int(labels.max(initial=-1)) + 1
    pairs, place = np.unique(targets.rows * count + labels, return_inverse=True)
    sums = [np.bincount(place, weights=counts, minlength=len(pairs))
            for counts in ~_left_out(targets.values)]  # fmt: skip
    lengths = np.bincount(pairs // max(count, 1), minlength=len(targets))
    return Lists.of(lengths, np.column_stack([pairs % max(count, 1), *sums]).astype(np.float64))


def _left_out(truth: Floats) -> Flags:
    """Returns which objects don't count in each range of areas, shape (areas, objects)."""
    return (truth[:, 6] > 0) | _other_size(truth[:, 5])


def _other_size(area: Floats) -> Flags:
    """Returns which lie outside each range of areas, shape (areas, m)."""
    return (area < _ENDS[:, :1]) | (area > _ENDS[:, 1:])


def overlaps(boxes: Floats, truth: Floats) -> Floats:
    """Returns the IoU of detections (d, 4) and objects (g, 7), shape (d, g)."""
    corner = truth[:, :2] + truth[:, 2:4]
    low = np.maximum(boxes[:, None, :2], truth[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], corner[None])
    sides = np.maximum(high - low, 0.0)
    both = sides[..., 0] * sides[..., 1]
    own = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))[:, None]
    whole = own + truth[:, 2] * truth[:, 3] - both
    union = np.where(truth[:, 6] == CROWD, own, whole)
    shares: Floats = np.divide(both, union, out=np.zeros_like(both), where=both > 0)
    return shares


def found_objects(boxes: Lists, labels: Lists, scores: Lists, targets: Lists) -> Lists:
    """Returns at which share of the thresholds each object is found, (m,); NaN where none counts.

    Args:
        boxes: as of `match`.
        labels: likewise.
        scores: likewise.
        targets: likewise.
    """
    shares = np.full(len(targets.values), np.nan)
    for row in range(len(boxes)):
        here = slice(boxes.offsets[row], boxes.offsets[row + 1])
        there = slice(targets.offsets[row], targets.offsets[row + 1])
        truth = targets.values[there]
        ignored, crowd = _left_out(truth), truth[:, 6] == CROWD
        counts = ~ignored[0]
        shares[there] = np.where(counts, 0.0, np.nan)
        if not len(truth) or here.start == here.stop:
            continue
        own = labels.values[here].astype(np.int64)
        order = _counted(own, scores.values[here].astype(np.float64))
        iou = overlaps(boxes.values[here][order].astype(np.float64), truth)
        held = np.zeros((2, len(AREAS), len(THRESHOLDS), len(order)), dtype=np.bool_)
        same = own[order][:, None] == truth[:, 4]
        free = _take(np.where(same, iou, 0.0), ignored, crowd, (held[0], held[1]), THRESHOLDS)
        shares[there][counts] = (~free[0]).mean(axis=0)[counts]
    return Lists(targets.offsets, shares)


def _counted(labels: NDArray[np.int64], scores: Floats) -> NDArray[np.int64]:
    """Returns which detections count, of each class the highest score first."""
    order = np.lexsort((-scores, labels))  # stable: equal scores keep their order
    first = np.searchsorted(labels[order], labels[order])
    return np.asarray(order[np.arange(len(order)) - first < MOST])


def _image(
    boxes: Floats, labels: NDArray[np.int64], scores: Floats, truth: Floats, thresholds: Floats
) -> Floats:
    order = _counted(labels, scores)
    boxes, labels, scores = boxes[order], labels[order], scores[order]
    iou = overlaps(boxes, truth)
    same = labels[:, None] == truth[:, 4]
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    outside, ignored = _other_size(area), _left_out(truth)
    right = np.zeros((len(AREAS), len(thresholds), len(boxes)), dtype=np.bool_)
    left = np.repeat(outside[:, None], len(thresholds), axis=1)
    if len(truth):
        _take(np.where(same, iou, 0.0), ignored, truth[:, 6] == CROWD, (right, left), thresholds)
    kinds = _kinds(iou, same, right[0, 0], left[0, 0], half=thresholds[0])
    bits = 2.0 ** np.arange(len(thresholds)) @ np.concatenate([right, left])
    return np.column_stack([labels, scores, kinds, bits.T])


def _take(
    iou: Floats, ignored: Flags, crowd: Flags, held: tuple[Flags, Flags], thresholds: Floats
) -> Flags:
    """Lets detections, of each class the highest score first, take objects; returns which are left.

    Args:
        iou: of detections and objects, (d, g); 0 where their classes differ.
        ignored: which objects don't count, by area.
        crowd: which are crowds.
        held: which detections are right, (areas, thresholds, d), and which are left out; filled.
        thresholds: of IoU.
    """
    right, left = held
    free = np.ones((len(AREAS), len(thresholds), len(crowd)), dtype=np.bool_)
    needed = np.minimum(thresholds, 1 - 1e-10)[None, :, None]
    area, place = np.arange(len(AREAS))[:, None], np.arange(len(thresholds))
    # An object that counts goes before one that does not.
    before, last = np.where(ignored, 0.0, 2.0)[:, None], len(crowd) - 1
    for row in np.flatnonzero(iou.max(axis=1) >= needed[0, 0]).tolist():
        fits = (free | crowd) & (iou[row] >= needed)
        rank = np.where(fits, iou[row] + before, -1.0)
        chosen = last - rank[..., ::-1].argmax(axis=2)
        taken, spared = fits[area, place, chosen], ignored[area, chosen]
        left[..., row] = np.where(taken, spared, left[..., row])
        right[..., row] = taken & ~spared
        free[area, place, chosen] &= ~taken
    return free


def _kinds(iou: Floats, same: Flags, right: Flags, left: Flags, half: float) -> NDArray[np.int64]:
    own = np.where(same, iou, 0.0).max(axis=1, initial=0.0)
    other = np.where(same, 0.0, iou).max(axis=1, initial=0.0)
    return np.select(
        [left, right, own >= half, other >= half, own >= _TOUCHES], [5, 0, 1, 2, 3], default=4
    )
