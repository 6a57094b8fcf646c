"""What each corruption makes of samples so simple that it can be said beforehand.

The self-test runs these on what a cell runs. Each follows from the definition of the corruption:
how wide noise scatters about grey, how a step is blurred, how far a ramp is moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import torch

from crucibench.contracts.corruption import KnownAnswer

_SIDE = 64
_MIDDLE = slice(24, 40)


def _flat(*colour: float, count: int = 4, side: int = _SIDE) -> torch.Tensor:
    """Returns images of one colour, given by one number or three."""
    channels = torch.tensor(colour if len(colour) == 3 else colour * 3)
    return channels.reshape(1, 3, 1, 1).expand(count, 3, side, side).clone()


def _point() -> torch.Tensor:
    """Returns black images with a white pixel in the middle."""
    images = _flat(0.0, side=_SIDE + 1)
    images[..., 32, 32] = 1.0
    return images


def _by_column(values: Any) -> torch.Tensor:
    """Returns images whose columns have these values, shape (64,)."""
    row = torch.tensor(np.asarray(values), dtype=torch.float32)
    return row.expand(4, 3, _SIDE, _SIDE).clone()


def _step() -> torch.Tensor:
    return _by_column(np.arange(_SIDE) >= _SIDE // 2)


def _stripes(high: float = 1.0) -> torch.Tensor:
    return _by_column(high * (np.arange(_SIDE) % 2))


def _square() -> torch.Tensor:
    images = _flat(0.0)
    images[..., 16:48, 16:48] = 1.0
    return images


def _ramps() -> torch.Tensor:
    """Returns images whose first channel grows across, whose second grows down."""
    images = torch.zeros((4, 3, _SIDE, _SIDE))
    ramp = 0.2 + 0.6 * torch.arange(_SIDE) / (_SIDE - 1)
    images[:, 0], images[:, 1], images[:, 2] = ramp[None, :], ramp[:, None], 0.5
    return images


def _wave(cycles: float) -> torch.Tensor:
    return _by_column(0.5 + 0.25 * np.cos(2 * np.pi * cycles * np.arange(_SIDE) / _SIDE))


def _ends(before: Any, after: Any) -> list[float]:
    return [float(after.min()), float(after.max())]


def _spread_of_change(before: Any, after: Any) -> float:
    return float((after - before).std())


def _spread(before: Any, after: Any) -> float:
    return float(after[..., 8:-8, 8:-8].std())


def _colour(before: Any, after: Any) -> list[float]:
    return [float(value) for value in after.mean(dim=(0, 2, 3))]


def _moves(before: Any, after: Any) -> tuple[Any, Any, Any]:
    """Returns how steep ramps are now, of 1 before, and how far the middle has moved, of 1.

    ``across``: the first ramp along itself; ``down``: the same down the image; each (n,).
    """
    scale = 0.6 / (_SIDE - 1)
    across = (after[:, 0, 32, 40] - after[:, 0, 32, 24]) / (16 * scale)
    down = (after[:, 0, 40, 32] - after[:, 0, 24, 32]) / (16 * scale)
    gap = (after - before)[:, :2, _MIDDLE, _MIDDLE].mean(dim=(2, 3)) / (scale * _SIDE)
    return across, down, gap.norm(dim=1)


def _glass_step(before: Any, after: Any) -> float:
    return float(((before - after)[..., 4:-4, 4:-4] * (_SIDE - 1)).mean())


def _jpeg_gap(before: Any, after: Any) -> float:
    """Returns how far images lie from what Pillow's own files hold."""
    from PIL import Image

    gaps = []
    for old, new in zip(before, after, strict=True):
        stream = BytesIO()
        pixels = np.rint(255 * old.permute(1, 2, 0).numpy()).astype(np.uint8)
        Image.fromarray(pixels).save(stream, "JPEG", quality=7)
        read = np.asarray(Image.open(stream), dtype=np.float64)
        gaps.append(np.abs(255 * new.permute(1, 2, 0).numpy() - read).mean())
    return float(np.mean(gaps))


def _jittered(before: Any, after: Any) -> list[float]:
    factors = (after / before).mean(dim=(2, 3))
    return [float(factors.mean()), float(factors.std())]


def _smeared(before: Any, after: Any) -> float:
    return float((after - before)[..., 8:-8, 8:-8].square().mean().sqrt() * (_SIDE - 1))


IMAGES: Mapping[str, KnownAnswer] = {
    # Noise scatters about grey by its level.
    "gaussian_noise": KnownAnswer(
        inputs=lambda: _flat(0.5), measure=_spread_of_change, expected=0.08, tolerance=0.002,
        severity=1,
    ),
    "shot_noise": KnownAnswer(
        inputs=lambda: _flat(0.5), measure=_spread_of_change, expected=(0.5 / 60) ** 0.5,
        tolerance=0.002, severity=1,
    ),
    "impulse_noise": KnownAnswer(
        inputs=lambda: _flat(0.5), expected=0.27, tolerance=0.01,
        measure=lambda before, after: float(((after == 0) | (after == 1)).float().mean()),
    ),
    "speckle_noise": KnownAnswer(
        inputs=lambda: _flat(0.5), measure=_spread_of_change, expected=0.075, tolerance=0.002,
        severity=1,
    ),
    # A disc of radius 3 has 29 pixels.
    "defocus_blur": KnownAnswer(
        inputs=_point, expected=29.0, tolerance=0.1, severity=1,
        measure=lambda before, after: float((after[:, 0] > 0).sum() / len(after)),
    ),
    # Each pixel shows one of four neighbours, half of which lie one to the left.
    "glass_blur": KnownAnswer(
        inputs=lambda: _by_column(np.arange(_SIDE) / (_SIDE - 1)), measure=_glass_step,
        expected=0.5, tolerance=0.15, severity=1, parameters="cifar",
    ),
    # The first of 41 taps of half a Gaussian.
    "motion_blur": KnownAnswer(
        inputs=_point, tolerance=0.004,
        expected=float(1 / np.exp(-(np.arange(41) ** 2) / (2 * 15.0**2)).sum()),
        measure=lambda before, after: [float(value) for value in after[:, 0, 32, 32]],
    ),
    # 32 pixels of white, once as they are and at the factors 1, 1.03, ..., 1.3, on average.
    "zoom_blur": KnownAnswer(
        inputs=_square, expected=32 * (1 + 11 * 1.15) / 12, tolerance=0.2,
        measure=lambda before, after: float(after[:, 0, 32].sum(dim=1).mean()),
    ),
    # A fifth of the way to white's half, and no flake darkens it.
    "snow": KnownAnswer(
        inputs=lambda: _flat(0.0), expected=0.1, tolerance=0.01, severity=1,
        measure=lambda before, after: float(after.min()),
    ),
    # What the image shows of itself is 0.6 of its contrast.
    "frost": KnownAnswer(
        inputs=lambda: _stripes(0.2), expected=0.12, tolerance=0.02,
        measure=lambda before, after: float((after[..., 1::2] - after[..., ::2]).mean()),
    ),
    # (x + 1.5 p) m / (m + 1.5), p reaching from 0 to 1.
    "fog": KnownAnswer(
        inputs=lambda: _flat(0.5), measure=_ends, expected=[0.125, 0.5], tolerance=0.005,
        severity=1,
    ),
    "brightness": KnownAnswer(
        inputs=lambda: _flat(0.4), measure=_ends, expected=[0.9, 0.9], tolerance=0.005
    ),
    "contrast": KnownAnswer(
        inputs=_step, measure=_ends, expected=[0.475, 0.525], tolerance=0.005
    ),
    # A field of 3.5 pixels, smoothed, after three points were moved by up to 1.4: a pixel or two.
    "elastic_transform": KnownAnswer(
        inputs=lambda: _by_column(np.arange(_SIDE) / (_SIDE - 1)), measure=_smeared,
        expected=1.2, tolerance=0.6, severity=3,
    ),
    "pixelate": KnownAnswer(
        inputs=_stripes, measure=_ends, expected=[0.5, 0.5], tolerance=0.005
    ),
    "jpeg_compression": KnownAnswer(
        inputs=lambda: _ramps() * 0.5 + _step() * 0.5, measure=_jpeg_gap, expected=0.0,
        tolerance=0.01,
    ),
    # What drops of water add is of their colour: 175 of red to 238 of green.
    "spatter": KnownAnswer(
        inputs=lambda: _flat(0.0), expected=175 / 238, tolerance=0.03, severity=1,
        measure=lambda before, after: float(after[:, 0].max() / after[:, 1].max()),
    ),
    "saturate": KnownAnswer(
        inputs=lambda: _flat(0.6, 0.4, 0.4), measure=_colour, expected=[0.6, 0.0, 0.0],
        tolerance=0.005,
    ),
    "gaussian_blur": KnownAnswer(
        inputs=_step, expected=0.6995, tolerance=0.005, severity=1,
        measure=lambda before, after: float(after[..., 32].mean()),
    ),
    # A ramp that is turned by 30 degrees rises by their cosine.
    "rotation": KnownAnswer(
        inputs=_ramps, expected=float(np.cos(np.pi / 6)), tolerance=0.03,
        measure=lambda before, after: _moves(before, after)[0].tolist(),
    ),
    "translation": KnownAnswer(
        inputs=_ramps, expected=0.2, tolerance=0.01,
        measure=lambda before, after: _moves(before, after)[2].tolist(),
    ),
    "scale": KnownAnswer(
        inputs=_ramps, expected=float(np.log(1.5)), tolerance=0.03,
        measure=lambda before, after: _moves(before, after)[0].log().abs().tolist(),
    ),
    "shear": KnownAnswer(
        inputs=_ramps, expected=float(np.tan(np.pi / 6)), tolerance=0.03,
        measure=lambda before, after: _moves(before, after)[1].abs().tolist(),
    ),
    "geometric_worst": KnownAnswer(
        inputs=_ramps, expected=[float(np.cos(np.pi / 6)), 0.1 * 2**0.5], tolerance=0.03,
        severity=45,
        measure=lambda before, after: [
            float(_moves(before, after)[place].mean()) for place in (0, 2)
        ],
    ),
    "greyscale": KnownAnswer(
        inputs=lambda: _flat(1.0, 0.0, 0.0), measure=_colour, expected=[0.299] * 3,
        tolerance=0.005,
    ),
    # Two factors, of [0.5, 1.5] and of [0.75, 1.25].
    "colour_jitter": KnownAnswer(
        inputs=lambda: _flat(0.4, count=512, side=4), measure=_jittered, tolerance=0.05,
        expected=[1.0, ((1 + 1 / 12) * (1 + 1 / 48) - 1) ** 0.5],
    ),
    "low_pass": KnownAnswer(
        inputs=lambda: _wave(16), measure=_spread, expected=0.0, tolerance=0.005
    ),
    "high_pass": KnownAnswer(
        inputs=lambda: _wave(1), measure=_spread, expected=0.0, tolerance=0.005
    ),
    "edge_sketch": KnownAnswer(
        inputs=_step, expected=[0.0, 1.0], tolerance=0.01,
        measure=lambda before, after: [
            float(after[..., at].mean()) for at in (_SIDE // 2, _SIDE // 4)
        ],
    ),
    "resolution": KnownAnswer(
        inputs=_stripes, measure=_spread, expected=0.0, tolerance=0.03
    ),
}  # fmt: skip


def _count(piece: str) -> Any:
    return lambda before, after: after[0].count(piece)


_FILM = "It is late and we do not know"

TEXTS: Mapping[str, KnownAnswer] = {
    # A fifth of 16 letters is rounded up to 4, a letter of each word.
    "keyboard_typo": KnownAnswer(
        inputs=lambda: ["gggg gggg gggg gggg"], expected=(12, set()),
        measure=lambda before, after: (after[0].count("g"), set(after[0]) - set("ftyhbvg ")),
    ),
    "letter_swap": KnownAnswer(
        inputs=lambda: ["ab ab ab ab"], measure=_count("ba"), expected=2
    ),
    "letter_deletion": KnownAnswer(
        inputs=lambda: ["abc abc abc abc"], expected=-3,
        measure=lambda before, after: len(after[0]) - len(before[0]),
    ),
    "letter_insertion": KnownAnswer(
        inputs=lambda: ["abc abc abc abc"], expected=3,
        measure=lambda before, after: len(after[0]) - len(before[0]),
    ),
    "ocr_confusion": KnownAnswer(
        inputs=lambda: ["ooo ooo ooo"], expected=(7, set()),
        measure=lambda before, after: (after[0].count("o"), set(after[0]) - set("o0c ")),
    ),
    "homoglyph": KnownAnswer(
        inputs=lambda: ["aaaa aaaa"], measure=_count("\N{CYRILLIC SMALL LETTER A}"), expected=4
    ),
    "casing": KnownAnswer(inputs=lambda: ["aaaa aaaa"], measure=_count("A"), expected=4),
    "punctuation": KnownAnswer(
        inputs=lambda: ["one, two, three, four, five,"], measure=_count(","), expected=3
    ),
    # Two of four spaces are others; what stands between them is as before.
    "white_space": KnownAnswer(
        inputs=lambda: ["one two three four five"], expected=("onetwothreefourfive", True),
        measure=lambda before, after: ("".join(after[0].split()), after != before),
    ),
    "contraction": KnownAnswer(
        inputs=lambda: [_FILM], expected=["It's late and we don't know"],
        measure=lambda before, after: after,
    ),
    "emoji_noise": KnownAnswer(
        inputs=lambda: ["one two three four five"], expected=1,
        measure=lambda before, after: len(after[0].split()) - len(before[0].split()),
    ),
    "url_noise": KnownAnswer(
        inputs=lambda: ["one two three four five"], measure=_count("https://example.com/"),
        expected=1,
    ),
    "leading_distractor": KnownAnswer(
        inputs=lambda: [_FILM], expected=(5, True),
        measure=lambda before, after: (after[0].count("."), after[0].endswith(_FILM)),
    ),
    "trailing_distractor": KnownAnswer(
        inputs=lambda: [_FILM], expected=(5, True),
        measure=lambda before, after: (after[0].count("."), after[0].startswith(_FILM)),
    ),
}  # fmt: skip


def _frame() -> pd.DataFrame:
    """Returns 2,000 rows of numbers about 100, and of two categories."""
    numbers = 100 + 10 * np.random.default_rng(0).normal(size=2000)
    names = pd.Series(["a", "b"] * 1000, dtype=object)
    return pd.DataFrame({"x": numbers, "y": numbers[::-1], "name": names, "other": names})


def _ratio(factor: int) -> Any:
    return lambda before, after: float(np.isclose(after["x"] / before["x"], factor).mean())


TABLES: Mapping[str, KnownAnswer] = {
    "feature_noise": KnownAnswer(
        inputs=_frame, expected=0.1, tolerance=0.005, severity=1,
        measure=lambda before, after: float((after["x"] - before["x"]).std() / before["x"].std()),
    ),
    "unit_times_10": KnownAnswer(
        inputs=_frame, measure=_ratio(10), expected=0.2, tolerance=0.04
    ),
    "unit_times_1000": KnownAnswer(
        inputs=_frame, measure=_ratio(1000), expected=0.2, tolerance=0.04
    ),
    "category_swap": KnownAnswer(
        inputs=_frame, expected=0.5, tolerance=0.05,
        measure=lambda before, after: float(
            ((after["name"] != before["name"]) & after["name"].isin(["a", "b"])).mean()
        ),
    ),
    "unseen_category": KnownAnswer(
        inputs=_frame, expected=0.5, tolerance=0.05,
        measure=lambda before, after: float((after["name"] == "(unseen)").mean()),
    ),
    "missing_values": KnownAnswer(
        inputs=_frame, expected=0.5, tolerance=0.05,
        measure=lambda before, after: [float(share) for share in after.isna().mean()],
    ),
    "dropped_columns": KnownAnswer(
        inputs=_frame, expected=[0.0, 0.0, 1.0, 1.0],
        measure=lambda before, after: sorted(after.isna().mean().tolist()),
    ),
}  # fmt: skip
