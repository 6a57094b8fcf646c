"""The attacks on labels alone, an entry each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from crucibench.util.draws import Draws
from crucibench_suites.adversarial.blackbox.books import Books
from crucibench_suites.adversarial.blackbox.boundary import boundary
from crucibench_suites.adversarial.blackbox.hopskipjump import hopskipjump
from crucibench_suites.adversarial.threat import Norm


@dataclass(frozen=True, kw_only=True)
class OnLabels:
    """An attack on labels alone: what a cell runs, and what its self-test runs.

    Attributes:
        run: asks, and leaves what it finds in the books; ids key its draws.
        norms: of the distances that it makes small.
    """

    run: Callable[[Books, Sequence[str], Draws, Norm], None]
    norms: tuple[Norm, ...] = ("linf", "l2")


ON_LABELS: Mapping[str, OnLabels] = {
    "hopskipjump": OnLabels(run=hopskipjump),
    "boundary": OnLabels(run=boundary, norms=("l2",)),
}
"""All of them. What has no entry is no attack: nothing else tells them apart by name."""
