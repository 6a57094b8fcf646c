"""Object detectors of torchvision, asked with images in their own sizes.

Imports torch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class OneByOne(nn.Module):
    """A detector that is asked about one image at a time.

    Of several it fills the smaller ones up, and answers would depend on which lie together.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Any) -> list[dict[str, torch.Tensor]]:
        """Returns boxes, labels and scores of each image (3, H, W) in [0, 1]."""
        return [self.model([image])[0] for image in images]
