"""The attacks on images that ask for logits, and the series of them that run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from crucibench_suites.adversarial.threat import Access, Norm, ThreatModel

if TYPE_CHECKING:
    import torch

    from crucibench_suites.adversarial.attacks.model import Found, Oracle, Points

Precision = Literal["auto", "fp32", "bf16"]
"""In what attacks compute; every example is confirmed in float32."""


SELF_TEST = "self-test"
"""The probe whose records say what attacks do where the answer is known."""

TOLERANCE = 1.5
"""The largest ratio to the optimum that passes a self-test."""

FEW_QUERIES = 5.0
"""The same for attacks that see no gradients: they stay further behind, with few queries most."""

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class Native:
    """An attack on images: what a cell runs, and what its self-test runs.

    Attributes:
        run: from a model, points, a budget and where to start (at random if None) to what it found.
        access: what it sees of the model.
        norms: of the balls that it knows.
        nearest: whether it looks for the nearest example, whatever the radius.
        tolerance: the largest ratio to the optimum that passes its self-test.
    """

    run: Callable[[Oracle, Points, ThreatModel, torch.Tensor | None], Found]
    access: Access = "white-box"
    norms: tuple[Norm, ...] = ("linf", "l2")
    nearest: bool = False
    tolerance: float = TOLERANCE

    @property
    def late(self) -> bool:
        """Whether the others are asked again at smaller radii than it broke a sample at."""
        return self.nearest or self.access != "white-box"


def _apgd_ce(
    oracle: Oracle, points: Points, threat: ThreatModel, start: torch.Tensor | None
) -> Found:
    from crucibench_suites.adversarial.attacks import losses
    from crucibench_suites.adversarial.attacks.apgd import apgd

    # The mean gradient of several passes needs cross-entropy as it is, not only its direction.
    return apgd(
        oracle, points, losses.log_odds if threat.eot == 1 else losses.ce, steps=threat.steps,
        restarts=threat.restarts, eot=threat.eot, name="apgd-ce", start=start,
    )  # fmt: skip


def _apgd_dlr(
    oracle: Oracle, points: Points, threat: ThreatModel, start: torch.Tensor | None
) -> Found:
    from crucibench_suites.adversarial.attacks import losses
    from crucibench_suites.adversarial.attacks.apgd import apgd

    return apgd(
        oracle, points, losses.dlr, steps=threat.steps, restarts=threat.restarts, eot=threat.eot,
        name="apgd-dlr", start=start,
    )  # fmt: skip


def _apgd_t(
    oracle: Oracle, points: Points, threat: ThreatModel, start: torch.Tensor | None
) -> Found:
    from crucibench_suites.adversarial.attacks.apgd import apgd_targeted

    return apgd_targeted(
        oracle, points, steps=threat.steps, targets=threat.targets, restarts=threat.restarts,
        eot=threat.eot,
    )  # fmt: skip


def _fab_t(
    oracle: Oracle, points: Points, threat: ThreatModel, start: torch.Tensor | None
) -> Found:
    from crucibench_suites.adversarial.attacks.fab import fab_targeted

    return fab_targeted(oracle, points, steps=threat.steps, targets=threat.targets)


def _square(
    oracle: Oracle, points: Points, threat: ThreatModel, start: torch.Tensor | None
) -> Found:
    from crucibench_suites.adversarial.attacks.square import square

    return square(oracle, points, queries=threat.queries)


def _momentum(
    oracle: Oracle, points: Points, threat: ThreatModel, start: torch.Tensor | None
) -> Found:
    from crucibench_suites.adversarial.attacks.momentum import momentum

    return momentum(oracle, points, steps=threat.steps)


ATTACKS: Mapping[str, Native] = {
    "apgd-ce": Native(run=_apgd_ce),
    "apgd-dlr": Native(run=_apgd_dlr),
    "apgd-t": Native(run=_apgd_t),
    "fab-t": Native(run=_fab_t, nearest=True),
    "square": Native(run=_square, access="score", tolerance=FEW_QUERIES),
    "momentum": Native(run=_momentum),
}
"""All of them. What has no entry is no attack: nothing else tells them apart by name."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A fixed series of attacks; the budgets enter the threat model.

    Attributes:
        name: as the spec calls it.
        attacks: in order; each asks only about samples that those before left.
        steps: of gradient attacks.
        targets: of targeted ones.
        queries: of Square.
        eot: gradients averaged in each step.
        close_restarts: of close calls, beyond the published series.
        source: where it was published, or that it is our own.
    """

    name: str
    attacks: tuple[str, ...]
    steps: int
    targets: int
    queries: int
    eot: int = 1
    close_restarts: int = 0
    source: str = "Croce and Hein 2020, AutoAttack"

    def budget(self) -> dict[str, Any]:
        """Returns what a threat model says of it."""
        return {
            "steps": self.steps, "targets": self.targets, "queries": self.queries, "eot": self.eot,
            "close_restarts": self.close_restarts,
        }  # fmt: skip


STANDARD = Protocol(
    name="autoattack-standard",
    attacks=("apgd-ce", "apgd-t", "fab-t", "square"),
    steps=100,
    targets=9,
    queries=5000,
    close_restarts=10,
)

RAND = Protocol(
    name="autoattack-rand",
    attacks=("apgd-ce", "apgd-dlr"),
    steps=100,
    targets=1,
    queries=0,
    eot=20,
)

QUICK = Protocol(
    name="autoattack-quick",
    attacks=("apgd-ce", "apgd-t", "square"),
    steps=30,
    targets=4,
    queries=200,
    source="our own: the standard series without FAB-T and with smaller budgets",
)

PROTOCOLS = {
    "quick": QUICK,
    "standard": STANDARD,
    "rand": RAND,
}

AGAIN = "again"
"""The last stage: what FAB-T or Square broke is asked again by the others, at smaller eps."""
