"""What the target column asks, and its values as class indices or numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.lists import Lists, is_list
from crucibench.contracts.source import LeftOut, MainData, RawData
from crucibench.contracts.task import Target, Task, task_kinds
from crucibench.data.bad_samples import WAY_OUT, BadSampleTally
from crucibench.tasks.classification.targets import like_classes
from crucibench.tasks.columns import guess_kind, is_number, shown_rows
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    import datasets


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
    values: Mapping[str, Any]
    bad: Mapping[str, NDArray[np.bool_]]
    left_out: Mapping[str, LeftOut]


def read_targets(raw: RawData, main: MainData | None = None) -> Targets:
    """Reads the target column.

    It asks for a class where `raw.kind` or `raw.classes` says so, where its values are no numbers,
    and where they are whole numbers of at most 20 distinct values; whole numbers beside images and
    texts are always classes. Else it asks for a number.

    Classes come in this order: as given or as the feature type knows them; numbers by size, those
    beside images from 0 without a gap; strings by code point; False before True.

    Raises:
        InputError: if values are missing or not finite and may not be left out, or not covered by
            the classes, or if there is only one class.

    With `main`, the task is that of the main data set: classes are matched by their names. Without
    a target column, targets are those of samples without a label.
    """
    kind = "" if main is None else main.kind
    if main is not None and not raw.target:
        missing = task_kinds().get(kind).unlabelled
        unlabelled: dict[str, Any] = {
            role: missing[np.zeros(len(dataset), np.int64)]
            if isinstance(missing, Lists)
            else np.full(len(dataset), missing)
            for role, dataset in raw.roles.items()
        }
        bad = {role: np.zeros(len(dataset), dtype=np.bool_) for role, dataset in raw.roles.items()}
        task = Task(kind=kind, modality=raw.modality, classes=main.classes)
        return Targets(task, unlabelled, bad, dict.fromkeys(raw.roles, LeftOut()))
    name = raw.target
    if raw.labels:
        known: tuple[str, ...] | None = raw.labels
    else:
        feature = next(iter(raw.roles.values())).features[name]
        known = _names(feature)
    declared = kind or raw.kind or ("multilabel" if raw.labels else "")
    lists = bool(declared) and task_kinds().get(declared).list_targets
    if raw.labels and not lists:
        raise InputError(f"target {name!r}: {declared} takes one column, task=multilabel several")
    whole = {
        role: _flags(dataset, role, raw.labels) if raw.labels else _column(dataset, name, lists)
        for role, dataset in raw.roles.items()
    }
    absent = {
        role: _absent(name, role, column, unnamed=bool(known), refuse=raw.on_bad_sample == "error")
        for role, column in whole.items()
    }
    # A bad sample's target becomes one that is there: positions and classes stay what they are.
    columns = {role: _filled(column, absent[role][0]) for role, column in whole.items()}
    values: Mapping[str, Any]
    target = Target(name=name, modality=raw.modality, classes=raw.classes, known=known)
    if main is not None and main.classes and not lists:
        classes = main.classes
        own = known or raw.classes
        target = replace(target, classes=classes, known=own)
        values = like_classes(target, columns, main.name)
    else:
        if main is not None and main.classes:
            target = replace(target, classes=main.classes)
        kind = declared or guess_kind(target, columns)
        classes, values = task_kinds().get(kind).read_targets(target, columns)
    task = Task(kind=kind, modality=raw.modality, classes=classes)
    bad = {role: found for role, (found, _) in absent.items()}
    return Targets(task, values, bad, {role: left_out for role, (_, left_out) in absent.items()})


def _names(feature: Any) -> tuple[str, ...] | None:
    """Returns the class names that a feature of `datasets` knows, perhaps of what is in it."""
    if isinstance(feature, dict):
        return next(filter(None, map(_names, feature.values())), None)
    names = getattr(feature, "names", None) or _names(getattr(feature, "feature", {}))
    return tuple(names) if names else None


def _flags(dataset: datasets.Dataset, role: str, names: tuple[str, ...]) -> Any:
    """Returns columns of 0 and 1 as lists of one length, missing where one of them is."""
    table = dataset.select_columns(list(names)).with_format("arrow")[:]
    columns = []
    for name in names:
        column = table.column(name).combine_chunks()
        if not (pa.types.is_boolean(column.type) or is_number(column.type)):
            raise InputError(
                f"target {name!r}: expected 0 or 1 for each label, got values of type {column.type}"
                f" ({role})"
            )
        columns.append(column.cast(pa.float64()).to_numpy(zero_copy_only=False))
    matrix = np.stack(columns, axis=1)
    missing = np.isnan(matrix).any(axis=1)
    flat = pa.array(np.where(missing[:, None], 0.0, matrix).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, len(names), mask=pa.array(missing))


def _column(dataset: datasets.Dataset, name: str, lists: bool) -> Any:
    table = dataset.select_columns([name]).with_format("arrow")[:]
    column = table.column(0).combine_chunks()
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if (pa.types.is_nested(column.type) and not lists) or pa.types.is_temporal(column.type):
        way = "; for a list of labels say task=multilabel" if is_list(column.type) else ""
        raise InputError(
            f"target {name!r}: expected classes or numbers, got values of type {column.type}{way}"
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
    found = {
        "missing": column.is_null(nan_is_null=not pa.types.is_nested(column.type)).to_numpy(
            zero_copy_only=False
        )
    }
    if pa.types.is_floating(column.type):
        found["infinite"] = np.isinf(column.to_numpy(zero_copy_only=False))
    if unnamed and pa.types.is_integer(column.type):
        found["-1 (no label)"] = np.asarray(
            pc.fill_null(pc.equal(column, -1), False).to_numpy(zero_copy_only=False)
        )
    bad = np.logical_or.reduce(list(found.values()))
    sentences = [
        f"target {name!r}: {int(each.sum()):,} of {len(each):,} values "
        f"{'is' if each.sum() == 1 else 'are'} {what} ({role} {shown_rows(each)})"
        for what, each in found.items()
        if each.any()
    ]
    if bad.any() and (refuse or bad.all()):
        raise InputError("; ".join(sentences) + (WAY_OUT if refuse and not bad.all() else ""))
    tally = BadSampleTally()
    for what, each in found.items():
        for row in np.flatnonzero(each).tolist():
            tally.add(f"target {what}", f"row {row:,}: the target {name!r} is {what}")
    return bad, tally.left_out()


def _filled(column: Any, bad: NDArray[np.bool_]) -> Any:
    if not bad.any():
        return column
    return column.take(pa.array(np.where(bad, np.argmin(bad), np.arange(len(bad)))))
