"""Shift where targets are neither classes nor numbers: several labels, boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn import metrics

import crucibench as cb
from crucibench.contracts.corruption import CorruptionContext, corruptions
from crucibench.contracts.lists import Lists
from crucibench.tasks.detection.kind import Detection
from crucibench.tasks.detection.matching import match
from crucibench.tasks.detection.precision import DetectionView, average_precision
from crucibench.tasks.multilabel.kind import flags_of
from crucibench.util.draws import Draws
from crucibench.util.errors import InputError

MODELS = """
import numpy as np

def three(frame):
    x = frame.fillna(0).to_numpy(float)
    return 1 / (1 + np.exp(-8 * (x + 0.2 * x[:, [1, 2, 0]])))

def bright(images):
    answers = []
    for image in images:
        ys, xs = np.nonzero(image[0].numpy() > 0.5)
        box = [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]] if len(xs) else np.zeros((0, 4))
        n = len(box)
        answers.append({"boxes": np.asarray(box, float), "labels": np.zeros(n, int),
                        "scores": np.full(n, 0.9)})
    return answers
"""


def values(run: cb.Run) -> dict[tuple[str, str, str], float]:
    rows = run.metrics()
    rows = rows[rows["suite"] == "shift"]
    keys = zip(rows["scenario"], rows["metric"], rows["point"], strict=True)
    return dict(zip(keys, rows["value"], strict=True))


def cell(run: cb.Run, scenario: str) -> str:
    (found,) = (key for key, one in run.cells.items() if one.scenario == scenario)
    return found


def test_several_labels_are_judged_as_scikit_learn_judges_the_records(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.4, (200, 3))
    truth = (x + rng.normal(0, 0.1, x.shape) > 0).astype(int)
    table = pd.DataFrame(x, columns=list("xyz")).assign(
        id=np.arange(200), a=truth[:, 0], b=truth[:, 1], c=truth[:, 2]
    )
    table.to_csv(tmp_path / "data.csv", index=False)
    (tmp_path / "models.py").write_text(MODELS)
    run = cb.run(
        models={"m": f"python:{tmp_path}/models.py:three"},
        data=f"csv:{tmp_path}/data.csv?target=a,b,c&features=x,y,z&id=id", suites=["shift"],
        settings={"shift.tables": ["feature_noise"], "shift.severities": [2, 5]},
        out=tmp_path / "out",
    )  # fmt: skip
    found = values(run)
    clean = run.records(cell(run, "test")).set_index("id")
    samples = run.samples("data", "test")
    order = pd.Index(samples.ids)
    clean = clean.loc[order]
    known = flags_of(samples.targets, 3)
    decided = np.stack(clean["scores"]) >= 0.5
    assert metrics.accuracy_score(known, decided) == pytest.approx(0.8, abs=0.15)
    records = run.records(cell(run, "feature_noise"))
    exact = {}
    for point, part in records.groupby("point"):
        scores = np.stack(part.set_index("id").loc[order, "scores"])
        at = scores >= 0.5
        exact[point] = metrics.accuracy_score(known, at)
        expected = {
            "subset-accuracy": exact[point],
            "subset-accuracy-lost": metrics.accuracy_score(known, decided) - exact[point],
            "hamming-loss": metrics.hamming_loss(known, at),
            "f1-macro-labels": metrics.f1_score(known, at, average="macro"),
            "average-precision-macro-labels": metrics.average_precision_score(known, scores),
            "changed-answers": (at != decided).any(axis=1).mean(),
        }
        for metric, value in expected.items():
            assert found["feature_noise", metric, point] == pytest.approx(value, abs=1e-9), metric
    assert exact["severity=5"] < exact["severity=2"]
    mean = np.mean(list(exact.values()))
    assert found["feature_noise", "mean-subset-accuracy", ""] == pytest.approx(mean)
    assert found["summary", "corrupted-subset-accuracy", ""] == pytest.approx(mean)


@pytest.fixture
def boxes(tmp_path: Path) -> str:
    """Returns the address of 30 images of unlike sizes with a bright box each."""
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "models.py").write_text(MODELS)
    images, objects = [], []
    for at in range(1, 31):
        width, height = 30 + at % 4, 24 + at % 3
        left, top, w, h = (int(one) for one in (*rng.integers(0, 10, 2), *rng.integers(8, 13, 2)))
        pixels = np.full((height, width, 3), 40, np.uint8)
        pixels[top : top + h, left : left + w] = 230
        pixels[0, 0, 2] = at
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{at}.png")
        images.append({"id": at, "file_name": f"{at}.png", "width": width, "height": height})
        objects.append({"image_id": at, "category_id": 1, "bbox": [left, top, w, h], "id": at})
    known = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "box"}]}
    (tmp_path / "ann.json").write_text(json.dumps(known))
    return f"coco:{tmp_path}/ann.json?images={tmp_path}/pictures"


def by_hand(folder: Path, keys: pd.Series, name: str, severity: int) -> Any:
    """Corrupts each image by itself and asks the function: AP, and whether a pixel changed."""
    scope: dict[str, Any] = {}
    exec((folder / "models.py").read_text(), scope)
    known = {one["image_id"]: one["bbox"] for one in json.loads(
        (folder / "ann.json").read_text())["annotations"]}  # fmt: skip
    parts, truth, counts = [], [], []
    for identity, key in keys.items():
        pixels = np.asarray(Image.open(folder / "pictures" / f"{key}.png"))
        image = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255
        context = CorruptionContext(ids=(str(identity),), draws=Draws(0, f"shift/{name}"))
        (made,) = corruptions().get(name).apply(image, [severity], context, "cifar")
        (answer,) = scope["bright"]([made[0]])
        parts.append(answer)
        left, top, w, h = known[int(key)]
        ends = np.array([[left, top], [left + w, top + h]], dtype=float)
        if name == "translation":
            angle = (
                2 * np.pi * float(context.draws.uniform([str(identity)], "direction", (1,))[0, 0])
            )
            share = corruptions().get(name).level(severity)[0]
            sides = np.array(image.shape[:-3:-1])
            ends = np.clip(ends + share * sides * [np.cos(angle), np.sin(angle)], 0, sides)
        area = float(np.prod(ends[1] - ends[0]))
        if area > 0:
            flag = 2 if area < w * h / 4 else 0
            truth.append([*ends[0], *(ends[1] - ends[0]), 0, area, flag])
        counts.append(int(area > 0))
    lengths = [len(one["scores"]) for one in parts]
    lists = [Lists.of(lengths, np.concatenate([one[part] for one in parts]))
             for part in ("boxes", "labels", "scores")]  # fmt: skip
    targets = Lists.of(counts, np.array(truth, float))
    view = DetectionView(keys.index.to_numpy(), ("box",), *match(*lists, targets))
    return average_precision(view).value().value


def test_images_in_their_own_sizes_are_corrupted_and_boxes_go_along(
    tmp_path: Path, boxes: str
) -> None:
    names = ["gaussian_noise", "fog", "translation"]
    run = cb.run(
        models={"m": f"python:{tmp_path}/models.py:bright?sizes=own"}, data=boxes,
        suites=["shift"], out=tmp_path / "out", workers=1,
        settings={"shift.corruptions": names, "shift.severities": [1, 5]},
    )  # fmt: skip
    found = values(run)
    samples = run.samples("ann", "test")
    keys = pd.Series(samples.keys, samples.ids)
    expected = {(name, at): by_hand(tmp_path, keys, name, at) for name in names for at in (1, 5)}
    assert min(expected.values()) < 0.9
    for (name, at), value in expected.items():
        assert found[name, "detection-ap", f"severity={at}"] == pytest.approx(value, abs=1e-9)
        assert found[name, "detection-ap-lost", f"severity={at}"] == pytest.approx(1 - value)
    # Means are of the common corruptions, where some were asked for.
    of_each = {name: np.mean([expected[name, at] for at in (1, 5)]) for name in names[:2]}
    assert found["summary", "corrupted-detection-ap", ""] == pytest.approx(
        np.mean(list(of_each.values()))
    )
    assert found["summary", "worst-corruption-detection-ap", ""] == pytest.approx(
        min(of_each.values())
    )


@pytest.mark.parametrize("name", ["rotation", "translation", "scale", "shear"])
def test_a_moved_box_is_that_of_the_moved_ellipse(name: str) -> None:
    """Held against points of each ellipse, pixel by pixel; the image is stored larger by half."""
    sides, stored = (40, 60), (80, 90)
    ids = tuple(str(row) for row in range(12))
    context = CorruptionContext(ids=ids, draws=Draws(0, f"shift/{name}"))
    rng = np.random.default_rng(0)
    corner = rng.uniform(-5, [80.0, 70.0], (12, 2))
    size = rng.uniform(5, 30, (12, 2))
    values = np.column_stack([corner, size, np.zeros(12), np.prod(size, axis=1), np.zeros(12)])
    values[3, 6] = 1
    targets = Lists.of([1] * 12, values)
    maps = corruptions().get(name).moves(sides, 4, context, "")
    assert maps is not None
    found = Detection().moved(targets, maps, sides, [stored] * 12)
    turn = np.linspace(0, 2 * np.pi, 20_001)
    scale = np.array(sides[::-1]) / np.array(stored[::-1])
    for row in range(12):
        middle = corner[row] + size[row] / 2
        ring = middle + size[row] / 2 * np.stack([np.cos(turn), np.sin(turn)], 1)
        there = (ring * scale - 0.5) @ maps[row, :, :2].T + maps[row, :, 2] + 0.5
        low, high = there.min(0), there.max(0)
        cut = np.clip(low, 0, sides[::-1]), np.clip(high, 0, sides[::-1])
        share = np.prod(cut[1] - cut[0]) / np.prod(high - low)
        here = found.values[found.rows == row]
        assert len(here) == (share > 0)
        if not len(here):
            continue
        assert here[0, :2] == pytest.approx(cut[0] / scale, abs=1e-4)
        assert here[0, 2:4] == pytest.approx((cut[1] - cut[0]) / scale, abs=1e-4)
        assert here[0, 6] == (1 if row == 3 else 2 * (share < 0.25))
        times = abs(np.linalg.det(maps[row, :, :2])) * share
        assert here[0, 5] == pytest.approx(values[row, 5] * times, rel=1e-3)
    assert 0 < len(found.values) <= 12


def test_grids_and_what_needs_classes_are_refused(tmp_path: Path, boxes: str) -> None:
    for setting, names, sentence in (
        ("corruptions", ["geometric_worst"], "geometric_worst takes each sample's worst point"),
        ("data", {"new": boxes}, "shift.data: it compares classes or numbers, and detection"),
    ):
        with pytest.raises(InputError, match=sentence):
            cb.run(
                models={"m": f"python:{tmp_path}/models.py:bright?sizes=own"}, data=boxes,
                suites=["shift"], out=tmp_path / "out", settings={f"shift.{setting}": names},
            )  # fmt: skip
