"""Where a run's numbers come from: data, models, cells, environment, as lists of facts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crucibench.report.format import show_count
from crucibench.util.errors import UnreadableError
from crucibench.util.hashing import canonical_json

if TYPE_CHECKING:
    from crucibench.contracts.data import DataCard
    from crucibench.contracts.evidence import ModelInfo
    from crucibench.store.cells import CellFile
    from crucibench.store.run import Run

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
