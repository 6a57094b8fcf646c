"""Digital: contrast, elastic transform, pixelate and JPEG compression."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.corruption import CorruptionContext, Level
from crucibench_suites.shift.corruptions._filters import gaussian, truncated
from crucibench_suites.shift.corruptions._warp import affine_from_points, sample, warp_affine

if TYPE_CHECKING:
    from PIL.Image import Image

_LEVEL = np.float32(1 / 255)


def contrast(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Pulls each channel to its mean; a level is the share of the distance that is left."""
    means = images.mean(dim=(2, 3), keepdim=True)
    for (left,) in levels:
        yield truncated(torch.lerp(means, images, left))


def elastic_transform(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Moves three points of the image, and then every pixel by a smooth field, both drawn.

    A level is the field's amplitude, its smoothness and the reach of the points, as shares of the
    shorter side.
    """
    draws = context.tensors(images.device)
    height, width = images.shape[2:]
    side = min(height, width)
    moves = 2.0 * context.draws.uniform(context.ids, "points", (3, 2)).astype(np.float64) - 1.0
    centre = np.array([height // 2, width // 2], dtype=np.float64)
    square = float(side // 3)
    points = centre + square * np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    noise = None
    fields: dict[float, torch.Tensor] = {}
    for amplitude, smoothness, reach in levels:
        moved = points + reach * side * moves
        warped = warp_affine(images, affine_from_points(points, moved))
        if amplitude:
            if noise is None:
                noise = draws.uniform("field", (2, height, width)).mul_(2.0).sub_(1.0)
            if smoothness not in fields:
                fields[smoothness] = gaussian(
                    noise, smoothness * side, border="reflect", truncate=3.0
                )
            warped = sample(warped, fields[smoothness] * (amplitude * side))
        yield truncated(warped)


def pixelate(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Shrinks by box means and enlarges again; a level is the share of each side that is left.

    Boxes are those of Pillow: a pixel of the small image is the plain mean of the pixels whose
    middle lies in it, rounded to 8 bits after each axis.
    """
    height, width = images.shape[-2:]
    sizes = [(max(1, int(height * left)), max(1, int(width * left))) for (left,) in levels]
    make = pixelated_by_pillow if images.device.type == "cpu" else pixelated_by_torch
    yield from make(images, sizes)


def pixelated_by_pillow(
    images: torch.Tensor, sizes: Sequence[tuple[int, int]]
) -> Iterator[torch.Tensor]:
    """Yields images through each (height, width) of `sizes`: on a CPU, in whole numbers."""
    pictures = _pictures_of(images)
    for size in sizes:
        yield _made_of(partial(_pixelate, size=size), pictures, images)


def pixelated_by_torch(
    images: torch.Tensor, sizes: Sequence[tuple[int, int]]
) -> Iterator[torch.Tensor]:
    """Yields the same, made on the images' device."""
    # Rows are gathered several times faster than columns: the first axis goes first on its side.
    turned = images.mul(255.0).round_().transpose(2, 3).contiguous()
    for height, width in sizes:
        small = _box_means(_box_means(turned, width).transpose(2, 3).contiguous(), height)
        for axis in (3, 2):
            places = box_places(small.shape[axis], images.shape[axis])[0]
            small = small.index_select(axis, torch.from_numpy(places).to(images.device))
        yield small.mul_(1 / 255)


def _pixelate(picture: Image, out: NDArray[np.float32], size: tuple[int, int]) -> None:
    """Writes a picture through (height, width) `size` to `out`, (C, H, W) in [0, 1]."""
    from PIL.Image import Resampling

    values = np.empty((len(out), *size), dtype=np.float32)
    _unpack(picture.resize(size[::-1], Resampling.BOX), values)
    rows, columns = (box_places(*sides)[0] for sides in zip(size, out.shape[1:], strict=True))
    # In this order most of what is written is whole rows, one after another.
    values[:, :, columns].take(rows, axis=1, out=out, mode="clip")


@lru_cache(maxsize=128)
def box_places(side: int, out: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the first pixel of each box and one beyond its last, (out,) each."""
    scale = side / out
    support = 0.5 * max(scale, 1.0)
    centres = (np.arange(out) + 0.5) * scale
    first = np.maximum(np.floor(centres - support + 0.5), 0).astype(np.int64)
    end = np.minimum(np.floor(centres + support + 0.5), side).astype(np.int64)
    # A middle that lies on the lower edge of a box is not in it, on the upper edge it is.
    middle = (first + 0.5 - centres) / max(scale, 1.0)
    first = np.where((middle <= -0.5) & (end - first > 1), first + 1, first)
    return first, np.maximum(end, first + 1)


def _box_means(images: torch.Tensor, out: int) -> torch.Tensor:
    """Returns the rounded means of `out` boxes of rows."""
    first, end = box_places(images.shape[2], out)
    counts = end - first
    total = images.index_select(2, torch.from_numpy(first).to(images.device))
    for step in range(1, int(counts.max())):
        places = torch.from_numpy(np.minimum(first + step, end - 1)).to(images.device)
        more = images.index_select(2, places)
        if (counts <= step).any():
            inside = torch.from_numpy((counts > step).astype(np.float32)).to(images.device)
            more.mul_(inside.reshape(-1, 1))
        total.add_(more)
    shares = torch.from_numpy((1.0 / counts).astype(np.float32)).to(images.device)
    # Halves round up; a mean that is one must not fall below it by rounding in float32.
    return total.mul_(shares.reshape(-1, 1)).add_(0.5 + 1e-4).floor_()


def jpeg_compression(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Goes through Pillow's JPEG codec; a level is its quality."""
    pictures = _pictures_of(images)
    for (quality,) in levels:
        yield _made_of(partial(_through_jpeg, quality=int(quality)), pictures, images)


def _through_jpeg(picture: Image, out: NDArray[np.float32], quality: int) -> None:
    """Writes a picture as it is after encoding and decoding to `out`, (C, H, W) in [0, 1]."""
    from PIL.Image import frombytes

    stream = BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    # The decoder itself: what the file's header says is known.
    code, mode = stream.getvalue(), picture.mode
    _unpack(frombytes(mode, picture.size, code, "jpeg", (mode, "")), out)


def _pictures_of(images: torch.Tensor) -> list[Image]:
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


def _unpack(picture: Image, out: NDArray[np.float32]) -> None:
    """Writes a picture's values in [0, 1] to `out`, (C, H, W)."""
    for channel, values in zip(picture.getbands(), out, strict=True):
        levels = np.frombuffer(picture.tobytes("raw", channel), np.uint8)
        values[...] = levels.reshape(values.shape)
    out *= _LEVEL


def _made_of(
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
