"""Floors as a scenario: the share of samples that no attack within a radius can make wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.audit import Audit
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import MapContext, Mapped, Need, Selection, StageView, Work
from crucibench.contracts.statistic import Number, Share
from crucibench.contracts.tree import Forest
from crucibench.contracts.verdict import Finding, Severity
from crucibench.util.errors import InputError
from crucibench_suites.adversarial.attacked import Attacked, right_as_they_are
from crucibench_suites.adversarial.metrics import CERTIFIED
from crucibench_suites.adversarial.threat import ThreatModel, point_of

_CLEAN = "clean"


@dataclass(frozen=True, kw_only=True)
class Floor(Mapped):
    """Certified accuracy at each radius, beside what attacks left.

    Attributes:
        threat: norm and eps.
        attacks: names of the cells of attacks on the same samples.
    """

    threat: ThreatModel
    attacks: tuple[str, ...]

    metrics: ClassVar[tuple[MetricInfo, ...]] = (CERTIFIED,)
    audits: ClassVar[tuple[str, ...]] = ("certified-samples",)
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.ANY_INPUT})
    draws: ClassVar = "none"

    @classmethod
    def of(cls, suite: str, cells: Sequence[Attacked]) -> Floor:
        """Returns the scenario beside the cells of attacks, which share norm, eps and samples."""
        threat = cells[0].threat
        return cls(
            suite=suite,
            name=f"floor-{threat.norm}",
            threat=threat,
            attacks=tuple(cell.name for cell in cells),
            parameters={"norm": threat.norm, "eps": list(threat.eps)},
            points=threat.points,
            limit=cells[0].limit,
            needs=(
                Need(alias=_CLEAN, cell="pass/test"),
                *(Need(alias=cell.name, cell=cell.address, optional=True) for cell in cells),
            ),
        )

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Chooses the samples that are right as they are."""
        return Selection(right_as_they_are(view()))

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns the number of radii within which each sample is certified, from the smallest."""
        level = np.zeros(len(work.batch), dtype=np.int32)
        reason = ""
        try:
            holds = _holds(context.adapter, work.batch, work.samples.targets, self.threat)
            for at, eps in enumerate(self.threat.eps):
                rows = np.flatnonzero(level == at)
                if len(rows):
                    level[rows[holds(rows, eps)]] += 1
        except InputError as error:
            reason = str(error)
        return {"id": list(work.batch.ids), "level": level, "reason": [reason] * len(level)}

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns certified accuracy at each radius."""
        if not len(evidence.own.samples):
            return []
        level, reason = _levels(evidence)
        if reason:
            why = f"there is no floor for this model: {reason}"
            return [
                Number(metric=CERTIFIED.id, point=point_of(eps), undefined=why)
                for eps in self.threat.eps
            ]
        return [
            Number(
                metric=CERTIFIED.id, point=point_of(eps), make=partial(Share, level > at),
            )
            for at, eps in enumerate(self.threat.eps)
        ]  # fmt: skip

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns certified accuracy by eps as `curve`, with what attacks left as `bounds`."""
        held = {row.point: row for row in rows if row.metric == CERTIFIED.id}
        if not held or any(row.value is None for row in held.values()):
            return {}
        attacked, level = _attacked(evidence, self), _levels(evidence)[0]
        curve, bounds = [], []
        for at, eps in enumerate(self.threat.eps):
            row = held[point_of(eps)]
            curve.append(
                {"eps": eps, "robust_accuracy": row.value, "lower": row.lower, "upper": row.upper}
            )
            one = {"point": point_of(eps), "certified": row.value, "attacked": None}
            if attacked is not None:
                open_ = int(((attacked > at) & (level <= at)).sum())
                one["attacked"] = float((attacked > at).mean())
                one["not settled"] = f"{open_:,} of {len(level):,}"
            bounds.append(one)
        return {"curve": pd.DataFrame(curve), "bounds": pd.DataFrame(bounds)}


def _levels(evidence: Evidence) -> tuple[NDArray[np.int64], str]:
    """Returns how many radii each sample is certified within, (n,), and why there is no floor."""
    ids, records = evidence.own.samples.ids, evidence.own.records
    found = np.zeros(len(ids), dtype=np.int64)
    if not len(records):
        return found, ""
    found[pd.Index(ids).get_indexer(pd.Index(records.ids))] = records.array("level")
    return found, next(filter(None, records.array("reason").tolist()), "")


def _attacked(evidence: Evidence, scenario: Any) -> NDArray[np.int64] | None:
    """Returns how many radii each sample withstands, by all attacks; None where none ran."""
    samples = evidence.own.samples
    clean = evidence.needs[_CLEAN].records.aligned(samples.ids).array("prediction")
    top = len(scenario.threat.eps)
    level = np.where(clean == samples.targets, top, 0).astype(np.int64)
    ran = False
    for name in scenario.attacks:
        need = evidence.needs.get(name)
        if need is None or not len(need.records):
            continue
        ran = True
        rows = pd.Index(samples.ids).get_indexer(pd.Index(need.records.ids))
        np.minimum.at(level, rows, need.records.array("level").astype(np.int64))
    return level if ran else None


def _holds(
    adapter: Adapter, batch: Batch, targets: NDArray[Any], threat: ThreatModel
) -> Callable[[NDArray[np.int64], float], NDArray[np.bool_]]:
    """Returns what tells which samples, by row, are certified within a radius.

    Raises:
        InputError: if nothing is known of the model; the message says why.
    """
    import torch

    from crucibench_suites.adversarial.floors.forests import Verifier
    from crucibench_suites.adversarial.floors.networks import Network, certified

    y, norm = targets.astype(np.int64), threat.norm
    if Capability.GRADIENTS in adapter.capabilities:
        module = adapter.module()
        if any(one.device.type != "cpu" for one in module.parameters()):
            raise InputError("roundings are bounded as a CPU makes them, and it runs elsewhere")
        network = Network(module, batch.inputs[:1])
    else:
        formula = adapter.formula()
        if isinstance(formula, Forest):
            verifier = Verifier(formula)
            flat = batch.inputs.flatten(1).double().numpy()
            return lambda rows, eps: np.array(
                [verifier.ball(flat[row], int(y[row]), eps, norm).holds for row in rows], dtype=bool
            )
        layer = torch.nn.Linear(*formula.weight.shape[::-1]).double()
        layer.weight.data = torch.from_numpy(formula.weight)
        layer.bias.data = torch.from_numpy(np.array(formula.bias))
        linear = torch.nn.Sequential(torch.nn.Flatten(), layer)
        network = Network(linear, batch.inputs[:1].double())

    def of_network(rows: NDArray[np.int64], eps: float) -> NDArray[np.bool_]:
        return certified(network, batch.inputs[torch.from_numpy(rows)], y[rows], eps, norm)

    return of_network


def audit_certified(evidence: Evidence, scenario: Any) -> Findings:
    """Says whether an attack broke what is certified: one of the two is wrong then."""
    attacked = _attacked(evidence, scenario)
    if attacked is None or not len(evidence.own.samples):
        return []
    broken = int((attacked < _levels(evidence)[0]).sum())
    if not broken:
        return []
    return [
        Finding(
            code="certified-sample-broken",
            severity=Severity.INVALID,
            message=f"attacks broke {broken} samples within radii in which the floor says that "
            "nothing can: one of the two is wrong",
            evidence={"broken": broken, "samples": len(attacked)},
        )
    ]


CERTIFIED_SAMPLES = Audit(
    name="certified-samples",
    description="Did an attack break what is certified?",
    function=audit_certified,
    known_answer="crucibench_suites.adversarial.known_answers:CERTIFIED_SAMPLES",
)
