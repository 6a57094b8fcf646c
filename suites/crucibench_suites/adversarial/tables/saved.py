"""Saved rows: what was changed in each, and whether the model bears it out."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.attack import Floats
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench_suites.adversarial.answers import labels_of
from crucibench_suites.adversarial.saved import (
    ADVERSARIALS,
    DISTANCES,
    ROUNDING,
    Judge,
    Shown,
    misclassified,
)
from crucibench_suites.adversarial.search import Ledger
from crucibench_suites.adversarial.tables.checking import breaches
from crucibench_suites.adversarial.tables.constraints import Constraints
from crucibench_suites.adversarial.tables.space import RowSpace
from crucibench_suites.adversarial.threat import COLUMN, ThreatModel, point_of

TOLD = (*DISTANCES, "changed")
"""What is looked at in the records."""


def rows_kept(
    threat: ThreatModel, work: Work, ledger: Ledger, space: RowSpace, points: Floats, *, attack: str
) -> Columns:
    """Returns the nearest example of each row that the attack broke within the largest radius.

    Columns of m rows: ``id``, the smallest radius that it breaks as ``point``, ``attack``,
    ``changed``, a JSON object of the columns that differ and their values, and ``spreads``, one of
    the units of distance of those of them that are numbers; m may be 0.
    """
    rows = np.flatnonzero(ledger.level < len(threat.eps))
    rows = rows[ledger.prediction[rows] >= 0]
    found: dict[str, list[str]] = {
        "id": [work.batch.ids[row] for row in rows],
        "point": [point_of(threat.eps[at]) for at in ledger.level[rows]],
        "attack": [attack] * len(rows),
        "changed": [],
        "spreads": [],
    }
    spread = dict(zip(space.numbers, map(float, space.spread), strict=True))
    names = [*space.numbers, *space.names]
    frame, moved = space.rows(rows, points[rows]), space.moves(rows, points[rows]) > 0
    for at in range(len(rows)):
        changed = [name for name, one in zip(names, moved[at], strict=True) if one]
        values = {name: _plain(frame[name].iloc[at]) for name in changed}
        found["changed"].append(json.dumps(values, sort_keys=True))
        units = {name: spread[name] for name in changed if name in spread}
        found["spreads"].append(json.dumps(units, sort_keys=True))
    return found


def rows_judged(threat: ThreatModel, constraints: Constraints, context: MapContext) -> Judge:
    """Returns what judges saved rows: their constraints, distances and classes."""

    def judge(shown: Shown) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
        kept = shown.own.artifacts[ADVERSARIALS]
        values = [json.loads(kept.array("changed")[at]) for at in shown.at]
        units = [json.loads(kept.array("spreads")[at]) for at in shown.at]
        clean = shown.clean.inputs.reset_index(drop=True)
        frame = _with(clean, values)
        moves = [
            [
                abs(float(value) - float(clean[name].iloc[at])) / units[at][name]
                if name in units[at] else 1.0
                for name, value in one.items()
            ]
            for at, one in enumerate(values)
        ]  # fmt: skip
        distances = np.array(
            [[max(one, default=0.0), np.linalg.norm(one), sum(one)] for one in moves]
        )
        stored = shown.told[DISTANCES].to_numpy(dtype=np.float64)
        near = np.isclose(distances, stored, rtol=ROUNDING, atol=0).all(axis=1)
        near &= np.array([len(one) for one in values]) == shown.told["changed"].to_numpy()
        asked = shown.clean.with_inputs(frame)
        said = labels_of(context.adapter, asked)
        wrong = np.select(
            [breaches(clean, frame, constraints) > 0, ~near],
            ["break what is declared", "are not at the distances in the records"],
            misclassified(shown, asked, said, context),
        )
        distance = distances[:, COLUMN[threat.norm]]
        return wrong.astype(object), np.searchsorted(threat.eps, distance, side="left")

    return judge


def _with(clean: pd.DataFrame, values: list[dict[str, Any]]) -> pd.DataFrame:
    """Returns rows with other values in some of their columns, in the columns' own types."""
    found = {name: clean[name].array.copy() for name in clean.columns}
    for at, one in enumerate(values):
        for name, value in one.items():
            found[name][at] = value
    made = {name: pd.Series(column, dtype=clean[name].dtype) for name, column in found.items()}
    return pd.DataFrame(made, columns=clean.columns)


def _plain(value: Any) -> Any:
    """Returns a value as JSON takes it, whole."""
    return value.item() if isinstance(value, np.generic) else value
