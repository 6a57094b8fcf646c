"""Tables and texts as the named inputs of a model: of an ONNX file, or behind a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.task import OutputError
from crucibench.util.errors import InputError
from crucibench.util.text import shorten, visible


@dataclass(frozen=True)
class NamedInput:
    """One input of a model.

    Attributes:
        name: its name.
        dtype: NumPy's name of its elements, or ``bfloat16``; ``string`` for texts.
        shape: samples first; None where any size goes; () where nobody says.
        shown: how messages call it.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]
    shown: str

    @property
    def width(self) -> int | None:
        """How many columns it takes; None where any number goes, or nobody says."""
        return self.shape[1] if len(self.shape) == 2 else None

    @property
    def is_column(self) -> bool:
        """Whether it takes one value a sample."""
        return self.shape[1:] in {(), (1,), (None,)}

    def arranged(self, column: NDArray[Any]) -> NDArray[Any]:
        """Returns one value a sample, (n,), in the input's shape, (n,) or (n, 1)."""
        return column[:, None] if len(self.shape) == 2 else column


def name_shown(name: object) -> str:
    """Returns a name that a file or a server made up, fit for a message."""
    return f"'{shorten(visible(str(name)), 80)}'"


def text_arrays(inputs: Sequence[NamedInput], texts: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """Returns texts, or tuples of them, by input: one for all columns, or one for each in order."""
    rows = [(text,) if isinstance(text, str) else text for text in texts]
    table = np.array(rows, dtype=object).reshape(len(rows), -1)
    if len(inputs) == 1 and (table.shape[1] > 1 or len(inputs[0].shape) == 2):
        return {inputs[0].name: table}
    return {entry.name: entry.arranged(table[:, at]) for at, entry in enumerate(inputs)}


class TableInputs:
    """The columns of a table: an input for each, found by name, or one for all in their order.

    Attributes:
        stacked: whether there is one for all.
    """

    def __init__(self, inputs: Sequence[NamedInput], columns: Sequence[str], before: str) -> None:
        """Takes the inputs and the data's columns, if they are known; messages begin with `before`.

        Raises:
            InputError: if they don't go together.
        """
        first = inputs[0]
        self.stacked = len(inputs) == 1 and not (first.name in columns and first.is_column)
        self._inputs = tuple(inputs)
        self._before = before
        if columns:
            self._check(columns)

    def arrays(self, frame: Any) -> dict[str, NDArray[Any]]:
        """Returns the columns of a frame by input, not yet cast to the inputs' floats.

        Raises:
            InputError: if the model can't take the columns.
            OutputError: if an input's type can't hold a value.
        """
        self._check(list(map(str, frame.columns)))
        if self.stacked:
            (entry,) = self._inputs
            parts = [self._column(entry, str(name), frame[name]) for name in frame.columns]
            return {entry.name: np.stack(parts, axis=1)}
        return {
            entry.name: entry.arranged(self._column(entry, entry.name, frame[entry.name]))
            for entry in self._inputs
        }

    def _check(self, columns: Sequence[str]) -> None:
        known = ", ".join(columns)
        if self.stacked:
            (entry,) = self._inputs
            if len(entry.shape) not in {0, 2} or entry.width not in {None, len(columns)}:
                takes = "no table" if entry.width is None else f"{entry.width} columns"
                raise InputError(
                    f"{self._before}{entry.shown} takes {takes}, the data has {len(columns)}: "
                    f"{known}"
                )
            return
        missing = [name_shown(one.name) for one in self._inputs if one.name not in columns]
        if missing:
            raise InputError(
                f"{self._before}the data lacks {len(missing)} of the model's {len(self._inputs)} "
                f"inputs: {', '.join(missing[:20])} (the data has: {known})"
            )
        for entry in self._inputs:
            if not entry.is_column:
                raise InputError(f"{self._before}{entry.shown} is no single column")

    def _column(self, entry: NamedInput, name: str, column: Any) -> NDArray[Any]:
        """Returns a column as an input's type can hold it."""
        start, takes = f"{self._before}column {name!r}", f"{entry.shown} takes {entry.dtype}"
        gaps, floats = int(column.isna().sum()), "float" in entry.dtype
        if gaps and not floats:
            raise OutputError(f"{start}: {gaps} of {len(column)} are missing, and {takes}")
        if entry.dtype == "string":
            return np.array([str(value) for value in column], dtype=object)
        try:
            numbers: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise InputError(f"{start} is not numbers, and {takes}") from error
        if floats:
            return numbers
        if not np.isfinite(numbers).all() or not (numbers == np.round(numbers)).all():
            raise OutputError(f"{start} is not whole numbers, and {takes}")
        whole = column.to_numpy() if column.dtype.kind in "biu" else numbers
        of_type = np.iinfo(entry.dtype) if entry.dtype != "bool" else None
        lowest, highest = (0, 1) if of_type is None else (of_type.min, of_type.max)
        reach = (int(whole.min()), int(whole.max())) if len(whole) else (lowest, highest)
        if reach[0] < lowest or reach[1] > highest:
            raise OutputError(
                f"{start} reaches from {reach[0]} to {reach[1]}, and {entry.shown} takes "
                f"{lowest} to {highest}"
            )
        return np.asarray(whole)
