"""Texts: `str`, or tuples of as many strings as there are text columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.capability import InputSpec
from crucibench.contracts.source import MainData, RawData
from crucibench.data import ids
from crucibench.data.modalities import ModalityReader, RolePass
from crucibench.data.options import InputCandidates
from crucibench.data.texts import reads_like_text, text_values
from crucibench.util.errors import InputError


class TextReader(ModalityReader):
    """Reads one or several columns of texts."""

    name: ClassVar[str] = "text"
    rank: ClassVar[int] = 2
    column_option: ClassVar[str] = "input"
    verbatim: ClassVar[bool] = True

    @classmethod
    def claim(cls, found: InputCandidates) -> tuple[str, ...] | None:
        """Returns the columns that `input` names, or the only one, if it reads like texts.

        Group columns beside it don't count.
        """
        if found.options.input:
            if bad := [name for name in found.inputs if found.kinds[name] != "string"]:
                raise InputError(
                    f"option input: expected columns of text, but {bad[0]!r} holds none"
                )
            return found.inputs
        own = tuple(name for name in found.inputs if name not in found.options.groups)
        if len(own) != 1 or found.kinds[own[0]] != "string":
            return None
        return own if reads_like_text(found.sample(own[0])) else None

    @classmethod
    def matching_inputs(cls, raw: RawData, main: MainData) -> tuple[str, ...]:
        """Returns the text columns; as many as the main data set has."""
        if len(raw.inputs) != len(main.inputs):
            raise InputError(
                f"its texts have {len(raw.inputs)} columns, those of {main.name!r} "
                f"{len(main.inputs)}"
            )
        return raw.inputs

    def rows_at_once(self) -> int:
        """Returns how many samples are read at a time."""
        return 1024

    def digests(self, table: Any, casts: Mapping[str, Any], role: RolePass) -> NDArray[np.bytes_]:
        """Returns the digest of each text; one with a missing column is bad."""
        columns = []
        for name in self.raw.inputs:
            column = pc.cast(table.column(name), pa.large_string())
            for at in np.flatnonzero(column.is_null()).tolist() if column.null_count else ():
                row = role.done + at
                if not role.bad[row]:
                    role.leave_out(
                        row, "text missing", f"row {row:,}: the text {name!r} is missing"
                    )
            columns.append(text_values(pc.fill_null(column, "")))
        return ids.text_digests(columns)

    def check(self, spec: InputSpec, origin: str, name: str) -> None:
        """Raises InputError if the model takes another number of columns."""
        columns = len(self.raw.inputs)
        if spec.modality is not None and spec.columns != columns:
            raise InputError(
                f"the model takes texts of {spec.columns} columns, the data {name!r} has "
                f"{columns}: {', '.join(self.raw.inputs)}"
            )

    def inputs(
        self, table: Any, origin: str, rows: NDArray[np.int64], spec: InputSpec
    ) -> tuple[Any, Sequence[tuple[int, int]]]:
        """Returns a list of `str`, or of tuples where there are several columns."""
        columns = [text_values(table.column(name)) for name in self.raw.inputs]
        return (columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))), ()
