"""What a variant of a model costs: its speed beside its answers, both against the plain model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import CellEvidence, Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Derived, Need
from crucibench.stats import newcombe_paired, wilson
from crucibench_suites.throughput.metrics import SHARES, VARIANT
from crucibench_suites.throughput.records import Readings
from crucibench_suites.throughput.scoring import (
    ratio_row,
)

_STREAM, _PASS = "throughput/single-stream", "pass/test"


@dataclass(frozen=True, kw_only=True)
class Price(Derived):
    """A variant against the model as it is, which took its turns in the same rounds."""

    suite: str = "throughput"
    name: str = "variant"

    version: ClassVar[int] = 2
    metrics: ClassVar[tuple[MetricInfo, ...]] = VARIANT
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.ANY_INPUT})
    on_hardware: ClassVar[bool] = True

    @classmethod
    def of(cls, plain: str) -> Price:
        """Returns the scenario for a variant of the model of that name."""
        return cls(
            parameters={"plain": plain},
            needs=(
                Need(alias="own-times", cell=_STREAM),
                Need(alias="plain-times", cell=_STREAM, model=plain),
                Need(alias="own-answers", cell=_PASS),
                Need(alias="plain-answers", cell=_PASS, model=plain),
            ),
        )

    def score(self, evidence: Evidence) -> Scored:
        """Computes the ratio of latencies, what became of the answers, and what was compressed."""
        own, plain = (_predictions(evidence, whose) for whose in ("own", "plain"))
        rows = [_ratio(evidence)]
        if not evidence.task.one_class:
            reason = "the data asks for a number: answers are not right or wrong"
            rows += [
                Row(metric=info.id, value=None, n=0, reason=reason)
                for info in VARIANT[1:4]
            ]  # fmt: skip
        else:
            rows += _answers(evidence, own, plain)
        diagnostics = evidence.needs["own-times"].model.diagnostics
        for info in SHARES:
            if info.id in diagnostics:
                value = 100 * float(diagnostics[info.id])
                rows.append(Row(metric=info.id, value=value, n=1, reason="it is a count"))
        return Scored(rows)


def _ratio(evidence: Evidence) -> Row:
    own, plain = (
        Readings(evidence.needs[f"{whose}-times"].records).queries().medians
        for whose in ("own", "plain")
    )
    if len(own) != len(plain) or len(own) < 2:
        reason = f"{len(own)} and {len(plain)} rounds do not pair"
        return Row(metric="latency-ratio", value=None, n=0, reason=reason)
    return ratio_row("latency-ratio", own / plain, evidence.options.level)


def _answers(evidence: Evidence, own: NDArray[np.int64], plain: NDArray[np.int64]) -> list[Row]:
    n, level = len(own), evidence.options.level
    flipped = int((own != plain).sum())
    flips = wilson(flipped, n, level)
    rows = [
        Row(
            metric="flips", value=100 * flipped / n, lower=100 * flips.lower,
            upper=100 * flips.upper, level=level, method=flips.method, n=n,
        )
    ]  # fmt: skip
    samples = evidence.needs["own-answers"].samples
    if not samples.labelled:
        reason = "the samples have no targets"
        return [
            *rows,
            *(Row(metric=one, value=None, n=0, reason=reason)
              for one in ("accuracy-difference", "flips-to-wrong")),
        ]  # fmt: skip
    right, was_right = own == samples.targets, plain == samples.targets
    both, gained = int((right & was_right).sum()), int((right & ~was_right).sum())
    lost = int((~right & was_right).sum())
    difference = newcombe_paired(both, gained, lost, n - both - gained - lost, level)
    worse = wilson(lost, n, level)
    return [
        Row(
            metric="accuracy-difference", value=100 * (gained - lost) / n,
            lower=100 * difference.lower, upper=100 * difference.upper, level=level,
            method=difference.method, n=n,
        ),
        *rows,
        Row(
            metric="flips-to-wrong", value=100 * lost / n, lower=100 * worse.lower,
            upper=100 * worse.upper, level=level, method=worse.method, n=n,
        ),
    ]  # fmt: skip


def _predictions(evidence: Evidence, whose: str) -> NDArray[np.int64]:
    """Returns a pass's predictions in the order of the own pass's samples, (n,)."""
    cell: CellEvidence = evidence.needs[f"{whose}-answers"]
    at = {identity: row for row, identity in enumerate(cell.records.ids)}
    rows = [at[identity] for identity in evidence.needs["own-answers"].samples.ids]
    return np.asarray(cell.records.array("prediction"))[rows]
