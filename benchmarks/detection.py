"""Average precision: beside pycocotools, its cost under resampling, and how often it covers.

    python benchmarks/detection.py [--cases 10000] [--sets 150] [--seed 0]

Cases are small sets of images with crowds, ties, empty images, boxes of all sizes and more than 100
detections of a class. Coverage is that of the product's own rows and differences, over sets of 100
and 500 images with 4 classes and 1.2 objects an image, quality varying from image to image.
Interpolation lifts AP on few images, so that there are two truths: the mean AP of sets of that
size, which intervals are of, and the AP of 60,000 images.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
from _report import load, publish, table
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from crucibench.comparing.cell import FormPair, measure_cell
from crucibench.comparing.resampled import ResamplingSettings
from crucibench.contracts.audit import example_cell, example_evidence
from crucibench.contracts.lists import Lists
from crucibench.contracts.metric import metrics_named
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Interval, Number
from crucibench.contracts.task import task_kinds
from crucibench.metrics.forms import evaluate
from crucibench.metrics.numbers import numbers_of
from crucibench.metrics.scoring import rows_of
from crucibench.tasks.detection.matching import match
from crucibench.tasks.detection.precision import DetectionView, average_precision
from crucibench_suites.accuracy.scenario import Clean

LEVEL = 0.95
SIZES = (100, 500)
POPULATION = 60_000
CLASSES = 4
_OF_COCO = task_kinds().get("detection").metrics[:9]
METRICS = (*_OF_COCO, "detection-missed", "detection-badly-localised", "detection-background")

Floats = NDArray[np.float64]
Entries = list[dict[str, object]]


def view_of(
    n: int, classes: int, boxes: Floats, rows: NDArray[np.int64], truth: Lists
) -> DetectionView:
    """Returns the view of detections (m, 6): corners, class, score; `rows` their images."""
    order = np.argsort(rows, kind="stable")
    found, lengths = boxes[order], np.bincount(rows, minlength=n)
    columns = found[:, :4], found[:, 4].astype(np.int64), found[:, 5]
    matches = match(*(Lists.of(lengths, column) for column in columns), truth)
    ids = np.array([f"{row:032x}" for row in range(n)], dtype=object)
    return DetectionView(ids, tuple(f"c{at}" for at in range(classes)), *matches)


def case(rng: np.random.Generator) -> tuple[int, int, Entries, Entries]:
    """Returns the number of images and classes, objects and detections of a random case."""
    n, classes = int(rng.integers(1, 7)), int(rng.integers(1, 4))
    objects: Entries = []
    found: Entries = []

    def detect(image: int, label: int, box: Floats) -> None:
        score = rng.choice([0.1, 0.3, 0.5, 0.9]) if rng.random() < 0.5 else rng.random()
        found.append({"image_id": image, "category_id": label, "bbox": box.tolist(),
                      "score": float(score)})  # fmt: skip

    for image in range(n):
        for _ in range(rng.integers(0, 6)):
            whole = rng.random() < 0.5
            side = rng.choice([10, 40, 120])
            box = rng.uniform(0, side, 4) + np.array([0, 0, 1, 1])
            box = np.round(box) if whole else box
            label = int(rng.integers(classes))
            objects.append({
                "id": len(objects) + 1, "image_id": image, "category_id": label,
                "bbox": box.tolist(), "area": float(box[2] * box[3] * rng.uniform(0.5, 1)),
                "iscrowd": int(rng.random() < 0.15),
            })  # fmt: skip
            for _ in range(rng.integers(0, 4)):
                near = box + rng.normal(0, 0.1 * side, 4) * rng.random()
                near = np.round(near) if whole else near
                near[2:] = np.maximum(near[2:], 0.5)
                detect(image, label if rng.random() < 0.8 else int(rng.integers(classes)), near)
    for _ in range(130 if rng.random() < 0.1 else 1):
        detect(0, 0, np.concatenate([rng.uniform(0, 20, 2), rng.uniform(1, 20, 2)]))
    return n, classes, objects, found


def ours(n: int, classes: int, objects: Entries, found: Entries) -> Floats:
    """Returns this project's numbers, NaN where there is none."""
    truth = np.array(
        [[*one["bbox"], one["category_id"], one["area"], one["iscrowd"]] for one in objects]
    ).reshape(-1, 7)
    images = np.array([one["image_id"] for one in objects], dtype=np.int64)
    boxes = np.array([[*one["bbox"], one["category_id"], one["score"]] for one in found])
    boxes[:, 2:4] += boxes[:, :2]
    rows = np.array([one["image_id"] for one in found], dtype=np.int64)
    view = view_of(n, classes, boxes, rows, Lists.of(np.bincount(images, minlength=n), truth))
    names = [*metrics_named(_OF_COCO), *metrics_named(["detection-ap-class"])]
    return np.array([
        np.nan if one.make is None else evaluate(one.form, n) for one in numbers_of(names, view)
    ])  # fmt: skip


def theirs(n: int, classes: int, objects: Entries, found: Entries) -> Floats:
    """Returns pycocotools' numbers, NaN for its -1."""
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image} for image in range(n)], "annotations": objects,
        "categories": [{"id": label, "name": str(label)} for label in range(classes)],
    }  # fmt: skip
    truth.createIndex()
    ran = COCOeval(truth, truth.loadRes(found), "bbox")
    ran.evaluate()
    ran.accumulate()
    ran.summarize()
    by_class = [ran.eval["precision"][:, :, label, 0, 2] for label in range(classes)]
    means = [one[one > -1].mean() if (one > -1).any() else -1 for one in by_class]
    numbers = np.concatenate([ran.stats[:9], means])
    return np.where(numbers == -1, np.nan, numbers)


def parity(cases: int, seed: int) -> str:
    """Returns a sentence on how far pycocotools and this project lie apart."""
    rng = np.random.default_rng(seed)
    apart, compared = 0.0, 0
    for _ in range(cases):
        made = case(rng)
        with contextlib.redirect_stdout(io.StringIO()):
            first, second = theirs(*made), ours(*made)
        if (np.isnan(first) != np.isnan(second)).any():
            raise SystemExit(f"one has a number where the other has none: {first} {second}")
        there = ~np.isnan(first)
        compared += int(there.sum())
        apart = max(apart, float(np.abs(first - second)[there].max(initial=0.0)))
    return (
        f"{cases:,} random cases beside pycocotools, {compared:,} numbers: at most {apart:.1e} "
        "apart; both have a number or neither has."
    )


def drawn(rng: np.random.Generator, n: int, blur: tuple[float, ...]) -> list[DetectionView]:
    """Returns what detectors, each with its error of localisation, find in the same n images."""
    counts = rng.poisson(1.2, n)
    m, rows, quality = int(counts.sum()), np.repeat(np.arange(n), counts), rng.normal(0, 0.5, n)
    side = rng.choice([20.0, 60.0, 160.0], m)[:, None]
    corner = np.column_stack([rng.uniform(0, 400, m), rng.uniform(0, 300, m)])
    size, label = side * rng.uniform(0.6, 1.2, (m, 2)), rng.integers(0, CLASSES, m)
    truth = Lists.of(counts, np.column_stack([corner, size, label, size.prod(axis=1), np.zeros(m)]))
    shared, views = rng.normal(0, 1, (m, 4)), []
    for one in blur:
        kept = rng.random(m) < 1 / (1 + np.exp(-(1.5 + quality[rows])))
        named = np.where(rng.random(m) < 0.15, rng.integers(0, CLASSES, m), label)
        error = (0.8 * shared + 0.6 * rng.normal(0, 1, (m, 4))) * side * one
        box = np.column_stack([corner, corner + size])
        box += error * np.exp(-0.3 * quality[rows])[:, None]
        box[:, 2:] = np.maximum(box[:, 2:], box[:, :2] + 1)
        score = 1 / (1 + np.exp(-rng.normal(1 + 0.5 * quality[rows], 1)))
        extra = rng.poisson(0.8, n)
        k = int(extra.sum())
        start = np.column_stack([rng.uniform(0, 400, k), rng.uniform(0, 300, k)])
        false = np.column_stack([
            start, start + rng.uniform(10, 160, (k, 2)), rng.integers(0, CLASSES, k),
            1 / (1 + np.exp(-rng.normal(-0.8, 1, k))),
        ])  # fmt: skip
        boxes = np.concatenate([np.column_stack([box, named, score])[kept], false])
        images = np.concatenate([rows[kept], np.repeat(np.arange(n), extra)])
        views.append(view_of(n, CLASSES, boxes, images, truth))
    return views


def numbers(view: DetectionView) -> list[Number]:
    """Returns the numbers that a run makes of a view, those of single classes apart."""
    return numbers_of(metrics_named(METRICS), view)


def values(view: DetectionView) -> dict[str, float]:
    """Returns the value of each metric."""
    return {one.metric: evaluate(one.form, len(view)) for one in numbers(view)}


def holds(bounds: Row | Interval, truth: float) -> bool:
    """Whether there is an interval, and the truth lies in it."""
    return (
        bounds.lower is not None
        and bounds.upper is not None
        and bounds.lower <= truth <= bounds.upper
    )


def split(view: DetectionView, n: int) -> Iterator[DetectionView]:
    """Yields a view's images n at a time."""
    for start in range(0, len(view) - n + 1, n):
        rows = np.arange(start, start + n)
        yield DetectionView(view.ids[rows], view.classes, view.matches[rows], view.objects[rows])


def coverage(sets: int, seed: int) -> list[list[str]]:
    """Returns a row for each size and metric."""
    rng, blur = np.random.default_rng(seed), (0.06, 0.08)
    population = drawn(rng, POPULATION, blur)
    many = [values(view) for view in population]
    scenario, found = Clean.of("accuracy", train=False, kind=task_kinds().get("detection")), []
    for n in SIZES:
        alike = []
        for view in population:
            parts = [values(part) for part in split(view, n)]
            alike.append({name: float(np.mean([part[name] for part in parts])) for name in METRICS})
        hits: Counter[tuple[str, str]] = Counter()
        for at in range(sets):
            views = drawn(rng, n, blur)
            evidence = example_evidence(
                example_cell({"prediction": np.zeros(n)}, np.zeros(n)), classes=views[0].classes
            )
            options = evidence.options.__class__(replicates=1000, seed=at)
            evidence = evidence.__class__(
                own=evidence.own, needs={}, data=evidence.data, options=options
            )
            for row in rows_of(numbers(views[0]), scenario, evidence):
                for what, truth in (("alike", alike), ("many", many)):
                    hits[row.metric, what] += holds(row, truth[0][row.metric])
            pairs = {
                (one.metric, "", ""): FormPair(one.form, other.form)
                for one, other in zip(*map(numbers, views), strict=True)
            }
            settings = ResamplingSettings(replicates=1000, seed=at)
            for (name, *_), one in measure_cell(pairs, views[0].ids, settings=settings).items():
                for what, truth in (("alike difference", alike), ("many difference", many)):
                    true = truth[1][name] - truth[0][name]
                    hits[name, what] += one.interval is not None and holds(one.interval, true)
        found += [
            [str(n), name, f"{alike[0][name]:.3f}", f"{many[0][name]:.3f}",
             *(f"{100 * hits[name, what] / sets:.1f}"
               for what in ("alike", "many", "alike difference", "many difference"))]
            for name in METRICS
        ]  # fmt: skip
    return found


def cost(seed: int) -> str:
    """Returns a sentence on 1,000 replicates of AP on 1,000 images with 20 classes."""
    rng, n, classes = np.random.default_rng(seed), 1000, 20
    counts = rng.poisson(7.0, n)
    m = int(counts.sum())
    corner, size = rng.uniform(0, 400, (m, 2)), rng.uniform(10, 160, (m, 2))
    label = rng.integers(0, classes, m)
    truth = Lists.of(counts, np.column_stack([corner, size, label, size.prod(axis=1), np.zeros(m)]))
    near = np.column_stack([corner, corner + size]) + rng.normal(0, 4, (m, 4))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    far = rng.uniform(0, 400, (2 * m, 2))
    boxes = np.concatenate([
        np.column_stack([near, label, rng.beta(5, 2, m)]),
        np.column_stack([far, far + rng.uniform(10, 160, (2 * m, 2)),
                         rng.integers(0, classes, 2 * m), rng.beta(2, 5, 2 * m)]),
    ])  # fmt: skip
    images = np.concatenate([np.repeat(np.arange(n), counts), rng.integers(0, n, 2 * m)])
    start = time.process_time()
    view = view_of(n, classes, boxes, images, truth)
    matched = time.process_time() - start
    weights = rng.multinomial(n, np.full(n, 1 / n), 1000).astype(np.float64)
    start = time.process_time()
    average_precision(view)(weights)
    replicates = time.process_time() - start
    return (
        f"1,000 images, {classes} classes, {m:,} objects and {len(boxes):,} detections: matched in "
        f"{matched:.1f} CPU s, then 1,000 replicates of AP in {replicates:.1f} CPU s. {load()}"
    )


def main() -> None:
    """Measures, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--sets", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lines = [
        f"    python benchmarks/detection.py --cases {options.cases} --sets {options.sets} "
        f"--seed {options.seed}",
        "", parity(options.cases, options.seed), "", cost(options.seed), "",
        f"How many of {options.sets} intervals at 95 % hold the truth, in %, with 1,000 "
        "replicates: the mean number of sets of as many images, and that of "
        f"{POPULATION:,} images; of one detector, and of the difference to another that answers "
        "the same images. A row without an interval counts as one that does not hold it; kinds of "
        "errors that fewer than 10 images have are marked imprecise in reports.", "",
        *table(
            ["images", "metric", "mean of such sets", f"of {POPULATION:,}", "holds the mean",
             "holds the other", "difference: mean", "difference: other"],
            coverage(options.sets, options.seed),
        ),
    ]  # fmt: skip
    publish("detection", "Detection: parity, cost and coverage", lines, "pycocotools", "numpy")


if __name__ == "__main__":
    main()
