"""Boxes in the forms that others write: COCO, YOLO, Pascal VOC and the hub say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from crucibench.contracts.capability import InputSpec
from crucibench.util.errors import InputError

NAMES = ("cat", "dog")
SIZES = {"a": (40, 30), "b": (20, 50), "c": (33, 33)}
OBJECTS = {
    "a": [(1, (4.0, 6.0, 10.0, 8.0)), (0, (0.0, 0.0, 40.0, 30.0))],
    "b": [(1, (2.0, 3.0, 5.0, 40.0))],
    "c": [],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with the same three images and three objects in every form."""
    for place in ("pictures", "yolo/images/val", "yolo/labels/val", "yolo/images/train",
                  "voc/JPEGImages", "voc/Annotations", "voc/ImageSets/Main"):  # fmt: skip
        (tmp_path / place).mkdir(parents=True)
    coco: dict[str, Any] = {
        "images": [], "annotations": [],
        "categories": [{"id": at, "name": name} for at, name in enumerate(NAMES)],
    }  # fmt: skip
    rows = []
    for at, (name, (width, height)) in enumerate(SIZES.items()):
        image = Image.fromarray(np.full((height, width, 3), 50 * at + 9, np.uint8))
        for place in ("pictures", "yolo/images/val", "yolo/images/train", "voc/JPEGImages"):
            image.save(tmp_path / place / f"{name}.png")
        coco["images"].append(
            {"id": name, "file_name": f"{name}.png", "width": width, "height": height,
             "light": "day" if at else "night"}
        )  # fmt: skip
        lines, tags = [], ""
        for index, (left, top, w, h) in OBJECTS[name]:
            coco["annotations"].append(
                {"image_id": name, "category_id": index, "bbox": [left, top, w, h]}
            )
            middle = (left + w / 2) / width, (top + h / 2) / height
            lines.append(f"{index} {middle[0]!r} {middle[1]!r} {w / width!r} {h / height!r}")
            tags += (
                f"<object><name>{NAMES[index]}</name><difficult>0</difficult><bndbox>"
                f"<xmin>{left + 1:g}</xmin><ymin>{top + 1:g}</ymin><xmax>{left + w:g}</xmax>"
                f"<ymax>{top + h:g}</ymax></bndbox></object>"
            )
        if lines:
            (tmp_path / f"yolo/labels/val/{name}.txt").write_text("\n".join(lines) + "\n")
        (tmp_path / f"voc/Annotations/{name}.xml").write_text(
            f"<annotation><size><width>{width}</width><height>{height}</height></size>{tags}"
            "</annotation>"
        )
        boxes = [list(box) for _, box in OBJECTS[name]]
        found = {"bbox": boxes, "category": [index for index, _ in OBJECTS[name]]}
        rows.append({"image": image, "objects": found})
    (tmp_path / "ann.json").write_text(json.dumps(coco))
    (tmp_path / "yolo/data.yaml").write_text("names: {0: cat, 1: dog}\n")
    (tmp_path / "voc/ImageSets/Main/test.txt").write_text("a\nb\nc\n")
    objects = {"bbox": datasets.Sequence(datasets.Sequence(datasets.Value("float32"), length=4)),
               "category": datasets.Sequence(datasets.ClassLabel(names=list(NAMES)))}  # fmt: skip
    hub = datasets.Dataset.from_list(
        rows, features=datasets.Features(image=datasets.Image(), objects=objects)
    )
    datasets.DatasetDict(test=hub).save_to_disk(str(tmp_path / "hub"))
    return tmp_path


@pytest.mark.parametrize(
    "address",
    [
        "coco:ann.json?images=pictures",
        "yolo:yolo",
        "voc:voc",
        "hf:hub?target=objects&task=detection",
    ],
)
@pytest.mark.usefixtures("folder")
def test_every_form_gives_the_same_objects(address: str, open_uri: Any) -> None:
    data = open_uri(address)
    assert data.task.classes == NAMES
    samples = data.samples("test")
    by_image = {}
    for row, size in enumerate(data.batch("test", range(3), InputSpec(own_sizes=True)).stored):
        (name,) = (one for one, (w, h) in SIZES.items() if (h, w) == tuple(size))
        by_image[name] = samples.targets[np.array([row])].values
    for name, objects in OBJECTS.items():
        expected = [[*box, index, box[2] * box[3], 0] for index, box in objects]
        assert by_image[name] == pytest.approx(np.array(expected).reshape(-1, 7))


@pytest.mark.usefixtures("folder")
def test_fields_of_images_are_groups(open_uri: Any) -> None:
    samples = open_uri("coco:ann.json?groups=light").samples("test")
    assert samples.groups["light"].tolist() == ["night", "day", "day"]
    with pytest.raises(InputError, match="option groups: no image has a field 'weather'"):
        open_uri("coco:ann.json?groups=weather")


@pytest.mark.parametrize(
    ("address", "file", "content", "sentence"),
    [
        ("yolo:yolo", "yolo/labels/val/a.txt", "2 .5 .5 .1 .1", "class 2 is none of the 2 that"),
        ("yolo:yolo", "yolo/labels/val/a.txt", "1 20 15 4 4", "a.txt, line 1: .* are they pixels"),
        ("yolo:yolo", "yolo/labels/val/a.txt", "1 .5 .5 .1", "expected class, x, y, width and"),
        ("yolo:yolo", "yolo/labels/val/a.txt", "1 .1 .1 .9 .9", "lies outside its image"),
        ("yolo:yolo", "yolo/data.yaml", "names: cat", "names: expected the classes"),
        ("yolo:yolo?split=test", "x", "", "there is no split 'test' .known: train, val"),
        ("voc:voc", "voc/Annotations/a.xml", "<!DOCTYPE a><annotation/>", "without a document ty"),
        ("voc:voc", "voc/Annotations/a.xml", "<annotation>", "expected XML"),
        ("voc:voc", "voc/Annotations/a.xml", "<annotation/>", "size/width: expected a number"),
        ("voc:voc", "voc/ImageSets/Main/test.txt", "q", "'q' has no annotations"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_meant_are_refused(
    folder: Path, address: str, file: str, content: str, sentence: str, open_uri: Any
) -> None:
    (folder / file).write_text(content)
    with pytest.raises(InputError, match=sentence):
        open_uri(address)


def test_difficult_objects_do_not_count(folder: Path, open_uri: Any) -> None:
    file = folder / "voc/Annotations/b.xml"
    file.write_text(file.read_text().replace("<difficult>0", "<difficult>1"))
    targets = open_uri("voc:voc").samples("test").targets
    assert targets.values[:, 6].tolist() == [0, 0, 2]
