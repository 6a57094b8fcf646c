"""Reading the outcome view of another suite's cell, whatever its records are.

A `Derived` scenario that reads the outcomes of a *source* scenario needs the source's cell and all
that this needs itself. It then asks the source to make its outcome view of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from crucibench.contracts.evidence import CellEvidence, Evidence, OutcomeView
from crucibench.contracts.scenario import Need, Scenario

_SOURCE = "source"


def needs_of(source: Scenario) -> tuple[Need, ...]:
    """Returns the needs of a scenario that reads the outcomes of `source`."""
    own = Need(alias=_SOURCE, cell=source.address)
    return (own, *(replace(need, alias=f"{_SOURCE}/{need.alias}") for need in source.needs))


def parameters_of(source: Scenario) -> dict[str, Any]:
    """Returns what gives the outcomes of `source` their meaning, as parameters of who reads them.

    Two readers' numbers are comparable where the cells that they read are.
    """
    return {
        "address": source.address,
        "version": source.version,
        "parameters": dict(source.parameters),
        "points": list(source.points),
    }


def source_cell(evidence: Evidence) -> CellEvidence:
    """Returns the source's cell: its samples are those that the outcomes are of."""
    return evidence.needs[_SOURCE]


def read_outcomes(source: Scenario, evidence: Evidence) -> OutcomeView:
    """Returns the outcome view of `source`, from the evidence of a scenario that needs it.

    Raises:
        ValueError: if it has none for these records.
    """
    prefix = f"{_SOURCE}/"
    needs = {
        alias.removeprefix(prefix): cell
        for alias, cell in evidence.needs.items()
        if alias.startswith(prefix)
    }
    view = source.outcomes(replace(evidence, own=source_cell(evidence), needs=needs))
    if view is None:
        raise ValueError(f"{source.address} has no outcome view of its records")
    return view
