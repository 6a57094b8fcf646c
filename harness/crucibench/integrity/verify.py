"""Verify: is a run what its manifest, its records and its metric rows say?

It shares the models of the files with what wrote them, and none of the code that plans, collects or
scores a run: a mistake there does not hide itself.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.data import Samples
from crucibench.contracts.records import KEYS
from crucibench.contracts.verdict import Status, verdict_of
from crucibench.integrity.planned import PlannedRun, planned_run
from crucibench.integrity.reader import EvidenceReader
from crucibench.integrity.rescoring import Rescoring
from crucibench.passes.scenario import SUITE as PASS
from crucibench.store.bundle import BundleRun
from crucibench.store.cells import CellFile, Digest, StageFile
from crucibench.store.manifest import changed_views, differences
from crucibench.store.run import Run
from crucibench.util.errors import CrucibenchError, UnreadableError
from crucibench.util.hashing import data_digest
from crucibench.util.libraries import package_version
from crucibench.util.user_errors import one_line


def verify(run: Run) -> list[str]:
    """Re-hashes a run, accounts for its samples and scores its records again.

    Returns:
        One sentence for each difference; none means sound.

    Raises:
        UnreadableError: if there is no finished run.
    """
    found = differences(run.layout)
    if run.manifest["digest"] != data_digest(run.manifest["files"]):
        found.append("manifest.json: its digest is not that of the files it names")
    if found:
        return found  # numbers computed from changed files would only repeat this
    if isinstance(run, BundleRun):
        return _bundle_differences(run, recomputed_differences(run))
    if run.packed:
        return []  # it was checked when it was opened, and holds no probes to score again with
    return recomputed_differences(run)


def recomputed_differences(run: Run) -> list[str]:
    """Accounts for the samples of a run whose files are as hashed, and scores it again."""
    found = [
        f"{name}: not what was scored (crucibench score computes it again)"
        for name in changed_views(run.layout)
    ]
    try:
        plan = _plan(run)
    except CrucibenchError as error:
        return [*found, str(error)]
    reader = EvidenceReader(run, plan.spec.defaults.seed)
    found += missing_cells(run, plan)
    broken = set()
    for name, file in run.cells.items():
        found += [f"{name}: {sentence}" for sentence in cell_differences(run, name, file)]
        wrong = [f"{name}: {sentence}" for sentence in record_differences(reader, file)]
        if wrong:
            broken.add(name)
            found += wrong
    return found + list(Rescoring(reader, plan, broken).differences())


def _plan(run: Run) -> PlannedRun:
    """Reads all that stands beside the records, so that what can't be read is known at once."""
    try:
        for _ in (run.cells, run.models, run.cards, run.suites, run.environment):
            pass
        return planned_run(run)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        # The files are as hashed, but not of the form that the format requires.
        raise UnreadableError(
            f"spec, cells, models, cards or suites can't be read: {one_line(error)}"
        ) from error


def _bundle_differences(run: BundleRun, found: Sequence[str]) -> list[str]:
    """Returns a sentence for each difference between a bundle and the run it was made of.

    What scoring finds is held against what it found when the bundle was made: a cell that can't be
    scored again without what was left out is no news, and everything else is.

    Args:
        run: the bundle.
        found: what accounting and scoring find now.
    """
    known = set(run.verification["from_the_bundle"])
    found = without_folder(found, run.root)
    sentences = [sentence for sentence in found if sentence not in known]
    original, own = run.run_manifest["files"], run.manifest["files"]
    if run.run_manifest["digest"] != data_digest(original):
        sentences.append("run-manifest.json: its digest is not that of the files it names")
    withheld = run.account["withheld"]
    for name, digest in original.items():
        if name not in own:
            if name not in withheld:
                sentences.append(f"{name}: missing, and the bundle does not say so")
        elif digest != own[name] and name not in withheld:
            sentences.append(f"{name}: is not that of the run, and the bundle does not say so")
    sentences += [f"{name}: not in the run" for name in own if name not in original]
    return sentences


def without_folder(sentences: Sequence[str], root: Path) -> list[str]:
    """Returns sentences without the folder that a bundle was unpacked into, which always differs.

    Paths stand in messages as Python writes texts, so the folder is left out in that form.
    """
    places = (repr(f"{root}{os.sep}")[1:-1], f"{root.as_posix()}/")
    for place in places:
        sentences = [sentence.replace(place, "") for sentence in sentences]
    return list(sentences)


_INSPECTION = "inspection"


def missing_cells(run: Run, planned: PlannedRun) -> Iterator[str]:
    """Yields a sentence for each cell that should be there and is not."""
    there = {
        (file.model, file.data, f"{file.suite}/{file.scenario}") for file in run.cells.values()
    }
    for model, data in dict.fromkeys(planned.pairs):
        inspected = (model, data) in run.models
        if not inspected and (model, data, f"{PASS}/{_INSPECTION}") not in there:
            yield f"models.json: {model!r} meets {data!r}, and nothing says what became of it"
    if run.manifest["crucibench_version"] != package_version("crucibench"):
        return  # another version may have had other scenarios
    for model, data, address in planned.scenarios:
        if (model, data, address) not in there:
            yield f"cells: {address} of {model!r} on {data!r} is planned, and has no cell"


def cell_differences(run: Run, name: str, file: CellFile) -> Iterator[str]:
    """Yields a sentence for each thing in a cell file that can't be so."""
    if file.cell != name:
        yield f"cell.json: it is of cell {file.cell!r}"
    yield from _status(file)
    for key in ("identity", "numerics"):
        digest: Digest | None = getattr(file, key)
        if digest is not None and digest.digest != data_digest(digest.fields):
            yield f"cell.json: the digest of {key} is not that of its fields"
    for alias, other in file.needs.items():
        if other not in run.cells:
            yield f"cell.json: it needs {other!r} (as {alias!r}), which the run does not have"


def _status(file: CellFile) -> Iterator[str]:
    if file.status is not Status.OK:
        if file.verdict is not None:
            yield f"cell.json: it is {file.status}, so expected no verdict, got {file.verdict}"
        if not file.reason:
            yield f"cell.json: it is {file.status} and gives no reason"
        return
    due = verdict_of(finding.as_finding() for finding in file.findings)
    if file.verdict is not due:
        yield f"cell.json: the verdict is {file.verdict or 'missing'}, its findings make it {due}"


def record_differences(reader: EvidenceReader, file: CellFile) -> Iterator[str]:
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


def _present(reader: EvidenceReader, file: CellFile) -> list[Path]:
    return sorted(reader.run.layout.cell(file.cell).glob("records-*.parquet"))


def _files(reader: EvidenceReader, file: CellFile) -> Iterator[str]:
    if file.status is not Status.OK:
        return  # it may have stopped anywhere
    due = {path.name for stage in reader.shards(file) for path in stage}
    found = {path.name for path in _present(reader, file)}
    yield from (f"{name}: missing" for name in sorted(due - found))
    yield from (f"{name}: no stage of the cell has such a shard" for name in sorted(found - due))


def _asked(file: CellFile, planned: Samples) -> Iterator[str]:
    """Compares what the cell says it asked about with the sample table."""
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
    reader: EvidenceReader, file: CellFile, number: int, stage: StageFile, planned: pd.Index[str]
) -> Iterator[str]:
    paths = [path for path in reader.shards(file)[number] if path.is_file()]
    keys = [
        pd.DataFrame({name: _column(table, name) for name in KEYS if name in table.column_names})
        for table in reader.tables(paths)
    ]
    if len(paths) < stage.shards:
        return  # naming every sample of a missing shard would only repeat this
    keys = [part for part in keys if len(part)] or [pd.DataFrame(columns=["id", "point"])]
    records = pd.concat(keys, ignore_index=True)
    ids, points = records["id"].to_numpy(), records["point"].to_numpy()
    rows = planned.get_indexer(pd.Index(ids, dtype=object))
    where = f"stage {stage.name!r}: " if len(file.stages) > 1 else ""
    strange = np.flatnonzero(rows < 0)
    if len(strange):
        yield (
            f"{where}{_counted(len(strange), 'record')} of samples that were not planned "
            f"(the first is {ids[strange[0]]!r})"
        )
    twice = np.flatnonzero(records.duplicated())
    if len(twice):
        first = twice[0]
        yield (
            f"{where}{_counted(len(twice), 'record')} too many: samples have two at one point "
            f"(the first is {ids[first]!r}{_at(points[first])})"
        )
    if len(file.stages) == 1 and stage.samples == file.n:
        yield from _whole(file, planned, rows, records)
        return
    distinct = len(set(rows[rows >= 0].tolist()))
    if distinct != stage.samples:
        yield f"{where}expected records of {stage.samples} samples, got {distinct}"


def _column(table: pa.Table, name: str) -> NDArray[np.object_]:
    values: NDArray[Any] = table.column(name).to_numpy(zero_copy_only=False)
    return values.astype(object)


def _whole(
    file: CellFile, planned: pd.Index[str], rows: NDArray[np.int64], records: pd.DataFrame
) -> Iterator[str]:
    points = records["point"].to_numpy()
    found = list(dict.fromkeys(points.tolist()))
    due = _points(file.points, found)
    for point in found:
        if point not in due:
            count = _counted(int((points == point).sum()), "record")
            yield f"{count} at point {point!r}, which the cell does not have"
    # Where samples are asked several times, each is asked each time.
    draws = records["draw"].to_numpy() if "draw" in records else np.full(len(records), -1)
    places = dict.fromkeys(zip(points.tolist(), draws.tolist(), strict=True))
    for point, draw in [
        (point, draw)
        for point in due
        for draw in [one for at, one in places if at == point] or [-1]
    ]:
        here = rows[(points == point) & (draws == draw) & (rows >= 0)]
        absent = np.setdiff1d(np.arange(len(planned)), here)
        if len(absent):
            yield (
                f"{len(absent)} of {len(planned)} samples have no record{_at(point, draw)} "
                f"(the first is {planned[absent[0]]!r})"
            )
        behind = np.flatnonzero(np.diff(here) < 0)
        if len(behind):
            yield (
                f"records{_at(point, draw)} are not in the order of the sample table (the first "
                f"out of place is {planned[here[behind[0] + 1]]!r})"
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


def _at(point: str, draw: int = -1) -> str:
    return (f" at {point}" if point else "") + (f" of draw {draw}" if draw >= 0 else "")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
