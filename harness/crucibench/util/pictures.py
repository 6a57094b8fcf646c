"""Small pictures as PNG files, for a reader to look at."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

SIDE = 96
"""Pixels of the longer side at most."""

Pixels = NDArray[np.uint8]


FRAMED_SIDE = 160
"""Likewise where boxes are drawn."""

_COLOURS = 32


def small(images: NDArray[np.floating], side: int = SIDE) -> list[Pixels]:
    """Returns images as small pictures.

    Args:
        images: shape (n, C, H, W), values in [0, 1], C being 1 or 3. Others are clipped.
        side: of a picture at most.

    Returns:
        Each of shape (h, w) or (h, w, 3), no side longer than `side`; one that is small already
        keeps its pixels, each of which is rounded to one of 256 levels.
    """
    levels = np.rint(np.nan_to_num(images).clip(0.0, 1.0) * 255).astype(np.uint8)
    found = [one[0] if len(one) == 1 else one.transpose(1, 2, 0) for one in levels]
    return [_shrunk(np.ascontiguousarray(one), side) for one in found]


def framed(
    image: NDArray[np.floating], boxes: NDArray[np.floating], size: tuple[int, int], colour: str
) -> bytes:
    """Returns an image with boxes drawn on it as a PNG file of few colours.

    Args:
        image: shape (C, H, W), values in [0, 1].
        boxes: shape (m, 4), left, top, right, bottom, in pixels of `size`.
        size: (height, width) of the image that the boxes are of, which may have been resized.
        colour: of the boxes.
    """
    from PIL import Image, ImageDraw

    (pixels,) = small(image[None], FRAMED_SIDE)
    picture = Image.fromarray(pixels).convert("RGB")
    scale = np.array([picture.width / size[1], picture.height / size[0]] * 2)
    draw = ImageDraw.Draw(picture)
    for box in boxes * scale:
        corners = np.clip(box, -1, FRAMED_SIDE + 1)
        draw.rectangle([*corners[:2], *np.maximum(corners[2:] - 1, corners[:2])], outline=colour)
    stream = io.BytesIO()
    picture.quantize(_COLOURS).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def png(picture: Pixels) -> bytes:
    """Returns a picture, shape (h, w) or (h, w, 3), as a PNG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def magnified(
    before: NDArray[np.floating], after: NDArray[np.floating]
) -> tuple[Pixels, float] | None:
    """Returns how one image differs from another: grey where it does not, and the factor.

    Args:
        before: shape (C, H, W), values in [0, 1].
        after: likewise.

    Returns:
        The picture, on which the largest change is black or white, and by what changes are
        multiplied; None where nothing differs.
    """
    change = np.nan_to_num(after.astype(np.float64) - before.astype(np.float64))
    largest = float(np.abs(change).max(initial=0.0))
    if largest == 0.0:
        return None
    factor = 0.5 / largest
    return small((0.5 + factor * change)[None])[0], factor


def _shrunk(picture: Pixels, most: int) -> Pixels:
    longest = max(picture.shape[:2])
    if longest <= most:
        return picture
    from PIL import Image

    height, width = (max(1, round(side * most / longest)) for side in picture.shape[:2])
    shrunk = Image.fromarray(picture).resize((width, height), Image.Resampling.BOX)
    return np.asarray(shrunk, dtype=np.uint8)
