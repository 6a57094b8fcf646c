"""Bias where targets are neither classes nor numbers: by label, and by attributes of images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, selection_rate, true_positive_rate
from sklearn.metrics import accuracy_score, hamming_loss

import crucibench as cb
from crucibench.integrity.verify import verify
from crucibench.tasks.multilabel.kind import flags_of
from crucibench.util.errors import InputError


def values(run: cb.Run) -> dict[tuple[str, str], float]:
    rows = run.metrics()
    rows = rows[rows["suite"] == "bias"].fillna({"group": ""})
    return dict(zip(zip(rows["metric"], rows["group"], strict=True), rows["value"], strict=True))


def test_labels_by_group_are_what_fairlearn_says_of_each(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n, labels = 300, ["a", "b", "c"]
    truth = rng.random((n, 3)) < [0.3, 0.5, 0.6]
    sex = np.where(rng.random(n) < 0.4, "f", "m")
    wrong = rng.random((n, 3)) < np.where(sex == "f", 0.3, 0.1)[:, None]
    scores = np.where(truth ^ wrong, 0.8, 0.2)
    ids = [f"r{row}" for row in range(n)]
    table = pd.DataFrame(truth.astype(int), columns=labels).assign(id=ids, x=rng.random(n), sex=sex)
    table.to_csv(tmp_path / "data.csv", index=False)
    logged = pd.DataFrame(scores, columns=[f"proba_{one}" for one in labels]).assign(id=ids)
    logged.to_csv(tmp_path / "m.csv", index=False)
    run = cb.run(
        models={"m": f"predictions:{tmp_path}/m.csv?id=id"},
        data=f"csv:{tmp_path}/data.csv?target=a,b,c&features=x&id=id&groups=sex",
        suites=["bias"], out=tmp_path / "out",
    )  # fmt: skip
    found, predicted = values(run), scores >= 0.5
    (cell,) = (key for key, one in run.cells.items() if one.scenario == "groups")
    exact, loss = {}, {}
    for group in ("f", "m"):
        here = sex == group
        exact[group] = accuracy_score(truth[here], predicted[here])
        loss[group] = hamming_loss(truth[here], predicted[here])
        assert found["subset-accuracy", f"sex={group}"] == pytest.approx(exact[group])
        assert found["hamming-loss", f"sex={group}"] == pytest.approx(loss[group])
    assert found["worst-group-subset-accuracy", ""] == pytest.approx(min(exact.values()))
    assert found["subset-accuracy-difference", "sex"] == pytest.approx(exact["m"] - exact["f"])
    assert found["hamming-loss-difference", "sex"] == pytest.approx(loss["f"] - loss["m"])
    rates, gaps = (run.table(cell, name) for name in ("class-rates", "class-gaps"))
    assert rates is not None
    assert gaps is not None
    widest = []
    for k, label in enumerate(labels):
        frame = MetricFrame(
            metrics={"selection-rate": selection_rate, "tpr": true_positive_rate},
            y_true=truth[:, k], y_pred=predicted[:, k], sensitive_features=sex,
        )  # fmt: skip
        for rate in ("selection-rate", "tpr"):
            mine = rates[(rates["class"] == label) & (rates["rate"] == rate)]
            assert mine.set_index("group")["value"].to_dict() == pytest.approx(
                {f"sex={group}": value for group, value in frame.by_group[rate].items()}
            )
            gap = gaps[(gaps["class"] == label) & (gaps["rate"] == rate)]["gap"].item()
            assert gap == pytest.approx(frame.difference()[rate])
        widest.append(frame.difference()["selection-rate"])
    assert found["demographic-parity-difference-ovr-worst", "sex"] == pytest.approx(max(widest))
    assert flags_of(run.samples("data", "test").targets, 3).sum() == truth.sum()


def test_boxes_are_compared_by_fields_of_their_images(tmp_path: Path) -> None:
    """By day all objects are found; at night half of them, whole; 10 images have none."""
    images, objects, found = [], [], []
    for at in range(90):
        night = at % 2 == 1
        images.append(
            {"id": at, "file_name": f"{at}.png", "width": 100, "height": 100,
             "light": "night" if night else "day"}
        )  # fmt: skip
        for place in range(0 if at < 10 else 2):
            box = {"image_id": at, "category_id": 1, "bbox": [5 + 40 * place, 5, 20, 20]}
            side = {"side": "right"} if place else {}
            objects.append({**box, "id": len(objects), "attributes": {"place": place}, **side})
            if not (night and place):
                found.append({**box, "score": 0.9})
    known = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "x"}]}
    (tmp_path / "ann.json").write_text(json.dumps(known))
    (tmp_path / "found.json").write_text(json.dumps(found))
    # Two crowds on the first image with objects: nobody has to find them.
    objects += [{**objects[0], "id": 900 + at, "iscrowd": 1} for at in range(2)]
    known["annotations"] = objects
    (tmp_path / "ann.json").write_text(json.dumps(known))
    address = f"coco:{tmp_path}/ann.json?groups=light&object_groups=place,side"
    where = {"data": address, "suites": ["bias"]}
    models = {"m": f"predictions:{tmp_path}/found.json"}
    run = cb.run(models=models, out=tmp_path / "out", **where)
    numbers = values(run)
    assert numbers["detection-found", "light=day"] == 1.0
    assert numbers["detection-found", "light=night"] == 0.5
    assert numbers["worst-group-detection-found", ""] == 0.5
    assert numbers["detection-found-difference", "light"] == 0.5
    # Half of the objects at a precision of 1: it is 1 at the recalls 0 to 0.5.
    assert numbers["detection-ap", "light=night"] == pytest.approx(51 / 101)
    assert numbers["detection-ap", "light=day"] == pytest.approx(1.0)
    # The first object of each image is found, of the second half.
    for group, value in (("place=0", 1.0), ("place=1", 0.5), ("side=right", 0.5)):
        assert numbers["detection-objects-found", group] == value
    assert numbers["detection-objects-found-minus-rest", "place=1"] == -0.5
    rows = run.metrics()
    alone = rows[(rows["metric"] == "detection-objects-found-minus-rest")]
    assert "0 objects, fewer than 30" in alone.set_index("group").loc["side=right", "reason"]
    assert verify(run) == []
    with pytest.raises(InputError, match="no object has a field 'sid'"):
        cb.run(models=models, out=tmp_path / "no", data=address.replace("side", "sid"))
    with pytest.raises(InputError, match="fairlearn's metrics take classes or numbers"):
        cb.run(
            models=models,
            out=tmp_path / "no",
            settings={"bias.metrics": ["fairlearn:selection_rate"]},
            **where,
        )
