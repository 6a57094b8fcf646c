"""Exact duplicates: test samples of equal content, and test samples that are in train too.

Sample ids are hashes of content, with a number appended where a content repeats, so that ids alone
tell. In a table of few, coarse columns equal rows may be different cases.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.evidence import CellEvidence, Evidence, Findings
from crucibench.contracts.lists import Lists
from crucibench.contracts.metric import metrics_named
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Finding, Severity
from crucibench.tasks.classification.view import Bools, Floats
from crucibench.util.ids import contents

_REPEATED = 0.05
"""Share of repeated test samples from which numbers are suspect."""

_LEAKED = 0.01
"""Share of test samples in train from which numbers are suspect."""


def duplicates(evidence: Evidence) -> Findings:
    """Says how many test samples are not new, and what the headline number is without them."""
    cell = evidence.needs["test"]
    what, scores = _scores(cell, evidence.task)
    names = contents(cell.samples.ids)
    findings: Findings = []
    repeats = _repeats(names, cell.samples.ids)
    table = evidence.task.modality is Modality.TABLE
    if repeats.any():
        conflicts = _conflicts(names, repeats, cell.samples.targets)
        findings.append(
            _finding(
                "duplicates-within-test",
                "repeat the content of another test sample",
                repeats,
                (what, scores),
                # In a table different people may share all their features.
                limit=_REPEATED if conflicts or not table else math.inf,
                task=evidence.task,
                extra={"contents_with_several_targets": conflicts},
            )
        )
    train = evidence.needs.get("train")
    if train is not None:
        leaked = np.asarray(pd.Index(names).isin(pd.Index(contents(train.samples.ids))))
        if leaked.any():
            findings.append(
                _finding(
                    "duplicates-between-train-and-test",
                    "are in the train role, too",
                    leaked,
                    (what, scores),
                    limit=_LEAKED,
                    task=evidence.task,
                    extra={"n_train": len(train.samples)},
                )
            )
    return findings


def _scores(cell: CellEvidence, task: Task) -> tuple[str, Floats]:
    """Returns the headline number's name and what it is the mean of."""
    kind = task.definition
    return metrics_named([kind.headline])[0].info.name.lower(), kind.quality(kind.view(cell, task))


def _repeats(names: NDArray[np.object_], ids: NDArray[np.object_]) -> Bools:
    """Says which samples repeat an earlier one; the one without a number is the first."""
    first_choice = np.argsort(names != ids, kind="stable")
    repeats = np.empty(len(names), dtype=np.bool_)
    repeats[first_choice] = pd.Series(names[first_choice]).duplicated().to_numpy()
    return repeats


def _conflicts(names: NDArray[np.object_], repeats: Bools, targets: NDArray[np.generic]) -> int:
    """Returns how many repeated contents have more than one target."""
    among = np.asarray(pd.Index(names).isin(pd.Index(names[repeats])))
    if isinstance(targets, Lists):
        targets = np.unique(targets.summary(), axis=0, return_inverse=True)[1]
    frame = pd.DataFrame({"name": names[among], "target": targets[among]})
    return int((frame.groupby("name")["target"].nunique() > 1).sum())


def _finding(
    code: str,
    says: str,
    which: Bools,
    scored: tuple[str, Floats],
    *,
    limit: float,
    task: Task,
    extra: dict[str, int],
) -> Finding:
    what, scores = scored
    count, n = int(which.sum()), len(which)
    with_them = float(scores.mean())
    without = None if count == n else float(scores[~which].mean())
    severity = Severity.SUSPECT if count >= limit * n else Severity.INFO
    left = f"{without:.4g} without them" if without is not None else "nothing is left without them"
    table = task.modality is Modality.TABLE
    return Finding(
        code=code,
        severity=severity,
        message=(
            f"{count} of {n} test samples ({100 * count / n:.2g} %) {says}"
            f"{' (in a table, equal rows may be different cases)' if table else ''}: "
            f"{what} is {with_them:.4g} with them, {left}"
        ),
        evidence={
            "n": n,
            "count": count,
            "share": count / n,
            "metric": what,
            "with": with_them,
            "without": without,
            **extra,
        },
    )
