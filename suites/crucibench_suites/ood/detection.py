"""The scenario of one detector: fit it, choose its setting, score every set, and say how well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from crucibench.contracts.capability import Capability
from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import Derived, Need
from crucibench_suites.ood import numbers
from crucibench_suites.ood.detectors import detector
from crucibench_suites.ood.sources import OODSet, mark_perturbing, meanings, points_of


@dataclass(frozen=True, kw_only=True)
class Detection(Derived):
    """One detector over all sets, computed from passes: without the model.

    Attributes:
        sets: the OOD sets, those for validation among them.
        share: of the test role that is kept apart for validation.
    """

    suite: str = "ood"
    sets: tuple[OODSet, ...] = ()
    share: float = 0.0

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = numbers.OF_DETECTOR

    @classmethod
    def of(cls, name: str, sets: tuple[OODSet, ...], share: float) -> Detection:
        """Returns the scenario of the detector of that name."""
        entry = detector(name)
        with_features = Capability.FEATURES in entry.requires
        outputs = frozenset({"scores", "features"} if with_features else {"scores"})
        needs = [
            Need(alias="test", cell="pass/test", outputs=outputs),
            Need(alias="sets", cell="ood/sets"),
        ]
        stepped = name == "odin"
        if stepped:
            needs.append(Need(alias="steps", cell="ood/steps/test"))
        for one in sets:
            plain = frozenset() if one.generated or stepped else outputs
            cell = one.steps if stepped else one.cell
            needs.append(Need(alias=one.address, cell=cell, outputs=plain))
        if "train" in entry.uses:
            needs.append(Need(alias="train", cell="pass/train", outputs=outputs))
        needs += [
            Need(alias=part, cell=f"ood/{part}")
            for part in ("moments", "head")
            if part in entry.uses
        ]
        parameters = {
            "detector": name, "version": entry.version, "definition": entry.definition,
            "setting": entry.setting, "values": list(entry.values), "default": entry.default,
            "sets": meanings(sets), "kept_apart": share,
        }  # fmt: skip
        return cls(
            name=name, sets=sets, share=share, needs=tuple(needs), points=points_of(sets),
            parameters=parameters,
        )  # fmt: skip

    def __post_init__(self) -> None:
        # What a model must give depends on the detector; elsewhere it belongs to the class.
        object.__setattr__(self, "requires", detector(self.name).requires)
        mark_perturbing(self, self.sets)

    def derive(self, evidence: Evidence) -> Columns:
        """Returns the score of every sample of every set."""
        from crucibench_suites.ood.detecting import detected

        return detected(detector(self.name), self.sets, self.share, evidence)

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows."""
        from crucibench_suites.ood.scoring import score_detector

        return score_detector(evidence, self.points)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.ood.audits import audit_detector

        return audit_detector(evidence, detector(self.name))

    def comparables(self, evidence: Evidence) -> list[Comparable]:
        """Returns every number at each point as a statistic of samples."""
        from crucibench_suites.ood.scoring import comparables_of

        return comparables_of(evidence, evidence.own, self.points, self.metrics)
