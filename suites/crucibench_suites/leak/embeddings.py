"""Near-duplicates among images whose embeddings are near: mirrored and cropped ones too."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.evidence import CellEvidence
from crucibench_suites.leak.sketches import PIXELS, SIDE, Ints

Floats = NDArray[np.float32]

CANDIDATES = 5
"""Images of nearest embedding that each image is compared with."""

ALIGNED = 0.97
"""Least correlation of two images' pixels (16 by 16, each channel centred), one of them mirrored or
cropped as fits best."""

_CROPS = (32, 29, 26)
_HALF = SIDE // 2
_BLOCK = 1 << 22
_PAIRS = 256


def embedded(
    test: tuple[CellEvidence, CellEvidence],
    train: tuple[CellEvidence, CellEvidence] | None,
    wanted: NDArray[np.bool_],
) -> Ints:
    """Returns for each wanted test sample a near-duplicate, as a row; -1 for none, shape (n,).

    Args:
        test: sketches and features of the test role.
        train: those of the train role, of which rows are returned; None to look among the test
            samples before each.
        wanted: which test samples to look at, shape (n,).
    """
    others = train or test
    ids = [test[0].samples.ids, others[0].samples.ids]
    pixels = [
        sketch.records.aligned(name).array(PIXELS).reshape(-1, SIDE, SIDE, 3)
        for (sketch, _), name in zip((test, others), ids, strict=True)
    ]
    features = [
        answers.records.aligned(name).array("features").astype(np.float32)
        for (_, answers), name in zip((test, others), ids, strict=True)
    ]
    mean = features[1].mean(axis=0)
    first, second = (_unit(one - mean) for one in features)
    found = np.full(len(first), -1, dtype=np.int64)
    rows = np.flatnonzero(wanted)
    step = max(1, _BLOCK // len(second))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        near = first[some] @ second.T
        if train is None:
            near[np.arange(len(second)) >= some[:, None]] = -np.inf
        count = min(CANDIDATES, len(second))
        best = np.argpartition(-near, count - 1, axis=1)[:, :count]
        one, place = np.nonzero(np.isfinite(np.take_along_axis(near, best, axis=1)))
        candidates = best[one, place]
        alike = np.concatenate(
            [
                aligned(pixels[0][some[one[part]]], pixels[1][candidates[part]])
                for part in _parts(len(one))
            ]
            or [np.zeros(0, dtype=np.float32)]
        )
        for pair in np.argsort(alike)[np.sort(alike) >= ALIGNED]:
            found[some[one[pair]]] = candidates[pair]  # the most alike is the last
    return found


def aligned(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Floats:
    """Returns how alike pairs of images are, mirrored or cropped as fits best, (n,) in [-1, 1].

    Args:
        first: shape (n, 32, 32, 3).
        second: shape (n, 32, 32, 3).
    """
    best = np.full(len(first), -1.0, dtype=np.float32)
    for one, other in ((first, second), (second, first)):
        whole = _pattern(one.astype(np.float32), _resized()[0], _resized()[0])
        for mirrored in (other, other[:, :, ::-1]):
            for down, across in _windows():
                view = _pattern(mirrored.astype(np.float32), down, across)
                best = np.maximum(best, (whole * view).sum(axis=1))
    return best


def _windows() -> Iterator[tuple[Floats, Floats]]:
    """Yields the maps from rows and columns of an image to those of each of its crops."""
    places = _resized()
    yield places[0], places[0]
    for size in range(1, len(places), 3):
        for down in places[size : size + 3]:
            for across in places[size : size + 3]:
                yield down, across


@cache
def _resized() -> list[Floats]:
    """Returns maps (16, 32) from pixels to those of a crop, resized: all, then three a size."""
    found = []
    for size in _CROPS:
        for offset in sorted({0, (SIDE - size) // 2, SIDE - size}):
            at = offset + (np.arange(SIDE) + 0.5) * size / SIDE - 0.5
            weights = np.maximum(0, 1 - np.abs(np.clip(at, 0, SIDE - 1)[:, None] - np.arange(SIDE)))
            found.append(weights.reshape(_HALF, 2, SIDE).mean(axis=1).astype(np.float32))
    return found


def _pattern(images: Floats, down: Floats, across: Floats) -> Floats:
    """Returns images (n, 32, 32, 3) as unit vectors (n, 768), each channel centred."""
    small = np.einsum("ar,nrcd,bc->nabd", down, images, across, optimize=True)
    return _unit((small - small.mean(axis=(1, 2), keepdims=True)).reshape(len(small), -1))


def _unit(vectors: Floats) -> Floats:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, 1e-6))


def _parts(n: int) -> Iterator[slice]:
    return (slice(start, start + _PAIRS) for start in range(0, n, _PAIRS))
