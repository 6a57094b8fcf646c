"""Which attacks run, in which order, with what budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Attack = Literal["apgd-ce", "apgd-dlr", "apgd-t", "fab-t", "square"]

Precision = Literal["auto", "fp32", "bf16"]
"""In what attacks compute; every example is confirmed in float32."""


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
    attacks: tuple[Attack, ...]
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
