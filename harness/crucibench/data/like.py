"""What makes further data go with the main data set: modality, columns, types and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crucibench.contracts.source import Like, RawData
from crucibench.contracts.task import Modality
from crucibench.util.errors import InputError

_WORDS = {
    "number": "numbers", "text": "strings", "bool": "true and false", "time": "dates or times",
}  # fmt: skip


def fit(raw: RawData, like: Like) -> RawData:
    """Returns what of further data goes with the main data set: its role test.

    Raises:
        InputError: if it has another modality, or lacks a column.
    """
    if raw.modality is not like.modality:
        raise InputError(
            f"its samples are of modality {raw.modality}, those of {like.name!r} of {like.modality}"
        )
    changes: dict[str, Any] = {}
    if raw.modality is Modality.TABLE:
        for name in like.inputs:
            if name not in raw.inputs:
                raise InputError(
                    f"there is no column {name!r}, which is a feature of {like.name!r} "
                    f"(columns: {', '.join(raw.inputs)})"
                )
        changes["inputs"] = like.inputs
    elif len(raw.inputs) != len(like.inputs):
        raise InputError(
            f"its texts have {len(raw.inputs)} columns, those of {like.name!r} {len(like.inputs)}"
        )
    if like.labels == "ignored":
        changes["target"] = ""
    if raw.test_share is None:
        changes["roles"] = {role: part for role, part in raw.roles.items() if role == "test"}
        changes["left_out"] = {role: part for role, part in raw.left_out.items() if role == "test"}
    return _without_empty_target(replace(raw, **changes))


def casts(like: Like, schema: Any) -> dict[str, Any]:
    """Returns the type that each column of a table is brought to, of those that need it.

    Numbers and texts take the main data set's type, but for fractions where it has whole numbers.

    Raises:
        InputError: if a column holds something else there.
    """
    found: dict[str, Any] = {}
    for name, wanted in like.types.items():
        have = schema.field(name).type
        if have == wanted or pa.types.is_null(wanted):
            continue
        kinds = _family(have), _family(wanted)
        if pa.types.is_null(have):
            found[name] = wanted
        elif kinds[0] != kinds[1]:
            raise InputError(
                f"column {name!r} holds {_WORDS.get(kinds[0], have)}, and "
                f"{_WORDS.get(kinds[1], wanted)} in {like.name!r}"
            )
        elif not pa.types.is_integer(wanted) or _fits(have, wanted):
            found[name] = wanted
    return found


def conform(table: Any, types: Mapping[str, Any]) -> Any:
    """Returns a table whose columns are of `types`, where these name them."""
    for name, kind in types.items():
        if name in table.column_names:
            position = table.column_names.index(name)
            table = table.set_column(position, name, pc.cast(table.column(name), kind, safe=False))
    return table


def like_kinds(kinds: dict[str, str], like: Like | None) -> dict[str, str]:
    """Returns the types of a CSV file's columns, widened to what the main data set has.

    A code like ``007`` that is a string there is one here, even if all codes of this file are
    numbers.
    """
    if like is None:
        return kinds
    widened = dict(kinds)
    for name, wanted in like.types.items():
        if name not in kinds:
            continue
        if _family(wanted) == "text":
            widened[name] = "string"
        elif pa.types.is_floating(wanted) and kinds[name] == "int64":
            widened[name] = "double"
    return widened


def with_categories(hint: Mapping[str, Any], columns: Sequence[Any]) -> dict[str, Any]:
    """Returns the categories of a column of the main data set and then those that are new.

    So the codes of the known ones stay what they were.
    """
    known = list(hint["categories"])
    new = {value for column in columns for value in pc.unique(column).to_pylist()}
    more = sorted(new - {None, *known}, key=str)
    return {**hint, "categories": known + more}


def _without_empty_target(raw: RawData) -> RawData:
    """Returns the data as unlabelled where its target column holds nothing at all."""
    if not raw.target:
        return raw
    dataset = raw.roles["test"]
    column = dataset.select_columns([raw.target]).with_format("arrow")[:].column(0)
    feature = dataset.features[raw.target]
    if column.null_count == len(column):
        return replace(raw, target="")
    if pa.types.is_floating(column.type) and bool(np.isnan(column.to_numpy()).all()):
        return replace(raw, target="")
    if getattr(feature, "names", None) and pc.all(pc.equal(column, -1)).as_py():
        return replace(raw, target="")  # `datasets` says so that there is no label
    return raw


def _family(kind: Any) -> str:
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "time" if pa.types.is_temporal(kind) else str(kind)


def _fits(have: Any, wanted: Any) -> bool:
    """Whether every whole number of one type is one of another."""
    if not pa.types.is_integer(have):
        return False
    bits, signed = have.bit_width, pa.types.is_signed_integer(have)
    if pa.types.is_signed_integer(wanted):
        return bool(bits <= wanted.bit_width if signed else bits < wanted.bit_width)
    return not signed and bool(bits <= wanted.bit_width)
