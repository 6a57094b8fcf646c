"""Splits a run into parts for machines that share nothing, and merges the parts.

Whatever can be split is split by shards: cells of one stage that need no other. Cells with several
stages, or with needs, are done whole by one part, which then collects what they need as well; the
models of a timed scenario stay together. Nothing is scored before the parts are merged: records are
put together, then derived and scored, which needs no model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crucibench.contracts.scenario import Derived, Mapped
from crucibench.contracts.verdict import Status
from crucibench.engine.collect.lifecycle import CellLifecycle
from crucibench.engine.collect.open_cell import OpenCell, total_cost
from crucibench.engine.fixed_probe import disagreement
from crucibench.engine.options import RunPart
from crucibench.engine.plan.cell_files import needs_failed
from crucibench.engine.plan.plan import Plan, PlannedCell, make_plan
from crucibench.engine.resolve.resolve import Resolved, offline
from crucibench.engine.score.score import Scorer, conclude, derived
from crucibench.store.cells import CellFile, write_cell
from crucibench.store.events import Events
from crucibench.store.layout import Layout
from crucibench.store.lock import exclusive
from crucibench.store.manifest import changed, differences, remember, write_manifest
from crucibench.store.part_file import PartCell, PartFile, read_part
from crucibench.store.run import Run
from crucibench.store.tables import rows_to_table, write_table
from crucibench.store.transfer import DamagedError, copy_file
from crucibench.util import doors
from crucibench.util.atomic import remove_leftovers, write_json, write_text
from crucibench.util.errors import InputError, NotComparableError, UnreadableError
from crucibench.util.hashing import differing_fields, file_digest
from crucibench.util.libraries import package_version
from crucibench.util.untrusted.yaml_text import dump_yaml, read_yaml


def assign(plan: Plan, part: RunPart) -> tuple[Plan, frozenset[str]]:
    """Returns what a part does; all parts together do everything at least once.

    Returns:
        Its cells, and the ids of those of which it does some shards alone.
    """
    cells = {cell.id: cell for cell in plan}
    whole: set[str] = set()
    turn = 0
    for cohort in plan.cohorts():
        if _splittable(cohort[0]) or isinstance(cohort[0].scenario, Derived):
            continue
        if turn % part.of == part.number - 1:
            for cell in cohort:
                _add_with_needs(cell, cells, whole)
        turn += 1
    split = {cell.id for cell in plan if _splittable(cell)} - whole
    mine = tuple(cell for cell in plan if cell.id in whole | split)
    return Plan(mine, plan.not_applicable), frozenset(split)


def _add_with_needs(cell: PlannedCell, cells: Mapping[str, PlannedCell], found: set[str]) -> None:
    if cell.id not in found:
        found.add(cell.id)
        for other in cell.needs.values():
            _add_with_needs(cells[other], cells, found)


def _splittable(cell: PlannedCell) -> bool:
    scenario = cell.scenario
    return (
        isinstance(scenario, Mapped)
        and len(scenario.stages) == 1
        and not cell.needs
        # Two models might answer its parts: without a fingerprint nothing would show it.
        and cell.model.fingerprint is not None
    )


class PartLifecycle(CellLifecycle):
    """Collects the cells of one part and keeps account of them; they are scored after the merge."""

    def __init__(self, *run: Any, part: RunPart, split: frozenset[str], **more: Any) -> None:
        """Takes what `CellLifecycle` does, and which part it is.

        Args:
            run: of the run, as `CellLifecycle`.
            part: which part this is.
            split: the cells of which it does only some shards.
            more: likewise.
        """
        super().__init__(*run, **more)
        self._part, self._split = part, split
        self._entries: dict[str, dict[str, Any]] = {}

    def open(self, cell: PlannedCell, file: CellFile) -> OpenCell | CellFile:
        """Returns a cell of which this part asks its shards alone, or as every run does."""
        if cell.id not in self._split:
            return super().open(cell, file)
        journal = self.checked_journal(cell, file)
        return self.make_open_cell(cell, file, journal, lambda shard: self._part.has(cell, shard))

    def finish(self, cell: PlannedCell, file: CellFile, opened: OpenCell | None) -> CellFile:
        """Keeps account of what was collected of a cell."""
        if file.status is Status.OK:
            file = self.complete(cell, file, opened)
            if isinstance(cell.scenario, Derived):
                file = derived(cell, cell.scenario, self._with_needs(cell, file), self.scorer)
        journal = self.journals.get(cell.id)
        self.files[cell.id], self.rows[cell.id] = file, []
        if isinstance(cell.scenario, Derived):
            return file  # derived again when the parts are merged
        self._entries[cell.id] = {
            "file": file.model_dump(mode="json"),
            "whole": cell.id not in self._split,
            "files": {} if journal is None else dict(journal.files),
            "cost": {} if journal is None else total_cost(journal, cached=False),
            "probe": {} if journal is None else (journal.probe or {}).get("", {}),
        }
        return file

    def write_account(self, run_id: str, plan: Plan) -> None:
        """Writes the account of the part: every cell of the run's plan, done here or not."""
        for cell in plan:
            if cell.id not in self._entries:
                planned = self.planned.file(cell).model_dump(mode="json")
                self._entries[cell.id] = {"file": planned, "whole": False}
        account = {"part": self._part.number, "of": self._part.of, "run": run_id}
        write_json(self.layout.part, {**account, "cells": self._entries})


@dataclass(frozen=True)
class _PartFolder:
    layout: Layout
    account: PartFile

    @property
    def name(self) -> str:
        return f"part {self.account.part} of {self.account.of}"


def merge(folders: Sequence[Path], out: Path) -> Run:
    """Makes one run of all its parts, or returns it if it is there already, and whole.

    Args:
        folders: of the parts, in any order.
        out: the folder that holds the runs.

    Raises:
        InputError: if a part is missing or given twice, or they are of different runs.
        UnreadableError: if a part is not finished, or damaged.
        NotComparableError: if two parts hold different answers to the same question.
    """
    parts = _opened(folders)
    layout = Layout(out / parts[0].account.run)
    if layout.manifest.is_file() and not changed(layout):
        return Run(layout.root)
    for part in parts:
        if found := differences(part.layout):
            raise UnreadableError(f"{str(part.layout.root)!r} is damaged: {found[0]}")
    _check_alike(parts)
    with exclusive(layout.root):
        doors.unlink(layout.manifest, missing_ok=True)
        doors.remove_folder(layout.cells, ignore_errors=True)
        remove_leftovers(layout.root)
        events = Events(layout.events)
        events.add("started", executor="merge", workers=0, resumed=False)
        _copy_inputs(parts, layout)
        _Merger(parts, layout, events).run()
        write_manifest(layout, package_version("crucibench"))
        remember(layout)
        events.add("finished")
    return Run(layout.root)


def _opened(folders: Sequence[Path]) -> list[_PartFolder]:
    parts: dict[int, _PartFolder] = {}
    for folder in folders:
        layout = Layout(folder)
        if not layout.part.is_file():
            done = "it is a whole run" if layout.spec.is_file() else "there is no run in it"
            if layout.spec.is_file() and not layout.manifest.is_file():
                done = "it was not finished; the same command goes on with it"
            raise InputError(f"{str(folder)!r}: expected a finished part of a run: {done}")
        if not layout.manifest.is_file():
            raise UnreadableError(
                f"{str(folder)!r} was not finished: the same command goes on with it"
            )
        part = _PartFolder(layout, read_part(layout))
        first = next(iter(parts.values()), part)
        if (part.account.run, part.account.of) != (first.account.run, first.account.of):
            raise InputError(
                f"{str(folder)!r} is {part.name} of run {part.account.run}, "
                f"{str(first.layout.root)!r} is {first.name} of run {first.account.run}: expected "
                "the parts of one run"
            )
        if part.account.part in parts:
            raise InputError(f"{part.name} is given twice: {str(folder)!r}")
        parts[part.account.part] = part
    if not parts:
        raise InputError("expected the folders of all parts, got none")
    count = next(iter(parts.values())).account.of
    missing = [str(number) for number in range(1, count + 1) if number not in parts]
    if missing:
        raise InputError(f"of {count} parts, these are missing: {', '.join(missing)}")
    return [parts[number] for number in sorted(parts)]


def _check_alike(parts: Sequence[_PartFolder]) -> None:
    first = parts[0]
    for other in parts[1:]:
        for path in sorted(first.layout.samples.rglob("*")):
            if path.is_file():
                same = other.layout.samples / path.relative_to(first.layout.samples)
                if not same.is_file() or file_digest(path) != file_digest(same):
                    raise NotComparableError(
                        f"{first.name} and {other.name} were made on different data: "
                        f"{path.relative_to(first.layout.root)} differs"
                    )
    seen: dict[str, tuple[_PartFolder, PartCell]] = {}
    asked: dict[tuple[str, str], tuple[_PartFolder, PartCell]] = {}
    for part in parts:
        for name, cell in part.account.cells.items():
            before = seen.setdefault(name, (part, cell))
            _check_cell(name, before, (part, cell))
            if cell.probe:
                first_asked = asked.setdefault((cell.file.model, cell.file.data), (part, cell))
                _check_answers(first_asked, (part, cell))


def _check_answers(one: tuple[_PartFolder, PartCell], two: tuple[_PartFolder, PartCell]) -> None:
    """Requires that a model answered the fixed probe alike, whatever its fingerprint says."""
    before, now = one[1].probe, two[1].probe
    if "gradient" not in before:
        now = {key: value for key, value in now.items() if not key.startswith("gradient")}
    found = disagreement({"": before}, {"": now})
    if found is not None:
        file = two[1].file
        raise NotComparableError(
            f"model {file.model!r} on {file.data!r}: {one[0].name} and {two[0].name} had other "
            f"{found.what} to {found.differ} of {found.samples} fixed samples: it looks up "
            "something that differs between the two (a file, an environment variable)"
        )


def _check_cell(
    name: str, one: tuple[_PartFolder, PartCell], two: tuple[_PartFolder, PartCell]
) -> None:
    for what in ("identity", "numerics"):
        old, new = getattr(one[1].file, what), getattr(two[1].file, what)
        if old is not None and new is not None and old.digest != new.digest:
            fields = ", ".join(differing_fields(old.fields, new.fields)[:3])
            raise NotComparableError(
                f"cell {name}: {one[0].name} and {two[0].name} differ in {fields}: run all parts "
                "with the same files and versions, on machines of one kind"
            )
    for file in one[1].files.keys() & two[1].files.keys():
        if one[1].files[file] != two[1].files[file]:
            raise NotComparableError(
                f"cell {name}: {one[0].name} and {two[0].name} hold different {file}: the same "
                "model answered the same samples in another way"
            )


def _copy_inputs(parts: Sequence[_PartFolder], layout: Layout) -> None:
    first = parts[0].layout
    document: dict[str, Any] = read_yaml(first.spec)
    base = (first.root / document["resolved"]["base"]).resolve()
    document["resolved"]["base"] = Path(os.path.relpath(base, layout.root)).as_posix()
    doors.make_folder(layout.root)
    write_text(layout.spec, dump_yaml(document))
    for folder, into in (
        (first.environment, layout.environment), (first.samples, layout.samples),
    ):  # fmt: skip
        doors.remove_folder(into, ignore_errors=True)
        shutil.copytree(folder, into)
    doors.unlink(layout.part)
    doors.make_folder(layout.cells)
    main = layout.environment / "main.json"
    for part in parts[1:]:
        other = part.layout.environment / "main.json"
        if file_digest(other) != file_digest(main):
            shutil.copyfile(other, layout.environment / f"part-{part.account.part}.json")


class _Merger:
    def __init__(self, parts: Sequence[_PartFolder], layout: Layout, events: Events) -> None:
        self._parts = parts
        self._layout = layout
        self._events = events
        self._run = Run(layout.root)
        self._resolved: Resolved = offline(self._run.spec)
        self._plan: Plan = make_plan(self._resolved, self._run.models, self._run.cards)
        self._scorer = Scorer(self._run, self._resolved.spec.defaults.scoring)
        self._files: dict[str, CellFile] = {}

    def run(self) -> None:
        rows: list[dict[str, Any]] = []
        for cell in self._plan:
            doors.make_folder(self._layout.cell(cell.id))
            file, found = conclude(cell, self._collected(cell), self._files, self._scorer)
            self._files[cell.id] = file
            write_cell(self._layout.cell_file(cell.id), file)
            self._events.add("cell", cell=cell.id, status=file.status, verdict=file.verdict)
            rows += found
        write_table(self._layout.metrics, rows_to_table(rows))

    def _collected(self, cell: PlannedCell) -> CellFile:
        held = [(part, part.account.cells[cell.id]) for part in self._parts]
        files = [entry.file for _, entry in held]
        for file in files:
            if file.status is not Status.OK:
                return file
        file = max(files, key=lambda one: len(one.stages))
        if reason := needs_failed(cell, self._files):
            return file.model_copy(update={"status": Status.FAILED, "reason": reason})
        if isinstance(cell.scenario, Derived):
            return file
        self._copy(cell, held)
        facts: dict[str, Any] = {}
        for one in files:
            facts |= one.facts
        probes = next((one.probes for one in files if one.probes), [])
        return file.model_copy(update={"probes": probes, "facts": facts})

    def _copy(self, cell: PlannedCell, held: Sequence[tuple[_PartFolder, PartCell]]) -> None:
        folder = self._layout.cell(cell.id)
        for part, entry in held:
            for name, digest in entry.files.items():
                if not (folder / name).is_file():
                    doors.make_folder((folder / name).parent)
                    try:
                        copy_file(part.layout.cell(cell.id) / name, folder / name, digest)
                    except DamagedError as error:
                        where = str(part.layout.cell(cell.id))
                        raise UnreadableError(f"{where!r} is damaged: {error}") from error
            log = part.layout.log(cell.id)
            if log.is_file():
                with doors.open_file(self._layout.log(cell.id), "ab") as stream:
                    stream.write(log.read_bytes())
        costs = [entry.cost for _, entry in held if entry.cost]
        write_json(self._layout.timing(cell.id), _summed(costs))
        if isinstance(cell.scenario, Mapped):
            self._check_whole(cell, held)

    def _check_whole(self, cell: PlannedCell, held: Sequence[tuple[_PartFolder, PartCell]]) -> None:
        stages = max((entry.file.stages for _, entry in held), key=len)
        for number, stage in enumerate(stages):
            for shard in range(stage.shards):
                path = self._layout.shard(cell.id, number, shard)
                if not path.is_file():
                    raise UnreadableError(f"no part holds {path.name} of cell {cell.id}")


def _summed(costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for cost in costs:
        for key, value in cost.items():
            if key == "peak_memory":
                total[key] = max(filter(None, (total.get(key), value)), default=None)
            elif isinstance(value, bool) or value is None:
                total.setdefault(key, value)
            else:
                total[key] = round((total.get(key) or 0) + value, 6)
    return total
