"""A run as lists of facts: its data, models, environment; its cells and what they cost."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.verdict import Status
from crucibench.report.findings import address_of
from crucibench.report.format import show_count
from crucibench.report.numbers import names_in_order
from crucibench.store.cells import CellFile
from crucibench.store.documents import read_document
from crucibench.store.reads import reads_of
from crucibench.store.run import Run
from crucibench.util.errors import InputError, UnreadableError
from crucibench.util.hashing import canonical_json
from crucibench.util.suggest import unknown

UNKNOWN = "not stated"
_DIGEST = 16


def card_facts(card: DataCard) -> dict[str, str]:
    """Returns a data card as facts; what it does not state is named as missing."""
    task = card.task
    facts = {
        "source": card.uri,
        "task": f"{task.modality} {task.kind}",
        "classes": ", ".join(task.classes),
        "target": card.target,
        "samples": ", ".join(
            f"{role} {show_count(n)}" + (" (unlabelled)" if role in card.unlabelled else "")
            for role, n in card.counts.items()
        ),
        "split": card.split,
        "features": ", ".join(f"{name} ({kind})" for name, kind in card.features.items()),
        "groups": ", ".join(card.groups) or "none",
        "cluster": card.cluster or "none: samples count as drawn one by one",
        "fingerprint": card.fingerprint,
        "revision": card.revision,
        "licence": card.licence,
        "citation": card.citation,
        "notes": "; ".join(card.notes),
    }
    if not task.classes:
        del facts["classes"]
    if not facts["notes"]:
        del facts["notes"]
    return {name: text or UNKNOWN for name, text in facts.items()}


def model_facts(info: ModelInfo) -> dict[str, str]:
    """Returns what inspection found about a model as facts."""
    facts = {"address": info.uri}
    if info.variant:
        facts["variant"] = info.variant
    facts["parameters"] = UNKNOWN if info.parameters is None else show_count(info.parameters)
    facts["answers"] = ", ".join(sorted(str(entry) for entry in info.capabilities))
    if "scores" in info.capabilities:
        facts["scores are"] = info.score_kind
    facts |= flat(info.geometry, "input")
    facts["decision"] = (
        f"class {info.decision.positive} where its probability is at least "
        f"{info.decision.threshold:g} (binary tasks)"
    )
    if info.decision.thresholds:
        shown = ", ".join(f"{one:g}" for one in info.decision.thresholds)
        facts["thresholds"] = f"{shown} (of the labels, in order)"
    if info.fingerprint is None:
        why = info.unidentified or "nobody can tell whether the model is the same in another run"
        facts["fingerprint"] = f"none: {why}"
    else:
        facts |= flat(info.fingerprint, "fingerprint")
    facts |= flat(info.numerics, "numerics")
    diagnostics = dict(info.diagnostics)
    facts |= flat({"preprocessing": diagnostics.pop("preprocessing", None) or {}})
    facts |= flat(diagnostics, "diagnostics")
    facts |= flat(info.card, "card")
    return facts


def run_facts(run: Run) -> dict[str, str]:
    """Returns what identifies a run."""
    defaults = run.spec.get("defaults") or {}
    facts = {"run": run.id}
    if run.finished:
        facts["digest of all results"] = str(run.manifest.get("digest", UNKNOWN))
        facts["crucibench"] = str(run.manifest.get("crucibench_version", UNKNOWN))
    return facts | flat(defaults)


def environment_of(run: Run) -> dict[str, Any]:
    """Returns the environment, or nothing where the run holds none."""
    try:
        return run.environment
    except UnreadableError:
        return {}


def environment_facts(run: Run) -> dict[str, dict[str, str]]:
    """Returns versions, hardware and flags, by the parts that the run names."""
    general: dict[str, str] = {}
    parts: dict[str, dict[str, str]] = {}
    for name, value in environment_of(run).items():
        if isinstance(value, Mapping):
            parts[str(name)] = flat(value)
        else:
            general[str(name)] = plain(value)
    return ({"general": general} if general else {}) | parts


def comparison_fields(run: Run) -> list[tuple[str, list[str]]]:
    """Returns each distinct set of comparison fields as JSON, with the cells that have it."""
    found: dict[str, list[str]] = {}
    for name, cell in run.cells.items():
        if cell.comparison:
            text = json.dumps(cell.comparison, indent=2, sort_keys=True, ensure_ascii=False)
            found.setdefault(text, []).append(name)
    return list(found.items())


def digests_of(cell: CellFile) -> tuple[str, str, str]:
    """Returns the starts of a cell's digests: identity, numerics, sample ids."""
    identity, numerics = (
        part.digest[:_DIGEST] if part is not None else "none"
        for part in (cell.identity, cell.numerics)
    )
    return identity, numerics, cell.ids_digest[:_DIGEST] or "none"


def flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns nested plain data as names with dots and texts."""
    facts: dict[str, str] = {}
    for key, value in data.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Mapping) and value:
            facts |= flat(value, name)
        else:
            facts[name] = plain(value)
    return facts


def plain(value: Any) -> str:
    """Writes a plain value for people."""
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(plain(entry) for entry in value)
    if isinstance(value, str | int | float):
        return str(value)
    return canonical_json(value)


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


_SHA256 = re.compile("[0-9a-f]{64}")
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
            files |= {file: text for file, text in facts.items() if _SHA256.fullmatch(str(text))}
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
