"""ONNX detectors: every form of boxes, taken back into images that were stretched; and torch's."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import crucibench as cb
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.task import Modality, OutputError
from crucibench.util.errors import InputError
from crucibench_adapters._outputs import scales_of

MODULE = '''
import torch
from torch import nn

class Bright(nn.Module):
    """Finds the box around what is brighter than one half, twice, the second time with less."""

    def __init__(self, form="xyxy", unit="pixels", chances=False, first=False):
        super().__init__()
        self.form, self.unit, self.chances, self.first = form, unit, chances, first
        self.crucibench_input = {"size": [48, 60], "fit": "stretch", "channels": 3}
        self.crucibench_classes = ["none", "cat", "dog"]

    def one(self, image):
        bright = (image[0] > 0.5).float()
        across, down = bright.amax(0), bright.amax(1)
        ends = [across.argmax(), down.argmax(), 60 - across.flip(0).argmax(),
                48 - down.flip(0).argmax()]
        left, top, right, bottom = (end.float() for end in ends)
        if self.form == "xyxy":
            box = torch.stack([left, top, right, bottom])
        else:
            begin = [left, top] if self.form == "xywh" else [(left + right) / 2, (top + bottom) / 2]
            box = torch.stack([*begin, right - left, bottom - top])
        if self.unit == "share":
            box = box / torch.tensor([60.0, 48.0, 60.0, 48.0])
        boxes = torch.stack([box, box])
        if self.chances:
            return boxes, torch.tensor([[0.05, 0.05, 0.9], [0.0, 0.4, 0.1]]), None
        return boxes, torch.tensor([0.9, 0.4]), torch.tensor([2, 1])

    def forward(self, images):
        found = self.one(images[0])
        return tuple(one[None] if self.first else one for one in found if one is not None)

class Listed(Bright):
    def forward(self, images):
        return [dict(zip(("boxes", "scores", "labels"), self.one(image))) for image in images]

def listed():
    return Listed().eval()
'''


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Returns the address of 8 images of unlike sizes with a bright box each, a dog."""
    monkeypatch.chdir(tmp_path)
    Path("models.py").write_text(MODULE)
    rng, images, objects = np.random.default_rng(0), [], []
    for at in range(1, 9):
        width, height = 60 + 30 * (at % 3), 48 * (1 + at % 2)
        left, top, w, h = (int(one) for one in (*rng.integers(4, 20, 2), *rng.integers(20, 28, 2)))
        pixels = np.full((height, width, 3), at, np.uint8)
        pixels[top : top + h, left : left + w] = 255
        Image.fromarray(pixels).save(f"{at}.png")
        images.append({"id": at, "file_name": f"{at}.png", "width": width, "height": height})
        objects.append({"image_id": at, "category_id": 2, "bbox": [left, top, w, h], "id": at})
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    known = {"images": images, "annotations": objects, "categories": names}
    Path("ann.json").write_text(json.dumps(known))
    return "coco:ann.json?images=."


def export(path: Path, **how: Any) -> None:
    scope: dict[str, Any] = {}
    exec(MODULE, scope)
    module: nn.Module = scope["Bright"](**how).eval()
    names = ["boxes", "scores", "labels"][: 2 if how.get("chances") else 3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, (torch.rand(1, 3, 48, 60),), path, dynamo=False, input_names=["image"],
            output_names=[f"out_{name}" for name in names],
        )  # fmt: skip
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"classes": "none,cat,dog"})
    onnx.save(model, path)


@pytest.mark.parametrize(
    "how",
    [
        {}, {"form": "xywh", "first": True}, {"form": "cxcywh", "unit": "share"},
        {"chances": True, "first": True},
    ],
)  # fmt: skip
def test_declared_outputs_become_boxes_in_pixels_of_each_image(
    tmp_path: Path, shapes: str, how: dict[str, Any]
) -> None:
    pytest.importorskip("onnxruntime")
    export(tmp_path / "m.onnx", **how)
    options = {name: value for name, value in how.items() if name in {"form", "unit"}}
    options |= {"boxes": "out_boxes", "scores": "out_scores"}
    options |= {} if how.get("chances") else {"labels": "out_labels"}
    address = "onnx:m.onnx?" + "&".join(f"{name}={value}" for name, value in options.items())
    models = {"onnx": address, "torch": "torch:models.py:listed"}
    run = cb.run(models=models, data=shapes, suites=["accuracy"], out=tmp_path / "out")
    rows = run.metrics().set_index(["model", "metric"])["value"]
    for name in models:
        assert rows[name, "detection-ap75"] == 1.0
        assert rows[name, "detection-wrong-class"] == 0.0  # the cat has a score of 0.4
    for wrong, sentence in (
        ("boxes=out_box", "unknown output 'out_box'; did you mean 'out_boxes'"),
        ("boxes=out_boxes&form=xyhw", "unknown form of onnx: 'xyhw'; did you mean 'xywh'"),
    ):
        with pytest.raises(InputError, match=sentence):
            cb.run(models={"m": f"onnx:m.onnx?{wrong}"}, data=shapes, suites=["accuracy"], out="no")


def test_boxes_in_images_that_were_cropped_are_refused() -> None:
    spec = InputSpec(modality=Modality.IMAGE, channels=3, size=(40, 60))
    alike = Batch(("0",), torch.zeros(1, 3, 40, 60), stored=((80, 120),))
    assert scales_of(alike, spec) == [(0.5, 0.5)]
    with pytest.raises(OutputError, match="cropped: declare fit: stretch, or sizes: own"):
        scales_of(Batch(("0",), torch.zeros(1, 3, 40, 60), stored=((80, 100),)), spec)
