"""Numbers and categories of inputs, a row a sample: what two-sample tests compare."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench_suites.shift.sides import INPUT, STATISTIC

MISSING = -1
"""The code of a missing category; those of others are not negative."""

_LUMA = (0.299, 0.587, 0.114)


def input_columns(inputs: Any) -> dict[str, NDArray[Any]]:
    """Returns columns of a batch's canonical inputs, each shape (n,).

    float64 columns are numbers, NaN where missing; int64 columns are codes of categories, which
    follow from the category alone, `MISSING` where there is none.
    """
    if isinstance(inputs, pd.DataFrame):
        return {f"{INPUT}{name}": _table_column(inputs[name]) for name in inputs.columns}
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
