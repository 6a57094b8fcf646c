"""Triggers: what whoever poisoned a model's training data would put into an image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from crucibench.util.draws import Draws
from crucibench.util.numbers import Number
from crucibench.util.untrusted.content import read_content
from crucibench.util.untrusted.images import open_image

if TYPE_CHECKING:
    import torch


class Trigger(BaseModel):
    """One trigger, as settings give it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    template: Literal["patch", "blend"]
    """``patch``: a square in a corner; ``blend``: a picture over the whole image."""

    target: str
    """The class that images with the trigger are to be taken for."""

    size: Number = Field(default=0.125, gt=0, le=1)
    """Of a patch: its side, as a share of the image's shorter side; at least a pixel."""

    place: Literal["top left", "top right", "bottom left", "bottom right"] = "bottom right"
    """Of a patch."""

    opacity: Number | None = Field(default=None, gt=0, le=1)
    """How much of the image the picture replaces; null: 1 for a patch, 0.2 for a blend."""

    file: str | None = None
    """The picture; null for a checkerboard in black and white (patch), or noise (blend)."""

    def applied(self, images: torch.Tensor, file: Path | None = None) -> torch.Tensor:
        """Returns images (N, C, H, W) in [0, 1] with the trigger in them.

        Args:
            images: what it is put into.
            file: where `file` is.

        Source:
            Gu et al., BadNets, 2017 (arXiv:1708.06733): patch; Chen et al., 2017
            (arXiv:1712.05526): blend.
        """
        height, width = side = tuple(images.shape[2:])
        found = images.clone()
        rows, columns = slice(None), slice(None)
        if self.template == "patch":
            length = max(1, round(self.size * min(side)))
            side = (length, length)
            top, left = self.place.split()
            rows = slice(0, length) if top == "top" else slice(height - length, height)
            columns = slice(0, length) if left == "left" else slice(width - length, width)
        picture = self._picture(side, images.shape[1], file).to(images)
        opacity = self.opacity or (1.0 if self.template == "patch" else 0.2)
        under = found[:, :, rows, columns]
        found[:, :, rows, columns] = under + opacity * (picture - under)
        return found

    def _picture(self, side: tuple[int, ...], channels: int, file: Path | None) -> torch.Tensor:
        import torch

        height, width = side
        if file is not None:
            image = open_image(read_content(file, file.name), file.name).convert(
                "L" if channels == 1 else "RGB"
            )
            pixels = np.asarray(image.resize((width, height)), dtype=np.float32) / 255
            return torch.from_numpy(pixels.reshape(height, width, channels)).permute(2, 0, 1)
        if self.template == "patch":
            board = (torch.arange(height)[:, None] + torch.arange(width)) % 2
            return board.float().expand(channels, height, width)
        noise = Draws(0, "poison/blend").uniform(["picture"], "pixels", (channels, height, width))
        return torch.from_numpy(noise[0])
