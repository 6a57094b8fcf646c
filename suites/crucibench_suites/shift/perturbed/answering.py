"""Asks a model about perturbed samples, and keeps what it says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.examples import Showing
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench_suites.shift.answers import answer_columns, ask
from crucibench_suites.shift.points import point_of


class Variant(NamedTuple):
    """A batch at one severity.

    Attributes:
        severity: 1 to 5.
        inputs: as `Batch.inputs`.
        columns: what records say of it beside the answers, each shape (n,). ``distance``: from the
            clean sample, on the scale of the perturbation's levels; ``touched``: whether it differs
            at all; ``edits`` of ``units`` are changed; ``spoilt``: whether it is no longer a sample
            of its kind.
    """

    severity: int
    inputs: Any
    columns: Mapping[str, NDArray[Any]]


def ask_perturbed(variants: Iterable[Variant], work: Work, context: MapContext) -> Columns:
    """Returns a record a sample and severity, by severity."""
    parts = []
    showing = Showing(work, context)
    for variant in variants:
        batch = work.batch.with_inputs(variant.inputs)
        columns: dict[str, Any]
        if context.adapter.task.kind == "regression":
            values = context.adapter.predict(batch, frozenset({"values"})).values
            columns = {"prediction": np.asarray(values, dtype=np.float64)}
        else:
            outputs = ask(context.adapter, batch)
            columns = answer_columns(outputs, context.adapter.score_kind, work.samples.targets)
        point = point_of(variant.severity)
        showing.add(point, variant.inputs, columns, rank=variant.severity)
        columns |= variant.columns
        columns |= {
            "id": np.array(batch.ids, dtype=object),
            "point": np.full(len(batch), point, dtype=object),
        }
        parts.append(columns)
    showing.keep()
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
