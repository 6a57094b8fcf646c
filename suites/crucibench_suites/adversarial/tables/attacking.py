"""One attack on a batch of rows, what the plain model says of it, and the rows that are saved."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from crucibench.contracts.attack import Attack, Floats, Ints, Search
from crucibench.contracts.batch import Batch
from crucibench.contracts.columns import uncarried
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.untrusted.json_text import parse_json
from crucibench_suites.adversarial.answers import labels_of, leads
from crucibench_suites.adversarial.blackbox.questions import BudgetedQuestions
from crucibench_suites.adversarial.confirm import Confirmed, Ledger
from crucibench_suites.adversarial.saved import (
    ADVERSARIALS,
    DISTANCES,
    ROUNDING,
    Judge,
    SavedExamples,
    misclassified,
    show,
)
from crucibench_suites.adversarial.tables.constraints import Constraints, breaches
from crucibench_suites.adversarial.tables.gradient import Slopes
from crucibench_suites.adversarial.tables.space import RowSpace, facts_of_numbers
from crucibench_suites.adversarial.threat import COLUMN, ThreatModel, point_of

_MANY = 4096


class RowsFound(NamedTuple):
    """What became of n rows.

    Attributes:
        ledger: what is confirmed.
        queries_to: shape (n, radii above 0).
        first: the distance of the first example, NaN without one.
        changed: columns that the nearest example changes, -1 without one.
        breaches: constraints that what was found breaks: 0 unless something is amiss.
        space: what rows were allowed.
        points: the nearest examples in it, shape (n, d).
    """

    ledger: Ledger
    queries_to: Floats
    first: Floats
    changed: NDArray[np.int64]
    breaches: NDArray[np.int64]
    space: RowSpace
    points: Floats

    def kept(self, threat: ThreatModel, work: Work, attack: str) -> Columns:
        """Returns the nearest example of each row that the attack broke within the largest radius.

        Columns of m rows: ``id``, the smallest radius that it breaks as ``point``, ``attack``,
        ``changed``, a JSON object of the columns that differ and their values, and ``spreads``, one
        of the units of distance of those of them that are numbers; m may be 0.
        """
        rows = np.flatnonzero(self.ledger.level < len(threat.eps))
        rows = rows[self.ledger.prediction[rows] >= 0]
        found: dict[str, list[str]] = {
            "id": [work.batch.ids[row] for row in rows],
            "point": [point_of(threat.eps[at]) for at in self.ledger.level[rows]],
            "attack": [attack] * len(rows),
            "changed": [],
            "spreads": [],
        }
        spread = dict(zip(self.space.numbers, map(float, self.space.spread), strict=True))
        names = [*self.space.numbers, *self.space.names]
        frame, moved = (
            self.space.rows(rows, self.points[rows]),
            self.space.moves(rows, self.points[rows]) > 0,
        )
        for at in range(len(rows)):
            changed = [name for name, one in zip(names, moved[at], strict=True) if one]
            values = {name: _plain(frame[name].iloc[at]) for name in changed}
            found["changed"].append(json.dumps(values, sort_keys=True))
            units = {name: spread[name] for name in changed if name in spread}
            found["spreads"].append(json.dumps(units, sort_keys=True))
        return found


def attack_rows(
    attack: Attack, threat: ThreatModel, constraints: Constraints, work: Work, context: MapContext
) -> RowsFound:
    """Attacks the rows of a batch."""
    batch, targets = work.batch, work.samples.targets.astype(np.int64)
    grid = threat.grid
    radii = grid[grid > 0]
    facts = facts_of_numbers(batch.inputs, uncarried(work.carry)) if len(batch) else {}
    space = RowSpace(batch.inputs, constraints, facts, threat.norm)

    def answer(rows: Ints, points: Floats) -> Floats:
        found = []
        for at in range(0, len(rows), _MANY):
            part = rows[at : at + _MANY]
            frame = space.rows(part, points[at : at + _MANY])
            asked = Batch(tuple(batch.ids[int(row)] for row in part), frame)
            labels = threat.access == "decision"
            found.append(leads(context.adapter, asked, targets[part], labels=labels))
        return np.concatenate(found)

    questions = BudgetedQuestions(space, answer, radii, threat.queries)
    ledger = Ledger.of(batch, np.full(len(batch), len(grid), dtype=np.int64))
    slopes = Slopes(context.adapter, space, targets)
    attack.run(
        Search(
            questions=questions, ids=batch.ids, draws=threat.draws(context.draws), radii=radii,
            targets=targets, model=context.adapter, slopes=slopes, columns=constraints.columns,
        )
    )  # fmt: skip
    ledger.backwards += slopes.backwards
    ledger.forwards += slopes.forwards + questions.queries
    ledger.queries += questions.queries
    broken = _confirmed(
        questions, space, constraints, work=work, context=context, ledger=ledger, grid=grid
    )
    show(
        threat, attack.name, work, context,
        level=np.where(ledger.prediction >= 0, ledger.level, len(grid)),
        found=lambda rows: space.rows(np.asarray(rows), questions.best[list(rows)]),
    )  # fmt: skip
    changed = np.where(
        ledger.prediction >= 0,
        (space.moves(np.arange(len(space)), questions.best) > 0).sum(axis=1),
        -1,
    )
    return RowsFound(
        ledger, questions.queries_to, questions.first, changed, broken, space, questions.best
    )


def _confirmed(
    questions: BudgetedQuestions, space: RowSpace, constraints: Constraints, *, work: Work,
    context: MapContext, ledger: Ledger, grid: Floats,
) -> NDArray[np.int64]:  # fmt: skip
    """Asks the plain model about the nearest rows found; returns what constraints they break."""
    broken = np.zeros(len(space), dtype=np.int64)
    rows = np.flatnonzero(np.isfinite(questions.distance))
    if not len(rows):
        return broken
    frame = space.rows(rows, questions.best[rows])
    ids = tuple(work.batch.ids[int(row)] for row in rows)
    predicted = labels_of(context.adapter, Batch(ids, frame))
    clean = space.frame.iloc[rows].reset_index(drop=True)
    broken[rows] = breaches(clean, frame, constraints)
    holds = (predicted != work.samples.targets[rows]) & (broken[rows] == 0)
    ledger.unconfirmed[rows] += predicted == work.samples.targets[rows]
    moves = space.moves(rows, questions.best[rows])
    distances = np.stack([moves.max(axis=1), np.linalg.norm(moves, axis=1), moves.sum(axis=1)], 1)
    # Rows themselves are kept elsewhere (`RowsFound.kept`).
    seen = Confirmed(holds, predicted.astype(np.int32), distances, torch.zeros(len(rows), 0))
    ledger.note(rows, seen, holds, grid=grid, norm=space.norm)
    return broken


CHECKED = (*DISTANCES, "changed")
"""What is looked at in the records."""


def rows_judged(threat: ThreatModel, constraints: Constraints, context: MapContext) -> Judge:
    """Returns what judges saved rows: their constraints, distances and classes."""

    def judge(shown: SavedExamples) -> tuple[NDArray[np.object_], NDArray[np.int64]]:
        kept = shown.own.artifacts[ADVERSARIALS]
        values = [parse_json(kept.array("changed")[at], "changed") for at in shown.at]
        units = [parse_json(kept.array("spreads")[at], "spreads") for at in shown.at]
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
        stored = shown.records[DISTANCES].to_numpy(dtype=np.float64)
        near = np.isclose(distances, stored, rtol=ROUNDING, atol=0).all(axis=1)
        near &= np.array([len(one) for one in values]) == shown.records["changed"].to_numpy()
        asked = shown.clean.with_inputs(frame)
        predicted = labels_of(context.adapter, asked)
        wrong = np.select(
            [breaches(clean, frame, constraints) > 0, ~near],
            ["break what is declared", "are not at the distances in the records"],
            misclassified(shown, asked, predicted, context),
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
