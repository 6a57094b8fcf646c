"""The published definitions of the corruptions, read plainly: one image, NumPy, SciPy and loops.

Every function takes an image of 8 bits, (H, W, C), the numbers of its severity as published, and
what is drawn, and returns float64 on 0 to 255 before the last cut to 8 bits.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

Array = np.ndarray[Any, Any]


def gaussian(x: Array, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Array:
    """skimage.filters.gaussian of (H, W, C) or (H, W)."""
    sigmas = (sigma, sigma, 0) if x.ndim == 3 else (sigma, sigma)
    return ndimage.gaussian_filter(x.astype(np.float64), sigmas, mode=mode, truncate=truncate)


def gaussian_noise(x: Array, c: float, normal: Array) -> Array:
    return np.clip(x / 255.0 + c * normal, 0, 1) * 255


def speckle_noise(x: Array, c: float, normal: Array) -> Array:
    return np.clip(x / 255.0 + x / 255.0 * c * normal, 0, 1) * 255


def shot_noise(x: Array, c: float, rng: np.random.Generator) -> Array:
    return np.clip(rng.poisson(x / 255.0 * c) / c, 0, 1) * 255


def impulse_noise(x: Array, c: float, rng: np.random.Generator) -> Array:
    out = x / 255.0
    flipped = rng.random(x.shape) <= c
    salted = rng.random(x.shape) <= 0.5
    out[flipped & salted] = 1
    out[flipped & ~salted] = 0
    return out * 255


def gaussian_blur(x: Array, c: float) -> Array:
    return np.clip(gaussian(x / 255.0, c), 0, 1) * 255


def disk(radius: float, alias_blur: float) -> Array:
    if radius <= 8:
        line, width = np.arange(-8, 9), 3
    else:
        line, width = np.arange(-radius, radius + 1), 5
    across, down = np.meshgrid(line, line)
    kernel = (across**2 + down**2 <= radius**2).astype(np.float64)
    kernel /= kernel.sum()
    taps = np.arange(width) - width // 2
    weights = np.exp(-(taps**2) / (2 * alias_blur**2))
    weights /= weights.sum()
    for axis in (0, 1):
        kernel = ndimage.correlate1d(kernel, weights, axis=axis, mode="mirror")
    return kernel


def defocus_blur(x: Array, radius: float, alias_blur: float) -> Array:
    kernel = disk(radius, alias_blur)
    channels = [
        ndimage.correlate(x[..., channel] / 255.0, kernel, mode="mirror")
        for channel in range(x.shape[2])
    ]
    return np.clip(np.stack(channels, axis=-1), 0, 1) * 255


def glass_blur(x: Array, sigma: float, reach: int, sweeps: int, draw: Callable[..., Any]) -> Array:
    """`draw(sweep, h, w)` returns dx and dy; an assignment of rows of a view, not an exchange."""
    out = np.uint8(gaussian(x / 255.0, sigma) * 255 + 1e-3)
    height, width = out.shape[:2]
    for sweep in range(sweeps):
        for h in range(height - reach, reach, -1):
            for w in range(width - reach, reach, -1):
                dx, dy = draw(sweep, h, w)
                out[h, w], out[h + dy, w + dx] = out[h + dy, w + dx], out[h, w]
    return np.clip(gaussian(out / 255.0, sigma), 0, 1) * 255


def motion(x: Array, radius: float, sigma: float, angle: float) -> Array:
    """ImageMagick's line of taps over (H, W, C), edge pixels repeated."""
    width = 2 * math.ceil(radius) + 1
    kernel = [math.exp(-(i * i) / (2 * sigma * sigma)) for i in range(width)]
    total = sum(kernel)
    across, down = width * math.cos(math.radians(angle)), width * math.sin(math.radians(angle))
    length = math.hypot(across, down)
    rows, columns = np.indices(x.shape[:2])
    out = np.zeros(x.shape)
    for i in range(width):
        h = np.clip(rows + math.ceil(i * down / length - 0.5), 0, x.shape[0] - 1)
        w = np.clip(columns + math.ceil(i * across / length - 0.5), 0, x.shape[1] - 1)
        out += kernel[i] / total * x[h, w]
    return out


def motion_blur(x: Array, radius: float, sigma: float, angle: float) -> Array:
    return np.rint(motion(x.astype(np.float64), radius, sigma, angle))


def clipped_zoom(x: Array, factor: float) -> Array:
    height, width = x.shape[:2]
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    part = x[top : top + rows, left : left + columns]
    part = ndimage.zoom(part, (factor, factor, 1), order=1)
    top, left = (part.shape[0] - height) // 2, (part.shape[1] - width) // 2
    return part[top : top + height, left : left + width]


def zoom_blur(x: Array, end: float, step: float) -> Array:
    image = x / 255.0
    factors = np.arange(1, end, step)
    out = sum(clipped_zoom(image, factor) for factor in factors)
    return np.clip((image + out) / (len(factors) + 1), 0, 1) * 255


def grey(x: Array) -> Array:
    if x.shape[2] == 1:
        return x
    return (x @ np.array([0.299, 0.587, 0.114]))[..., None]


def snow(x: Array, c: tuple[float, ...], normal: Array, angle: float) -> Array:
    image = x / 255.0
    layer = clipped_zoom((c[0] + c[1] * normal)[..., None], c[2])
    layer[layer < c[3]] = 0
    layer = np.uint8(np.clip(layer, 0, 1) * 255 + 1e-3).astype(np.float64)
    layer = np.rint(motion(layer, c[4], c[5], angle)) / 255.0
    image = c[6] * image + (1 - c[6]) * np.maximum(image, grey(image) * 1.5 + 0.5)
    return np.clip(image + layer + np.rot90(layer, k=2), 0, 1) * 255


def frost(x: Array, c: tuple[float, ...], texture: Array) -> Array:
    return np.clip(c[0] * x + c[1] * texture, 0, 255)


def plasma(side: int, decay: float, draw: Callable[[int], Array]) -> Array:
    """Diamond and square, one point after the other; `draw(n)` returns n draws in [-1, 1)."""
    heights = np.zeros((side, side))
    step, wibble = side, 100.0
    while step >= 2:
        half, points = step // 2, side // step
        jumps = [draw(points * points).reshape(points, points) * wibble**2 for _ in range(3)]

        def at(row: int, column: int) -> float:
            return float(heights[row % side, column % side])

        places = [(i, j) for i in range(points) for j in range(points)]
        for i, j in places:
            y, x = i * step, j * step
            corners = at(y, x) + at(y + step, x) + at(y, x + step) + at(y + step, x + step)
            heights[y + half, x + half] = corners / 4 + jumps[0][i, j]
        for i, j in places:
            y, x = i * step, j * step + half
            around = at(y, x - half) + at(y, x + half) + at(y - half, x) + at(y + half, x)
            heights[y, x] = around / 4 + jumps[1][i, j]
        for i, j in places:
            y, x = i * step + half, j * step
            around = at(y, x - half) + at(y, x + half) + at(y - half, x) + at(y + half, x)
            heights[y, x] = around / 4 + jumps[2][i, j]
        step, wibble = half, wibble / decay
    heights -= heights.min()
    return heights / heights.max()


def fog(x: Array, thickness: float, heights: Array) -> Array:
    image = x / 255.0
    most = image.max()
    image = image + thickness * heights[: x.shape[0], : x.shape[1], None]
    return np.clip(image * most / (most + thickness), 0, 1) * 255


def in_hsv(x: Array, change: Callable[[float, float, float], tuple[float, float, float]]) -> Array:
    """Changes hue, saturation and value of each pixel; one channel counts as three alike."""
    flat = np.repeat(x, 3, axis=2) if x.shape[2] == 1 else x
    out = np.array(
        [
            colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*pixel)))
            for pixel in flat.reshape(-1, 3) / 255.0
        ]
    ).reshape(flat.shape)
    return np.clip(out[..., : x.shape[2]], 0, 1) * 255


def brightness(x: Array, c: float) -> Array:
    return in_hsv(x, lambda h, s, v: (h, s, min(max(v + c, 0.0), 1.0)))


def saturate(x: Array, factor: float, more: float) -> Array:
    return in_hsv(x, lambda h, s, v: (h, min(max(s * factor + more, 0.0), 1.0), v))


def contrast(x: Array, c: float) -> Array:
    image = x / 255.0
    means = image.mean(axis=(0, 1), keepdims=True)
    return np.clip((image - means) * c + means, 0, 1) * 255


def elastic_transform(x: Array, c: tuple[float, ...], moves: Array, fields: Array) -> Array:
    """`c` in pixels; `moves` (3, 2) and `fields` (2, H, W) in [-1, 1), across then down."""
    image = x / 255.0
    height, width = x.shape[:2]
    centre = np.array([height // 2, width // 2], dtype=np.float64)
    square = min(height, width) // 3
    points = np.array([centre + square, [centre[0] + square, centre[1] - square], centre - square])
    system = np.concatenate([points, np.ones((3, 1))], axis=1)
    matrix = np.linalg.solve(system, points + c[2] * moves).T
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    rows, columns = np.indices((height, width)).astype(np.float64)
    from_x = inverse[0, 0] * columns + inverse[0, 1] * rows + inverse[0, 2]
    from_y = inverse[1, 0] * columns + inverse[1, 1] * rows + inverse[1, 2]
    image = _at(image, from_y, from_x, "mirror")
    across, down = (gaussian(field, c[1], mode="reflect", truncate=3.0) * c[0] for field in fields)
    return np.clip(_at(image, rows + down, columns + across, "reflect"), 0, 1) * 255


def _at(image: Array, rows: Array, columns: Array, mode: str) -> Array:
    parts = [
        ndimage.map_coordinates(image[..., channel], [rows, columns], order=1, mode=mode)
        for channel in range(image.shape[2])
    ]
    return np.stack(parts, axis=-1)


def pixelate(x: Array, c: float) -> Array:
    height, width = x.shape[:2]
    image = Image.fromarray(x if x.shape[2] == 3 else x[..., 0])
    image = image.resize((int(width * c), int(height * c)), Image.Resampling.BOX)
    image = image.resize((width, height), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float64).reshape(x.shape)


def jpeg_compression(x: Array, c: float) -> Array:
    stream = BytesIO()
    Image.fromarray(x if x.shape[2] == 3 else x[..., 0]).save(stream, "JPEG", quality=int(c))
    return np.asarray(Image.open(stream), dtype=np.float64).reshape(x.shape)


def spatter(x: Array, c: tuple[float, ...], normal: Array) -> Array:
    image = x / 255.0
    liquid = gaussian(c[0] + c[1] * normal, c[2])
    liquid[liquid < c[3]] = 0
    weights = np.array([1.0]) if x.shape[2] == 3 else np.array([0.299, 0.587, 0.114])
    if c[5] == 0:
        relief = _relief(np.uint8(np.clip(liquid, 0, 1) * 255))
        colour = np.array([175.0, 238.0, 238.0]) / 255
        colour = colour if x.shape[2] == 3 else np.array([colour @ weights])
        return np.clip(image + c[4] * relief[..., None] * colour, 0, 1) * 255
    spots = gaussian((liquid > c[3]).astype(np.float64), c[4])
    spots[spots < 0.8] = 0
    colour = np.array([63.0, 42.0, 20.0]) / 255
    colour = colour if x.shape[2] == 3 else np.array([colour @ weights])
    return np.clip(image * (1 - spots[..., None]) + colour * spots[..., None], 0, 1) * 255


def _relief(liquid: Array) -> Array:
    edges = canny(liquid.astype(np.float64), 50, 150)
    distance = np.full(liquid.shape, 20.0)
    if edges.any():
        distance = np.minimum(ndimage.distance_transform_edt(~edges), 20.0)
    box = np.ones((3, 3)) / 9
    heights = np.floor(ndimage.correlate(distance, box, mode="mirror") + 1e-9).astype(np.int64)
    heights = equalised(heights)
    kernel = np.array([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]])
    heights = np.clip(ndimage.correlate(heights, kernel, mode="mirror"), 0, 255)
    heights = np.rint(ndimage.correlate(heights, box, mode="mirror"))
    relief = liquid * heights
    return relief / relief.max() if relief.max() > 0 else relief


def equalised(levels: Array) -> Array:
    counts = np.bincount(levels.ravel(), minlength=256)
    lowest = int(np.flatnonzero(counts)[0])
    if counts[lowest] == levels.size:
        return levels.astype(np.float64)
    table, total = np.zeros(256), 0
    for level in range(lowest + 1, 256):
        total += int(counts[level])
        table[level] = np.rint(total * (255.0 / (levels.size - counts[lowest])))
    return table[levels]


def canny(x: Array, low: float, high: float) -> Array:
    """Pixel by pixel, and a flood from the strong edges."""
    across = ndimage.sobel(x, axis=1, mode="nearest")
    down = ndimage.sobel(x, axis=0, mode="nearest")
    strength = np.pad(np.abs(across) + np.abs(down), 1)
    height, width = x.shape
    weak = np.zeros(x.shape, dtype=bool)
    for i in range(height):
        for j in range(width):
            m, dx, dy = strength[i + 1, j + 1], across[i, j], down[i, j]
            if m <= low:
                continue
            if abs(dy) < math.tan(math.pi / 8) * abs(dx):
                weak[i, j] = m > strength[i + 1, j] and m >= strength[i + 1, j + 2]
            elif abs(dy) > math.tan(3 * math.pi / 8) * abs(dx):
                weak[i, j] = m > strength[i, j + 1] and m >= strength[i + 2, j + 1]
            else:
                s = -1 if (dx < 0) != (dy < 0) else 1
                weak[i, j] = m > strength[i, j + 1 - s] and m > strength[i + 2, j + 1 + s]
    strong = weak & (strength[1:-1, 1:-1] > high)
    waiting = list(zip(*np.nonzero(strong), strict=True))
    while waiting:
        i, j = waiting.pop()
        for h in range(max(i - 1, 0), min(i + 2, height)):
            for w in range(max(j - 1, 0), min(j + 2, width)):
                if weak[h, w] and not strong[h, w]:
                    strong[h, w] = True
                    waiting.append((h, w))
    return strong
