"""The attacks on rows of tables, declared without importing what computes."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.attack import TOLERANCE, GradientAttack, ScoreAttack, Search
from crucibench.contracts.capability import Capability


class ExactTree(GradientAttack):
    """The nearest leaf of another class, in closed form."""

    name = "exact-tree"
    space = "table"
    nearest = True
    tolerance = 1.0001
    relations = False
    known = "tree"
    queries = 1
    requires = frozenset({Capability.TREE, Capability.ANY_INPUT})

    def run(self, given: Search) -> None:
        """Asks about the nearest point of each row that has one."""
        from crucibench_suites.adversarial.tables.exact_tree import nearest_leaves

        space = given.questions.space
        points, distances = nearest_leaves(given.model.tree(), space, given.targets, given.columns)
        reached = np.flatnonzero(np.isfinite(distances))
        if len(reached):
            given.questions.lead(reached, points[reached])


class TableGradient(GradientAttack):
    """Projected gradient steps through a model's encoding of rows."""

    name = "table-gradient"
    space = "table"
    queries = 100

    def run(self, given: Search) -> None:
        """Steps at each radius, from the largest."""
        from crucibench_suites.adversarial.tables.gradient import gradient

        gradient(given)


class TableGreedy(ScoreAttack):
    """A greedy search by columns with random restarts."""

    name = "table-greedy"
    space = "table"
    tolerance = TOLERANCE
    queries = 1000

    def run(self, given: Search) -> None:
        """Searches within each radius, from the largest."""
        from crucibench_suites.adversarial.tables.greedy import greedy

        greedy(given)


PLANNED = ("exact-tree", "table-gradient", "table-hopskipjump", "table-restore", "table-greedy")
"""Those that a run has without being asked, in this order."""
