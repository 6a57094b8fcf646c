"""What the target column asks, and its values as class indices or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.source import RawData
from crucibench.contracts.task import Modality, Task
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    import datasets

DISTINCT_AT_MOST = 20
"""Numbers of more distinct values than this are a regression target, in a table."""


@dataclass(frozen=True)
class Targets:
    """The target of a data set.

    Attributes:
        task: what it asks.
        values: by role: class indices (int64) or numbers (float64).
    """

    task: Task
    values: Mapping[str, NDArray[Any]]


def read_targets(raw: RawData) -> Targets:
    """Reads the target column.

    It asks for a class where `raw.kind` or `raw.classes` says so, where its values are no numbers,
    and where they are whole numbers of at most 20 distinct values; whole numbers beside images and
    texts are always classes. Else it asks for a number.

    Classes come in this order: as given or as the feature type knows them; numbers by size, those
    beside images from 0 without a gap; strings by code point; False before True.

    Raises:
        InputError: if values are missing, not finite or not covered by the classes, or if there is
            only one class.
    """
    name = raw.target
    columns = {role: _column(dataset, name) for role, dataset in raw.roles.items()}
    for role, column in columns.items():
        _require_present(name, role, column)
    feature = next(iter(raw.roles.values())).features[name]
    known = getattr(feature, "names", None)
    numeric = all(_is_number(column.type) for column in columns.values())
    if (raw.kind or _guess(raw, columns, known)) == "regression":
        if known or not numeric:
            raise _not_numeric(name, columns)
        values = {role: column.to_numpy().astype(np.float64) for role, column in columns.items()}
        return Targets(Task(kind="regression", modality=raw.modality), values)
    if known and all(pa.types.is_integer(column.type) for column in columns.values()):
        columns = {role: _named(name, role, column, known) for role, column in columns.items()}
        classes = tuple(known) if raw.classes is None else raw.classes
        indices = {role: _by_name(name, column, classes) for role, column in columns.items()}
    elif numeric:
        classes, indices = _whole(raw, columns)
    else:
        classes, indices = _strings(raw, columns)
    _require_two(raw, classes, known)
    return Targets(Task(kind="classification", modality=raw.modality, classes=classes), indices)


def _guess(
    raw: RawData, columns: Mapping[str, Any], known: object
) -> Literal["classification", "regression"]:
    if known or raw.classes is not None:
        return "classification"
    distinct: set[Any] = set()
    for column in columns.values():
        if not _is_number(column.type):
            return "classification"
        if not _are_whole(column):
            return "regression"
        if raw.modality is Modality.TABLE and len(distinct) <= DISTINCT_AT_MOST:
            distinct |= set(pc.unique(column).to_pylist())
    return "regression" if len(distinct) > DISTINCT_AT_MOST else "classification"


def _column(dataset: datasets.Dataset, name: str) -> Any:
    table = dataset.select_columns([name]).with_format("arrow")[:]
    column = table.column(0).combine_chunks()
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_nested(column.type) or pa.types.is_temporal(column.type):
        raise InputError(
            f"target {name!r}: expected classes or numbers, got values of type {column.type}"
        )
    return pc.cast(column, pa.float64()) if pa.types.is_decimal(column.type) else column


def _require_present(name: str, role: str, column: Any) -> None:
    bad = column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    what = "missing"
    if not bad.any() and pa.types.is_floating(column.type):
        bad, what = ~np.isfinite(column.to_numpy()), "infinite"
    if bad.any():
        count = int(bad.sum())
        raise InputError(
            f"target {name!r}: {count} of {len(bad)} values {'is' if count == 1 else 'are'} "
            f"{what} ({role} {_rows(bad)})"
        )


def _rows(bad: NDArray[np.bool_], most: int = 3) -> str:
    rows = np.flatnonzero(bad)[: most + 1].tolist()
    shown = ", ".join(map(str, rows[:most])) + (", ..." if len(rows) > most else "")
    return f"row{'s' if len(rows) > 1 else ''} {shown}, counted from 0"


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _are_whole(column: Any) -> bool:
    if pa.types.is_integer(column.type):
        return True
    values = column.to_numpy()
    return bool((np.floor(values) == values).all() and (np.abs(values) < 2**53).all())


def _not_numeric(name: str, columns: Mapping[str, Any]) -> InputError:
    for role, column in columns.items():
        if not _is_number(column.type) and len(column):
            got = column[0].as_py()
            return InputError(
                f"target {name!r}: expected numbers for regression, got {got!r} ({role} row 0)"
            )
    return InputError(f"target {name!r}: expected numbers for regression, got named classes")


def _named(name: str, role: str, column: Any, known: Sequence[str]) -> Any:
    values = column.to_numpy()
    bad = (values < 0) | (values >= len(known))
    if bad.any():
        raise InputError(
            f"target {name!r}: expected class indices 0 to {len(known) - 1}, "
            f"got {values[bad][0]} ({role} {_rows(bad)})"
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
    raw: RawData, columns: Mapping[str, Any]
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    for role, column in columns.items():
        if not _are_whole(column):
            values = column.to_numpy()
            bad = np.floor(values) != values
            raise InputError(
                f"target {raw.target!r}: expected whole numbers for classification, "
                f"got {values[bad][0]} ({role} {_rows(bad)})"
            )
    numbers = {role: column.to_numpy().astype(np.int64) for role, column in columns.items()}
    present = np.unique(np.concatenate(list(numbers.values())))
    if raw.classes is not None:
        order = {text: index for index, text in enumerate(raw.classes)}
        if all(str(value) in order for value in present.tolist()):
            place = np.array([order[str(value)] for value in present.tolist()], dtype=np.int64)
        elif present.min() >= 0 and present.max() < len(raw.classes):
            place = present
        elif any(str(value) in order for value in present.tolist()):
            stray = [value for value in present.tolist() if str(value) not in order]
            raise _not_covered(raw.target, stray, raw.classes)
        else:
            outside = present[(present < 0) | (present >= len(raw.classes))]
            raise InputError(
                f"classes: target {raw.target!r} holds {outside[0]}, no index of the "
                f"{len(raw.classes)} classes {', '.join(raw.classes)}"
            )
        classes = raw.classes
    elif raw.modality is Modality.IMAGE and present.min() >= 0:
        classes, place = tuple(map(str, range(int(present.max()) + 1))), present
    else:
        classes, place = tuple(map(str, present.tolist())), np.arange(len(present))
    return classes, {
        role: place[np.searchsorted(present, values)].astype(np.int64)
        for role, values in numbers.items()
    }


def _strings(
    raw: RawData, columns: Mapping[str, Any]
) -> tuple[tuple[str, ...], dict[str, NDArray[np.int64]]]:
    texts = {role: _texts(column) for role, column in columns.items()}
    classes = raw.classes
    if classes is None:
        distinct = {name for column in texts.values() for name in pc.unique(column).to_pylist()}
        classes = tuple(sorted(distinct))
        rows = sum(map(len, texts.values()))
        if len(classes) > max(100, rows // 2):
            raise InputError(
                f"target {raw.target!r}: expected classes, got {len(classes)} distinct strings "
                f"in {rows} rows"
            )
    return classes, {role: _by_name(raw.target, column, classes) for role, column in texts.items()}


def _texts(column: Any) -> Any:
    if pa.types.is_boolean(column.type):
        return pc.if_else(column, "True", "False")
    return pc.cast(column, pa.large_string())


def _require_two(raw: RawData, classes: Sequence[str], known: object) -> None:
    if len(classes) < 2:
        hint = "" if known or raw.classes else "; name them with classes= if the data lacks one"
        raise InputError(
            f"target {raw.target!r}: expected at least 2 classes, got only {classes[0]!r}{hint}"
        )
