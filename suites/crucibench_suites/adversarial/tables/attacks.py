"""The attacks on rows of tables, an entry each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from crucibench.util.draws import Draws
from crucibench_suites.adversarial.protocol import FEW_QUERIES, TOLERANCE
from crucibench_suites.adversarial.threat import Access

if TYPE_CHECKING:
    from crucibench.contracts.adapter import Adapter
    from crucibench_suites.adversarial.blackbox.books import Books, Floats
    from crucibench_suites.adversarial.tables.gradient import Slopes
    from crucibench_suites.adversarial.tables.space import Space

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What an attack is given.

    Attributes:
        books: asks, and holds what is found.
        space: the rows that are allowed.
        ids: of the samples, which key all draws.
        draws: likewise.
        radii: ascending, above 0.
        slopes: gradients, counted.
        model: what gives them, or its tree.
        targets: the true classes, shape (n,).
        columns: how many may change; None for all.
    """

    books: Books
    space: Space
    ids: Sequence[str]
    draws: Draws
    radii: Floats
    slopes: Slopes
    model: Adapter
    targets: NDArray[np.int64]
    columns: int | None = None


@dataclass(frozen=True, kw_only=True)
class OnRows:
    """An attack on rows: what a cell runs, and what its self-test runs.

    Attributes:
        run: asks, and leaves what it finds in the books.
        access: what it sees of the model.
        relations: whether it keeps relations between columns.
        known: the model of its self-test.
        nearest: whether it looks for the nearest example, whatever the radius.
        queries: about each sample of its self-test.
        tolerance: the largest ratio to the optimum that passes its self-test.
    """

    run: Callable[[Rows], None]
    access: Access
    relations: bool = True
    known: Literal["linear", "tree"] = "linear"
    nearest: bool = False
    queries: int
    tolerance: float = TOLERANCE


def _exact_tree(rows: Rows) -> None:
    from crucibench_suites.adversarial.tables.exact_tree import nearest_leaves

    points, distances = nearest_leaves(rows.model.tree(), rows.space, rows.targets, rows.columns)
    reached = np.flatnonzero(np.isfinite(distances))
    if len(reached):
        rows.books.lead(reached, points[reached])


def _gradient(rows: Rows) -> None:
    from crucibench_suites.adversarial.tables.gradient import gradient

    gradient(rows.books, rows.space, rows.slopes, ids=rows.ids, draws=rows.draws, radii=rows.radii)


def _hopskipjump(rows: Rows) -> None:
    from crucibench_suites.adversarial.blackbox.hopskipjump import hopskipjump

    hopskipjump(rows.books, rows.ids, rows.draws, rows.space.norm)


def _greedy(rows: Rows) -> None:
    from crucibench_suites.adversarial.tables.greedy import greedy

    greedy(rows.books, rows.space, rows.ids, rows.draws, rows.radii)


TABLE_ATTACKS: Mapping[str, OnRows] = {
    "exact-tree": OnRows(
        run=_exact_tree, access="white-box", relations=False, known="tree", nearest=True,
        queries=1, tolerance=1.0001,
    ),
    "table-gradient": OnRows(run=_gradient, access="white-box", queries=100),
    "table-hopskipjump": OnRows(
        run=_hopskipjump, access="decision", nearest=True, queries=500, tolerance=FEW_QUERIES
    ),
    "table-greedy": OnRows(run=_greedy, access="score", queries=1000),
}  # fmt: skip
"""All of them, in the order in which they are planned. What has no entry is no attack."""
