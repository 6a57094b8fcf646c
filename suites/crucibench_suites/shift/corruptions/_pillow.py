"""Images to Pillow and back, quicker than through arrays of pixels side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

_LEVEL = np.float32(1 / 255)


def pictures_of(images: torch.Tensor) -> list[Image]:
    """Returns images in [0, 1], (N, C, H, W) with 1 or 3 channels, as the nearest of 256 levels."""
    return [_picture_of(image) for image in images.cpu().numpy()]


def _picture_of(image: NDArray[np.float32]) -> Image:
    """Returns one image, (C, H, W).

    Pillow keeps a pixel's three levels in four bytes and copies these as they are. As one number
    they fit a float's 24 bits, and are put together three times as fast as byte by byte.
    """
    from PIL.Image import frombytes

    size = image.shape[:0:-1]
    levels = image * np.float32(255)
    np.rint(levels, out=levels)
    if len(levels) == 1:
        return frombytes("L", size, levels.astype(np.uint8).tobytes())
    red, green, pixels = levels
    for channel in (green, red):
        pixels *= 256
        pixels += channel
    return frombytes("RGB", size, pixels.astype("<u4").tobytes(), "raw", "RGBX")


def unpack(picture: Image, out: NDArray[np.float32]) -> None:
    """Writes a picture's values in [0, 1] to `out`, (C, H, W)."""
    for channel, values in zip(picture.getbands(), out, strict=True):
        levels = np.frombuffer(picture.tobytes("raw", channel), np.uint8)
        values[...] = levels.reshape(values.shape)
    out *= _LEVEL


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
