"""Targets of classification: class names in an order, and each sample's index among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.task import Modality, Target
from crucibench.tasks.columns import are_whole, is_number, shown_rows
from crucibench.util.errors import InputError


def read_classes(
    target: Target, columns: Mapping[str, Any]
) -> tuple[tuple[str, ...], dict[str, NDArray[Any]]]:
    """Returns the classes, and each sample's index among them, int64, by role.

    Classes come in this order: as given or as the source knows them; numbers by size, those beside
    images from 0 without a gap; strings by code point; False before True.

    Raises:
        InputError: if a value is not covered by the classes, or there is only one class.
    """
    name, known = target.name, target.known
    if known and all(pa.types.is_integer(column.type) for column in columns.values()):
        columns = {role: _named(name, role, column, known) for role, column in columns.items()}
        classes = known if target.classes is None else target.classes
        indices = {role: _by_name(name, column, classes) for role, column in columns.items()}
    elif all(is_number(column.type) for column in columns.values()):
        classes, indices = _whole(target, columns)
    else:
        classes, indices = _strings(target, columns)
    _require_two(target, classes)
    return classes, indices


def like_classes(target: Target, columns: Mapping[str, Any], of: str) -> dict[str, NDArray[Any]]:
    """Returns classes as indices of another data set's `target.classes`, matched by name.

    Args:
        target: `classes` are the other's, `known` are the source's own.
        columns: an Arrow array by role.
        of: the other data set's name.

    Raises:
        InputError: if a value is none of the classes.
    """
    integers = all(pa.types.is_integer(column.type) for column in columns.values())
    if target.known and integers and target.known != target.classes:
        # Indices of the source's own classes: their names count.
        columns = {
            role: _named(target.name, role, column, target.known).cast(pa.large_string())
            for role, column in columns.items()
        }
    numeric = all(is_number(column.type) for column in columns.values())
    try:
        _, indices = _whole(target, columns) if numeric else _strings(target, columns)
    except InputError as error:
        raise InputError(f"{error}, the classes of {of!r}") from None
    return indices


def _named(name: str, role: str, column: Any, known: Sequence[str]) -> Any:
    values = column.to_numpy()
    bad = (values < 0) | (values >= len(known))
    if bad.any():
        raise InputError(
            f"target {name!r}: expected class indices 0 to {len(known) - 1}, "
            f"got {values[bad][0]} ({role} {shown_rows(bad)})"
        )
    return pa.array(list(known)).take(pa.array(values))


def _by_name(name: str, column: Any, classes: tuple[str, ...]) -> NDArray[np.int64]:
    indices = pc.index_in(column, pa.array(classes, pa.string()).cast(column.type))
    if indices.null_count:
        stray = pc.unique(column.filter(indices.is_null()))
        raise _not_covered(name, stray.to_pylist(), classes)
    return np.asarray(indices.to_numpy()).astype(np.int64)


def _not_covered(name: str, stray: Sequence[object], classes: Sequence[str]) -> InputError:
    shown = ", ".join(repr(str(value)) for value in stray[:3]) + (", ..." if stray[3:] else "")
    return InputError(f"classes: target {name!r} holds {shown}, not among {', '.join(classes)}")


def _whole(
    target: Target, columns: Mapping[str, Any]
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    for role, column in columns.items():
        if not are_whole(column):
            values = column.to_numpy()
            bad = np.floor(values) != values
            raise InputError(
                f"target {target.name!r}: expected whole numbers for classification, "
                f"got {values[bad][0]} ({role} {shown_rows(bad)})"
            )
    numbers = {role: column.to_numpy().astype(np.int64) for role, column in columns.items()}
    present = np.unique(np.concatenate(list(numbers.values())))
    if target.classes is not None:
        order = {text: index for index, text in enumerate(target.classes)}
        if all(str(value) in order for value in present.tolist()):
            place = np.array([order[str(value)] for value in present.tolist()], dtype=np.int64)
        elif present.min() >= 0 and present.max() < len(target.classes):
            place = present
        elif any(str(value) in order for value in present.tolist()):
            stray = [value for value in present.tolist() if str(value) not in order]
            raise _not_covered(target.name, stray, target.classes)
        else:
            outside = present[(present < 0) | (present >= len(target.classes))]
            raise InputError(
                f"classes: target {target.name!r} holds {outside[0]}, no index of the "
                f"{len(target.classes)} classes {', '.join(target.classes)}"
            )
        classes = target.classes
    elif target.modality is Modality.IMAGE and present.min() >= 0:
        classes, place = tuple(map(str, range(int(present.max()) + 1))), present
    else:
        classes, place = tuple(map(str, present.tolist())), np.arange(len(present))
    return classes, {
        role: place[np.searchsorted(present, values)].astype(np.int64)
        for role, values in numbers.items()
    }


def _strings(
    target: Target, columns: Mapping[str, Any]
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    texts = {role: _texts(column) for role, column in columns.items()}
    classes = target.classes
    if classes is None:
        distinct = {name for column in texts.values() for name in pc.unique(column).to_pylist()}
        classes = tuple(sorted(distinct))
        rows = sum(map(len, texts.values()))
        if len(classes) > max(100, rows // 2):
            raise InputError(
                f"target {target.name!r}: expected classes, got {len(classes)} distinct strings "
                f"in {rows} rows"
            )
    return classes, {role: _by_name(target.name, column, classes) for role, column in texts.items()}


def _texts(column: Any) -> Any:
    if pa.types.is_boolean(column.type):
        return pc.if_else(column, "True", "False")
    return pc.cast(column, pa.large_string())


def _require_two(target: Target, classes: Sequence[str]) -> None:
    if len(classes) < 2:
        hint = (
            ""
            if target.known or target.classes
            else "; name them with classes= if the data lacks one"
        )
        raise InputError(
            f"target {target.name!r}: expected at least 2 classes, got only {classes[0]!r}{hint}"
        )
