"""Data frames as Arrow columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from crucibench.data.columnar import category_hint, frame_field, rows_at_once, storable, to_frame
from crucibench.data.options import require_unique
from crucibench.data.texts import text_array
from crucibench.util.errors import InputError

NULLABLE = re.compile(r"(U?Int|Float)\d+|boolean|string")
"""pandas' own dtypes that know a missing value."""


def named_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a frame whose columns are named by strings."""
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def frame_schema(frame: pd.DataFrame, beside: Sequence[pd.DataFrame] = ()) -> Any:
    """Returns the schema in which a frame is kept, its own dtypes noted.

    Args:
        frame: to be kept.
        beside: the frames of all roles, whose categories it shares.

    Raises:
        InputError: if a column holds values of unlike types, or a name is there twice.
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
