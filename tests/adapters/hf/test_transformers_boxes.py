"""`hf:` detectors: boxes in pixels of the image, classes by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crucibench.contracts.batch import Batch
from crucibench.util.errors import InputError

NAMES = {0: "N/A", 1: "dog", 2: "cat"}


def test_boxes_are_those_of_the_model_in_pixels_of_each_image(
    tmp_path: Path, opened: Callable[..., Any], card: Callable[..., Any]
) -> None:
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        image_size=[32, 32], patch_size=8, num_detection_tokens=5, id2label=NAMES,
    )  # fmt: skip
    model = YolosForObjectDetection(config).eval()
    model.save_pretrained(tmp_path / "yolos")
    processor = YolosImageProcessorPil(size={"height": 32, "width": 32}, do_pad=False)
    processor.save_pretrained(tmp_path / "yolos")
    data = card(("cat", "dog"), images="3x40x60", kind="detection")
    adapter = opened("hf:yolos", data)
    assert adapter.input_spec.own_sizes
    images = [torch.rand((3, *size)) for size in ((40, 60), (30, 20))]
    answer = adapter.predict(Batch(("0", "1"), images), frozenset({"boxes"}))
    for row, image in enumerate(images):
        pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        with torch.no_grad():
            found = model(**processor(images=[pixels], return_tensors="pt"))
        chances = found.logits[0].softmax(-1)[:, :-1]
        scores, labels = chances.max(-1)
        kept = labels > 0
        x, y, w, h = found.pred_boxes[0][kept].T
        height, width = image.shape[-2:]
        corners = torch.stack(
            [(x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height]
        ).T
        mine = {name: answer.lists(name)[np.array([row])].values for name in answer.names}
        assert mine["boxes"] == pytest.approx(corners.numpy(), abs=1e-3)
        assert mine["scores"] == pytest.approx(scores[kept].numpy(), abs=1e-6)
        assert mine["labels"].tolist() == [{1: 1, 2: 0}[at] for at in labels[kept].tolist()]
    with pytest.raises(InputError, match="unknown class 'cow'"):
        opened("hf:yolos", card(("cow", "dog"), images="3x40x60", kind="detection"))
