"""A worker: opens data and models, does one task after the other, and writes what it finds.

The same in the process of the engine, in a process of its own, and on a node of a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from typing import assert_never

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.asking import Asked, Reply
from crucibench.contracts.batch import Batch
from crucibench.contracts.data import EvalSet
from crucibench.contracts.examples import EXAMPLES, share_shown
from crucibench.contracts.records import Columns, Records, to_table
from crucibench.contracts.scenario import MapContext, TimedContext
from crucibench.contracts.source import RawData
from crucibench.engine.fixed_probe import ask_probe
from crucibench.engine.plan.plan import PlannedCell
from crucibench.engine.plan.roles import SelectedRole, batches, map_context
from crucibench.engine.worker import selection
from crucibench.engine.worker.cold_start import fresh_start
from crucibench.engine.worker.environment import worker_facts
from crucibench.engine.worker.failures import ModelChangedError, WorkerLostError, failed
from crucibench.engine.worker.inspect import inspect_model
from crucibench.engine.worker.meter import Meter
from crucibench.engine.worker.opening import Models, open_resolved, unexpected
from crucibench.engine.worker.tasks import (
    Advanced,
    AsideTask,
    Began,
    CloseTask,
    DataTask,
    Done,
    FactsTask,
    Failed,
    Inspected,
    InspectTask,
    LeaseTask,
    MadeData,
    Message,
    Opened,
    OpenTask,
    ProbeTask,
    Reduced,
    RoundDone,
    RoundTask,
    Setup,
    ShardTask,
    Task,
    WorkerFacts,
    owner_of,
)
from crucibench.engine.worker.timed import OpenTimedCell, crowded, machine_lease
from crucibench.passes.probes import answers, probe_samples
from crucibench.passes.repeats import SAME_MODEL, SAMPLES, repeated, still_the_same
from crucibench.passes.scenario import best_answer
from crucibench.store.answers import AnswerLog, answers_of
from crucibench.store.layout import ARTIFACTS, Layout
from crucibench.store.run import Run
from crucibench.store.tables import read_table, write_table
from crucibench.util.devices import set_threads
from crucibench.util.draws import Draws
from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.hashing import file_digest
from crucibench.util.memory import free_memory, is_out_of_memory, keep_freed_memory
from crucibench.util.outside import Outside
from crucibench.util.reads import Reads


def _refuse(path: str, error: Exception) -> None:
    raise InputError(f"{path}: {error}") from error


class Worker:
    """Does tasks. `perform` yields messages about a task; the last one ends it."""

    def __init__(
        self,
        setup: Setup,
        data: Mapping[str, EvalSet] | None = None,
        *,
        isolated: bool = True,
    ) -> None:
        """Takes what tasks share.

        Args:
            setup: of the run.
            data: data sets that are open already, in the process of the engine.
            isolated: whether the process is one model's alone.
        """
        self._setup = setup
        self._layout = Layout(setup.root)
        self._data: dict[str, EvalSet] = dict(data or {})
        self._models = Models(setup.resolved, setup.device, setup.cards)
        self._roles: dict[tuple[str, str, int | None], SelectedRole] = {}
        self._chosen: tuple[tuple[str, int], selection.Chosen] | None = None
        self._reused: dict[tuple[str, str], Mapping[int, Reply]] = {}
        self._made: dict[str, Mapping[str, RawData]] = {}
        self._timed: dict[str, OpenTimedCell] = {}
        self._lease: ExitStack | None = None
        self._isolated = isolated
        self._tasks = 0
        set_threads(setup.threads)

    def perform(self, task: Task) -> Iterator[Message]:
        """Does a task; what it raises becomes its last message."""
        self._tasks += bool(owner_of(task))  # what has none leaves nothing behind
        yield Began()
        if self._isolated and isinstance(task, ProbeTask | ShardTask):
            keep_freed_memory()
        try:
            yield from self._messages(task)
        except (Exception, SystemExit) as error:
            worn = self._worn and is_out_of_memory(error)
            yield Failed("worn", str(error)) if worn else failed(error, isolated=self._isolated)

    def _messages(self, task: Task) -> Iterator[Message]:
        match task:
            case FactsTask():
                yield WorkerFacts(worker_facts(self._setup.device))
            case InspectTask():
                yield self._inspect(task)
            case ProbeTask():
                yield from self._probe(task)
            case ShardTask():
                log = self._layout.answers(task.cell.id, task.stage, task.shard)
                with closing(AnswerLog(log, self._reused_answers(task.cell))) as answers:
                    yield from self._shard(task, answers)
            case DataTask():
                yield self._make_data(task)
            case AsideTask():
                yield task.work(self._setup, *task.given)
            case LeaseTask():
                yield from self._take_lease(task)
            case OpenTask():
                yield self._open(task)
            case RoundTask():
                yield from self._round(task)
            case CloseTask():
                yield self._timed_cell(task.cell, drop=True).close(self._layout)
            case _:
                assert_never(task)

    @property
    def _worn(self) -> bool:
        # Earlier tasks may have used up the memory that this one lacks. A new process would show
        # whether they did, and can take the place of this one.
        return self._tasks > 1 and self._isolated

    def share(self, made: MadeData) -> None:
        """Takes what another process has made of a data set."""
        self._made[made.data] = made.raw

    def close(self) -> None:
        """Closes all models."""
        self._release_lease()
        self._models.close()

    # -- what tasks need ---------------------------------------------------------------------

    def _evalset(self, name: str) -> EvalSet:
        if name not in self._data:
            opened = self._opened(name, dict(self._made.get(name, {})))
            card = self._setup.cards[name]
            expected, found = (
                {"": one.fingerprint, **one.group_digests, **one.role_fingerprints}
                for one in (card, opened.card)
            )
            for role, digest in expected.items():
                if found.get(role) != digest:
                    of_role = f", role {role!r}," if role else ""
                    raise InputError(
                        f"data {name!r}{of_role} is not what it was when the run began "
                        f"(fingerprint {found.get(role, 'none')[:12]}, expected {digest[:12]}): it "
                        "changed, or its source gives other samples each time"
                    )
            self._data[name] = opened
        return self._data[name]

    def _opened(self, name: str, made: dict[str, RawData]) -> EvalSet:
        setup = self._setup
        opened = open_resolved(name, setup.resolved, setup.scratch, _refuse, made=made)
        assert opened is not None  # else `_refuse` has raised
        return opened

    def _role(self, cell: PlannedCell) -> SelectedRole:
        key = (cell.data.name, cell.scenario.role, cell.limit)
        if key not in self._roles:
            seed = self._setup.resolved.spec.defaults.seed
            self._roles[key] = SelectedRole(self._evalset(key[0]), key[1], key[2], seed)
        return self._roles[key]

    def _adapter(self, cell: PlannedCell, keep: int = 2) -> Adapter:
        known = self._models.holds(cell.model.name, cell.data.name)
        adapter = self._models.get(cell.model.name, cell.data.name, keep)
        expected = cell.model.fingerprint
        if expected is not None and not known:
            found = adapter.fingerprint() or {}
            if other := sorted(key for key, value in expected.items() if found.get(key) != value):
                self._models.close()
                raise ModelChangedError(
                    f"the model is not the one that was inspected when the run began (other: "
                    f"{', '.join(other)}): its files have changed, or its factory makes another "
                    "one each time"
                )
        return adapter

    def _context(self, cell: PlannedCell, adapter: Adapter, at_most: int | None) -> MapContext:
        seed = self._setup.resolved.spec.defaults.seed
        showing = share_shown(cell.samples) if EXAMPLES in cell.scenario.keeps else 0.0
        role = self._role(cell)
        return map_context(cell, role, adapter, seed, at_most=at_most, showing=showing)

    # -- the tasks ---------------------------------------------------------------------------

    def _inspect(self, task: InspectTask) -> Inspected:
        entry = self._setup.resolved.models[task.model]
        defaults = self._setup.resolved.spec.defaults
        device = self._setup.device if entry.spec.device == "auto" else entry.spec.device
        size, base = task.batch_size or defaults.batch_size, self._setup.resolved.base
        evalset = self._evalset(task.data)
        try:
            named = entry.adapter.sources(entry.uri, base).files if entry.live is None else ()
            # Files of data are digested already, under their names from `base` on.
            files = [base / name for name in self._setup.resolved.digests[f"data.{task.data}"]]
            aside = (*named, *files, self._setup.scratch, self._setup.root)
            with Reads(base, *aside) as reads, Outside() as outside:
                adapter = self._models.get(task.model, task.data)
                found = inspect_model(
                    entry, adapter, evalset, batch_size=size, limit=defaults.limit, device=device,
                    base=base,
                )  # fmt: skip
                probe = ask_probe(adapter, evalset, task.probe, found.info)
            if outside.reached:
                why = f"its code {' and '.join(outside.reached)}"
                found = replace(found, info=replace(found.info, fingerprint=None, unidentified=why))
            return replace(
                found,
                probe=probe,
                reads=reads.digests(),
                environment=frozenset(outside.environment),
            )
        except CrucibenchError:
            raise
        except Exception as error:
            raise unexpected("it can't be opened", error) from error

    def _probe(self, task: ProbeTask) -> Iterator[Message]:
        cell = task.cell
        adapter, role = self._adapter(cell), self._role(cell)
        size = min(cell.batch_size, task.at_most or cell.batch_size)
        meter = Meter(adapter, self._setup.device)
        tables: dict[str, pa.Table] = {}
        while True:
            context = self._context(cell, adapter, size)
            try:
                if cell.model.fingerprint is None:
                    tables[SAME_MODEL] = to_table(repeated(*self._same_answers(cell, context)))
                rows = role.probe_rows(probe_samples(cell.model.geometry))
                work = role.work(rows, {}, adapter)
                found = cell.mapped.probe(work, context)
                break
            except Exception as error:
                if size == 1 or self._worn or not is_out_of_memory(error):
                    raise
                size //= 2
            free_memory()
            yield Reduced(cell.id, size)
        tables |= {name: to_table(columns) for name, columns in found.items()}
        files: dict[str, str] = {}
        for name, table in tables.items():
            files |= self._write(cell, name, table)
        yield Done(files=files, probes=tuple(sorted(tables)), cost=meter.read())

    def _write(self, cell: PlannedCell, probe: str, table: pa.Table) -> dict[str, str]:
        path = self._layout.probe(cell.id, probe)
        write_table(path, table)
        return {path.name: file_digest(path)}

    def _shard(self, task: ShardTask, answers: AnswerLog) -> Iterator[Message]:
        cell = task.cell
        adapter, role = self._adapter(cell), self._role(cell)
        context = replace(self._context(cell, adapter, task.at_most), answers=answers)
        chosen = self._selection(cell, task.stage, len(role))
        meter = Meter(adapter, self._setup.device)
        start = task.shard * cell.shard_size
        rows = chosen.rows[start : start + cell.shard_size]
        stage = cell.mapped.stages[task.stage]
        tables: list[pa.Table] = []
        kept: dict[str, list[pa.Table]] = {}
        size = min(cell.batch_size, task.at_most or cell.batch_size)
        for part in batches(rows, cell.batch_size):
            left = part
            while len(left):
                piece = left[:size]
                try:
                    artifacts: dict[str, pa.Table] = {}
                    work = role.work(piece, chosen.carry, adapter, partial(_keep, cell, artifacts))
                    tables.append(to_table(cell.mapped.run(stage, work, context)))
                except Exception as error:
                    if len(piece) == 1 or self._worn or not is_out_of_memory(error):
                        raise
                    size = len(piece) // 2
                else:
                    left = left[len(piece) :]
                    for name, table in artifacts.items():
                        kept.setdefault(name, []).append(table)
                    yield Advanced(cell.id, len(piece))
                    continue
                free_memory()
                yield Reduced(cell.id, size)
        if cell.model.fingerprint is None:
            # After all that is asked: whatever the model was changed during, it shows.
            self._check_same_model(cell, context)
        paths = {}
        for name, parts in kept.items():
            path = self._layout.artifact(cell.id, name, task.stage, task.shard)
            paths[f"{ARTIFACTS}{path.name}"] = path
            write_table(path, _joined(cell, parts))
        path = self._layout.shard(cell.id, task.stage, task.shard)
        paths[path.name] = path
        write_table(path, _joined(cell, tables))
        files = {name: file_digest(path) for name, path in paths.items()}
        yield Done(files=files, cost=meter.read())

    def _reused_answers(self, cell: PlannedCell) -> Mapping[int, Reply]:
        if self._setup.reuse is None or not isinstance(cell.scenario, Asked):
            return {}
        key = (cell.model.name, cell.data.name)
        if key not in self._reused:
            self._reused[key] = answers_of(Run(self._setup.reuse), cell.model)
        return self._reused[key]

    def _selection(self, cell: PlannedCell, stage: int, count: int) -> selection.Chosen:
        key = (cell.id, stage)
        if self._chosen is None or self._chosen[0] != key:
            self._chosen = key, selection.read(self._layout.cell(cell.id), stage, count)
        return self._chosen[1]

    def _same_answers(
        self, cell: PlannedCell, context: MapContext
    ) -> tuple[Batch, Callable[[], NDArray[np.float64]]]:
        """Returns the batch by which a model without a fingerprint is known, and who asks it."""
        role = self._role(cell)
        adapter = context.adapter
        batch = role.batch(role.probe_rows(SAMPLES), adapter.input_spec)
        best = replace(context, outputs=best_answer(adapter.task, cell.model))
        return batch, partial(answers, batch, best)

    def _check_same_model(self, cell: PlannedCell, context: MapContext) -> None:
        """Raises ModelChangedError unless a model without a fingerprint answers as it first did."""
        first = Records(read_table(self._layout.probe(cell.id, SAME_MODEL)))
        _, ask = self._same_answers(cell, context)
        # Each shard asks, and again if it is tried again or the run goes on.
        times = 2 * len(cell.mapped.stages) * -(-cell.samples // cell.shard_size)
        labels = best_answer(context.adapter.task, cell.model) == {"labels"}
        if not still_the_same(first, ask, labels=labels, noise=cell.model.noise, times=times):
            raise ModelChangedError(
                "the model has no fingerprint and answers its probe batch in another way than at "
                "the start of the cell, beyond the noise that it showed there: it was changed"
            )

    def _make_data(self, task: DataTask) -> MadeData:
        raw: dict[str, RawData] = {}
        base, scratch = self._setup.resolved.base, self._setup.scratch
        with Reads(base, scratch) as reads, Outside() as outside:
            self._opened(task.data, raw)
        # Transformations of the user's are dropped: the stored columns are evaluated.
        plain = {
            name: replace(
                entry, roles={role: one.with_format(None) for role, one in entry.roles.items()}
            )
            for name, entry in raw.items()
        }
        return MadeData(
            data=task.data, raw=plain, reads=reads.digests(),
            environment=frozenset(outside.environment),
        )  # fmt: skip

    def _take_lease(self, task: LeaseTask) -> Iterator[Message]:
        if not task.hold:
            self._release_lease()
        elif self._lease is None:
            with ExitStack() as stack:
                yield from stack.enter_context(machine_lease(self._setup.device))
                self._lease = stack.pop_all()
        yield Opened()

    def _release_lease(self) -> None:
        if self._lease is not None:
            self._lease.close()
            self._lease = None

    def _open(self, task: OpenTask) -> Opened:
        cell = task.cell
        if task.more:
            self._timed_cell(cell).begin()
        else:
            adapter, role = self._adapter(cell), self._role(cell)
            draws = Draws(self._setup.resolved.spec.defaults.seed, cell.scenario.stream)
            context = TimedContext(
                adapter, draws, partial(_load, role, adapter), partial(_read, role, adapter),
                None if self._setup.resolved.live else partial(fresh_start, self._setup, cell),
            )  # fmt: skip
            self._timed[cell.id] = OpenTimedCell(cell, context, self._setup.device)
        return Opened(crowded=crowded(self._setup.device))

    def _round(self, task: RoundTask) -> Iterator[Message]:
        more = self._timed_cell(task.cell).round(task.number)
        if more:
            yield Advanced(task.cell.id, 1)
        yield RoundDone(last=not more)

    def _timed_cell(self, cell: PlannedCell, *, drop: bool = False) -> OpenTimedCell:
        found = self._timed.get(cell.id)
        if found is None:
            raise WorkerLostError("the process that held the model ended between its turns")
        if drop:
            del self._timed[cell.id]
        return found


def _keep(cell: PlannedCell, found: dict[str, pa.Table], artifact: str, columns: Columns) -> None:
    if artifact in cell.scenario.keeps and len(columns["id"]):
        found[artifact] = to_table(columns)


def _joined(cell: PlannedCell, tables: list[pa.Table]) -> pa.Table:
    schema = tables[0].schema
    for table in tables:
        if table.schema != schema:
            raise ValueError(
                f"{cell.scenario.address}: a batch's records differ in columns or types: "
                f"{table.schema.names} after {schema.names}"
            )
    return pa.concat_tables(tables).combine_chunks()


def _load(role: SelectedRole, adapter: Adapter, count: int) -> Batch:
    return _read(role, adapter, range(count))


def _read(role: SelectedRole, adapter: Adapter, positions: Sequence[int]) -> Batch:
    return role.batch(np.asarray(positions, dtype=np.int64) % len(role), adapter.input_spec)
