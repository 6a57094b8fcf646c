"""Inputs that no model has seen: what a cache of answers can't know."""

from __future__ import annotations

from typing import Any

import numpy as np

from crucibench.contracts.batch import Batch
from crucibench.util.draws import Draws

_PIXEL = 2.0 / 255


def freshened(batch: Batch, draws: Draws, step: str, count: int) -> Batch:
    """Returns `count` samples like the first of a batch, of the same sizes and shapes, but new.

    Images get noise of at most two grey levels, tables rows whose columns come from different
    samples of the batch, texts their words in another order. What they are about does not matter:
    they are timed and their answers are thrown away.
    """
    first = batch.take(range(count))
    if isinstance(batch.inputs, list) and hasattr(batch.inputs[0], "numel"):
        one_by_one = (first.take([row]) for row in range(count))
        return first.with_inputs(
            [_images(one.with_inputs(one.inputs[0][None]), draws, step)[0] for one in one_by_one]
        )
    if isinstance(batch.inputs, list):
        texts = [
            _text(text, draws, identity, step)
            for text, identity in zip(first.inputs, first.ids, strict=True)
        ]
        return first.with_inputs(texts)
    if hasattr(batch.inputs, "iloc"):
        return first.with_inputs(_rows(batch.inputs, draws, step, count))
    return first.with_inputs(_images(first, draws, step))


def _images(batch: Batch, draws: Draws, step: str) -> Any:
    import torch

    shape = tuple(batch.inputs.shape[1:])
    noise = torch.from_numpy(draws.uniform(batch.ids, step, shape)) - 0.5
    return (batch.inputs + 2 * _PIXEL * noise).clamp(0, 1)


def _rows(frame: Any, draws: Draws, step: str, count: int) -> Any:
    columns = {}
    for place, name in enumerate(frame.columns):
        drawn = draws.integers([f"column {place}"], step, (count,), high=len(frame))[0]
        columns[name] = frame[name].iloc[drawn].reset_index(drop=True)
    rows = type(frame)(columns)
    # Looking a column up fills a store in the index: a new one would slow the first query down.
    rows.columns = frame.columns
    return rows


def _text(text: Any, draws: Draws, identity: str, step: str) -> Any:
    if isinstance(text, tuple):
        return tuple(
            _text(part, draws, f"{identity}/{place}", step) for place, part in enumerate(text)
        )
    words = text.split(" ")
    order = np.argsort(draws.uniform([identity], step, (len(words),))[0], kind="stable")
    return " ".join(words[place] for place in order)
