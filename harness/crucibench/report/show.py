"""Plain data for `crucibench show`: a run's cells and their costs, its data cards, its models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from crucibench.contracts.verdict import Status
from crucibench.report.findings import address_of
from crucibench.report.numbers import names_in_order
from crucibench.report.provenance import card_facts, environment_of, model_facts, run_facts
from crucibench.store.documents import read_document
from crucibench.store.reads import reads_of
from crucibench.store.run import Run
from crucibench.util.errors import InputError, UnreadableError
from crucibench.util.suggest import unknown


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


_DIGEST = re.compile("[0-9a-f]{64}")
_SHORT = 12


def dependencies(run: Run, model: str) -> dict[str, Any]:
    """Returns names and digests of what a model's numbers depend on.

    Args:
        run: a run.
        model: its name.

    Returns:
        ``files`` (name relative to the spec's folder to SHA-256: those that the spec names for the
        model and its data, and those that their code read), ``code`` (package to digest),
        ``environment`` (names of variables), and ``not_cached`` (why another run can't take the
        cells over, or None where it can).
    """
    infos = {data: info for (name, data), info in run.models.items() if name == model}
    stored = (run.spec.get("resolved") or {}).get("digests") or {}
    source = model.partition("@")[0]
    files: dict[str, str] = {}
    for part, facts in stored.items():
        kind, _, name = part.partition(".")
        if (kind == "models" and name == source) or name.partition(":")[0] in infos:
            files |= {file: text for file, text in facts.items() if _DIGEST.fullmatch(str(text))}
    read, code, variables = reads_of(run.layout, model)
    why = [info.unidentified or "it has no fingerprint"
           for info in infos.values() if info.fingerprint is None]  # fmt: skip
    return {
        "files": dict(sorted((files | read).items())), "code": code, "environment": variables,
        "not_cached": why[0] if why else None,
    }  # fmt: skip


def dependency_rows(found: dict[str, Any]) -> tuple[str, list[list[str]]]:
    """Returns a heading and rows of kind, name and short digest, of what `dependencies` found."""
    files, why = found["files"], found["not_cached"]
    rows = [["file", name, digest[:_SHORT]] for name, digest in files.items()]
    rows += [["code", name, digest[:_SHORT]] for name, digest in found["code"].items()]
    rows += [["environment variable", name, ""] for name in found["environment"]]
    rows.append(["cached", "yes" if why is None else f"no: {why}", ""])
    noun = "file" if len(files) == 1 else "files"
    return f"These numbers depend on {len(files)} {noun}", rows


COSTS = (
    "seconds", "cpu_seconds", "device_seconds", "forwards", "backwards", "peak_memory", "tasks",
    "attempts",
)  # fmt: skip
"""What collecting a cell costs: seconds on the wall, of all threads and of an accelerator; samples
that went through the model, and that a gradient came back for; bytes of the worker that used most;
tasks and attempts."""


def cost_of(run: Run, cell: str) -> dict[str, Any]:
    """Returns what a cell cost by `COSTS`, and ``cell`` and ``cached``; None for what is unknown.

    A run of an older version knows its wall seconds alone.
    """
    try:
        timing = read_document(run.layout.timing(cell))
    except UnreadableError:
        timing = None
    facts: dict[str, Any] = timing if isinstance(timing, dict) else {}
    found = {name: facts.get(name) for name in COSTS}
    numbers = {
        name: value if type(value) in {int, float} else None for name, value in found.items()
    }
    cached = facts.get("cached")
    return {"cell": cell, **numbers, "cached": cached if isinstance(cached, bool) else None}


def costs(run: Run) -> list[dict[str, Any]]:
    """Returns what each cell that was not skipped cost."""
    return [
        cost_of(run, name) for name, cell in run.cells.items() if cell.status is not Status.SKIPPED
    ]


def total(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the costs of all cells together: sums, and the highest peak of memory.

    One is None where no cell knows the number; ``known`` says how many cells each one is made of.
    """
    known = {name: [cost[name] for cost in found if cost[name] is not None] for name in COSTS}
    sums = {name: round(sum(values), 6) if values else None for name, values in known.items()}
    return {
        **sums,
        "peak_memory": max(known["peak_memory"], default=None),
        "cells": len(found),
        "cached": sum(cost["cached"] is True for cost in found),
        "known": {name: len(values) for name, values in known.items()},
    }


def no_device_seconds(run: Run, found: Sequence[Mapping[str, Any]]) -> str:
    """Returns why device seconds are missing, in one sentence, or "" where none is."""
    missing = [cost for cost in found if cost["device_seconds"] is None]
    if not missing:
        return ""
    if all(cost["cpu_seconds"] is None for cost in found):
        return "only wall seconds are known: the run holds no other costs"
    if len(missing) < len(found):
        return "device seconds are measured where a task gave an accelerator something to do"
    if str(environment_of(run).get("device", "")).startswith("cpu"):
        return "no device seconds: the models ran on the CPU, and CPU seconds hold their time"
    return "no device seconds: no task gave an accelerator anything to do"
