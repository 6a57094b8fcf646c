"""Textures of frost, made by the project: the photographs of ImageNet-C are not distributed here.

Each is ice crystals on dark glass: needles along three directions 60 degrees apart, from noise
that is filtered to be long along one of them, densest where a coarse cloud says so. They are
periodic, so that any cut of any size can be made, and depend on nothing but their number. Making
them takes seconds, so that they are kept in the user's cache folder, each with its digest.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crucibench.util import doors
from crucibench.util import draws as draws_module
from crucibench.util.atomic import write_atomically
from crucibench.util.draws import Draws
from crucibench.util.folders import cache_folder
from crucibench.util.hashing import data_digest, file_digest

TEXTURES = 5
SIDE = 640

_TINT = np.array([0.90, 0.96, 1.0])
_STREAM = "shift/frost/texture"


@lru_cache(maxsize=2 * TEXTURES)
def texture(number: int, shrink: int = 1) -> NDArray[np.uint8]:
    """Returns texture `number` of `TEXTURES`, (SIDE / shrink, SIDE / shrink, 3), RGB."""
    if shrink > 1:
        side = SIDE // shrink
        blocks = texture(number)[: side * shrink, : side * shrink].astype(np.float64)
        means = blocks.reshape(side, shrink, side, shrink, 3).mean(axis=(1, 3))
        return np.asarray(np.rint(means), dtype=np.uint8)
    path = cache_folder() / "made" / f"frost-{_version()[:16]}-{number}"
    with contextlib.suppress(OSError):
        digest, content = (stored := path.read_bytes())[:32], stored[32:]
        if hashlib.sha256(content).digest() == digest:
            return np.frombuffer(content, dtype=np.uint8).reshape(SIDE, SIDE, 3)
    made = _made(number)
    content = made.tobytes()

    def write(temporary: Path) -> None:
        doors.write_bytes(temporary, hashlib.sha256(content).digest() + content)

    with contextlib.suppress(OSError):  # a cache that can't be written is one that holds nothing
        write_atomically(path, write, durable=False)
    return made


@cache
def _version() -> str:
    """Returns a digest of what decides the textures: this code, and who computes."""
    code = [file_digest(Path(file)) for file in (__file__, str(draws_module.__file__))]
    return data_digest([*code, np.__version__, platform.machine()])


def _made(number: int) -> NDArray[np.uint8]:
    draws = Draws(0, _STREAM)
    names = [f"{number}-{layer}" for layer in range(7)]
    noise = np.fft.rfft2(draws.normal(names, "noise", (SIDE, SIDE)).astype(np.float64))
    down = np.fft.fftfreq(SIDE)[:, None] * SIDE
    across = np.fft.rfftfreq(SIDE)[None, :] * SIDE
    cloud = _filtered(noise[0], np.hypot(down, across) / 6.0)
    turn = float(draws.uniform([names[0]], "turn", (1,))[0, 0]) * np.pi / 3
    crystals = np.zeros((SIDE, SIDE))
    for layer in range(1, 7):
        angle = turn + (layer % 3) * np.pi / 3
        length, thickness = (9.0, 90.0) if layer <= 3 else (24.0, 220.0)
        along = (across * np.cos(angle) + down * np.sin(angle)) / length
        beside = (across * np.sin(angle) - down * np.cos(angle)) / thickness
        needles = _filtered(noise[layer], np.hypot(along, beside))
        crystals = np.maximum(crystals, np.exp(-((needles / 0.35) ** 2)) * (0.5 + 0.5 * cloud))
    grey = 0.25 + 0.16 * cloud + 0.45 * crystals.clip(0.0)
    colour = grey.clip(0.02, 1.0)[..., None] ** (1.0 / _TINT)
    return np.asarray(np.rint(255.0 * colour.clip(0.0, 1.0)), dtype=np.uint8)


def _filtered(spectrum: NDArray[np.complex128], radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns noise whose spectrum falls off at radius 1, of mean 0 and spread 1."""
    found = np.fft.irfft2(spectrum * np.exp(-0.5 * radius**2), s=(SIDE, SIDE))
    found -= found.mean()
    return np.asarray(found / found.std())
