"""One attack on a batch of rows, and what the plain model says of what it found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.attack import Attack, Floats, Ints, Search
from crucibench.contracts.batch import Batch
from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.answers import labels_of, leads
from crucibench_suites.adversarial.blackbox.questions import Questions
from crucibench_suites.adversarial.search import Ledger
from crucibench_suites.adversarial.shown import show
from crucibench_suites.adversarial.tables.checking import breaches
from crucibench_suites.adversarial.tables.columns import facts_of
from crucibench_suites.adversarial.tables.constraints import Constraints
from crucibench_suites.adversarial.tables.gradient import Slopes
from crucibench_suites.adversarial.tables.space import RowSpace
from crucibench_suites.adversarial.threat import ThreatModel

_MANY = 4096


class RowsFound(NamedTuple):
    """What is recorded of n rows beside the ledger.

    Attributes:
        queries_to: shape (n, radii above 0).
        first: the distance of the first example, NaN without one.
        changed: columns that the nearest example changes, -1 without one.
        breaches: constraints that what was found breaks: 0 unless something is amiss.
        space: what rows were allowed.
        points: the nearest examples in it, shape (n, d).
    """

    queries_to: Floats
    first: Floats
    changed: NDArray[np.int64]
    breaches: NDArray[np.int64]
    space: RowSpace
    points: Floats


def attack_rows(
    attack: Attack, threat: ThreatModel, constraints: Constraints, work: Work,
    context: MapContext, *, name: str,
) -> tuple[Ledger, RowsFound]:  # fmt: skip
    """Attacks the rows of a batch."""
    batch, targets = work.batch, work.samples.targets.astype(np.int64)
    grid = np.asarray(threat.eps, dtype=np.float64)
    radii = grid[grid > 0]
    space = RowSpace(batch.inputs, constraints, facts_of(work), threat.norm)

    def answer(rows: Ints, points: Floats) -> Floats:
        found = []
        for at in range(0, len(rows), _MANY):
            part = rows[at : at + _MANY]
            frame = space.rows(part, points[at : at + _MANY])
            asked = Batch(tuple(batch.ids[int(row)] for row in part), frame)
            labels = threat.access == "decision"
            found.append(leads(context.adapter, asked, targets[part], labels=labels))
        return np.concatenate(found)

    questions = Questions(space, answer, radii, threat.queries)
    ledger = Ledger.of(batch, np.full(len(batch), len(grid), dtype=np.int64))
    draws = context.draws if threat.seed is None else Draws(threat.seed, context.draws.stream)
    slopes = Slopes(context.adapter, space, targets)
    attack.run(
        Search(
            questions=questions, ids=batch.ids, draws=draws, radii=radii, targets=targets,
            model=context.adapter, slopes=slopes, columns=constraints.columns,
        )
    )  # fmt: skip
    ledger.backwards += slopes.backwards
    ledger.forwards += slopes.forwards + questions.queries
    ledger.queries += questions.queries
    broken = _confirmed(
        questions, space, constraints, work=work, context=context, ledger=ledger, grid=grid
    )
    show(
        threat, name, work, context,
        level=np.where(ledger.prediction >= 0, ledger.level, len(grid)),
        found=lambda rows: space.rows(np.asarray(rows), questions.best[list(rows)]),
    )  # fmt: skip
    changed = np.where(
        ledger.prediction >= 0,
        (space.moves(np.arange(len(space)), questions.best) > 0).sum(axis=1),
        -1,
    )
    return ledger, RowsFound(
        questions.queries_to, questions.first, changed, broken, space, questions.best
    )


def _confirmed(
    questions: Questions, space: RowSpace, constraints: Constraints, *, work: Work,
    context: MapContext, ledger: Ledger, grid: Floats,
) -> NDArray[np.int64]:  # fmt: skip
    """Asks the plain model about the nearest rows found; returns what constraints they break."""
    broken = np.zeros(len(space), dtype=np.int64)
    rows = np.flatnonzero(np.isfinite(questions.distance))
    if not len(rows):
        return broken
    frame = space.rows(rows, questions.best[rows])
    ids = tuple(work.batch.ids[int(row)] for row in rows)
    said = labels_of(context.adapter, Batch(ids, frame))
    clean = space.frame.iloc[rows].reset_index(drop=True)
    broken[rows] = breaches(clean, frame, constraints)
    holds = (said != work.samples.targets[rows]) & (broken[rows] == 0)
    ledger.confirmations[rows] += 1
    ledger.unconfirmed[rows] += said == work.samples.targets[rows]
    moves = space.moves(rows, questions.best[rows])[holds]
    held = rows[holds]
    ledger.distances[held] = np.stack(
        [moves.max(axis=1), np.linalg.norm(moves, axis=1), moves.sum(axis=1)], axis=1
    )
    ledger.prediction[held] = said[holds]
    ledger.level[held] = np.searchsorted(grid, questions.distance[held], side="left")
    return broken
