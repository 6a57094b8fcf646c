"""Unfamiliar rows, made of familiar ones. Inputs are data frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from crucibench_suites.ood.generators import Generator, Making


class ColumnMixture(Generator):
    """Every value is familiar, their combination is not."""

    name = "column-mixture"
    kind = "near"
    partners = True
    definition = (
        "Each column's value is, at even odds, the row's own or that of a row of another class."
    )

    def make(self, making: Making) -> Any:
        if making.partners is None:
            raise TypeError("column-mixture: expected partners")
        own, other = making.batch.inputs, making.partners.inputs
        words = making.draws.words(making.batch.ids, "columns", len(own.columns))
        mixed = own.copy()
        for place, name in enumerate(own.columns):
            mixed[name] = own[name].where(words[:, place] % 2 == 0, other[name])
        return mixed


class ColumnPermutation(Generator):
    """Numbers in each other's columns."""

    name = "column-permutation"
    kind = "far"
    floats = True
    definition = "The row's values in columns of floating-point numbers, in random order."

    def make(self, making: Making) -> Any:
        frame = making.batch.inputs.copy()
        names = _floating(frame)
        words = making.draws.words(making.batch.ids, "columns", max(len(names), 1))[:, : len(names)]
        order = np.argsort(words, axis=1, kind="stable")
        matrix = frame[names].to_numpy(dtype=np.float64, na_value=np.nan)
        return _put(frame, names, np.take_along_axis(matrix, order, axis=1))


class OutOfRange(Generator):
    """Values that no row has."""

    name = "out-of-range"
    kind = "far"
    floats = True
    definition = "Each floating-point number v is moved by 10 to 20 times (1 + |v|), up or down."

    def make(self, making: Making) -> Any:
        frame = making.batch.inputs.copy()
        names = _floating(frame)
        u = making.draws.uniform(making.batch.ids, "moves", (2, len(names)))
        matrix = frame[names].to_numpy(dtype=np.float64, na_value=np.nan)
        size = (10.0 + 10.0 * u[:, 0]) * np.where(u[:, 1] < 0.5, -1.0, 1.0)
        return _put(frame, names, matrix + size * (1.0 + np.abs(matrix)))


class Stretched(Generator):
    """Values too large by a factor."""

    name = "stretched"
    kind = "validation"
    floats = True
    definition = "Each floating-point number times 2 to 6."

    def make(self, making: Making) -> Any:
        frame = making.batch.inputs.copy()
        names = _floating(frame)
        u = making.draws.uniform(making.batch.ids, "factors", (len(names),))
        matrix = frame[names].to_numpy(dtype=np.float64, na_value=np.nan)
        return _put(frame, names, matrix * (2.0 + 4.0 * u))


GENERATORS: tuple[type[Generator], ...] = (ColumnMixture, ColumnPermutation, OutOfRange, Stretched)


def _floating(frame: Any) -> list[str]:
    return list(frame.select_dtypes("floating").columns)


def _put(frame: Any, names: list[str], matrix: Any) -> Any:
    for place, name in enumerate(names):
        frame[name] = matrix[:, place].astype(frame[name].dtype)
    return frame


def statistics(frame: Any) -> Mapping[str, Any]:
    """Returns what inputs look like without any model: numbers by name, each of shape (N,)."""
    missing = frame.isna().to_numpy().mean(axis=1)
    numbers = frame.select_dtypes("number")
    if not len(numbers.columns):
        return {"missing-values": missing}
    matrix = np.nan_to_num(numbers.to_numpy(dtype=np.float64, na_value=np.nan))
    return {
        "missing-values": missing,
        "mean-of-numbers": matrix.mean(axis=1),
        "largest-number": np.abs(matrix).max(axis=1),
    }
