"""One attack on a batch of rows, and what the plain model says of what it found."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.batch import Batch
from crucibench.contracts.columns import is_number, uncarried
from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.answers import labels_of, leads
from crucibench_suites.adversarial.blackbox.books import Books, Floats, Ints
from crucibench_suites.adversarial.search import Ledger
from crucibench_suites.adversarial.shown import show
from crucibench_suites.adversarial.tables.attacks import OnRows, Rows
from crucibench_suites.adversarial.tables.checking import breaches
from crucibench_suites.adversarial.tables.constraints import Constraints
from crucibench_suites.adversarial.tables.gradient import Slopes
from crucibench_suites.adversarial.tables.space import Facts, Space
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
    space: Space
    points: Floats


def attack_rows(
    attack: OnRows, threat: ThreatModel, constraints: Constraints, work: Work,
    context: MapContext, *, name: str,
) -> tuple[Ledger, RowsFound]:  # fmt: skip
    """Attacks the rows of a batch."""
    batch, targets = work.batch, work.samples.targets.astype(np.int64)
    grid = np.asarray(threat.eps, dtype=np.float64)
    radii = grid[grid > 0]
    space = Space(batch.inputs, constraints, facts_of(work), threat.norm)

    def answer(rows: Ints, points: Floats) -> Floats:
        found = []
        for at in range(0, len(rows), _MANY):
            part = rows[at : at + _MANY]
            frame = space.rows(part, points[at : at + _MANY])
            asked = Batch(tuple(batch.ids[int(row)] for row in part), frame)
            labels = threat.access == "decision"
            found.append(leads(context.adapter, asked, targets[part], labels=labels))
        return np.concatenate(found)

    books = Books(space, answer, radii, threat.queries)
    ledger = Ledger.of(batch, np.full(len(batch), len(grid), dtype=np.int64))
    draws = context.draws if threat.seed is None else Draws(threat.seed, context.draws.stream)
    slopes = Slopes(context.adapter, space, targets)
    attack.run(
        Rows(
            books=books, space=space, ids=batch.ids, draws=draws, radii=radii, slopes=slopes,
            model=context.adapter, targets=targets, columns=constraints.columns,
        )
    )  # fmt: skip
    ledger.backwards += slopes.backwards
    ledger.forwards += slopes.forwards + books.queries
    ledger.queries += books.queries
    broken = _confirmed(
        books, space, constraints, work=work, context=context, ledger=ledger, grid=grid
    )
    show(
        threat, name, work, context,
        level=np.where(ledger.prediction >= 0, ledger.level, len(grid)),
        found=lambda rows: space.rows(np.asarray(rows), books.best[list(rows)]),
    )  # fmt: skip
    changed = np.where(
        ledger.prediction >= 0,
        (space.moves(np.arange(len(space)), books.best) > 0).sum(axis=1),
        -1,
    )
    return ledger, RowsFound(books.queries_to, books.first, changed, broken, space, books.best)


def facts_of(work: Work) -> dict[str, Facts]:
    """Returns what is known of the columns of numbers, by name."""
    told = uncarried(work.carry) if len(work.batch) else None
    found: dict[str, Facts] = {}
    if told is None:
        return found
    inputs = work.batch.inputs
    for at, name in enumerate(sorted(inputs.columns)):
        if is_number(inputs[name]) and np.isfinite(told.low[at]):
            found[name] = Facts(
                float(told.low[at]), float(told.high[at]), float(told.spread[at]),
                bool(told.whole[at]),
            )  # fmt: skip
    return found


def _confirmed(
    books: Books, space: Space, constraints: Constraints, *, work: Work, context: MapContext,
    ledger: Ledger, grid: Floats,
) -> NDArray[np.int64]:  # fmt: skip
    """Asks the plain model about the nearest rows found; returns what constraints they break."""
    broken = np.zeros(len(space), dtype=np.int64)
    rows = np.flatnonzero(np.isfinite(books.distance))
    if not len(rows):
        return broken
    frame = space.rows(rows, books.best[rows])
    ids = tuple(work.batch.ids[int(row)] for row in rows)
    said = labels_of(context.adapter, Batch(ids, frame))
    clean = space.frame.iloc[rows].reset_index(drop=True)
    broken[rows] = breaches(clean, frame, constraints)
    holds = (said != work.samples.targets[rows]) & (broken[rows] == 0)
    ledger.confirmations[rows] += 1
    ledger.unconfirmed[rows] += said == work.samples.targets[rows]
    moves = space.moves(rows, books.best[rows])[holds]
    held = rows[holds]
    ledger.distances[held] = np.stack(
        [moves.max(axis=1), np.linalg.norm(moves, axis=1), moves.sum(axis=1)], axis=1
    )
    ledger.prediction[held] = said[holds]
    ledger.level[held] = np.searchsorted(grid, books.distance[held], side="left")
    return broken
