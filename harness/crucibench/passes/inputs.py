"""What is recorded of inputs without asking a model: numbers, hashes of categories, statistics.

Drift tests compare these, and what a table's columns hold is learnt from them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.columns import INPUT, MISSING, STATISTIC, ColumnFacts, facts_of
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns, Records
from crucibench.contracts.scenario import MapContext, Mapped, Work

MOST_OTHERS = 20
"""A value is swapped for one of at most so many others."""

_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True)
class RecordedInputs(Mapped):
    """Records a table's numbers and hashes of its categories; statistics of images and texts.

    An image is seen as the model gets it: resized, in the model's channels.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = ()

    @classmethod
    def of(cls, suite: str, role: str, limit: int | None = None) -> RecordedInputs:
        """Returns the scenario of a role, of at most `limit` samples."""
        return cls(suite=suite, name=f"inputs/{role.rpartition('/')[2]}", role=role, limit=limit)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns a record a sample."""
        columns: dict[str, Any] = {"id": list(work.batch.ids), "point": ""}
        return columns | input_columns(work.batch.inputs)


def input_columns(inputs: Any) -> dict[str, NDArray[Any]]:
    """Returns columns of a batch's canonical inputs, each shape (n,).

    float64 columns are numbers, NaN where missing; int64 columns are codes of categories, which
    follow from the category alone, `MISSING` where there is none.
    """
    if isinstance(inputs, pd.DataFrame):
        return {f"{INPUT}{name}": _table_column(inputs[name]) for name in inputs.columns}
    if isinstance(inputs, list) and inputs and hasattr(inputs[0], "detach"):
        each = [_image_columns(image[None]) for image in inputs]
        return {name: np.concatenate([one[name] for one in each]) for name in each[0]}
    if isinstance(inputs, list):
        return _text_columns(inputs)
    return _image_columns(inputs)


def _table_column(series: pd.Series[Any]) -> NDArray[Any]:
    kind = series.dtype
    if pd.api.types.is_bool_dtype(kind) or isinstance(kind, pd.CategoricalDtype):
        return _codes(series)
    if pd.api.types.is_numeric_dtype(kind):
        numbers: NDArray[np.float64] = series.to_numpy(dtype=np.float64, na_value=np.nan)
        # A test of finite numbers has no place for infinity; its ends keep the order.
        most = np.finfo(np.float64).max
        return np.clip(numbers, -most, most)
    if pd.api.types.is_datetime64_any_dtype(kind):
        seconds = (series - pd.Timestamp(0, tz=getattr(kind, "tz", None))).dt.total_seconds()
        return seconds.to_numpy(dtype=np.float64)
    return _codes(series)


def _codes(series: pd.Series[Any]) -> NDArray[np.int64]:
    """Returns 63 bits of a hash of each value's text: records hold no free text."""
    codes, values = pd.factorize(series.astype(object))
    hashes = [
        int.from_bytes(hashlib.sha256(str(value).encode()).digest()[:8], "big") >> 1
        for value in values
    ]
    return np.array([*hashes, MISSING], dtype=np.int64)[codes]


def _text_columns(texts: list[Any]) -> dict[str, NDArray[Any]]:
    parts = [text if isinstance(text, tuple) else (text,) for text in texts]
    columns: dict[str, NDArray[Any]] = {}
    count = len(parts[0]) if parts else 1
    for place in range(count):
        prefix = STATISTIC + (f"text {place + 1} " if count > 1 else "")
        own = [_text_numbers(part[place]) for part in parts]
        for name in _TEXT_NUMBERS:
            columns[prefix + name] = np.array([one[name] for one in own], dtype=np.float64)
    return columns


_TEXT_NUMBERS = ("characters", "words", "word length", "capitals", "digits", "punctuation")


def _text_numbers(text: str) -> dict[str, float]:
    """Returns lengths, and shares of characters; a share of an empty text is 0."""
    words = text.split()
    n = max(1, len(text))
    return {
        "characters": len(text),
        "words": len(words),
        "word length": sum(map(len, words)) / max(1, len(words)),
        "capitals": sum(map(str.isupper, text)) / n,
        "digits": sum(map(str.isdigit, text)) / n,
        "punctuation": sum(not (c.isalnum() or c.isspace()) for c in text) / n,
    }


def _image_columns(images: Any) -> dict[str, NDArray[Any]]:
    """Returns statistics of a tensor (n, c, h, w) in [0, 1], computed in float64."""
    pixels = images.detach().cpu().numpy().astype(np.float64)
    n, channels = pixels.shape[:2]
    luma = pixels[:, 0]
    if channels == 3:
        luma = sum(weight * pixels[:, place] for place, weight in enumerate(_LUMA))
    steps = [np.abs(np.diff(luma, axis=axis)).reshape(n, -1) for axis in (1, 2)]
    columns = {
        "brightness": luma.mean(axis=(1, 2)),
        "contrast": luma.std(axis=(1, 2)),
        "darkest": luma.reshape(n, -1).min(axis=1),
        "brightest": luma.reshape(n, -1).max(axis=1),
        "edges": np.concatenate(steps, axis=1).mean(axis=1) if luma[0].size > 1 else np.zeros(n),
    }
    if channels == 3:
        means = pixels.mean(axis=(2, 3))
        columns |= {name: means[:, at] for at, name in enumerate(("red", "green", "blue"))}
        columns["saturation"] = (pixels.max(axis=1) - pixels.min(axis=1)).mean(axis=(1, 2))
    return {STATISTIC + name: np.asarray(values) for name, values in columns.items()}


def read_facts(records: Records) -> ColumnFacts:
    """Returns what recorded inputs say of the columns."""
    return facts_of([records.array(name) for name in _input_names(records.table.column_names)])


def other_categories(records: Records, ids: NDArray[np.object_]) -> Mapping[int, NDArray[np.int32]]:
    """Returns for each column of categories, by its place among all, rows that hold others.

    Args:
        records: of the inputs of a role.
        ids: of the samples of that role that are asked about, shape (n,).

    Returns:
        As `others`, each shape (n, k).
    """
    rows = pd.Index(records.ids).get_indexer(pd.Index(ids))
    columns = [records.array(name) for name in _input_names(records.table.column_names)]
    return {
        place: others(codes[rows]) for place, codes in enumerate(columns) if codes.dtype.kind == "i"
    }


def others(codes: NDArray[np.int64]) -> NDArray[np.int32]:
    """Returns for each sample rows that hold other categories, one each, in turn.

    Args:
        codes: of categories, shape (n,); `MISSING` where there is none.

    Returns:
        Row numbers, shape (n, at most `MOST_OTHERS`); no columns where there is one category; -1
        for samples without one.
    """
    known = np.flatnonzero(codes != MISSING)
    values, first = np.unique(codes[known], return_index=True)
    width = min(MOST_OTHERS, max(0, len(values) - 1))
    found = np.full((len(codes), width), MISSING, dtype=np.int32)
    if width:
        at = np.searchsorted(values, codes[known])
        turned = (at[:, None] + np.arange(1, width + 1)) % len(values)
        found[known] = known[first][turned]
    return found


def _input_names(names: Sequence[str]) -> list[str]:
    """Returns the records' columns that hold inputs, in the order of the columns' own names."""
    return sorted(name for name in names if name.startswith(INPUT))
