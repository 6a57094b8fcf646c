"""What the target column asks, and its values as class indices or numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.source import LeftOut, Like, RawData
from crucibench.contracts.task import Modality, Task
from crucibench.data.bad_samples import WAY_OUT, Tally
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
        values: by role: class indices (int64) or numbers (float64); those of bad samples mean
            nothing.
        bad: by role: whether a sample has no usable target.
        left_out: by role: these, counted.
    """

    task: Task
    values: Mapping[str, NDArray[Any]]
    bad: Mapping[str, NDArray[np.bool_]]
    left_out: Mapping[str, LeftOut]


def read_targets(raw: RawData, like: Like | None = None) -> Targets:
    """Reads the target column.

    It asks for a class where `raw.kind` or `raw.classes` says so, where its values are no numbers,
    and where they are whole numbers of at most 20 distinct values; whole numbers beside images and
    texts are always classes. Else it asks for a number.

    Classes come in this order: as given or as the feature type knows them; numbers by size, those
    beside images from 0 without a gap; strings by code point; False before True.

    Raises:
        InputError: if values are missing or not finite and may not be left out, or not covered by
            the classes, or if there is only one class.

    With `like`, the task is that of the main data set: classes are matched by their names. Without
    a target column, targets are -1 or NaN.
    """
    if like is not None:
        if not raw.target:
            return _unlabelled(raw, like)
        raw = replace(raw, kind="classification" if like.classes else "regression")
    name = raw.target
    feature = next(iter(raw.roles.values())).features[name]
    known = getattr(feature, "names", None)
    whole = {role: _column(dataset, name) for role, dataset in raw.roles.items()}
    absent = {
        role: _absent(name, role, column, unnamed=bool(known), refuse=raw.on_bad_sample == "error")
        for role, column in whole.items()
    }
    # A bad sample's target becomes one that is there: positions and classes stay what they are.
    columns = {role: _filled(column, absent[role][0]) for role, column in whole.items()}
    if like is not None and like.classes:
        task, values = _like_main(raw, columns, known, like)
    else:
        task, values = _task_and_values(raw, columns, known)
    bad = {role: found for role, (found, _) in absent.items()}
    return Targets(task, values, bad, {role: left_out for role, (_, left_out) in absent.items()})


def _unlabelled(raw: RawData, like: Like) -> Targets:
    missing = np.int64(-1) if like.classes else np.float64(np.nan)
    values = {role: np.full(len(dataset), missing) for role, dataset in raw.roles.items()}
    bad = {role: np.zeros(len(dataset), dtype=np.bool_) for role, dataset in raw.roles.items()}
    return Targets(_task_like(raw, like), values, bad, dict.fromkeys(raw.roles, LeftOut()))


def _task_like(raw: RawData, like: Like) -> Task:
    kind: Literal["classification", "regression"]
    kind = "classification" if like.classes else "regression"
    return Task(kind=kind, modality=raw.modality, classes=like.classes)


def _like_main(
    raw: RawData, columns: dict[str, Any], known: Sequence[str] | None, like: Like
) -> tuple[Task, dict[str, NDArray[Any]]]:
    """Returns the classes of further data as indices of the main data set's."""
    integers = all(pa.types.is_integer(column.type) for column in columns.values())
    own = known if known and integers else raw.classes
    if own and integers and tuple(own) != like.classes:
        # Indices of the source's own classes: their names count.
        columns = {role: _named(raw.target, role, column, own) for role, column in columns.items()}
        columns = {role: column.cast(pa.large_string()) for role, column in columns.items()}
    renamed = replace(raw, classes=like.classes)
    numeric = all(_is_number(column.type) for column in columns.values())
    try:
        _, indices = _whole(renamed, columns) if numeric else _strings(renamed, columns)
    except InputError as error:
        raise InputError(f"{error}, the classes of {like.name!r}") from None
    return _task_like(raw, like), indices


def _task_and_values(
    raw: RawData, columns: dict[str, Any], known: Sequence[str] | None
) -> tuple[Task, dict[str, NDArray[Any]]]:
    name = raw.target
    numeric = all(_is_number(column.type) for column in columns.values())
    if (raw.kind or _guess(raw, columns, known)) == "regression":
        if known or not numeric:
            raise _not_numeric(name, columns)
        values = {role: column.to_numpy().astype(np.float64) for role, column in columns.items()}
        return Task(kind="regression", modality=raw.modality), values
    if known and all(pa.types.is_integer(column.type) for column in columns.values()):
        columns = {role: _named(name, role, column, known) for role, column in columns.items()}
        classes = tuple(known) if raw.classes is None else raw.classes
        indices = {role: _by_name(name, column, classes) for role, column in columns.items()}
    elif numeric:
        classes, indices = _whole(raw, columns)
    else:
        classes, indices = _strings(raw, columns)
    _require_two(raw, classes, known)
    return Task(kind="classification", modality=raw.modality, classes=classes), indices


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


def _absent(
    name: str, role: str, column: Any, *, unnamed: bool, refuse: bool
) -> tuple[NDArray[np.bool_], LeftOut]:
    """Returns which samples have no usable target, and counts them.

    Args:
        name: of the target.
        role: of the column.
        column: the targets.
        unnamed: whether -1 is how class indices say that there is no label, as `datasets` has it.
        refuse: whether there may be none.

    Raises:
        InputError: if there are such samples and `refuse` is set, or if there are no others.
    """
    found = {"missing": column.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)}
    if pa.types.is_floating(column.type):
        found["infinite"] = np.isinf(column.to_numpy(zero_copy_only=False))
    if unnamed and pa.types.is_integer(column.type):
        found["-1 (no label)"] = np.asarray(
            pc.fill_null(pc.equal(column, -1), False).to_numpy(zero_copy_only=False)
        )
    bad = np.logical_or.reduce(list(found.values()))
    sentences = [
        f"target {name!r}: {int(each.sum()):,} of {len(each):,} values "
        f"{'is' if each.sum() == 1 else 'are'} {what} ({role} {_rows(each)})"
        for what, each in found.items()
        if each.any()
    ]
    if bad.any() and (refuse or bad.all()):
        raise InputError("; ".join(sentences) + (WAY_OUT if refuse and not bad.all() else ""))
    tally = Tally()
    for what, each in found.items():
        for row in np.flatnonzero(each).tolist():
            tally.add(f"target {what}", f"row {row:,}: the target {name!r} is {what}")
    return bad, tally.left_out()


def _filled(column: Any, bad: NDArray[np.bool_]) -> Any:
    if not bad.any():
        return column
    return pc.if_else(pa.array(bad), column[int(np.argmin(bad))], column)


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
