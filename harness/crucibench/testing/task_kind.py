"""Whether a task kind keeps its promises: what it reads, asks, stores and judges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from crucibench.contracts.adapter import Answer
from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import CellEvidence, ModelInfo
from crucibench.contracts.lists import Column, Lists, to_arrow
from crucibench.contracts.metric import metrics
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.task import Decision, Modality, Target, Task, TaskKind
from crucibench.metrics.numbers import numbers_of


def check_task_kind(
    kind: TaskKind,
    answer: Answer,
    targets: Any,
    *,
    classes: tuple[str, ...] | None = None,
    perfect: bool = True,
) -> None:
    """Checks that a task kind keeps the contract, on one answer to made-up samples.

    Args:
        kind: the task kind.
        answer: to n samples, as a model gives it.
        targets: the target column, n values as a data set holds them.
        classes: as a user would declare them, or None.
        perfect: whether the answer is right about every sample.

    Raises:
        AssertionError: naming the promise that is broken, and how.
    """
    column = to_arrow(targets)
    names, read = kind.read_targets(
        Target(name="target", modality=Modality.TABLE, classes=classes), {"test": column}
    )
    found, n = read["test"], len(column)
    _require(len(found) == n, kind, f"reads {len(found)} of {n} targets")
    stored, missing = (to_arrow(one).type for one in (found, _one_row(kind.unlabelled)))
    _require(stored == missing, kind, f"stores targets as {stored} and a missing one as {missing}")
    task = Task(kind=kind.name, modality=Modality.TABLE, classes=names)
    fields = {field.name: field for field in kind.fields}
    for name in answer.names:
        _require(name in fields, kind, f"declares no field {name!r}")
        if (given := answer.column(name)) is not None:
            fields[name].require(given, n, task)
    best = kind.best_answer(frozenset(fields))
    _require(best in fields, kind, f"asks for {best!r}, which it does not declare")
    cell = _cell(kind, answer, found)
    views = (
        kind.view(cell, task),
        kind.view_of_outcomes(kind.outcome_columns(answer, found, "probabilities"), cell, task),
    )
    for view in views:
        quality = kind.quality(view)
        _require(quality.shape == (n,), kind, f"gives quality of shape {quality.shape}")
        outcomes = kind.outcomes(view)
        _require(len(outcomes.ids) == n, kind, f"gives {len(outcomes.ids)} outcomes of {n}")
        if perfect:
            best_value = 0.0 if metrics().get(kind.headline).info.direction == "lower" else 1.0
            _require(
                bool((quality == best_value).all()), kind,
                "does not find a perfect answer perfect",
            )  # fmt: skip
    _require(kind.headline in kind.metrics, kind, "does not report its headline metric")
    named = [metrics().get(name) for name in kind.metrics]
    for metric in named:
        _require(
            kind.name in metric.kinds or any(base in metric.kinds for base in _bases(kind)), kind,
            f"reports {metric.name!r}, which takes other answers",
        )  # fmt: skip
    _require(bool(numbers_of(named, views[0])), kind, "reports no number")


def _one_row(missing: Any) -> Column:
    return missing if isinstance(missing, Lists) else np.asarray([missing])


def _bases(kind: TaskKind) -> list[str]:
    names = [vars(base).get("name") for base in type(kind).__mro__[1:]]
    return [name for name in names if isinstance(name, str)]


def _cell(kind: TaskKind, answer: Answer, targets: Any) -> CellEvidence:
    n = len(targets)
    ids = np.array([f"{row:032x}" for row in range(n)], dtype=object)
    columns: dict[str, Any] = {"id": ids.tolist(), "prediction": kind.prediction(answer)}
    for name in answer.names:
        if name not in {"labels", "values"}:
            columns[name] = answer.column(name)
    columns.update(kind.judged(answer, targets, "probabilities"))
    model = ModelInfo(
        name="model", uri="test:model", capabilities=frozenset(), score_kind="probabilities",
        geometry={}, fingerprint=None, decision=Decision(),
    )  # fmt: skip
    samples = Samples(ids, targets, pd.DataFrame(index=range(n)))
    return CellEvidence(
        cell="pass", model=model, role="test", records=Records(to_table(columns)), samples=samples
    )


def _require(kept: bool, kind: TaskKind, broken: str) -> None:
    if not kept:
        raise AssertionError(f"task kind {kind.name!r} {broken}")
