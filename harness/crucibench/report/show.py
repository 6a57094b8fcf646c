"""Plain data for `crucibench show`: a run's cells, its data cards, its models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crucibench.report.findings import address_of
from crucibench.report.numbers import names_in_order
from crucibench.report.provenance import card_facts, model_facts, run_facts
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

if TYPE_CHECKING:
    from crucibench.store.run import Run


def show_run(run: Run) -> dict[str, str]:
    """Returns what identifies a run, and its size."""
    facts = run_facts(run)
    facts["models"] = ", ".join(
        names_in_order(run.spec, "models", {cell.model for cell in run.cells.values()})
    )
    facts["data"] = ", ".join(
        names_in_order(run.spec, "data", {cell.data for cell in run.cells.values()})
    )
    facts["cells"] = str(len(run.cells))
    return facts


def show_cells(run: Run) -> list[dict[str, Any]]:
    """Returns a record a cell: where it stands, what became of it, how far it can be trusted."""
    return [
        {
            "cell": name,
            "model": cell.model,
            "data": cell.data,
            "scenario": address_of(cell),
            "n": cell.n,
            "status": str(cell.status),
            "verdict": str(cell.verdict) if cell.verdict is not None else "",
            "reason": cell.reason,
            "findings": ", ".join(dict.fromkeys(finding.code for finding in cell.findings)),
        }
        for name, cell in run.cells.items()
    ]


def show_data(run: Run, name: str) -> dict[str, str]:
    """Returns a data card as facts.

    Raises:
        InputError: if the run has no such data set.
    """
    if name not in run.cards:
        raise InputError(unknown("data set", name, run.cards))
    return card_facts(run.cards[name])


def show_model(run: Run, name: str) -> dict[str, dict[str, str]]:
    """Returns what inspection found about a model, by data set.

    Raises:
        InputError: if the run has no such model.
    """
    found = {data: model_facts(info) for (model, data), info in run.models.items() if model == name}
    if not found:
        raise InputError(unknown("model", name, {model for model, _ in run.models}))
    return found
