"""Timed cells: the models of a cohort take turns, round by round, A B A B."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.records import Columns, to_table
from crucibench.contracts.scenario import Timed, TimedContext
from crucibench.engine.listener import Listener
from crucibench.engine.plan import PlannedCell
from crucibench.engine.roles import SelectedRole
from crucibench.store.layout import Layout
from crucibench.store.tables import write_table
from crucibench.util.draws import Draws


def collect_cohort(
    layout: Layout,
    cohort: Sequence[tuple[PlannedCell, Adapter, SelectedRole]],
    seed: int,
    listener: Listener,
) -> dict[str, BaseException]:
    """Runs the rounds of all models in turn and writes one shard a cell.

    The records of a round carry its number, so that rounds pair across models. A model that raises
    leaves the cohort; the others go on.

    Returns:
        What each cell that failed raised, by cell id.
    """
    running = {cell.id: _rounds(cell, adapter, role, seed) for cell, adapter, role in cohort}
    cells = {cell.id: cell for cell, _, _ in cohort}
    tables: dict[str, list[pa.Table]] = {name: [] for name in running}
    failed: dict[str, BaseException] = {}
    number = 0
    while running:
        for name, rounds in list(running.items()):
            try:
                columns = next(rounds)
            except StopIteration:
                del running[name]
                continue
            except Exception as error:
                failed[name] = error
                del running[name]
                continue
            table = to_table(columns)
            tables[name].append(table.append_column("round", pa.array([number] * table.num_rows)))
            listener.advanced(cells[name], 1)
        number += 1
    for name, parts in tables.items():
        if name not in failed and parts:
            layout.cell(name).mkdir(parents=True, exist_ok=True)
            write_table(layout.shard(name, 0, 0), pa.concat_tables(parts).combine_chunks())
    return failed


def _rounds(
    cell: PlannedCell, adapter: Adapter, role: SelectedRole, seed: int
) -> Iterator[Columns]:
    scenario = cell.scenario
    if not isinstance(scenario, Timed):
        raise TypeError(f"{scenario.address} is not a Timed scenario")

    def load(count: int) -> Batch:
        repeats = math.ceil(count / len(role))
        rows = np.tile(np.arange(len(role)), repeats)[:count]
        return role.batch(rows, adapter.input_spec)

    return scenario.rounds(TimedContext(adapter, Draws(seed, scenario.stream), load))
