"""The attacks of AutoAttack and their series, declared without importing torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from crucibench.contracts.attack import Attack, Ball, GradientAttack, Norm, ScoreAttack

if TYPE_CHECKING:
    from crucibench_suites.adversarial.attacks.model import Found

Precision = Literal["fp32", "bf16"]
"""In what attacks compute; every example is confirmed in float32."""


SELF_TEST = "self-test"
"""The probe whose records say what attacks do where the answer is known."""

LABEL_ONLY = "label-only"
"""The alias of an attack on labels that one on scores is held against."""

BALLS: tuple[Norm, ...] = ("linf", "l2", "l1")

# What computes is imported where it is needed: listing suites must stay cheap.


class ApgdCE(GradientAttack):
    """APGD on cross-entropy."""

    name = "apgd-ce"
    norms = BALLS
    # The mean gradient of several passes needs cross-entropy as it is, not only its direction.
    losses = ("log_odds", "ce")
    """Of one pass a step, and of several."""

    def run(self, given: Ball) -> Found:
        """Returns what the ascent found."""
        from crucibench_suites.adversarial.attacks import losses
        from crucibench_suites.adversarial.attacks.apgd import apgd

        budget = given.budget
        return apgd(
            given.oracle, given.points, getattr(losses, self.losses[budget.eot > 1]),
            steps=budget.steps, restarts=budget.restarts, eot=budget.eot, name=self.name,
            start=given.start,
        )  # fmt: skip


class ApgdDLR(ApgdCE):
    """APGD on the difference of logits ratio."""

    name = "apgd-dlr"
    losses = ("dlr", "dlr")


class ApgdTargeted(GradientAttack):
    """APGD on the targeted difference of logits ratio, towards several classes."""

    name = "apgd-t"
    norms = BALLS

    def run(self, given: Ball) -> Found:
        """Returns what the ascents found."""
        from crucibench_suites.adversarial.attacks.apgd import apgd_targeted

        budget = given.budget
        return apgd_targeted(
            given.oracle, given.points, steps=budget.steps, targets=budget.targets, eot=budget.eot
        )  # fmt: skip


class FabTargeted(GradientAttack):
    """FAB-T, which looks for the nearest example."""

    name = "fab-t"
    norms = BALLS
    nearest = True

    def run(self, given: Ball) -> Found:
        """Returns the nearest examples found, inside the ball or not."""
        from crucibench_suites.adversarial.attacks.fab import fab_targeted

        budget = given.budget
        return fab_targeted(given.oracle, given.points, steps=budget.steps, targets=budget.targets)


class Square(ScoreAttack):
    """Square, a random search on the margin."""

    name = "square"
    norms = BALLS

    def run(self, given: Ball) -> Found:
        """Returns what the search found."""
        from crucibench_suites.adversarial.attacks.square import square

        return square(given.oracle, given.points, queries=given.budget.queries)


class Momentum(GradientAttack):
    """Momentum iterative FGSM, whose examples transfer."""

    name = "momentum"
    norms = BALLS

    def run(self, given: Ball) -> Found:
        """Returns where the last step leads."""
        from crucibench_suites.adversarial.attacks.momentum import momentum

        return momentum(given.oracle, given.points, steps=given.budget.steps)


class SecondOpinion(GradientAttack):
    """Ascents by stand-ins for a model's gradients, and by differences of its answers."""

    name = "second-opinion"
    norms = BALLS

    def run(self, given: Ball) -> Found:
        """Returns what the ascents found."""
        from crucibench_suites.adversarial.second.attack import second_opinion

        budget = given.budget
        return second_opinion(
            given.oracle, given.points, steps=budget.steps, queries=budget.queries,
            eot=budget.eot, start=given.start,
        )  # fmt: skip


def comes_late(attack: Attack) -> bool:
    """Whether the others are asked again at smaller radii than it broke a sample at."""
    return attack.nearest or attack.access != "white-box"


L1_RESTARTS = 5
"""Of APGD-CE in L1, as in AutoAttack."""

L1_STEPS = 60
"""The least in L1, where steps change few pixels, and six in ten lie outside of the ball."""


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

    def budget(self, norm: Norm = "linf") -> dict[str, Any]:
        """Returns what a threat model in a norm says of it."""
        own = {"steps": max(self.steps, L1_STEPS), "restarts": L1_RESTARTS} if norm == "l1" else {}
        return {
            "steps": self.steps, "targets": self.targets, "queries": self.queries, "eot": self.eot,
            "close_restarts": self.close_restarts, "restarts": 1, **own,
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
"""The stage after the attacks: what FAB-T or Square broke is asked again at smaller eps."""

SECOND = SecondOpinion.name
"""The stage after the probes, where these give cause: what survived is asked once more."""
