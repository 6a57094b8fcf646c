"""What a comparison says: differences, and what was refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import NamedTuple

from crucibench.comparing.differences import Flips
from crucibench.contracts.rows import Address
from crucibench.stats import Interval
from crucibench.stats.two_way import TwoSources


class RecipeSpread(NamedTuple):
    """How far a difference of two recipes varies, and by what.

    Attributes:
        sources: of the variance of the difference.
        trainings: of the baseline and of the candidate.
        by_seed: whether trainings were paired by their seeds.
        training: the variance of one training's number between trainings: the mean of both sides,
            or of the differences by seed.
        residual: of what samples and trainings do together, in one training's number.
        common: of the samples, in the difference of the two means over ever more trainings.
        borrowed: the runs that `training` comes from, where the two compared show none.
    """

    sources: TwoSources
    trainings: tuple[int, int]
    by_seed: bool
    training: float
    residual: float
    common: float
    borrowed: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MetricDifference:
    """One number of two models, on the same samples.

    Attributes:
        address: of the candidate's number.
        data: the data set.
        direction: ``higher``, ``lower``, ``none`` or ``target=X``.
        baseline: the baseline's value; None where it is undefined.
        candidate: the candidate's.
        delta: candidate minus baseline, not signed by direction; None where either is missing.
        interval: of delta; None where there is none, and `reason` says why.
        standard_error: of delta; None where unknown.
        p: two-sided, of no difference; None where there is none.
        p_adjusted: the same, Holm-adjusted over its family of the comparison: primary endpoints,
            other numbers of all samples, or those of single classes and groups.
        method: how interval and p-value were made.
        n: pairs.
        detectable: the smallest difference that this n shows with a power of 80 % at 5 %.
        verdicts: of the baseline's and the candidate's cell.
        flips: ids that changed between right and wrong, for shares of right answers.
        moved: ids of samples that are answered worse, and better, for numbers that are no share of
            right answers and no mean, such as average precision.
        identical: no sample tells the two apart, so that resampling shows no spread: delta is 0, p
            is 1, and only shares have an interval.
        primary: whether it is a headline number of its suite, a primary endpoint.
        biased: whether a side's number is marked ``biased``: interval and p-value of the difference
            are then too sure, since the two may be shifted by different amounts.
        spread: of the difference of two recipes, or of two files where the spread of trainings is
            borrowed; None of two files, which say nothing of other trainings.
        reason: why something is missing.
    """

    address: Address
    data: str
    direction: str
    baseline: float | None
    candidate: float | None
    delta: float | None
    interval: Interval | None
    standard_error: float | None
    p: float | None
    p_adjusted: float | None = None
    method: str
    n: int
    detectable: float | None = None
    verdicts: tuple[str, str]
    flips: Flips | None = None
    moved: Flips | None = None
    identical: bool = False
    primary: bool = False
    biased: bool = False
    spread: RecipeSpread | None = None
    reason: str = ""

    @property
    def changes(self) -> Flips | None:
        """The ids that were lost and gained: `flips`, or `moved` where there are none."""
        return self.moved if self.flips is None else self.flips

    @property
    def gain(self) -> float | None:
        """Delta, signed so that more is better; None for metrics that have no better side."""
        if self.delta is None or self.direction not in {"higher", "lower"}:
            return None
        return self.delta if self.direction == "higher" else -self.delta

    @property
    def gain_interval(self) -> tuple[float, float] | None:
        """The interval of `gain`: (lower, upper)."""
        if self.interval is None or self.direction not in {"higher", "lower"}:
            return None
        if self.direction == "higher":
            return self.interval.lower, self.interval.upper
        return -self.interval.upper, -self.interval.lower


@dataclass(frozen=True)
class Refusal:
    """Two cells that may not be compared, or one that has no partner.

    Attributes:
        cell: ``MODEL:SUITE/SCENARIO`` of the candidate (of the baseline, where it is the candidate
            that has none).
        reason: one sentence that names the field that differs.
        field: that field, e.g. ``scenario.parameters.eps``: the two measure different things. ""
            where there is nothing to set side by side: a cell without a partner, one that failed
            or was skipped, or timings of different runs.
        data: the data set.
    """

    cell: str
    reason: str
    field: str = ""
    data: str = ""


@dataclass(frozen=True)
class Comparison:
    """A candidate against a baseline.

    Attributes:
        differences: one for every number that either has in cells that may be compared.
        refused: the cells that were not compared, with the reason.
        notes: what else a reader must know, e.g. how many samples an intersection left.
        code: the packages whose code, which collected the records, differs between the two sides
            though the version that it declares does not.
    """

    differences: list[MetricDifference] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    code: list[str] = field(default_factory=list)

    @property
    def code_sentence(self) -> str:
        """What is to be said of `code`; "" where it is the same."""
        if not self.code:
            return ""
        return (
            f"the code of {', '.join(self.code)} that collected the answers differs between the "
            "two sides, and the version that it declares does not: run the baseline again if it "
            "may matter"
        )

    def _repr_html_(self) -> str:
        # By name, since what shows a comparison lies above it.
        return str(import_module("crucibench.report.notebook").comparison_html(self))

    @property
    def incomparable(self) -> list[Refusal]:
        """The refused cells that measure different things."""
        return [refusal for refusal in self.refused if refusal.field]
