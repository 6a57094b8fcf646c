"""The scenario that looks at the sets themselves: how many samples, how easy, how much overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import Derived, Need
from crucibench_suites.ood import numbers
from crucibench_suites.ood.sources import KNOWN, OODSet, mark_perturbing, meanings, means_of


@dataclass(frozen=True, kw_only=True)
class Sets(Derived):
    """The familiar samples and the OOD sets, before any detector.

    Attributes:
        sets: the OOD sets, those for validation among them.
        share: of the test role that is kept apart for validation.
    """

    suite: str = "ood"
    name: str = "sets"
    sets: tuple[OODSet, ...] = ()
    share: float = 0.0

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = numbers.OF_SETS

    @classmethod
    def of(cls, sets: tuple[OODSet, ...], share: float, *, train: bool) -> Sets:
        """Returns the scenario."""
        needs = [
            Need(alias="test", cell="pass/test"),
            Need(alias="inputs", cell="ood/inputs/test"),
            *(Need(alias=one.address, cell=one.inputs) for one in sets),
        ]
        if train:
            needs.append(Need(alias="train", cell="pass/train", optional=True))
        parameters = {"sets": meanings(sets), "kept_apart": share}
        return cls(
            sets=sets, share=share, needs=tuple(needs), parameters=parameters, points=(KNOWN,)
        )

    def derive(self, evidence: Evidence) -> Columns | None:
        """Returns the AUROC of every statistic of the inputs on every scored set."""
        from crucibench_suites.ood.scoring import trivial_columns

        return trivial_columns(evidence, self.sets, self.share)

    def score(self, evidence: Evidence) -> Scored:
        """Computes ID accuracy, and a table of what trivial statistics make of the sets."""
        from crucibench_suites.ood.scoring import score_sets

        return score_sets(evidence, self.sets, self.share)

    def audit(self, evidence: Evidence) -> Findings:
        """Says which samples are in more than one role."""
        from crucibench_suites.ood.audits import audit_sets

        return audit_sets(evidence, self.sets)


@dataclass(frozen=True, kw_only=True)
class Headline(Derived):
    """The numbers of the detector that was declared as headline: not found on these sets.

    Attributes:
        detector: its name.
        sets: the OOD sets.
    """

    suite: str = "ood"
    name: str = "headline"
    detector: str = "msp"
    sets: tuple[OODSet, ...] = ()

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = numbers.OF_HEADLINE

    def __post_init__(self) -> None:
        mark_perturbing(self, self.sets)

    @classmethod
    def of(cls, sets: tuple[OODSet, ...], detector: str) -> Headline:
        """Returns the scenario."""
        needs = (
            Need(alias="test", cell="pass/test"),
            Need(alias="sets", cell="ood/sets"),
            Need(alias="detector", cell=f"ood/{detector}"),
        )
        return cls(
            detector=detector, sets=sets, needs=needs, points=means_of(sets),
            parameters={"detector": detector, "sets": meanings(sets)},
        )  # fmt: skip

    def score(self, evidence: Evidence) -> Scored:
        """Computes the rows, and the tables of histogram and curves."""
        from crucibench_suites.ood.summary import score_headline

        return score_headline(evidence, self.points)

    def audit(self, evidence: Evidence) -> Findings:
        """Says which sets are as easy for a statistic of the input."""
        from crucibench_suites.ood.audits import audit_easy

        return audit_easy(evidence, self.detector)

    def comparables(self, evidence: Evidence) -> list[Comparable]:
        """Returns AUROC and FPR, as the detector's own scenario does."""
        from crucibench_suites.ood.scoring import comparables_of

        return comparables_of(evidence, evidence.needs["detector"], self.points, self.metrics)


@dataclass(frozen=True, kw_only=True)
class Detectors(Derived):
    """All detectors side by side.

    Attributes:
        headline: the name of the one that all are compared with.
        detectors: the names of all.
        sets: the OOD sets.
    """

    suite: str = "ood"
    name: str = "detectors"
    headline: str = "msp"
    detectors: tuple[str, ...] = ()
    sets: tuple[OODSet, ...] = ()

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = numbers.OF_DETECTORS

    def __post_init__(self) -> None:
        mark_perturbing(self, self.sets)

    @classmethod
    def of(cls, sets: tuple[OODSet, ...], headline: str, detectors: tuple[str, ...]) -> Detectors:
        """Returns the scenario."""
        needs = [
            Need(alias="test", cell="pass/test"),
            *(Need(alias=name, cell=f"ood/{name}", optional=name != headline)
              for name in detectors),
        ]  # fmt: skip
        return cls(
            headline=headline, detectors=detectors, sets=sets, needs=tuple(needs),
            points=means_of(sets), parameters={"headline": headline, "sets": meanings(sets)},
        )  # fmt: skip

    def score(self, evidence: Evidence) -> Scored:
        """Computes the differences to the headline, and the table of the report."""
        from crucibench_suites.ood.summary import score_detectors

        return score_detectors(evidence, self.headline, self.detectors, self.points)
