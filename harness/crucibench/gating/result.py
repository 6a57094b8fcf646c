"""What a gate says: a check for each number under each rule, and one outcome. The verdict file."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from importlib import import_module
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

from crucibench.gating.policy import Tier

Test = Literal["margin", "no-worse", "floor", "presence"]
Against = Literal["baseline", "anchor", "policy"]
Effect = Literal["none", "note", "warn", "block"]
"""What a check does to the gate."""

WaiverState = Literal["active", "unused", "expired"]


class Outcome(StrEnum):
    """What became of a check, or of the gate."""

    PASS = "pass"
    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"
    INVALID = "invalid"
    SKIPPED = "skipped"
    """Nothing to hold the number against: a new model, or undefined in both. Of checks alone."""


EXIT_CODES = {
    Outcome.PASS: 0,
    Outcome.REGRESSION: 1,
    Outcome.INCONCLUSIVE: 3,
    Outcome.INVALID: 4,
}

WORST_FIRST = (Outcome.INVALID, Outcome.REGRESSION, Outcome.INCONCLUSIVE)
"""Numbers that can't be trusted come first: they cast doubt on what was read beside them."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(_Part):
    """One number under one rule. Numbers are raw (shares from 0 to 1), in the metric's unit."""

    rule: str
    """The rule's name, or its address."""
    tier: Tier
    test: Test
    """``presence`` stands for a rule, or a crashed cell, that has no number to judge."""
    against: Against
    """What the number is held against."""
    data: str = ""
    model: str = ""
    address: str
    """The number's address; the rule's pattern where nothing fits it."""
    outcome: Outcome
    effect: Effect = "none"
    waived: str = ""
    """The reason of the waiver that keeps it from blocking."""
    message: str
    """What was found, by how much, and what would help, in one or two sentences."""
    direction: str = ""
    unit: str = ""
    percent: bool = False
    """Whether people read the metric in per cent: it runs from 0 to 1 and has no unit."""
    bound: float | None = None
    """The margin, the loss to detect, or the floor, in the metric's unit."""
    baseline: float | None = None
    candidate: float | None = None
    gain: float | None = None
    """Candidate minus baseline, signed so that more is better."""
    lower: float | None = None
    """Of the gain's two-sided interval; of the candidate's value for a floor."""
    upper: float | None = None
    level: float | None = None
    p: float | None = None
    """Two-sided, of no difference."""
    p_adjusted: float | None = None
    """Holm-adjusted over the rules of the same tier and model."""
    family: int = 0
    """How many tests the adjustment counts."""
    n: int | None = None
    detectable: float | None = None
    """The smallest loss that this n shows with a power of 80 % at 5 %."""
    n_needed: int | None = None
    """The n that the bound needs."""
    estimand: str = ""
    """What a difference speaks of: ``files``, these two and no other training; ``recipe``, the next
    training of each side's."""
    trainings: tuple[int, int] | None = None
    """Of the baseline's and the candidate's recipe."""
    plan: list[tuple[int, int]] = Field(default_factory=list)
    """Trainings a side and samples: each pair shows the bound with the policy's power."""
    method: str = ""
    lost: int | None = None
    """Samples that the baseline gets right and the candidate wrong."""
    gained: int | None = None
    lost_ids: list[str] = Field(default_factory=list)
    """The first of them."""


class WaiverNote(_Part):
    """A waiver, and what became of it."""

    rule: str
    until: str
    reason: str
    state: WaiverState


class Sides(_Part):
    """Which runs were held against each other."""

    baseline: str
    candidate: str
    anchor: str | None = None
    policy: str = ""


class GateVerdict(_Part):
    """All that a gate says: the content of ``verdict.json``."""

    schema_version: Literal[1] = 1
    crucibench_version: str = ""
    sides: Sides
    outcome: Outcome
    """The worst of `blocking`, or ``pass``."""
    blocking: list[Outcome]
    """What stops the gate, the worst first."""
    checks: list[Check]
    waivers: list[WaiverNote] = Field(default_factory=list)
    errors: list[str] = Field(default_factory=list)
    """What stops the gate beside the checks: a run that can't be judged, an expired waiver."""
    notes: list[str] = Field(default_factory=list)
    """What else a reader must know."""

    def _repr_html_(self) -> str:
        # By name, since what shows a verdict lies above it.
        return str(import_module("crucibench.report.notebook").verdict_html(self))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def exit_code(self) -> int:
        """0 pass, 1 regression, 3 inconclusive, 4 invalid."""
        return EXIT_CODES[self.outcome]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def counts(self) -> dict[str, int]:
        """How many checks have each outcome."""
        found = Counter(str(check.outcome) for check in self.checks)
        return {str(outcome): found[str(outcome)] for outcome in Outcome if found[str(outcome)]}


def verdict_schema() -> dict[str, object]:
    """Returns the JSON Schema of ``verdict.json``."""
    return {
        **GateVerdict.model_json_schema(mode="serialization"),
        "title": "Crucibench gate verdict",
    }
