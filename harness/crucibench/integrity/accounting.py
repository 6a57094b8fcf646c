"""Whether every planned sample is accounted for, once, by the records of a cell."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.data import Samples
from crucibench.contracts.verdict import Status
from crucibench.integrity.reader import Reader
from crucibench.store.cells import CellFile, StageFile
from crucibench.util.errors import UnreadableError

_NOTHING = np.empty(0, dtype=object)


def accounting(reader: Reader, file: CellFile) -> Iterator[str]:
    """Yields a sentence for each thing that is wrong with the records of one cell.

    In a Mapped cell of one stage that asked about all samples, every sample must have one record at
    each of the cell's points, in the order of the sample table. Other stages must hold as many
    samples as they were planned for, no record twice. Of the other kinds, and of cells that did not
    end well, records must be readable.
    """
    try:
        yield from _files(reader, file)
        if file.kind == "mapped" and file.status is Status.OK:
            planned = reader.samples(file.data, file.role, file.limit)
            index = pd.Index(planned.ids)
            if not index.is_unique:
                yield f"the sample table of {file.role!r} has an id twice"
                return
            yield from _asked(file, planned)
            for number, stage in enumerate(file.stages):
                yield from _stage(reader, file, number, stage, index)
        else:
            for path in _present(reader, file):
                list(reader.tables([path]))
    except UnreadableError as error:
        yield str(error)


def _present(reader: Reader, file: CellFile) -> list[Path]:
    return sorted(reader.run.layout.cell(file.cell).glob("records-*.parquet"))


def _files(reader: Reader, file: CellFile) -> Iterator[str]:
    if file.status is not Status.OK:
        return  # it may have stopped anywhere
    due = {path.name for stage in reader.shards(file) for path in stage}
    found = {path.name for path in _present(reader, file)}
    yield from (f"{name}: missing" for name in sorted(due - found))
    yield from (f"{name}: no stage of the cell has such a shard" for name in sorted(found - due))


def _asked(file: CellFile, planned: Samples) -> Iterator[str]:
    """Holds what the cell says it asked about against the sample table."""
    if file.n != len(planned):
        yield f"cell.json: n is {file.n}, the sample table gives {len(planned)}"
    if file.ids_digest != _digest(planned.ids):
        yield "cell.json: ids_digest is not that of the ids in the sample table"
    if not file.stages:
        yield "cell.json: it is ok and has no stage"
    for stage in file.stages:
        if stage.samples > file.n:
            yield f"stage {stage.name!r}: {stage.samples} samples of {file.n} can't be"


def _stage(
    reader: Reader, file: CellFile, number: int, stage: StageFile, planned: pd.Index[str]
) -> Iterator[str]:
    paths = [path for path in reader.shards(file)[number] if path.is_file()]
    parts = [(_column(table, "id"), _column(table, "point")) for table in reader.tables(paths)]
    if len(paths) < stage.shards:
        return  # every sample of a missing shard would only repeat the news
    ids = np.concatenate([_NOTHING, *(part[0] for part in parts)])
    points = np.concatenate([_NOTHING, *(part[1] for part in parts)])
    rows = planned.get_indexer(pd.Index(ids, dtype=object))
    where = f"stage {stage.name!r}: " if len(file.stages) > 1 else ""
    strange = np.flatnonzero(rows < 0)
    if len(strange):
        yield (
            f"{where}{_counted(len(strange), 'record')} of samples that were not planned "
            f"(the first is {ids[strange[0]]!r})"
        )
    twice = np.flatnonzero(pd.DataFrame({"id": ids, "point": points}).duplicated())
    if len(twice):
        first = twice[0]
        yield (
            f"{where}{_counted(len(twice), 'record')} too many: samples have two at one point "
            f"(the first is {ids[first]!r}{_at(points[first])})"
        )
    if len(file.stages) == 1 and stage.samples == file.n:
        yield from _whole(file, planned, rows, points)
        return
    distinct = len(set(rows[rows >= 0].tolist()))
    if distinct != stage.samples:
        yield f"{where}expected records of {stage.samples} samples, got {distinct}"


def _column(table: pa.Table, name: str) -> NDArray[np.object_]:
    values: NDArray[Any] = table.column(name).to_numpy(zero_copy_only=False)
    return values.astype(object)


def _whole(
    file: CellFile, planned: pd.Index[str], rows: NDArray[np.int64], points: NDArray[Any]
) -> Iterator[str]:
    found = list(dict.fromkeys(points.tolist()))
    due = _points(file.points, found)
    for point in found:
        if point not in due:
            count = _counted(int((points == point).sum()), "record")
            yield f"{count} at point {point!r}, which the cell does not have"
    for point in due:
        here = rows[(points == point) & (rows >= 0)]
        absent = np.setdiff1d(np.arange(len(planned)), here)
        if len(absent):
            yield (
                f"{len(absent)} of {len(planned)} samples have no record{_at(point)} "
                f"(the first is {planned[absent[0]]!r})"
            )
        behind = np.flatnonzero(np.diff(here) < 0)
        if len(behind):
            yield (
                f"records{_at(point)} are not in the order of the sample table (the first out of "
                f"place is {planned[here[behind[0] + 1]]!r})"
            )


def _digest(ids: NDArray[np.object_]) -> str:
    digest = hashlib.sha256()
    for identity in ids:
        digest.update(f"{identity}\n".encode())
    return digest.hexdigest()


def _points(declared: Sequence[str], found: Sequence[str]) -> list[str]:
    """Returns the points that each sample must have a record at.

    Records without a point of their own stand for the cell as a whole, and so does the point ""
    beside others: the scenario computes that one from them.
    """
    if list(found) == [""]:
        return [""]
    return [point for point in declared if point or point in found] or [""]


def _at(point: str) -> str:
    return f" at {point}" if point else ""


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
