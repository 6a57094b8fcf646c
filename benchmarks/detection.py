"""Average precision: beside its peers, its cost under resampling, and how often it covers.

    python benchmarks/detection.py [--cases 10000] [--peers 200] [--sets 150] [--seed 0]

The peers are pycocotools, faster-coco-eval and torchmetrics (which needs torchvision).

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
from collections.abc import Callable, Iterator
from typing import Any

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
from crucibench.stats import clopper_pearson
from crucibench.tasks.detection.matching import AREAS, THRESHOLDS, match
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
    n: int, classes: int, boxes: Floats, rows: NDArray[np.int64], truth: Lists,
    ious: Floats = THRESHOLDS,
) -> DetectionView:  # fmt: skip
    """Returns the view of detections (m, 6): corners, class, score; `rows` their images."""
    order = np.argsort(rows, kind="stable")
    found, lengths = boxes[order], np.bincount(rows, minlength=n)
    columns = found[:, :4], found[:, 4].astype(np.int64), found[:, 5]
    boxes_, labels, scores = (Lists.of(lengths, column) for column in columns)
    matches = match(boxes_, labels, scores, truth, ious)
    ids = np.array([f"{row:032x}" for row in range(n)], dtype=object)
    return DetectionView(ids, tuple(f"c{at}" for at in range(classes)), *matches, len(ious))


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


def seen(
    n: int, classes: int, objects: Entries, found: Entries, ious: Floats = THRESHOLDS
) -> DetectionView:
    """Returns this project's view of a case."""
    truth = np.array(
        [[*one["bbox"], one["category_id"], one["area"], one["iscrowd"]] for one in objects]
    ).reshape(-1, 7)
    images = np.array([one["image_id"] for one in objects], dtype=np.int64)
    boxes = np.array([[*one["bbox"], one["category_id"], one["score"]] for one in found])
    boxes[:, 2:4] += boxes[:, :2]
    rows = np.array([one["image_id"] for one in found], dtype=np.int64)
    targets = Lists.of(np.bincount(images, minlength=n), truth)
    return view_of(n, classes, boxes, rows, targets, ious)


def ours(n: int, classes: int, objects: Entries, found: Entries) -> Floats:
    """Returns this project's numbers, NaN where there is none."""
    view = seen(n, classes, objects, found)
    names = [*metrics_named(_OF_COCO), *metrics_named(["detection-ap-class"])]
    return np.array([
        np.nan if one.make is None else evaluate(one.form, n) for one in numbers_of(names, view)
    ])  # fmt: skip


def theirs(n: int, classes: int, objects: Entries, found: Entries) -> Floats:
    """Returns pycocotools' numbers, NaN for its -1."""
    return summed_up(evaluation(n, classes, objects, found), classes)


def evaluation(n: int, classes: int, objects: Entries, found: Entries) -> Any:
    """Returns pycocotools' evaluation of a case."""
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image} for image in range(n)], "annotations": objects,
        "categories": [{"id": label, "name": str(label)} for label in range(classes)],
    }  # fmt: skip
    truth.createIndex()
    return COCOeval(truth, truth.loadRes(found), "bbox")


def faster(n: int, classes: int, objects: Entries, found: Entries) -> Floats:
    """Returns faster-coco-eval's numbers likewise."""
    from faster_coco_eval import COCO as FASTER
    from faster_coco_eval import COCOeval_faster

    truth = FASTER({
        "images": [{"id": image} for image in range(n)], "annotations": objects,
        "categories": [{"id": label, "name": str(label)} for label in range(classes)],
    })  # fmt: skip
    return summed_up(COCOeval_faster(truth, truth.loadRes(found), "bbox"), classes)


def of_torchmetrics(n: int, classes: int, objects: Entries, found: Entries) -> Floats:
    """Returns torchmetrics' numbers likewise, those of single classes left NaN.

    Cases are given without crowds, and with areas that it measures itself. The thresholds are
    given in double precision: its own, in single precision, miss an IoU of just 0.6.
    """
    import torch
    from torchmetrics.detection import MeanAveragePrecision

    sides: list[list[dict[str, torch.Tensor]]] = []
    for entries, score in ((found, True), (objects, False)):
        side = []
        for image in range(n):
            mine = [one for one in entries if one["image_id"] == image]
            boxes = torch.tensor([one["bbox"] for one in mine], dtype=torch.float64).reshape(-1, 4)
            entry = {"boxes": boxes, "labels": torch.tensor(
                [one["category_id"] for one in mine], dtype=torch.int64)}  # fmt: skip
            if score:
                entry["scores"] = torch.tensor([one["score"] for one in mine], dtype=torch.float64)
            side.append(entry)
        sides.append(side)
    grids = {
        "iou_thresholds": np.linspace(0.5, 0.95, 10).tolist(),
        "rec_thresholds": np.linspace(0.0, 1.0, 101).tolist(),
    }  # fmt: skip
    metric = MeanAveragePrecision(box_format="xywh", backend="faster_coco_eval", **grids)
    metric.warn_on_many_detections = False
    metric.update(*sides)
    names = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "mar_1", "mar_10",
             "mar_100")  # fmt: skip
    made = metric.compute()
    numbers = np.array([float(made[name]) for name in names] + [np.nan] * classes)
    return np.where(numbers == -1, np.nan, numbers)


def summed_up(ran: Any, classes: int) -> Floats:
    """Runs an evaluation of pycocotools' form; NaN for its -1."""
    ran.evaluate()
    ran.accumulate()
    ran.summarize()
    by_class = [ran.eval["precision"][:, :, label, 0, 2] for label in range(classes)]
    means = [one[one > -1].mean() if (one > -1).any() else -1 for one in by_class]
    numbers = np.concatenate([ran.stats[:9], means])
    return np.where(numbers == -1, np.nan, numbers)


def parity(name: str, peer: Callable[..., Floats], cases: int, seed: int) -> str:
    """Returns a sentence on how far a peer and this project lie apart."""
    rng = np.random.default_rng(seed)
    apart, compared, only = 0.0, 0, 0
    plain = peer is of_torchmetrics
    for _ in range(cases):
        n, classes, objects, found = case(rng)
        if plain:
            objects = [{**one, "iscrowd": 0, "area": float(np.prod(one["bbox"][2:]))}
                       for one in objects]  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()):
            first = peer(n, classes, objects, found)
        second = ours(n, classes, objects, found)
        asked = np.arange(len(first)) < 9 if plain else np.ones(len(first), dtype=bool)
        only += int((np.isnan(first) != np.isnan(second))[asked].sum())
        there = asked & ~np.isnan(first) & ~np.isnan(second)
        compared += int(there.sum())
        apart = max(apart, float(np.abs(first - second)[there].max(initial=0.0)))
    alone = f"{only:,} numbers have" if only else "no number has"
    return (
        f"{cases:,} random cases beside {name}{', without crowds' if plain else ''}, {compared:,} "
        f"numbers: at most {apart:.1e} apart; {alone} a value in one of both alone."
    )


def grids(cases: int, seed: int) -> str:
    """Returns a sentence on AP at other IoU thresholds, up to six of them, beside pycocotools."""
    rng, apart, compared = np.random.default_rng(seed), 0.0, 0
    for _ in range(cases):
        made = case(rng)
        ious = np.unique(rng.choice(np.arange(1, 21) / 20, rng.integers(1, 7)))
        view = seen(*made, ious)
        with contextlib.redirect_stdout(io.StringIO()):
            ran = evaluation(*made)
            ran.params.iouThrs = ious
            ran.evaluate()
            ran.accumulate()
        for area, name in enumerate(AREAS):
            known = ran.eval["precision"][:, :, :, area, 2]
            mine = average_precision(view, area=name).value().value
            if (known > -1).any():
                apart = max(apart, abs(float(known[known > -1].mean()) - (mine or 0.0)))
                compared += 1
            elif mine is not None:
                apart = np.inf
    return (
        f"{cases:,} random cases at up to six other IoU thresholds from 0.05 to 1, {compared:,} "
        f"numbers of pycocotools: at most {apart:.1e} apart."
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


def coverage(sets: int, seed: int) -> tuple[list[list[str]], str]:
    """Returns a row for each size and metric, and a sentence on the simultaneous bound."""
    rng, blur = np.random.default_rng(seed), (0.06, 0.08)
    population = drawn(rng, POPULATION, blur)
    many = [values(view) for view in population]
    tallied: list[tuple[int, int]] = []
    scenario, found = Clean.of("accuracy", train=False, kind=task_kinds().get("detection")), []
    for n in SIZES:
        alike = []
        for view in population:
            parts = [values(part) for part in split(view, n)]
            alike.append({name: float(np.mean([part[name] for part in parts])) for name in METRICS})
        hits: Counter[tuple[str, str]] = Counter()
        plain: Counter[str] = Counter()
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
                # A row without an interval bears no claim either.
                bears = not row.mark and row.lower is not None
                plain[row.metric] += bears
                hits[row.metric, "unmarked"] += bears and holds(row, alike[0][row.metric])
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
        # A number that is mostly marked bears no claim.
        tallied += [(hits[name, "unmarked"], plain[name]) for name in METRICS
                    if 2 * plain[name] >= sets]  # fmt: skip
        tallied += [(hits[name, "alike difference"], sets) for name in METRICS
                    if 2 * plain[name] >= sets]  # fmt: skip
    level = 1 - 2 * 0.05 / len(tallied)
    bounds = [clopper_pearson(hit, count, level).upper for hit, count in tallied]
    return found, (
        f"Of {len(tallied)} tallies of numbers that mostly have an interval and no mark (such "
        "rows, and differences, that hold the mean of such sets), the least has a simultaneous "
        f"95 % upper bound of {100 * min(bounds):.1f} %; {sum(one < 0.935 for one in bounds)} "
        "have one under 93.5 %."
    )


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
    of_peers = []
    owners = np.repeat(np.arange(n), counts)
    entries: list[Entries] = [
        [{"id": at + 1, "image_id": int(owners[at]), "category_id": int(label[at]), "iscrowd": 0,
          "bbox": [*corner[at].tolist(), *size[at].tolist()], "area": float(size[at].prod())}
         for at in range(m)],
        [{"image_id": int(image), "category_id": int(one[4]), "score": float(one[5]),
          "bbox": [*one[:2].tolist(), *(one[2:4] - one[:2]).tolist()]}
         for image, one in zip(images, boxes, strict=True)],
    ]  # fmt: skip
    for name, peer in (("this project", ours), ("pycocotools", theirs),
                       ("faster-coco-eval", faster)):  # fmt: skip
        start = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            peer(n, classes, *entries)
        of_peers.append(f"{name} {time.process_time() - start:.2f}")
    return (
        f"1,000 images, {classes} classes, {m:,} objects and {len(boxes):,} detections: matched in "
        f"{matched:.1f} CPU s, then 1,000 replicates of AP in {replicates:.1f} CPU s. From lists "
        "of entries to the nine numbers and AP by class, in CPU s, once each: "
        f"{', '.join(of_peers)}. {load()}"
    )


def main() -> None:
    """Measures, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--peers", type=int, default=200)
    parser.add_argument("--sets", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows, bound = coverage(options.sets, options.seed)
    lines = [
        f"    python benchmarks/detection.py --cases {options.cases} --peers {options.peers} "
        f"--sets {options.sets} --seed {options.seed}",
        "", parity("pycocotools", theirs, options.cases, options.seed),
        "", parity("faster-coco-eval", faster, options.peers, options.seed),
        "", grids(options.peers, options.seed),
        "", parity("torchmetrics", of_torchmetrics, options.peers, options.seed),
        "", cost(options.seed), "",
        f"How many of {options.sets} intervals at 95 % hold the truth, in %, with 1,000 "
        "replicates: the mean number of sets of as many images, and that of "
        f"{POPULATION:,} images; of one detector, and of the difference to another that answers "
        "the same images. A row without an interval counts as one that does not hold it; kinds of "
        "errors that fewer than 10 images have are marked imprecise in reports.", "", bound, "",
        *table(
            ["images", "metric", "mean of such sets", f"of {POPULATION:,}", "holds the mean",
             "holds the other", "difference: mean", "difference: other"],
            rows,
        ),
    ]  # fmt: skip
    publish("detection", "Detection: parity, cost and coverage", lines, "pycocotools",
            "faster-coco-eval", "torchmetrics", "numpy")  # fmt: skip


if __name__ == "__main__":
    main()
