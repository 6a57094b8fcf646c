"""What a run holds besides its cells: spec, environment, models, samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from crucibench.contracts.verdict import Status
from crucibench.engine.inspected import Inspection
from crucibench.engine.listener import Listener
from crucibench.engine.plan.cell_files import suites_as_data
from crucibench.engine.plan.plan import Plan
from crucibench.engine.plan.roles import SelectedRole
from crucibench.engine.resolve.resolve import Resolved
from crucibench.store.cells import CellFile, write_cell
from crucibench.store.layout import Layout, slug
from crucibench.store.tables import samples_to_table, write_blocks
from crucibench.util.atomic import write_json, write_text
from crucibench.util.errors import UnavailableError

_BLOCK = 65536


def write_inputs(
    resolved: Resolved,
    layout: Layout,
    plan: Plan,
    inspection: Inspection,
    *,
    environment: Mapping[str, Any],
    role: Callable[[str, str, int | None], SelectedRole],
) -> None:
    """Writes spec, environment, models, suites, cards and sample tables.

    All anew, whatever an earlier attempt left: nothing vouches for that before there is a manifest.
    """
    layout.cells.mkdir(parents=True, exist_ok=True)
    write_text(layout.spec, resolved.document(layout.root))
    write_json(layout.environment / "main.json", dict(environment))
    models = [
        {"data": data, "model": info.as_dict()}
        for (_, data), info in sorted(inspection.models.items())
    ]
    write_json(layout.models, models)
    write_json(layout.suites, suites_as_data(resolved, plan))
    written = {layout.card(name) for name in inspection.cards}
    for name, card in inspection.cards.items():
        write_json(layout.card(name), card.as_dict())
    for data, name in sorted({(cell.data.name, cell.scenario.role) for cell in plan}):
        if name in inspection.cards[data].counts:
            path = layout.sample_table(data, name)
            write_blocks(path, _blocks(role(data, name, resolved.spec.defaults.limit)))
            written.add(path)
    for path in sorted(layout.samples.rglob("*")):
        if path.is_file() and path not in written:
            path.unlink()


def write_failed_inspections(layout: Layout, inspection: Inspection, listener: Listener) -> None:
    """Writes a failed cell for each model that could not be inspected; a skipped one for a form of
    a model that can't be had on this machine.
    """
    for (model, data), error in inspection.errors.items():
        cell = f"{slug(model)[:40]}.{slug(data)[:40]}.inspection"
        file = CellFile(
            cell=cell, kind="mapped", model=model, data=data, suite="pass",
            scenario="inspection", version=1, role="test", points=[""],
            status=Status.SKIPPED if isinstance(error, UnavailableError) else Status.FAILED,
            reason=str(error), detail=error.detail or "",
        )  # fmt: skip
        write_cell(layout.cell_file(cell), file)
        listener.finished(file)


def _blocks(role: SelectedRole) -> Iterator[pa.Table]:
    for start in range(0, max(1, len(role)), _BLOCK):
        yield samples_to_table(role.slice(range(start, min(start + _BLOCK, len(role)))))
