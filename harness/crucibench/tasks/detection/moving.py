"""Objects that are moved with the pixels of their image.

The rule: a box becomes the box of the ellipse that fills it (Kalra et al., "Towards rotation
invariance in object detection", ICCV 2021), which is exact where nothing is turned, and of what is
round; the box of its four corners would be half as large again at 15 degrees. It is clipped to the
picture. An object of which less than a quarter stays is ignored from then on, neither to be found
nor wrong to find; one of which nothing stays is dropped. Areas change by the map's determinant,
and by the share that stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.lists import Lists
from crucibench.tasks.detection.matching import IGNORED

LEAST = 0.25
"""The share of a box that has to stay in the picture for it to count."""


def moved(
    targets: Lists, maps: NDArray[np.float64], sides: tuple[int, int],
    stored: Sequence[tuple[int, int]],
) -> Lists:  # fmt: skip
    """Returns objects where affine maps of their images take them.

    Args:
        targets: of n images, (m, 7), in pixels of the image as it is stored.
        maps: from old to new (x, y), (n, 2, 3), in canonical pixels, the middle of the first being
            (0, 0).
        sides: canonical height and width.
        stored: height and width of each image; empty where the canonical ones are.
    """
    rows, values = targets.rows, targets.values.copy()
    own = np.array(stored or [sides] * len(targets), dtype=np.float64)[:, ::-1]
    scale = (np.array(sides[::-1]) / own)[rows]  # from stored pixels to canonical ones
    size = values[:, 2:4] * scale
    middle = values[:, :2] * scale + size / 2 - 0.5
    linear, offset = maps[rows, :, :2], maps[rows, :, 2]
    middle = np.einsum("mij,mj->mi", linear, middle) + offset + 0.5
    half = np.sqrt(np.einsum("mij,mj->mi", linear**2, (size / 2) ** 2))
    whole = np.prod(2 * half, axis=1)
    low, high = middle - half, middle + half
    low, high = (np.clip(end, 0.0, np.array(sides[::-1])) for end in (low, high))
    inside = np.prod(high - low, axis=1)
    share = np.divide(inside, whole, out=np.ones(len(values)), where=whole > 0)
    values[:, :2], values[:, 2:4] = low / scale, (high - low) / scale
    values[:, 5] *= np.abs(np.linalg.det(linear)) * share
    values[(share < LEAST) & (values[:, 6] == 0), 6] = IGNORED
    stays = share > 0
    return Lists.of(np.bincount(rows[stays], minlength=len(targets)), values[stays])
