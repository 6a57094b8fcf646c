"""Ask models again: a few canonical batches of a finished run, compared with its records."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crucibench.contracts.examples import EXAMPLES
from crucibench.contracts.lists import Lists, from_arrow
from crucibench.contracts.records import KEYS, to_table
from crucibench.contracts.scenario import MapContext, Mapped, StageView
from crucibench.contracts.verdict import Status
from crucibench.engine.collect.open_cell import stage_records
from crucibench.engine.listener import Listener
from crucibench.engine.plan.cell_files import numerics_fields
from crucibench.engine.plan.plan import PlannedCell, make_plan
from crucibench.engine.plan.roles import Rows, SelectedRole, map_context
from crucibench.engine.score.score import Scorer
from crucibench.engine.worker.environment import environment
from crucibench.engine.worker.opening import Reopened
from crucibench.store.cells import CellFile
from crucibench.store.run import Run
from crucibench.store.tables import read_table
from crucibench.util.devices import set_threads
from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.hashing import differing_fields
from crucibench.util.user_errors import one_line

_STOCHASTIC = "non-deterministic-output"


@dataclass
class RecheckReport:
    """What asking again found.

    Attributes:
        differences: one sentence for each cell whose records the model does not give again.
        unchecked: one sentence for each cell that can't be checked so.
        identical: cells whose records came again bit by bit.
        noisy: cells whose records came again but for float noise.
        rows: records that were compared.
        kept: rows of artefacts that were checked against records and models, all of them.
        largest: the largest noise.
        flips: labels that flipped for it.
    """

    differences: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    identical: int = 0
    noisy: int = 0
    rows: int = 0
    kept: int = 0
    largest: float = 0.0
    flips: int = 0


def ask_again(run: Run, scratch: Path, *, batches: int = 1, listener: Listener) -> RecheckReport:
    """Asks the models of a finished run some of its canonical batches again.

    Of every Mapped cell that ended well, and every stage of it, `batches` batches are drawn (by
    seed, cell and stage: always the same ones) and asked as they were when the run was made: the
    selection is made from the stored records, the draws are the scenario's. Artefacts are
    checked against records and models as a whole: `Mapped.recheck`.

    Raises:
        InputError: if the models or data can't be had as they were, or `run` is a pack.
    """
    if run.packed:
        raise InputError("a pack has no models to ask: give the run that it was made of")
    reopened = Reopened(run, scratch, listener)
    threads = run.environment.get("threads")
    if isinstance(threads, int):
        set_threads(threads)
    try:
        reopened.open()
        here = environment(run.root, threads or 0, reopened.device)
        again = _Recheck(run, reopened, here)
        for cell in make_plan(reopened.resolved, run.models, run.cards):
            file = run.cells.get(cell.id)
            if isinstance(cell.scenario, Mapped) and file and file.status is Status.OK:
                listener.note(f"asking {cell.model.name} again: {cell.scenario.address}")
                again.cell(cell, cell.scenario, file, batches)
        return again.asked
    finally:
        reopened.close()


class _Recheck:
    """Asks the models of a reopened run again, and collects what differs."""

    def __init__(self, run: Run, reopened: Reopened, here: Mapping[str, object]) -> None:
        self.asked = RecheckReport()
        self._run = run
        self._reopened = reopened
        self._seed = reopened.resolved.spec.defaults.seed
        self._here = here
        self._scorer = Scorer(run, reopened.resolved.spec.defaults.scoring)
        self._stochastic = {
            (file.model, file.data)
            for file in run.cells.values()
            if any(finding.code == _STOCHASTIC and not finding.cell for finding in file.findings)
        }
        self._refused: dict[tuple[str, str], str] = {}

    def cell(self, cell: PlannedCell, scenario: Mapped, file: CellFile, batches: int) -> None:
        """Asks some batches of one cell, and adds the outcome to `asked`."""
        pair = (file.model, file.data)
        if pair in self._stochastic:
            self.asked.unchecked.append(
                f"{cell.id}: {file.model!r} answers in another way each time ({_STOCHASTIC}), so "
                "its records can't be had again"
            )
            return
        if pair not in self._refused:
            self._refused[pair] = self._why_not(cell)
            if self._refused[pair]:
                self.asked.differences.append(self._refused[pair])
        if self._refused[pair]:
            return
        try:
            found = list(self._batches(cell, scenario, file, batches))
            wrong_artifacts = self._recheck(cell, scenario)
        except Exception as error:
            self.asked.differences.append(f"{cell.id}: asking again raised: {one_line(error)}")
            return
        then = dict(file.numerics.fields) if file.numerics else {}
        elsewhere = differing_fields(then, numerics_fields(cell, self._here))
        noise = cell.model.noise
        wrong = next(filter(None, (_beyond(one, noise, elsewhere) for one in found)), "")
        if wrong:
            self.asked.differences.append(f"{cell.id}: {wrong}")
        self.asked.differences += [f"{cell.id}: {sentence}" for sentence in wrong_artifacts]
        if wrong or wrong_artifacts:
            return
        self.asked.rows += sum(one.rows for one in found)
        self.asked.flips += sum(one.flips for one in found)
        self.asked.largest = max([self.asked.largest, *(one.largest for one in found)])
        if all(one.identical for one in found):
            self.asked.identical += 1
        else:
            self.asked.noisy += 1

    def _why_not(self, cell: PlannedCell) -> str:
        """Says why a model can't give its records again: it, or its data, has changed; or ""."""
        data = cell.data.name
        if self._reopened.data[data].card.fingerprint != cell.data.fingerprint:
            return f"data {data!r} is not what it was: its fingerprint is another"
        role = cell.scenario.role
        card = self._reopened.data[data].card
        if card.role_fingerprints.get(role) != cell.data.role_fingerprints.get(role):
            return f"data {data!r} is not what it was: the fingerprint of role {role!r} is another"
        try:
            adapter = self._reopened.model(cell.model.name, data, keep=2)
            now = adapter.fingerprint()
        except Exception as error:
            reason = str(error) if isinstance(error, CrucibenchError) else one_line(error)
            return f"model {cell.model.name!r} can't be opened again: {reason}"
        fields = differing_fields(dict(cell.model.fingerprint or {}), dict(now or {}))
        if fields:
            return f"model {cell.model.name!r} is not what it was: its {fields[0]} is another"
        return ""

    def _batches(
        self, cell: PlannedCell, scenario: Mapped, file: CellFile, batches: int
    ) -> Iterator[RecordDifference]:
        role, context = self._context(cell)
        adapter = context.adapter
        for number, stage in enumerate(scenario.stages):
            selection = scenario.select(stage, partial(self._view, cell, file, role, number))
            rows: Rows = range(min(len(role), cell.samples))
            if selection is not None:
                rows = np.flatnonzero(selection.keep).astype(np.int64)
            planned = file.stages[number].samples
            if len(rows) != planned:
                yield RecordDifference(
                    0, f"stage {stage!r} asked about {planned} samples, now {len(rows)}"
                )
                return
            starts = range(0, len(rows), cell.batch_size)
            draw = random.Random(f"{self._seed}/{cell.id}/{number}")
            for start in sorted(draw.sample(starts, min(batches, len(starts)))):
                part = rows[start : start + cell.batch_size]
                carry = {} if selection is None else selection.carry
                work = role.work(part, carry, adapter)
                anew = to_table(scenario.run(stage, work, context))
                shard = self._run.layout.shard(cell.id, number, start // cell.shard_size)
                stored = read_table(shard)
                asked = pc.is_in(stored.column("id"), value_set=pa.array(work.batch.ids))
                yield compare_records(stored.filter(asked), anew)

    def _context(self, cell: PlannedCell) -> tuple[SelectedRole, MapContext]:
        scenario = cell.scenario
        evalset = self._reopened.data[cell.data.name]
        role = SelectedRole(evalset, scenario.role, cell.limit, self._seed)
        adapter = self._reopened.model(cell.model.name, cell.data.name, keep=2)
        return role, map_context(cell, role, adapter, self._seed)

    def _recheck(self, cell: PlannedCell, scenario: Mapped) -> list[str]:
        """Holds a cell's artefacts against its records and its model."""
        # No number is made of examples: they are only shown.
        checked = scenario.keeps - {EXAMPLES}
        if not checked:
            return []
        own = self._scorer.evidence(cell, self._run.cells).own
        wrong = list(scenario.recheck(own, self._context(cell)[1]))
        self.asked.kept += sum(len(own.artifacts[name]) for name in checked & own.artifacts.keys())
        return wrong

    def _view(
        self, cell: PlannedCell, file: CellFile, role: SelectedRole, before: int
    ) -> StageView:
        earlier = stage_records(self._run.layout, cell.id, file.stages[:before])
        return StageView(
            role.samples(), self._scorer.evidence(cell, self._run.cells).needs, earlier
        )


def _beyond(found: RecordDifference, noise: float, elsewhere: list[str]) -> str:
    """Says which differences of a batch can't be float noise, or returns ""."""
    where = f" ({', '.join(elsewhere[:3])} are not as they were)" if elsewhere else ""
    if found.wrong:
        return found.wrong
    if found.largest > noise:
        return (
            f"{found.column} lies up to {found.largest:.2g} from what is stored, which is more "
            f"than float noise ({noise:.0e}){where}"
        )
    if found.flips and not found.largest and not elsewhere:
        # The same machine gave the same floats: then nothing else may differ.
        return (
            f"{found.flips} of {found.rows} records differ in {', '.join(found.flipped)}, and in "
            "no float: that is not noise"
        )
    if found.flips > max(1, found.rows // 20):
        return (
            f"{found.flips} of {found.rows} records differ in {', '.join(found.flipped)}, which is "
            f"more than noise flips{where}"
        )
    return ""


@dataclass(frozen=True)
class RecordDifference:
    """What differs.

    Attributes:
        rows: how many records were compared.
        wrong: a sentence about what can't be float noise, or "".
        largest: the largest difference of floats, relative to the stored one where that is above 1.
        column: where it is.
        flips: whole numbers, flags and texts that differ.
        flipped: the columns that they are in.
    """

    rows: int
    wrong: str = ""
    largest: float = 0.0
    column: str = ""
    flips: int = 0
    flipped: tuple[str, ...] = ()

    @property
    def identical(self) -> bool:
        """Whether nothing differs at all."""
        return not self.wrong and self.largest == 0.0 and not self.flips


def compare_records(stored: pa.Table, anew: pa.Table) -> RecordDifference:
    """Returns how far new records are from the stored ones of the same samples.

    Rows are matched by id, point and draw. Columns that are stored and were not asked for now (a
    pass that was kept with more outputs) are left out.
    """
    stored, anew = _sorted(stored), _sorted(anew)
    keys = [table.select(_keys(table)).to_pylist() for table in (stored, anew)]
    if keys[0] != keys[1]:
        both = zip(*keys, strict=False)
        first = next((pair for pair in both if pair[0] != pair[1]), None)
        which = f" (the first difference: {first[0]} stored, {first[1]} now)" if first else ""
        wrong = f"{len(keys[0])} records are stored, {len(keys[1])} come now{which}"
        return RecordDifference(stored.num_rows, wrong)
    missing = [name for name in anew.column_names if name not in stored.column_names]
    if missing:
        return RecordDifference(stored.num_rows, f"the column {missing[0]!r} is not stored")
    largest, where, flips, flipped = 0.0, "", 0, []
    for name in anew.column_names:
        old_column, new_column = (from_arrow(table.column(name)) for table in (stored, anew))
        if isinstance(old_column, Lists) and isinstance(new_column, Lists):
            other = int((old_column.lengths != new_column.lengths).sum())
            if other:
                flips += other
                flipped += [name]
                continue
            old_column, new_column = old_column.values, new_column.values
        before, now = np.asarray(old_column), np.asarray(new_column)
        if before.shape != now.shape:
            wrong = f"column {name!r}: shape {before.shape} is stored, {now.shape} comes now"
            return RecordDifference(stored.num_rows, wrong)
        if before.dtype.kind == "f" and now.dtype.kind == "f":
            distance = _distance(before.astype(np.float64), now.astype(np.float64))
            if distance > largest:
                largest, where = distance, name
        elif name not in KEYS:
            differ = np.asarray([old != new for old, new in zip(before, now, strict=True)])
            count = int(differ.reshape(len(before), -1).any(axis=1).sum()) if len(before) else 0
            flips += count
            flipped += [name] if count else []
    return RecordDifference(stored.num_rows, "", largest, where, flips, tuple(flipped))


def _keys(table: pa.Table) -> list[str]:
    return [name for name in KEYS if name in table.column_names]


def _sorted(table: pa.Table) -> pa.Table:
    order = pc.sort_indices(table, sort_keys=[(name, "ascending") for name in _keys(table)])
    return table.take(order).combine_chunks()


def _distance(before: np.ndarray, now: np.ndarray) -> float:
    if not before.size:
        return 0.0
    same = (before == now) | (np.isnan(before) & np.isnan(now))
    with np.errstate(invalid="ignore"):
        far = np.abs(before - now) / np.maximum(1.0, np.abs(before))
    far[same] = 0.0
    far[np.isnan(far)] = np.inf  # a number now, none before, or the other way round
    return float(far.max())
