"""Data frames as Arrow columns, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from crucibench.data.columnar import rows_at_once, storable
from crucibench.data.options import require_unique
from crucibench.data.texts import text_array
from crucibench.util.errors import InputError

NULLABLE = re.compile(r"(U?Int|Float)\d+|boolean|string")
"""pandas' own dtypes that know a missing value."""

_FRAME = b"crucibench.frame"
_CATEGORIES_AT_MOST = 100_000


def named_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame whose columns are named by strings."""
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def frame_schema(frame: pd.DataFrame, beside: Sequence[pd.DataFrame] = ()) -> Any:
    """Returns the schema in which a frame is kept, its own dtypes noted.

    Args:
        frame: to be kept.
        beside: the frames of all roles, whose categories it shares.

    Raises:
        InputError: if a column holds values of several types, or a name is there twice.
    """
    require_unique(list(frame.columns))
    fields = []
    for name in frame.columns:
        series = frame[name]
        if isinstance(series.dtype, pd.CategoricalDtype):
            found: dict[Any, None] = {}
            for other in beside or [frame]:
                if isinstance(other[name].dtype, pd.CategoricalDtype):
                    found |= dict.fromkeys(other[name].cat.categories)
            kind = pa.array(series.cat.categories).type
            hint = category_hint(list(found), ordered=bool(series.cat.ordered))
        else:
            kind = _arrow(series).type
            plain = to_frame(pa.table({name: pa.array([], kind)}), (), {})[name].dtype
            hint = None if str(plain) == str(series.dtype) else {"dtype": str(series.dtype)}
        fields.append(frame_field(name, kind, hint))
    return storable(pa.schema(fields))


def frame_batches(frame: pd.DataFrame, schema: Any) -> Iterator[Any]:
    """Yields the rows of a frame in that schema."""
    step = rows_at_once(16 * len(schema))
    for start in range(0, len(frame), step):
        rows = frame.iloc[start : start + step]
        arrays = []
        for field in schema:
            series = rows[field.name]
            if isinstance(series.dtype, pd.CategoricalDtype):
                series = series.astype(object)
            arrays.append(_arrow(series, field.type))
        yield pa.record_batch(arrays, schema=schema)


def _arrow(series: pd.Series[Any], kind: Any = None) -> Any:
    try:
        array = pa.array(series, kind, from_pandas=True)
    except UnicodeEncodeError:
        return text_array([None if pd.isna(value) else value for value in series])
    except (pa.ArrowException, OverflowError):
        raise InputError(
            f"column {series.name!r}: expected values of one type, got a mixture"
        ) from None
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def frame_field(name: str, kind: Any, hint: Mapping[str, Any] | None = None) -> Any:
    """Returns an Arrow field that remembers the data frame's own dtype where Arrow's differs.

    A hint is ``{"dtype": NAME}`` or ``{"categories": [...], "ordered": BOOL}``.
    """
    metadata = {_FRAME: json.dumps(hint).encode()} if hint else None
    return pa.field(name, kind, metadata=metadata)


def category_hint(categories: Sequence[Any], *, ordered: bool) -> dict[str, Any] | None:
    """Returns the hint for a categorical column; None where its categories can't be kept."""
    plain = all(isinstance(value, str | int | float) for value in categories)
    if not plain or len(categories) > _CATEGORIES_AT_MOST:
        return None
    return {"categories": list(categories), "ordered": ordered}


def frame_hints(schema: Any) -> dict[str, dict[str, Any]]:
    """Returns the hint of each column that has one."""
    return {
        field.name: json.loads(field.metadata[_FRAME])
        for field in schema
        if field.metadata and _FRAME in field.metadata
    }


def to_frame(
    table: Any, missing: Sequence[str], hints: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Returns a data frame whose dtypes depend on the whole column, not on the rows at hand.

    Args:
        table: some rows.
        missing: the columns that have a missing value somewhere in the data set: integers among
            them become float64, booleans objects, as pandas reads them from a file.
        hints: of the columns whose own dtype Arrow can't hold.
    """
    for number, name in enumerate(table.column_names):
        kind = table.column(number).type
        nullable = "dtype" in hints.get(name, ())
        if pa.types.is_null(kind) or (
            name in missing and pa.types.is_integer(kind) and not nullable
        ):
            wider = pc.cast(table.column(number), pa.float64(), safe=False)
            table = table.set_column(number, name, wider)
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    for name in {*missing, *hints} & set(table.column_names):
        series = _series(frame[name], table.column(name), name in missing, hints.get(name, {}))
        if series is not frame[name]:
            frame[name] = series
    return frame


def _series(series: Any, column: Any, missing: bool, hint: Mapping[str, Any]) -> Any:
    """Returns a column of a data frame in the dtype that it has whatever the rows."""
    kind = column.type
    if missing and pa.types.is_integer(kind):
        # A nullable dtype takes None, and no detour by floats.
        return pd.Series(column.to_pylist(), dtype=hint["dtype"])
    if missing and pa.types.is_boolean(kind):
        series = series.astype(object)
    if missing and series.dtype == object:
        series = series.where(series.notna(), np.nan)
    if "categories" in hint:
        return pd.Series(pd.Categorical(series, hint["categories"], ordered=hint["ordered"]))
    return series.astype(hint["dtype"]) if "dtype" in hint else series
