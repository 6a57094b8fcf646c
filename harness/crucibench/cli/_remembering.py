"""What all have in common who tell how a run goes; by itself it tells nothing."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from crucibench.cli._output import warn
from crucibench.engine.listener import Listener

if TYPE_CHECKING:
    from crucibench.engine.inspected import Inspection
    from crucibench.engine.plan.plan import Plan
    from crucibench.store.layout import Layout

INTERRUPTED = "interrupted; give the same command again to resume"


class Remembering(Listener):
    """Keeps the plan; prints nothing.

    Attributes:
        for_people: whether sentences and tables on stderr are for somebody to read.
    """

    for_people = True

    def __init__(self) -> None:
        self._planned: tuple[Plan, Inspection] | None = None

    def plan(self) -> tuple[Plan, Inspection]:
        """Returns what was planned."""
        if self._planned is None:
            raise AssertionError("the engine ended without a plan")
        return self._planned

    def planned(self, plan: Plan, inspection: Inspection) -> None:
        self._planned = plan, inspection

    def told(self, work: Callable[[], int], layout: Layout) -> int:
        """Does the work, says how it ended if asked to, and returns its exit code."""
        return work()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """While the engine runs: what models print must not end up among the data."""
        with contextlib.redirect_stdout(sys.stderr):
            yield

    def interrupted(self) -> None:
        """The run was interrupted."""
        warn(INTERRUPTED)
