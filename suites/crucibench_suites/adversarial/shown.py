"""Examples for a reader to look at: what broke a few samples (`crucibench.contracts.examples`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.examples import Showing
from crucibench.contracts.scenario import MapContext, Work
from crucibench.metrics.answered import answer_columns, ask
from crucibench_suites.adversarial.saved import levels_of
from crucibench_suites.adversarial.threat import ThreatModel, point_of

if TYPE_CHECKING:
    from crucibench_suites.adversarial.search import Ledger


def show(
    threat: ThreatModel, attack: str, work: Work, context: MapContext, *,
    level: NDArray[np.integer[Any]], found: Callable[[Sequence[int]], Any], changes: bool = False,
) -> None:  # fmt: skip
    """Keeps a few examples, with what the model says of them when it is asked once more.

    Args:
        threat: the grid of radii.
        attack: its name.
        work: the batch, n samples.
        context: the model.
        level: the place in the grid of the smallest radius that breaks each sample, shape (n,);
            the grid's length where none does.
        found: from rows of the batch to the examples of these, as `Batch.inputs`.
        changes: whether pictures of the change are kept, too.
    """
    showing = Showing(work, context)
    rows = showing.first(np.flatnonzero(level < len(threat.eps)))
    if not rows:
        return
    inputs = found(rows)
    outputs = ask(context.adapter, work.batch.take(rows).with_inputs(inputs))
    answers = answer_columns(outputs, context.adapter.score_kind, work.samples.targets[rows])
    showing.add(
        [point_of(threat.eps[level[row]]) for row in rows], inputs, answers, rows=rows,
        rank=[1 + int(level[row]) for row in rows], by=attack, changes=changes,
    )  # fmt: skip
    showing.keep()


def show_images(
    threat: ThreatModel, attack: str, work: Work, context: MapContext, ledger: Ledger
) -> None:
    """Keeps a few of the images that an attack found."""
    level = levels_of(threat, ledger.distances)
    show(
        threat, attack, work, context, level=level,
        found=lambda rows: ledger.nearest[list(rows)], changes=True,
    )  # fmt: skip
