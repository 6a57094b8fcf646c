"""Object detectors of `transformers`, asked with images in their own sizes.

Imports torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class BoxDetector(nn.Module):
    """A detector with its processor, which resizes, normalises, and takes boxes back.

    Images are asked about one by one: in a batch the processor pads the smaller ones, and answers
    would depend on which images lie together.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        super().__init__()
        self.model = model
        self.processor = processor
        self.crucibench_input = {"sizes": "own", "channels": 3}

    def forward(self, images: Any) -> list[dict[str, torch.Tensor]]:
        """Returns boxes, labels and scores of each image (3, H, W) in [0, 1]."""
        found = []
        for image, answer in zip(images, self.raw(images), strict=True):
            size = torch.tensor([image.shape[-2:]], device=image.device)
            found += self.processor.post_process_object_detection(
                answer, threshold=0.0, target_sizes=size
            )
        return found

    def raw(self, images: Any) -> list[Any]:
        """Returns what the model itself says of each image."""
        found = []
        for image in images:
            # The processor takes pictures of 8 bits, as it was trained with.
            picture = image.mul(255).round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
            given = self.processor(images=[picture], return_tensors="pt").to(image.device)
            found.append(self.model(**given))
        return found
