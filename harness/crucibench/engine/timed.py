"""Timed cells: the models of a cohort take turns, round by round, A B A B."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from crucibench.contracts.records import Columns, to_table
from crucibench.contracts.scenario import Timed, TimedContext
from crucibench.engine.failing import failed
from crucibench.engine.meter import Meter
from crucibench.engine.plan import PlannedCell
from crucibench.engine.tasks import Advanced, CohortDone, Cost, Failed, Message, Turn
from crucibench.store.layout import Layout
from crucibench.store.tables import write_table
from crucibench.util.hashing import file_digest
from crucibench.util.memory import is_out_of_memory


@dataclass(frozen=True)
class Contestant:
    """A cell of a cohort with what its scenario works with."""

    cell: PlannedCell
    context: TimedContext


def take_turns(
    layout: Layout, contestants: Sequence[Contestant], device: str, *, worn: bool
) -> Iterator[Message]:
    """Runs the rounds of all models in turn and writes one shard a cell.

    The records of a round carry its number, so that rounds pair across models. A model that raises
    leaves the cohort; the others go on. Before each round the cell whose turn it is is named: if
    its model takes the process down, it is known who did.

    Raises:
        Exception: in a `worn` process whose memory runs out: a new one is to try again.
    """
    running = {one.cell.id: _rounds(one) for one in contestants}
    meters = {one.cell.id: Meter(one.context.adapter, device) for one in contestants}
    tables: dict[str, list[pa.Table]] = {name: [] for name in running}
    failures: dict[str, Failed] = {}
    number = 0
    while running:
        for name, rounds in list(running.items()):
            yield Turn(name)
            try:
                columns = next(rounds)
            except StopIteration:
                del running[name]
                continue
            except (Exception, SystemExit) as error:
                if worn and is_out_of_memory(error):
                    raise
                failures[name] = failed(error)
                del running[name]
                continue
            table = to_table(columns)
            tables[name].append(table.append_column("round", pa.array([number] * table.num_rows)))
            yield Advanced(name, 1)
        number += 1
    files: dict[str, dict[str, str]] = {}
    costs: dict[str, Cost] = {}
    for name, parts in tables.items():
        costs[name] = meters[name].read()
        if name not in failures and parts:
            path = layout.shard(name, 0, 0)
            write_table(path, pa.concat_tables(parts).combine_chunks())
            files[name] = {path.name: file_digest(path)}
    yield CohortDone(files=files, costs=costs, failed=failures)


def _rounds(one: Contestant) -> Iterator[Columns]:
    scenario = one.cell.scenario
    if not isinstance(scenario, Timed):
        raise TypeError(f"{scenario.address} is not a Timed scenario")
    return scenario.rounds(one.context)
