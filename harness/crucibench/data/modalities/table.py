"""Table rows: data frames with the columns, dtypes and missing values of the data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.capability import InputSpec
from crucibench.contracts.source import MainData, RawData
from crucibench.data import ids
from crucibench.data.columnar import rows_at_once, type_family
from crucibench.data.frames import frame_hints, to_frame
from crucibench.data.modalities import ModalityReader, RolePass
from crucibench.data.options import InputCandidates
from crucibench.util.errors import InputError

_FAMILY_NAMES = {
    "number": "numbers", "text": "strings", "bool": "true and false", "time": "dates or times",
}  # fmt: skip


class TableReader(ModalityReader):
    """Reads rows of feature columns."""

    name: ClassVar[str] = "table"
    rank: ClassVar[int] = 3
    column_option: ClassVar[str] = "features"

    @classmethod
    def claim(cls, found: InputCandidates) -> tuple[str, ...] | None:
        """Returns all columns, unless one holds images or they are named as texts."""
        held = {found.kinds[name] for name in found.inputs}
        return None if found.options.input or "image" in held else found.inputs

    @classmethod
    def matching_inputs(cls, raw: RawData, main: MainData) -> tuple[str, ...]:
        """Returns the main data set's features."""
        for name in main.inputs:
            if name not in raw.inputs:
                raise InputError(
                    f"there is no column {name!r}, which is a feature of {main.name!r} "
                    f"(columns: {', '.join(raw.inputs)})"
                )
        return main.inputs

    @classmethod
    def casts(cls, main: MainData, schema: Any) -> dict[str, Any]:
        """Returns the main data set's type of each column that has another.

        Fractions stay fractions where the main data set has whole numbers.
        """
        found: dict[str, Any] = {}
        for name, wanted in main.types.items():
            have = schema.field(name).type
            if have == wanted or pa.types.is_null(wanted):
                continue
            families = type_family(have), type_family(wanted)
            if pa.types.is_null(have):
                found[name] = wanted
            elif families[0] != families[1]:
                raise InputError(
                    f"column {name!r} holds {_FAMILY_NAMES.get(families[0], have)}, and "
                    f"{_FAMILY_NAMES.get(families[1], wanted)} in {main.name!r}"
                )
            elif not pa.types.is_integer(wanted) or _holds_all(wanted, have):
                found[name] = wanted
        return found

    def input_types(self) -> dict[str, Any]:
        """Returns the Arrow type of each feature."""
        schema = self.raw.roles["test"].data.schema
        return {name: schema.field(name).type for name in self.raw.inputs}

    def rows_at_once(self) -> int:
        """Returns how many samples are read at a time."""
        # Each column has its price a batch: of very wide rows, too, many are read at once.
        return max(64, rows_at_once(ids.CELL * len(self.raw.inputs)))

    def digests(self, table: Any, casts: Mapping[str, Any], role: RolePass) -> NDArray[np.bytes_]:
        """Returns the digest of each row; notes the columns with a missing value."""
        table = _cast(table, casts)
        for name in self.raw.inputs:
            if pc.any(table.column(name).is_null(nan_is_null=True)).as_py():
                role.facts[name] += 1
        return ids.table_digests(table, self.raw.inputs)

    def form(self, passes: Mapping[str, RolePass]) -> dict[str, Any]:
        """Returns the columns with a missing value in any role."""
        return {"missing": sorted({str(name) for part in passes.values() for name in part.facts})}

    def open(self, form: Mapping[str, Any], main: Self | None) -> None:
        """Fixes the dtypes of data frames, which are the main data set's where there is one."""
        self._casts: dict[str, Any] = {}
        self._missing: Sequence[str] = form["missing"]
        self._hints = {
            role: frame_hints(dataset.data.schema) for role, dataset in self.raw.roles.items()
        }
        if main is None:
            return
        dataset = self.raw.roles["test"]
        types, theirs = main.input_types(), main._hints["test"]
        form_of_main = MainData(
            name="", modality=self.raw.modality, inputs=self.raw.inputs, types=types
        )
        self._casts = self.casts(form_of_main, dataset.data.schema)
        self._missing = sorted({*self._missing, *main._missing})
        hints: dict[str, dict[str, Any]] = {}
        for name in self.raw.inputs:
            hint = theirs.get(name)
            same = name in self._casts or dataset.data.schema.field(name).type == types[name]
            if hint and "categories" in hint:
                hint = _with_new_categories(hint, dataset.data.column(name).chunks)
            elif not same:
                hint = self._hints["test"].get(name)
            if hint:
                hints[name] = hint
        self._hints = {"test": hints}

    def inputs(
        self, table: Any, origin: str, rows: NDArray[np.int64], spec: InputSpec
    ) -> tuple[Any, Sequence[tuple[int, int]]]:
        """Returns a data frame, whose dtypes are the same whatever the rows."""
        columns = _cast(table.select(list(self.raw.inputs)), self._casts)
        return to_frame(columns, self._missing, self._hints[origin]), ()


def _cast(table: Any, types: Mapping[str, Any]) -> Any:
    for name, kind in types.items():
        if name in table.column_names:
            position = table.column_names.index(name)
            table = table.set_column(position, name, pc.cast(table.column(name), kind, safe=False))
    return table


def _with_new_categories(hint: Mapping[str, Any], columns: Sequence[Any]) -> dict[str, Any]:
    """Returns the main data set's categories, whose codes stay what they are, and new ones."""
    known = list(hint["categories"])
    new = {value for column in columns for value in pc.unique(column).to_pylist()}
    return {**hint, "categories": known + sorted(new - {None, *known}, key=str)}


def _holds_all(wanted: Any, have: Any) -> bool:
    """Whether every number of type `have` is a whole number of type `wanted`."""
    if not pa.types.is_integer(have):
        return False
    bits, signed = have.bit_width, pa.types.is_signed_integer(have)
    if pa.types.is_signed_integer(wanted):
        return bool(bits <= wanted.bit_width if signed else bits < wanted.bit_width)
    return not signed and bool(bits <= wanted.bit_width)
