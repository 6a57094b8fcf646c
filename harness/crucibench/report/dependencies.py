"""What the numbers of a model depend on, and whether its cells may come from the cache."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from crucibench.store.reads import reads_of

if TYPE_CHECKING:
    from crucibench.store.run import Run

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
