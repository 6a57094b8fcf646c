"""Examples: a few samples of a cell, kept to be looked at. No number is made of them.

A scenario that `shows` some keeps them as the artefact `EXAMPLES`: a row for each sample and point,
the point "" being the sample as it is. Columns:

- ``id``, ``point``;
- ``rank``: the order of a sample's rows, int32; 0 for the sample as it is;
- ``key``: float32 in [0, 1), drawn for the sample: the lower, the earlier it is chosen;
- ``wrong``: whether the model was wrong at some point; such samples are chosen first;
- ``by``: what made the row, e.g. an attack; "" where the scenario says it;
- ``target``: class index or value, float64;
- ``prediction``: likewise; NaN for the sample as it is, whose answer is in the plain pass;
- ``score``: float64, the probability of class 1 of two, else of the predicted class; NaN without;
- ``content``: binary: of an image a PNG file, of a text the JSON list of its columns, of a table's
  row the JSON object of its values;
- ``change``: binary: of an image a PNG file of what differs from the image as it is, or nothing;
- ``factor``: by what that is multiplied, float64; NaN without.

Of each batch at most `MOST` samples are kept, and of a cell some `POOL` at most, drawn by id:
`first_of` the rows of all batches are the same samples however they were batched.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.draws import Draws

EXAMPLES = "examples"
"""The artefact's name."""

MOST = 6
"""Samples of a batch at most."""

POOL = 64
"""Samples of a cell that may be kept, give or take chance."""

LONGEST = 2000
"""Characters of a text, or of a table's value, that are kept."""


def share_shown(samples: int) -> float:
    """Returns the share of so many samples that may be kept: `MapContext.showing`."""
    return POOL / max(POOL, samples)


def first_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of the samples that a reader is shown of a cell, in order.

    Args:
        frame: the artefact, of any number of batches and stages.

    Returns:
        The rows of at most `MOST` samples: those first that the model got wrong, then by key; of
        each the sample as it is, then its points by rank, each once.
    """
    samples = frame.groupby("id", sort=False).agg(wrong=("wrong", "max"), key=("key", "min"))
    samples = samples.reset_index().sort_values(
        ["wrong", "key", "id"], ascending=[False, True, True]
    )
    order = {identity: place for place, identity in enumerate(samples["id"].head(MOST))}
    kept = frame[frame["id"].isin(order)].drop_duplicates(["id", "point"])
    kept = kept.assign(place=kept["id"].map(order)).sort_values(["place", "rank"], kind="stable")
    return kept.drop(columns="place").reset_index(drop=True)


@dataclass
class _Sample:
    """What is known of one sample that may be kept."""

    wrong: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)


class Showing:
    """Collects what may be kept of one batch, and keeps it."""

    def __init__(self, work: Work, context: MapContext) -> None:
        """Takes a batch: where nothing is to be kept (`MapContext.showing`), nothing is done."""
        self._work = work
        keys = np.ones(len(work.batch), dtype=np.float32)
        if context.showing and len(keys):
            keys = Draws(context.draws.seed, EXAMPLES).uniform(work.batch.ids, "order", ())
        self._keys = keys
        self._pool = keys < context.showing
        self._samples: dict[int, _Sample] = {}

    def first(self, rows: Sequence[int] | NDArray[np.int64]) -> list[int]:
        """Returns those of the batch's rows that would be kept if the model is wrong on all."""
        found = [int(row) for row in rows if self._pool[row]]
        return sorted(found, key=lambda row: (float(self._keys[row]), row))[:MOST]

    def add(
        self, point: str | Sequence[str], inputs: Any, answers: Mapping[str, Any], *,
        rows: Sequence[int] | None = None, rank: int | Sequence[int], by: str = "",
        changes: bool = False,
    ) -> None:  # fmt: skip
        """Takes what samples became at a point, and what the model said.

        Args:
            point: of all, or of each.
            inputs: as `Batch.inputs`, m of them.
            answers: ``prediction`` and, if there are such, ``score``, each shape (m,).
            rows: of the batch, which the m inputs belong to; None for all.
            rank: of all, or of each.
            by: what made them.
            changes: whether a picture of the change is kept, too.
        """
        if not self._pool.any():
            return
        rows = range(len(self._work.batch)) if rows is None else rows
        mine = [at for at, row in enumerate(rows) if self._pool[row]]
        prediction = np.asarray(answers["prediction"])
        score = np.asarray(answers.get("score", np.full(len(prediction), np.nan)))
        pick = _picked(inputs, mine)
        clean = _picked(self._work.batch.inputs, [rows[at] for at in mine]) if changes else None
        for place, at in enumerate(mine):
            row = rows[at]
            sample = self._samples.setdefault(row, _Sample())
            target = self._work.samples.targets[row]
            if target.dtype.kind != "f":
                sample.wrong |= bool(prediction[at] != target)
            change = None if clean is None else magnified(clean[place], pick[place])
            sample.rows.append(
                {
                    "point": point if isinstance(point, str) else point[at],
                    "rank": rank if isinstance(rank, int) else int(rank[at]),
                    "by": by,
                    "prediction": float(prediction[at]),
                    "score": float(score[at]),
                    "content": _held(pick[place]),
                    "change": None if change is None else change[0],
                    "factor": math.nan if change is None else change[1],
                }
            )

    def keep(self) -> None:
        """Keeps the samples that come first, with what they are without a change."""
        order = sorted(
            self._samples, key=lambda row: (not self._samples[row].wrong, self._keys[row], row)
        )[:MOST]
        if not order:
            return
        inputs = _picked(self._work.batch.inputs, order)
        lines: list[dict[str, Any]] = []
        for clean, row in zip(inputs, order, strict=True):
            common = {
                "id": self._work.batch.ids[row],
                "key": float(self._keys[row]),
                "wrong": self._samples[row].wrong,
                "target": float(self._work.samples.targets[row]),
            }
            as_it_is = {
                "point": "", "rank": 0, "by": "", "prediction": math.nan, "score": math.nan,
                "content": _held(clean), "change": None, "factor": math.nan,
            }  # fmt: skip
            lines += [common | line for line in (as_it_is, *self._samples[row].rows)]
        self._work.keep(EXAMPLES, _columns(lines))


def _columns(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns: dict[str, Any] = {name: [line[name] for line in lines] for name in lines[0]}
    columns["rank"] = np.array(columns["rank"], dtype=np.int32)
    columns["key"] = np.array(columns["key"], dtype=np.float32)
    for name in ("target", "prediction", "score", "factor"):
        columns[name] = np.array(columns[name], dtype=np.float64)
    for name in ("content", "change"):
        columns[name] = [_encoded(value) for value in columns[name]]
    return columns


def _picked(inputs: Any, rows: Sequence[int]) -> list[Any]:
    """Returns inputs one by one: arrays (C, H, W), texts, or values by column."""
    if isinstance(inputs, list):
        return [inputs[row] for row in rows]
    if isinstance(inputs, pd.DataFrame):
        return list(inputs.iloc[list(rows)].to_dict("records"))
    return list(inputs[list(rows)].detach().cpu().numpy())


def _held(sample: Any) -> Any:
    """Returns what is held of a sample until it is known which ones are kept."""
    return small(sample[None])[0] if isinstance(sample, np.ndarray) else sample


def _encoded(held: Any) -> bytes:
    if held is None:
        return b""
    if isinstance(held, np.ndarray):
        return png(held)
    if isinstance(held, dict):
        values = {str(name): _plain(value) for name, value in held.items()}
        return json.dumps(values).encode()
    parts = [held] if isinstance(held, str) else held
    return json.dumps([None if part is None else str(part)[:LONGEST] for part in parts]).encode()


def _plain(value: Any) -> bool | int | float | str | None:
    """Returns a table's value as JSON has it; what can't stand in it as text."""
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating) and math.isfinite(value):
        return float(value)
    return str(value)[:LONGEST]


# Small pictures as PNG files, for a reader to look at.

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
