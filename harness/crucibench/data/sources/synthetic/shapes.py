"""`synthetic:shapes`: images of one shape each, drawn from a seed, with a shortcut if asked for.

The shape is the class: circle, square, triangle, star, cross or ring. Colour, background, texture,
position and scale are drawn apart from it and from each other, and are the group columns. All is
drawn and rasterised in integers, so that the bytes are the same on every machine.

**A shortcut.** ``spurious=FACTOR`` ties a factor to the class: with probability ``strength`` in
``train``, and ``test_strength`` in ``test``, a sample gets its class's own value of that factor,
else one drawn as ever. A group column ``shortcut`` says where the factor ``holds`` (is the class's
own, drawn or set) and where it ``fails``. With ``test_strength=0`` the test role has no shortcut: a
model that takes it loses on average. Data from the same place as the training data have a
``test_strength`` near ``strength``: there the average hides what the worst group shows.

Options: ``n`` (images of ``test``, 1,000), ``train`` (of ``train``, 4,000), ``size`` (pixels a
side, 32), ``seed`` (0), ``spurious``, ``strength`` (0.95 where there is a shortcut),
``test_strength`` (0), and ``groups``, ``licence``, ``citation`` of `DataOptions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.source import DataOpening, RawData
from crucibench.contracts.uri import URI
from crucibench.data.arrays import TARGET, array_form, array_raw, write_arrays
from crucibench.data.columnar import Conversion, convert
from crucibench.data.options import DataOptions
from crucibench.data.sources.synthetic.source import (
    SampleGenerator,
    Shortcut,
    read_shortcut,
    whole_number,
    with_groups,
)
from crucibench.util.draws import Draws

CLASSES = ("circle", "square", "triangle", "star", "cross", "ring")
FACTORS = {
    "colour": ("red", "green", "blue", "yellow", "magenta", "cyan"),
    "background": ("night", "slate", "moss", "soil", "plum", "teal"),
    "texture": ("plain", "rows", "columns", "checks", "diagonals", "dots"),
    "position": ("centre", "top left", "top right", "bottom left", "bottom right"),
    "scale": ("small", "medium", "large"),
}
"""The values of each factor; class number c's own value is number c, counted around."""

SHORTCUT = "shortcut"

_AT_MOST = 1_000_000
_PIECE = 1 << 18
"""Pixels that are drawn at a time."""

_COLOURS = ((225, 65, 60), (70, 200, 75), (80, 110, 240), (230, 215, 70), (220, 80, 215),
            (75, 215, 220))  # fmt: skip
_BACKGROUNDS = ((22, 22, 34), (70, 76, 86), (52, 72, 44), (88, 64, 44), (76, 46, 78), (36, 78, 80))
_SHIFTS = ((0, 0), (-1, -1), (1, -1), (-1, 1), (1, 1))
"""Of each position: by how many steps right and down, one being 3/20 of a side."""

_RADII = (200, 260, 320)
"""Of each scale, in thousandths of a side."""

_GRID = 3
"""Sub-pixels a side: a pixel on an edge is a mixture by the share of them inside."""

_STAR = ((0, -1024), (974, -316), (602, 828), (-602, 828), (-974, -316))
"""The normals of a pentagram's five lines, (right, down), in units of 1/1024."""

_STAR_LINE = 379
"""How far these lie from the centre, in 1/1024 of a radius: the tips lie 1.2 radii away."""


class Shapes(SampleGenerator):
    """Images of one shape each."""

    version: ClassVar[int] = 1

    def check(self, uri: URI) -> None:
        """Raises InputError if an option is unknown, or its value is."""
        self._options(uri, ShapeSettings.of(uri))

    def read(self, opening: DataOpening) -> RawData:
        """Draws the images, or takes them from the cache."""
        settings = ShapeSettings.of(opening.uri)
        options = self._options(opening.uri, settings)
        form = array_form((0, settings.size, settings.size, 3), np.dtype(np.uint8), "shapes")

        def fill(conversion: Conversion) -> None:
            for role, count in settings.counts.items():
                drawn = factors(settings, role, count)
                others = {TARGET: pa.array(np.array(CLASSES, dtype=object)[drawn.classes])}
                others |= {name: pa.array(values) for name, values in drawn.columns().items()}
                write_arrays(
                    conversion, role, form, images(settings, drawn), others=others, what="shapes"
                )

        version = {"source": "synthetic", "set": "shapes", "version": self.version}
        done = convert(opening.scratch, fill, settings=version | settings.__dict__)
        return array_raw(
            form,
            done.roles,
            replace(options, target=TARGET, classes=CLASSES),
            key=done.key,
            split="as made: test, train",
            revision=f"shapes {self.version}, seed {settings.seed}",
            licence=options.licence or "Apache-2.0",
            notes=settings.notes(),
            facts={"synthetic:shapes": str(self.version)},
        )

    def _options(self, uri: URI, settings: ShapeSettings) -> DataOptions:
        options = DataOptions.parse(uri, *ShapeSettings.KEYS, "groups", "licence", "citation")
        known = (*FACTORS, *((SHORTCUT,) if settings.spurious else ()))
        return with_groups(options, uri, known)


@dataclass(frozen=True)
class ShapeSettings:
    """What an address says of the images; shares are in millionths, so that all is integer."""

    test: int
    train: int
    size: int
    seed: int
    spurious: str
    strength: int
    test_strength: int

    KEYS: ClassVar[tuple[str, ...]] = (
        "n", "train", "size", "seed", "spurious", "strength", "test_strength",
    )  # fmt: skip

    @classmethod
    def of(cls, uri: URI) -> ShapeSettings:
        """Reads an address."""
        shortcut = read_shortcut(uri, "factor of synthetic:shapes", FACTORS)
        return cls(
            test=whole_number(uri, "n", 1_000, 1, _AT_MOST),
            train=whole_number(uri, "train", 4_000, 1, _AT_MOST),
            size=whole_number(uri, "size", 32, 16, 512),
            seed=whole_number(uri, "seed", 0, 0, 2**31 - 1),
            spurious=shortcut.factor,
            strength=shortcut.strength,
            test_strength=shortcut.test_strength,
        )

    @property
    def counts(self) -> dict[str, int]:
        """The images of each role."""
        return {"test": self.test, "train": self.train}

    def notes(self) -> tuple[str, ...]:
        """Returns what a reader must know."""
        shortcut = Shortcut(self.spurious, self.strength, self.test_strength)
        return ("the images are drawn by a program", *shortcut.notes("class"))


@dataclass(frozen=True)
class Factors:
    """What is to be drawn, an image a row.

    Attributes:
        names: the images' names, by which the draws are keyed.
        classes: shape (n,), indices into `CLASSES`.
        values: of each factor, shape (n,), indices into `FACTORS`.
        spurious: the factor that is tied to the class, or "".
    """

    names: list[str]
    classes: NDArray[np.int64]
    values: dict[str, NDArray[np.int64]]
    spurious: str

    def columns(self) -> dict[str, NDArray[np.object_]]:
        """Returns the group columns."""
        found = {
            name: np.array(FACTORS[name], dtype=object)[codes]
            for name, codes in self.values.items()
        }
        if self.spurious:
            own = self.classes % len(FACTORS[self.spurious])
            holds = (self.values[self.spurious] == own).astype(np.int64)
            found[SHORTCUT] = np.array(["fails", "holds"], dtype=object)[holds]
        return found


def factors(settings: ShapeSettings, role: str, count: int) -> Factors:
    """Draws class and factors of a role's images; a larger count begins with a smaller one's."""
    draws = Draws(settings.seed, "synthetic/shapes")
    names = [f"{role}/{number}" for number in range(count)]
    classes = draws.integers(names, "class", (1,), high=len(CLASSES))[:, 0]
    values = {
        name: draws.integers(names, name, (1,), high=len(choices))[:, 0]
        for name, choices in FACTORS.items()
    }
    if settings.spurious:
        share = settings.strength if role == "train" else settings.test_strength
        tied = draws.integers(names, "shortcut", (1,), high=1_000_000)[:, 0] < share
        own = classes % len(FACTORS[settings.spurious])
        values[settings.spurious] = np.where(tied, own, values[settings.spurious])
    return Factors(names, classes, values, settings.spurious)


def images(settings: ShapeSettings, drawn: Factors) -> Iterator[NDArray[np.uint8]]:
    """Yields the images in order, in pieces of shape (n, size, size, 3)."""
    draws = Draws(settings.seed, "synthetic/shapes")
    step = max(1, _PIECE // settings.size**2)
    for start in range(0, len(drawn.names), step):
        piece = slice(start, start + step)
        values = {name: codes[piece] for name, codes in drawn.values.items()}
        yield _drawn(settings.size, draws, drawn.names[piece], drawn.classes[piece], values)


def _drawn(
    size: int,
    draws: Draws,
    names: list[str],
    classes: NDArray[np.int64],
    values: dict[str, NDArray[np.int64]],
) -> NDArray[np.uint8]:
    count = len(names)
    # Lengths are in halves of a sub-pixel, whose centres then are odd numbers.
    side = 2 * _GRID * size
    jitter = draws.integers(names, "jitter", (3,), low=-1000, high=1001)
    shift = np.array(_SHIFTS)[values["position"]]
    centre = side // 2 + shift * (3 * side // 20) + jitter[:, :2] * side // 40_000
    radius = np.array(_RADII)[values["scale"]] * side // 1000 + jitter[:, 2] * side // 50_000
    at = np.arange(1, side, 2)
    x = (at[None, :] - centre[:, :1]).astype(np.int32)[:, None, :]
    y = (at[None, :] - centre[:, 1:]).astype(np.int32)[:, :, None]
    inside = np.zeros((count, len(at), len(at)), dtype=np.bool_)
    for number, name in enumerate(CLASSES):
        rows = np.flatnonzero(classes == number)
        if len(rows):
            lengths = radius[rows].astype(np.int32)[:, None, None]
            inside[rows] = _inside(name, x[rows], y[rows], lengths)
    cover = inside.reshape(count, size, _GRID, size, _GRID).sum(axis=(2, 4), dtype=np.int32)
    tint = draws.integers(names, "tint", (2, 3), low=-20, high=21)
    fill = np.array(_COLOURS)[values["colour"]] + tint[:, 0]
    ground = np.array(_BACKGROUNDS)[values["background"]] + tint[:, 1]
    shaded = _patterns(size)[values["texture"]].astype(np.int32)[..., None]
    inner = fill.astype(np.int32)[:, None, None, :] * (100 - 40 * shaded) // 100
    outer = ground.astype(np.int32)[:, None, None, :]
    whole = _GRID * _GRID
    share = cover[..., None]
    mixed = (share * inner + (whole - share) * outer + whole // 2) // whole
    # The sum of two bytes, shaken by a word each four of them: from -24 to 24, triangular.
    words = draws.words(names, "noise", -(-2 * 3 * size * size // 4))
    shaken = words.astype("<u4").view(np.uint8)[:, : 2 * 3 * size * size].astype(np.int32)
    noise = shaken.reshape(count, 2, size, size, 3).sum(axis=1) * 48 // 510 - 24
    return np.asarray(np.clip(mixed + noise, 0, 255).astype(np.uint8))


def _inside(
    name: str, x: NDArray[np.int32], y: NDArray[np.int32], radius: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Returns whether points (x right, y down, from the centre) lie in a shape; all broadcast."""
    if name == "circle":
        return np.asarray(x * x + y * y <= radius * radius)
    if name == "ring":
        square = x * x + y * y
        return np.asarray((square <= radius * radius) & (4 * square >= radius * radius))
    wide, high = np.abs(x), np.abs(y)
    if name == "square":
        return np.asarray(np.maximum(wide, high) * 20 <= radius * 17)
    if name == "cross":
        within = np.maximum(wide, high) <= radius
        return np.asarray(within & (np.minimum(wide, high) * 3 <= radius))
    if name == "triangle":
        # Isosceles: its top at -radius, its base at 3/4 radius, 2 radii wide.
        below = y + radius
        return np.asarray((4 * y <= 3 * radius) & (wide * 7 <= below * 4))
    if name != "star":
        raise ValueError(name)
    # A point of a pentagram lies on the inner side of four of its five lines at least.
    inner = [right * x + down * y <= _STAR_LINE * radius for right, down in _STAR]
    return np.asarray(np.sum(inner, axis=0) >= 4)


def _patterns(size: int) -> NDArray[np.bool_]:
    """Returns which pixels each texture shades, shape (textures, size, size)."""
    step = max(2, size // 16)
    row, column = np.indices((size, size)) // step
    return np.stack(
        [
            np.zeros((size, size), dtype=np.bool_),
            row % 2 == 1,
            column % 2 == 1,
            (row + column) % 2 == 1,
            np.add(*np.indices((size, size))) // step % 3 == 0,
            (row % 2 == 1) & (column % 2 == 1),
        ]
    )
