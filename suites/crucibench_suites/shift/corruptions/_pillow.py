"""Images to Pillow and back, quicker than through arrays of pixels side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench_suites.shift.corruptions._filters import levels_of

if TYPE_CHECKING:
    from PIL.Image import Image

_LEVEL = np.float32(1 / 255)


def pictures_of(images: torch.Tensor) -> list[Image]:
    """Returns images, (N, C, H, W) with 1 or 3 channels, as the nearest of 256 levels."""
    from PIL.Image import frombytes

    channels, height, width = images.shape[1:]
    mode = "RGB" if channels == 3 else "L"
    # Line by line, each channel's in turn: that is copied in runs, pixels side by side are not.
    order = "RGB;L" if channels == 3 else "L"
    # One by one on a CPU: an image stays in its cache meanwhile, a batch does not.
    parts = [image[None] for image in images] if images.device.type == "cpu" else [images]
    rows = (levels_of(part).transpose(1, 2).contiguous().cpu().numpy() for part in parts)
    return [
        frombytes(mode, (width, height), entry.tobytes(), "raw", order)
        for part in rows
        for entry in part
    ]


def unpack(picture: Image, out: NDArray[np.float32]) -> None:
    """Writes a picture's values in [0, 1] to `out`, (C, H, W)."""
    shape = (picture.height, picture.width)
    for place, channel in enumerate(picture.getbands()):
        out[place] = np.frombuffer(picture.tobytes("raw", channel), np.uint8).reshape(shape)
        out[place] *= _LEVEL


def made_of(
    work: Callable[[Image, NDArray[np.float32]], None],
    pictures: Sequence[Image],
    images: torch.Tensor,
) -> torch.Tensor:
    """Returns a tensor like `images` that `work` fills picture by picture.

    Pillow leaves other threads their time. What is filled is numpy's: memory that torch takes anew
    for each severity is handed out by the system page by page, which takes longer than the work.
    """
    made = np.empty(images.shape, dtype=np.float32)
    threads = min(torch.get_num_threads(), len(pictures))
    if threads < 2:
        for picture, out in zip(pictures, made, strict=True):
            work(picture, out)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, pictures, made))
    return torch.from_numpy(made).to(images.device)
