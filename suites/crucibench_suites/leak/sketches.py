"""Sketches of samples, by which near-duplicates are found, and how alike two of them must be."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.batch import Batch
from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Work
from crucibench.contracts.task import Modality

Ints = NDArray[np.int64]

VECTOR, HASH, CODES = "input:vector", "input:hash", "input:codes"
PIXELS = "input:pixels"
"""Columns of sketches; what begins with ``input:`` is never published unasked."""

IMAGE_RMS = 0.006
"""Root mean square of the difference of thumbnails (8 by 8 pixels in colour, in [0, 1]) up to which
two images are near-duplicates, unless they show nothing: 1.5 of 255 levels."""

IMAGE_COSINE = 0.985
"""Least cosine of two images' centred thumbnails, where they differ by more."""

IMAGE_SPATIAL = 0.95
"""Least cosine then of thumbnails each of whose channels is centred: two skies have colours in
common."""

IMAGE_BITS = 12
"""Or most bits of 64 in which their perceptual hashes differ."""

TEXT_JACCARD = 0.5
"""Least share of shingles (5 characters each) that two texts have in common, as estimated."""

TABLE_TOLERANCE = 0.02
"""Most that two rows may differ in a numeric column, in its standard deviations."""

_BITS = 512
_SHINGLE = 5
_BLOCK = 1 << 24
_FLAT = 1e-3
"""Root mean square of centred pixels in [0, 1] below which a thumbnail shows nothing."""

SIDE = 32
"""Pixels a side of what embeddings' candidates are compared in."""


@dataclass(frozen=True, kw_only=True)
class Sketches(Mapped):
    """Sketches the samples of a role; it asks the model nothing.

    Attributes:
        pixels: whether images of 32 by 32 pixels are kept as well, for candidates by embedding.
    """

    suite: str = "leak"
    pixels: bool = False

    version: ClassVar[int] = 2
    perturbs: ClassVar[bool] = True  # what is sketched is the sample in the model's geometry

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample."""
        modality = context.adapter.task.modality
        return {"id": list(work.batch.ids), **sketched(work.batch, modality, pixels=self.pixels)}


def sketched(batch: Batch, modality: Modality, *, pixels: bool = False) -> dict[str, Any]:
    """Returns the columns of a batch's sketches, n rows each."""
    if modality is Modality.IMAGE:
        pictures = [_picture(image.numpy()) for image in batch.inputs]
        columns = {
            VECTOR: np.array([thumbnail(one, 8).ravel() for one in pictures]),
            HASH: np.packbits([perceptual_hash(one) for one in pictures], axis=1),
        }
        if pixels:
            columns[PIXELS] = np.array([thumbnail(one, SIDE).ravel() for one in pictures])
        return columns
    if modality is Modality.TEXT:
        texts = [one if isinstance(one, str) else "\x1f".join(one) for one in batch.inputs]
        return {VECTOR: np.array([min_hash(text) for text in texts], dtype=np.int8)}
    frame = batch.inputs
    numeric = [name for name in frame if frame[name].dtype.kind in "iufb"]
    others = [name for name in frame if name not in numeric]
    codes = [[_code(value) for value in frame[name].astype(object)] for name in others]
    # An empty column could not be stored: a constant says nothing.
    return {
        VECTOR: np.column_stack([np.zeros(len(frame)), frame[numeric].to_numpy(np.float64)]),
        CODES: np.column_stack([np.zeros(len(frame), np.int64), *codes]),
    }


def _picture(pixels: NDArray[np.float32]) -> Any:
    from PIL import Image

    levels = np.rint(np.nan_to_num(pixels).clip(0, 1) * 255).astype(np.uint8)
    return Image.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0))


def thumbnail(picture: Any, side: int) -> NDArray[np.uint8]:
    """Returns an image in so many pixels a side, in RGB, (side, side, 3)."""
    from PIL import Image

    return np.asarray(picture.convert("RGB").resize((side, side), Image.Resampling.BOX))


def perceptual_hash(picture: Any) -> NDArray[np.bool_]:
    """Returns 64 bits: which low frequencies are at least their median, without the constant.

    Source:
        pHash, Zauner 2010, as imagededup computes it.
    """
    from PIL import Image
    from scipy.fft import dctn

    small = picture.resize((32, 32), Image.Resampling.LANCZOS).convert("L")
    low = dctn(np.asarray(small, dtype=np.float64))[:8, :8].ravel()
    return np.asarray(low >= np.median(low[1:]))


def min_hash(text: str) -> NDArray[np.int8]:
    """Returns the lowest bits of 512 min-hashes of a text's shingles, as -1 and 1, (512,).

    Two texts' mean product estimates the Jaccard index of their sets of shingles: the 5 characters
    at each place, in lower case, white space made one blank.

    Source:
        Li and König, b-bit minwise hashing, WWW 2010.
    """
    points = np.array([ord(c) for c in " ".join(text.lower().split())], dtype=np.uint64)
    points = np.pad(points, (0, max(0, _SHINGLE - len(points))))
    places = np.lib.stride_tricks.sliding_window_view(points, _SHINGLE)
    powers = np.uint64(1000003) ** np.arange(_SHINGLE, dtype=np.uint64)
    shingles = np.unique(_mixed((places * powers).sum(axis=1, dtype=np.uint64)))
    seeds = _mixed(np.arange(1, _BITS + 1, dtype=np.uint64))[:, None]
    least = _mixed(shingles[None] ^ seeds).min(axis=1)
    return np.where(least & np.uint64(1), 1, -1).astype(np.int8)


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Returns 64-bit words so mixed that each bit depends on all (the end of SplitMix64)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def _code(value: object) -> int:
    digest = hashlib.blake2b(str(value).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def features_of(cell: CellEvidence) -> NDArray[np.float64]:
    """Returns a role's sketches as numbers that a classifier may learn from, (n, k).

    Missing values are 0 there, and categories are numbered.
    """
    records = cell.records.aligned(cell.samples.ids)
    found = [np.nan_to_num(records.array(VECTOR).astype(np.float64))]
    if CODES in records:
        found += [
            np.unique(column, return_inverse=True)[1][:, None].astype(np.float64)
            for column in records.array(CODES).T
        ]
    return np.concatenate(found, axis=1)


def partners(test: CellEvidence, train: CellEvidence | None, modality: Modality) -> Ints:
    """Returns for each test sample a near-duplicate, as a row; -1 for none, shape (n,).

    Args:
        test: the sketches of the test role.
        train: those of the train role, of which rows are returned; None to look among the test
            samples before each.
        modality: of the samples.
    """
    if modality is Modality.TABLE:
        return _rows_alike(test, train)
    first = test.records.aligned(test.samples.ids)
    second = first if train is None else train.records.aligned(train.samples.ids)
    found = np.full(len(first), -1, dtype=np.int64)
    for start, alike in _alike(first, second):
        if train is None:
            earlier = np.arange(len(second)) < np.arange(start, start + len(alike))[:, None]
            alike = alike & earlier  # noqa: PLW2901
        some = alike.any(axis=1)
        found[start : start + len(alike)][some] = alike.argmax(axis=1)[some]
    return found


def _alike(first: Any, second: Any) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """Yields which samples of the second are alike to some of the first, with the first's row."""
    step = max(1, _BLOCK // max(1, len(second)))
    if HASH in first:
        ours, theirs = (Thumbnails(one) for one in (first, second))
        for start in range(0, len(first), step):
            yield start, ours.alike(slice(start, start + step), theirs)
        return
    signs = [one.array(VECTOR).astype(np.float32) for one in (first, second)]
    for start in range(0, len(first), step):
        yield start, signs[0][start : start + step] @ signs[1].T >= TEXT_JACCARD * _BITS


class Thumbnails:
    """Images as they are compared: thumbnails less their mean, and perceptual hashes."""

    def __init__(self, records: Any) -> None:
        """Reads the sketches of n images."""
        pixels = records.array(VECTOR).astype(np.float32) / 255
        self.mean = pixels.mean(axis=1)
        self.centred = pixels - self.mean[:, None]
        # Of each channel, its mean less the image's: what is left of them shows where things are.
        self.tint = self.centred.reshape(len(pixels), -1, 3).mean(axis=1)
        self.energy = (self.centred**2).sum(axis=1)
        self.spatial = np.maximum(self.energy - 64 * (self.tint**2).sum(axis=1), 1e-9)
        self.signs = np.unpackbits(records.array(HASH), axis=1).astype(np.float32) * 2 - 1

    def alike(self, rows: slice, others: Thumbnails) -> NDArray[np.bool_]:
        """Returns which of n rows are near-duplicates of which of m others, (n, m)."""
        energy = self.energy[rows, None]
        shared = self.centred[rows] @ others.centred.T
        apart = energy + others.energy - 2 * shared
        apart += 192 * (self.mean[rows, None] - others.mean) ** 2
        like = shared >= IMAGE_COSINE * np.sqrt(energy * others.energy)
        spatial = np.sqrt(self.spatial[rows, None] * others.spatial)
        placed = shared - 64 * self.tint[rows] @ others.tint.T >= IMAGE_SPATIAL * spatial
        placed |= self.signs[rows] @ others.signs.T >= 64 - 2 * IMAGE_BITS
        seen = np.minimum(energy, others.energy) > 192 * _FLAT**2
        return np.asarray(seen & ((apart <= 192 * IMAGE_RMS**2) | (like & placed)))


def _rows_alike(test: CellEvidence, train: CellEvidence | None) -> Ints:
    """Returns partners among rows of a table: equal categories, and numbers within tolerance."""
    from scipy.spatial import cKDTree

    cells: Sequence[CellEvidence] = (test,) if train is None else (test, train)
    records = [cell.records.aligned(cell.samples.ids) for cell in cells]
    values = np.concatenate([one.array(VECTOR) for one in records])
    codes = np.concatenate([one.array(CODES) for one in records])
    spread = np.nanstd(np.where(np.isinf(values), np.nan, values), axis=0)
    scaled = np.nan_to_num(values / np.where(spread > 0, spread, 1.0))
    kinds = np.column_stack([codes, np.isnan(values)])
    kind = np.unique(kinds, axis=0, return_inverse=True)[1].ravel()
    n = len(records[0])
    found = np.full(n, -1, dtype=np.int64)
    order = np.argsort(kind, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(kind[order])) + 1):
        own, others = rows[rows < n], rows[rows >= n]
        if train is None:
            # Of equal rows one is looked at: pairs of all would not fit into memory.
            _, first, number = np.unique(
                scaled[own], axis=0, return_index=True, return_inverse=True
            )
            seen = own[first]
            same = seen[np.ravel(number)]
            found[own] = np.where(own == same, -1, same)
            pairs = cKDTree(scaled[seen]).query_pairs(TABLE_TOLERANCE, p=np.inf,
                                                      output_type="ndarray")  # fmt: skip
            found[seen[pairs].max(axis=1)] = seen[pairs].min(axis=1)
        elif len(own) and len(others):
            nearby = cKDTree(scaled[others]).query(scaled[own], p=np.inf)
            distance, nearest = (np.asarray(one) for one in nearby)
            close = distance <= TABLE_TOLERANCE
            found[own[close]] = others[nearest[close]] - n
    return found
