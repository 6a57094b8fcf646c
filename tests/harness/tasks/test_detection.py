"""Detection: matching and AP by their definitions, COCO's files, and whole runs."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

import crucibench as cb
from crucibench.cli._app import application
from crucibench.contracts.adapter import Answer
from crucibench.contracts.lists import Lists, from_arrow
from crucibench.store.run import Run
from crucibench.tasks.detection.kind import Detection
from crucibench.tasks.detection.matching import AREAS, KINDS, THRESHOLDS, match, overlaps
from crucibench.tasks.detection.precision import (
    DetectionView,
    average_precision,
    average_recall,
    precision_by_recall,
)
from crucibench.util.coco import read_annotations, read_results
from crucibench.util.errors import InputError
from crucibench_suites.throughput.records import Queries
from crucibench_suites.throughput.scoring import by_objects


def found(*boxes: list[float]) -> tuple[Lists, Lists, Lists]:
    """Returns boxes, labels and scores of one image; a box is corners, class, score."""
    values = np.array(boxes, dtype=float).reshape(-1, 6)
    parts = values[:, :4], values[:, 4].astype(np.int64), values[:, 5]
    boxes_, labels, scores = (Lists.of([len(values)], part) for part in parts)
    return boxes_, labels, scores


def truth(*objects: list[float]) -> Lists:
    """Returns the objects of one image: left, top, width, height, class, and perhaps a flag."""
    rows = [[*one[:5], one[2] * one[3], one[5] if len(one) > 5 else 0] for one in objects]
    return Lists.of([len(rows)], np.array(rows, dtype=float).reshape(-1, 7))


def by_definition(boxes: Any, truth: Any, area: str, threshold: float) -> tuple[set[int], set[int]]:
    """COCO's matching as its authors wrote it, a loop; rows of right and of left out boxes."""
    low, high = AREAS[area]
    ignored = [one[6] > 0 or not low <= one[5] <= high for one in truth]
    order = sorted(range(len(truth)), key=lambda at: ignored[at])
    free, right, left = set(order), set(), set()
    for row in sorted(range(len(boxes)), key=lambda at: -boxes[at][5]):
        best, chosen = min(threshold, 1 - 1e-10), None
        for at in order:
            if truth[at][4] != boxes[row][4] or (at not in free and truth[at][6] != 1):
                continue
            if chosen is not None and ignored[at] and not ignored[chosen]:
                break
            iou = overlaps(boxes[row : row + 1, :4], truth[at : at + 1])[0, 0]
            if iou >= best:
                best, chosen = iou, at
        own = np.prod(boxes[row][2:4] - boxes[row][:2])
        if chosen is None:
            left |= set() if low <= own <= high else {row}
        else:
            free.discard(chosen)
            (left if ignored[chosen] else right).add(row)
    return right, left


@pytest.mark.parametrize("seed", range(20))
def test_matching_is_that_of_the_definition(seed: int) -> None:
    grid = THRESHOLDS if seed < 14 else np.array([0.1, 0.35, 0.5, 0.62, 1.0])
    rng = np.random.default_rng(seed)
    side = rng.choice([20.0, 60.0, 150.0], (8, 1))
    corner, size = rng.integers(0, 60, (8, 2)), np.round(side * rng.uniform(0.5, 1, (8, 2)))
    objects = np.column_stack(
        [
            corner,
            size,
            rng.integers(0, 2, 8),
            size.prod(axis=1),
            rng.choice(3, 8, p=[0.7, 0.2, 0.1]),
        ]
    )
    near = np.repeat(np.column_stack([corner, corner + size]), 2, axis=0)
    near[:, 2:] += np.round(rng.normal(0, 0.1, (16, 2)) * np.repeat(side, 2, axis=0))
    near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
    labels, scores = np.repeat(objects[:, 4], 2), rng.integers(1, 9, 16) / 8
    order = np.lexsort((-scores, labels))
    boxes = np.column_stack([near, labels, scores])[order]
    values = match(*found(*boxes.tolist()), Lists.of([8], objects), grid).matches.values
    for at, area in enumerate(AREAS):
        for bit, threshold in enumerate(grid):
            flags = [values[:, 3 + shift + at].astype(int) >> bit & 1 for shift in (0, len(AREAS))]
            rows = tuple(set(np.flatnonzero(one).tolist()) for one in flags)
            assert rows == by_definition(boxes, objects, area, threshold)


def test_ap_and_errors_of_a_case_by_hand() -> None:
    detections = found(
        [0, 0, 10, 10, 0, 0.9],  # right at every threshold
        [0, 0, 10, 10, 0, 0.8],  # again
        [0, 0, 10, 10, 1, 0.7],  # named otherwise
        [50, 50, 60, 54, 0, 0.6],  # IoU 0.4
        [90, 90, 95, 95, 0, 0.5],  # at nothing
        [200, 200, 210, 210, 0, 0.4],  # in a crowd
    )
    objects = truth([0, 0, 10, 10, 0], [50, 50, 10, 10, 0], [190, 190, 100, 100, 0, 1])
    view = DetectionView(np.array(["x"]), ("cat", "dog", "cow"), *match(*detections, objects))
    kinds = dict(zip(view.matches.values[:, 1], view.matches.values[:, 2], strict=True))
    assert [KINDS[int(kinds[score])] for score in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)] == [
        "right", "duplicate", "wrong-class", "badly-localised", "background", "left-out",
    ]  # fmt: skip
    # One of two cats is found, at rank 1: precision is 1 at the recalls 0 to 0.5, 51 of 101.
    assert average_precision(view).value().value == pytest.approx(51 / 101)
    assert average_recall(view, 1).value().value == 0.5
    assert average_precision(view, name="cow").value().reason == "no object of cow is there"
    assert average_precision(view, area="large").value().reason == "no large object is there"
    assert "2 of 3 classes without objects" in average_precision(view).value().note


def test_the_order_of_boxes_of_all_but_equal_scores_is_no_other_answer() -> None:
    boxes = [[0, 0, 10, 10, 0, 0.9], [40, 2, 60, 9, 1, 1e-4], [5, 50, 9, 70, 0, 1e-4 + 1e-9]]

    def numbers(*rows: list[float]) -> Any:
        names = ("boxes", "labels", "scores")
        return Detection().numbers(Answer(**dict(zip(names, found(*rows), strict=True))))

    assert numbers(*boxes) == pytest.approx(numbers(*boxes[::-1]))
    for column in range(6):
        moved = [[value + (at == column) for at, value in enumerate(boxes[0])], *boxes[1:]]
        assert np.abs(numbers(*moved) - numbers(*boxes)).max() > 0.5


IMAGES = [{"id": at, "file_name": f"{at}.png", "width": 40, "height": 30} for at in range(1, 4)]
GOOD: dict[str, list[dict[str, Any]]] = {
    "images": IMAGES,
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [20, 10, 10, 10]}],
}
RESULT = {"image_id": 1, "category_id": 7, "bbox": [20, 10, 10, 10], "score": 0.5}


def annotated(tmp_path: Path, **changes: Any) -> Path:
    file = tmp_path / "ann.json"
    first = {**GOOD["annotations"][0], **changes.pop("first", {})}
    file.write_text(json.dumps({**GOOD, "annotations": [first], **changes}))
    return file


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"first": {"bbox": [-30, 10, 10, 10]}}, "annotation 1: bbox .* lies outside its image"),
        ({"first": {"bbox": [20, 10, -5, 10]}}, "annotation 1: bbox .* negative size"),
        ({"first": {"bbox": [20, 10, 38, 28]}}, "as left, top, right, bottom: write width and"),
        ({"first": {"category_id": 4}}, r"category_id 4 is no category of the data \(known: 3, 7"),
        ({"first": {"bbox": [1, 2, None, 4]}}, "bbox: expected a finite number, got None"),
        ({"images": [*IMAGES, IMAGES[0]]}, "image id 1 is there twice"),
        ({"images": [{"id": 1, "width": 40}]}, "image 1 has no size: .* got 40 and None"),
        ({"images": 5}, "images: expected a list of objects, got int"),
    ],
)
def test_annotations_that_cannot_be_meant_are_refused(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        read_annotations(annotated(tmp_path, **changes))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"image_id": 9},
            "1 of 1 predictions are for 1 images that the data does not hold, e.g. .*9",
        ),
        ({"category_id": 1}, "prediction 0: category_id 1 is no category"),
        ({"bbox": [20, 10, 39, 29]}, "as left, top, right, bottom: write width and"),
        ({"score": None}, "score: expected a finite number, got None"),
    ],
)
def test_results_that_cannot_be_meant_are_refused(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps([{**RESULT, **change}]))
    with pytest.raises(InputError, match=sentence):
        read_results(file, read_annotations(annotated(tmp_path)))


def test_corners_are_found_where_a_detector_reaches_beyond_some_images(tmp_path: Path) -> None:
    """A tenth as many boxes lie outside as corners; sizes that reach beyond are left alone."""
    file, known = tmp_path / "results.json", read_annotations(annotated(tmp_path))
    corners = [{**RESULT, "bbox": [20, 10, 39, 29]}] * 10
    beyond = {**RESULT, "bbox": [20, 10, 60, 29]}
    file.write_text(json.dumps([*corners, beyond]))
    with pytest.raises(InputError, match="as do 11 of 11, and all but 1 boxes lie inside"):
        read_results(file, known)
    file.write_text(json.dumps([*[RESULT] * 10, beyond]))
    assert sum(map(len, read_results(file, known).values())) == 11


def crucibench(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(application, words)
    assert done.exit_code == code, done.output
    return done.output


FUNCTION = """
import numpy as np

def bright(images):
    answers = []
    for image in images:
        ys, xs = np.nonzero(image[0].numpy() > 0.5)
        box = [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]] if len(xs) else np.zeros((0, 4))
        n = len(box)
        answers.append({"boxes": np.asarray(box, float), "labels": np.ones(n, int),
                        "scores": np.full(n, 0.9)})
    return answers
"""


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Returns a folder with 40 images of a bright box each, and results of two detectors."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    images, objects, good, poor, worse = [], [], [], [], []
    for at in range(1, 41):
        width, height = 30 + at % 4, 24 + at % 3
        left, top, w, h = (int(one) for one in (*rng.integers(0, 10, 2), *rng.integers(5, 12, 2)))
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[top : top + h, left : left + w] = 255
        pixels[0, 0, 2] = at
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{at}.png")
        images.append({"id": at, "file_name": f"{at}.png", "width": width, "height": height})
        box = {"image_id": at, "category_id": 7, "bbox": [left, top, w, h]}
        objects.append({**box, "id": at})
        good.append({**box, "score": 0.9})
        poor.append({**box, "bbox": [left, top, w, h - 2 - at % 2], "score": 0.8})
        worse.append({**box, "bbox": [left, top, w, max(h - 5 - at % 2, 1)], "score": 0.8})
    for name, content in (
        ("ann", {**GOOD, "images": images, "annotations": objects}), ("good", good),
        ("poor", poor), ("worse", worse), ("strange", [{**RESULT, "image_id": 99}]),
    ):  # fmt: skip
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "models.py").write_text(FUNCTION)


def found_shares(run: Run) -> dict[str, float]:
    (cell,) = (key for key, one in run.cells.items() if one.scenario == "test")
    clean = run.cell_records(cell)
    view = DetectionView(clean.ids, ("cat", "dog"), clean.lists("matches"), clean.lists("objects"))
    return dict(zip(clean.ids, view.shares, strict=True))


def only_run(folder: Path) -> Path:
    (root,) = (path.parent for path in folder.glob("*/manifest.json"))
    return root


@pytest.mark.usefixtures("shapes")
def test_logged_results_are_run_compared_and_gated_without_boxes_in_packs(tmp_path: Path) -> None:
    words = ("run", "--data", "coco:ann.json", "--suite", "accuracy")
    roots = {}
    grid = ("--set", "accuracy.ious=[0.3, 0.75, 0.97]")
    for name in ("good", "poor", "worse"):
        crucibench(*words, *grid, "--model", f"m=predictions:{name}.json", "--out", name)
        roots[name] = only_run(tmp_path / name)
    crucibench("verify", str(roots["poor"]))
    good, poor = (Run(root).metrics().set_index("metric") for root in list(roots.values())[:2])
    assert good.loc["detection-ap", "value"] == 1.0
    ap = poor.loc["detection-ap"]
    assert 0 < ap["lower"] < ap["value"] < ap["upper"] < 1
    # Boxes that are cut by 2 or 3 of 5 to 11 pixels of height: at each IoU as COCO's AP there.
    at = poor.loc["detection-ap-at-ious"].set_index("point")["value"]
    assert at["iou=0.75"] == pytest.approx(poor.loc["detection-ap75", "value"], abs=1e-12)
    assert at["iou=0.3"] > at["iou=0.75"] > at["iou=0.97"] == 0
    assert at[""] == pytest.approx(at[["iou=0.3", "iou=0.75", "iou=0.97"]].mean())
    large = good.loc["detection-ap-large"]
    assert np.isnan(large["value"])
    assert large["reason"] == "no large object is there"
    report = (roots["poor"] / "report.html").read_text()
    assert "AP by class" in report
    assert "Badly localised" in report
    crucibench("pack", str(roots["poor"]), "-o", "pack.cbz")
    with zipfile.ZipFile("pack.cbz") as pack:
        parts = {name: pack.read(name) for name in pack.namelist() if name.endswith(".parquet")}
    tables = {name: pq.read_table(io.BytesIO(part)) for name, part in parts.items()}
    records = [one for name, one in tables.items() if "records" in name]
    assert all({"matches", "objects"} <= set(one.column_names) for one in records)
    assert not any("boxes" in one.column_names for one in records)
    targets = from_arrow(tables["samples/ann/test.parquet"].column("target"))
    assert targets.values.shape == (40, 3)
    policy = crucibench("gate", "--init", "--baseline", "pack.cbz", "-q")
    (tmp_path / "policy.yaml").write_text(policy)
    for name, code in (("poor", 0), ("worse", 1)):
        crucibench("gate", "--baseline", "pack.cbz", "--candidate", str(roots[name]), code=code)
    compared = crucibench("compare", "pack.cbz", str(roots["worse"]), "--format", "json", "-q")
    (change,) = json.loads(compared)
    (ap,) = (one for one in change["differences"] if one["address"].endswith("/detection-ap"))
    assert ap["upper"] < 0
    # Boxes that are cut more, by 5 or 6 pixels of height in place of 2 or 3, are never better.
    was, now = (found_shares(Run(roots[name])) for name in ("poor", "worse"))
    assert len(ap["flips"]["lost"]) == sum(now[one] < was[one] for one in was) > 30
    assert ap["flips"]["gained"] == []
    said = crucibench("gate", "--baseline", "pack.cbz", "--candidate", str(roots["worse"]), code=1)
    assert f"{len(ap['flips']['lost'])} worse, 0 better" in " ".join(said.split())
    both = ("--model", "poor=predictions:poor.json", "--model", "worse=predictions:worse.json")
    crucibench(*words, *both, "--out", "both")
    shown = " ".join(crucibench("show", str(only_run(tmp_path / "both"))).split())
    assert f", {len(ap['flips']['lost'])} samples better, 0 worse" in shown
    out = crucibench(*words, "--model", "predictions:strange.json", "--out", "no", code=2)
    assert "1 of 1 predictions are for 1 images" in out


@pytest.mark.usefixtures("shapes")
def test_the_images_with_the_least_found_are_shown_and_never_published(tmp_path: Path) -> None:
    crucibench(
        "run", "--data", "coco:ann.json?images=pictures", "--suite", "accuracy",
        "--model", "m=predictions:poor.json", "--out", "out",
    )  # fmt: skip
    root = only_run(tmp_path / "out")
    run = Run(root)
    cells = {one.scenario: key for key, one in run.cells.items()}
    kept = run.artifacts(cells["worst-images"], ["artifacts/examples"])["examples"].frame()
    share = found_shares(run)
    worst = sorted(share.values())[:6]
    shown = kept[kept["point"] == "found"]
    assert sorted(share[one] for one in shown["id"]) == worst
    assert shown["score"].tolist() == [share[one] for one in shown["id"]]
    samples = run.samples("ann", "test").within(shown["id"].to_numpy())
    for content, key in zip(shown["content"], samples.keys, strict=True):
        (box,) = (one for one in json.loads(Path("poor.json").read_text())
                  if str(one["image_id"]) == key)  # fmt: skip
        left, top, w, h = box["bbox"]
        drawn = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
        frame = np.abs(drawn - [0xD5, 0x5E, 0]).max(axis=2) < 16
        assert frame[top, left : left + w].all()
        assert frame[top : top + h, left].all()
        assert not frame[top + 1 : top + h - 1, left + 1 : left + w - 1].any()
    page = (root / "report.html").read_text()
    assert "Images with the least found" in page
    assert "Precision and recall" in page
    crucibench("publish", str(root), "--bundle", "bundle.zip")
    crucibench("publish", "--site", "public", str(root))
    with zipfile.ZipFile("bundle.zip") as bundle:
        assert not any(b"PNG" in bundle.read(name) for name in bundle.namelist())
    pages = [one.read_text() for one in Path("public").rglob("*.html")]
    assert any("Headline numbers" in one for one in pages)
    pictures = [base64.b64encode(content).decode() for content in kept["content"]]
    assert any(one in page for one in pictures)
    assert not any(one in other for one in pictures for other in pages)


@pytest.mark.usefixtures("shapes")
def test_the_mean_of_the_precision_recall_curve_is_ap50_whatever_the_weights() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 30, (40, 2))
    objects = np.column_stack([corners, np.full((40, 2), 10), rng.integers(0, 3, 40)])
    near = np.column_stack([corners, corners + 10 + rng.normal(0, 2, (40, 2))])
    detections = np.column_stack([near, rng.integers(0, 3, 40), rng.integers(1, 9, 40) / 8])
    parts = [Lists.of(np.full(10, 4), one) for one in
             (near, detections[:, 4].astype(int), detections[:, 5])]  # fmt: skip
    known = Lists.of(
        np.full(10, 4), np.column_stack([objects, np.full(40, 100), np.zeros(40)]).astype(float)
    )
    view = DetectionView(np.arange(10).astype(str), ("a", "b", "c"), *match(*parts, known))
    weights = rng.poisson(1.0, (20, 10)).astype(float)
    curve = precision_by_recall(view)
    assert curve is not None
    ap50 = average_precision(view, thresholds=(0,))
    assert curve(weights).mean(axis=1) == pytest.approx(ap50(weights), abs=1e-12)


@pytest.mark.usefixtures("shapes")
def test_a_function_answers_images_in_their_own_sizes(tmp_path: Path) -> None:
    crucibench(
        "run", "--data", "coco:ann.json?images=pictures", "--suite", "accuracy,throughput",
        "--model", "python:models.py:bright?sizes=own", "--out", "out",
        "--set", "throughput.seconds=0.2",
    )  # fmt: skip
    rows = Run(only_run(tmp_path / "out")).metrics().set_index("metric")
    assert rows.loc["detection-ap", "value"] == 1.0
    assert rows.loc["detection-missed", "value"] == 0.0
    cells = Run(only_run(tmp_path / "out")).cells.values()
    codes = {finding.code for cell in cells for finding in cell.findings}
    assert all(cell.status == "ok" for cell in cells)
    assert not codes & {"wrong-answers-while-timed", "answers-not-checked"}


SLOW = """
import time
import torch

class Slow(torch.nn.Module):
    \"\"\"Takes 1 ms for each bright pixel in the first row, and as long again to finish.\"\"\"

    crucibench_input = {"sizes": "own", "channels": 3}

    def raw(self, images):
        counts = [int((image[0, 0] > 0.5).sum()) for image in images]
        time.sleep(0.001 * sum(counts))
        return counts

    def forward(self, images):
        counts = self.raw(images)
        time.sleep(0.001 * sum(counts))
        return [{"boxes": torch.tensor([[at, 0, at + 1, 1] for at in range(n)]).float().view(-1, 4),
                 "labels": torch.zeros(n).long(), "scores": torch.ones(n)} for n in counts]

def slow():
    return Slow().eval()
"""


@pytest.mark.thorough
def test_time_is_told_by_the_number_of_objects_and_without_post_processing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text(SLOW)
    images, objects = [], []
    for at in range(24):
        count = (1, 3, 5)[at % 3]
        pixels = np.zeros((4, 8, 3), np.uint8)
        pixels[0, :count] = 255
        pixels[3, 7] = at
        Image.fromarray(pixels).save(tmp_path / f"{at}.png")
        images.append({"id": at, "file_name": f"{at}.png", "width": 8, "height": 4})
        objects += [
            {**RESULT, "id": 10 * at + place, "image_id": at, "bbox": [place, 0, 1, 1]}
            for place in range(count)
        ]
    known = {**GOOD, "images": images, "annotations": objects}
    (tmp_path / "a.json").write_text(json.dumps(known))
    (tmp_path / "whole.py").write_text(FUNCTION)
    run = cb.run(
        models={"m": "torch:models.py:slow", "whole": "python:whole.py:bright?sizes=own"},
        data="coco:a.json?images=.", suites=["throughput"], out=tmp_path / "out", settings={
            "throughput.scenarios": ["single-stream", "end-to-end"], "throughput.seconds": 0.4,
            "throughput.rounds": 2,
        },
    )  # fmt: skip
    rows = run.metrics().set_index(["model", "scenario", "point", "metric", "group"])
    assert {"1 object", "3 objects", "5 objects"} <= {row[4] for row in rows.index}
    raw = "from=sample-to-raw,batch=1"
    assert rows.loc[("m", "end-to-end", raw, "prepared-ratio", ""), "value"] < 1
    told = rows.loc[("whole", "end-to-end", raw, "latency-p50", "")]
    assert np.isnan(told["value"])
    assert "its post-processing is a part of it" in told["reason"]


def test_latencies_by_number_of_objects_are_those_of_the_images_asked_in_turn() -> None:
    counts = np.array([1, 2, 2, 7, 9])
    targets = Lists.of(counts, np.zeros((counts.sum(), 7)))
    # Two rounds of queries, each from the first of 8 images on: the set, and part of it again.
    sizes = [120, 170]
    places = np.concatenate([np.arange(size) % 8 % 5 for size in sizes])
    seconds = 0.001 * counts[places] + 1e-5 * np.arange(290)
    queries = Queries(np.repeat([0, 1], sizes), np.arange(290.0), seconds, *np.zeros((2, 290)))
    found = {one.group: one.form for one in by_objects(queries, targets, 8)}
    assert list(found) == ["1 to 2 objects", "7 to 9 objects"]
    for group, form in found.items():
        low, high = (int(one) for one in group.removesuffix(" objects").split(" to "))
        here = (counts[places] >= low) & (counts[places] <= high)
        assert form.of_rows(np.ones((1, 2)))[0] == pytest.approx(
            1000 * np.quantile(seconds[here], 0.5), rel=0.02
        )


def test_results_are_not_kept_where_categories_have_other_ids(tmp_path: Path) -> None:
    """The same objects and the same results, in which 3 means another class."""
    (tmp_path / "m.json").write_text(json.dumps([{**RESULT, "category_id": 3}]))
    found = []
    for cat, dog in ((3, 7), (1, 3)):
        categories = [{"id": cat, "name": "cat"}, {"id": dog, "name": "dog"}]
        annotated(tmp_path, categories=categories, first={"category_id": dog})
        run = cb.run(
            models={"m": f"predictions:{tmp_path}/m.json"}, data=f"coco:{tmp_path}/ann.json",
            suites=["accuracy"], out=tmp_path / "out", workers=1,
        )  # fmt: skip
        rows = run.metrics()
        found += rows.loc[rows["metric"] == "detection-ap", "value"].tolist()
    assert found == [0.0, 1.0]
