"""The scenarios of published corrupted files: each corruption and severity, and all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from crucibench.contracts.evidence import Evidence, OutcomeView, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Derived, Need, Scenario
from crucibench.contracts.statistic import Number
from crucibench.contracts.suite import SuiteRequest
from crucibench_suites.shift.config import PUBLISHED, ShiftConfig
from crucibench_suites.shift.corruptions.images import COMMON
from crucibench_suites.shift.metrics import OF_IMAGE_SUMMARY, OF_PUBLISHED
from crucibench_suites.shift.names import ALEXNET, HERE, HOME, OWN, REFERENCE, TRAIN, of_corruption

if TYPE_CHECKING:
    import pandas as pd


class PublishedPart(NamedTuple):
    """One set of published files.

    Attributes:
        corruption: as the files name it.
        severity: from 1 up.
        fingerprint: of the files.
    """

    corruption: str
    severity: int
    fingerprint: str

    @property
    def name(self) -> str:
        """``CORRUPTION/SEVERITY``."""
        return f"{self.corruption}/{self.severity}"

    @property
    def role(self) -> str:
        """The role whose samples they are."""
        return PUBLISHED + "/" + self.name


@dataclass(frozen=True, kw_only=True)
class PublishedLevel(Derived):
    """Reads a plain pass over published files of one corruption and severity.

    The files are samples of their own. They are held against the clean images one by one only where
    both name an image alike; see `published_scoring.original_answers`.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_PUBLISHED
    audits: ClassVar[tuple[str, ...]] = ("shifted-duplicates",)

    @classmethod
    def of(cls, suite: str, part: PublishedPart, *, train: bool) -> PublishedLevel:
        """Returns the scenario of `part`; `train`: whether there is such a role."""
        needs = [Need(alias=HOME, cell="pass/test"), Need(alias=HERE, cell=f"pass/{part.role}")]
        if train:
            needs.append(Need(alias=TRAIN, cell="pass/train", optional=True))
        return cls(
            suite=suite,
            name=f"published/{part.name}",
            parameters={
                "source": "published", "corruption": part.corruption, "severity": part.severity,
            },
            role=part.role,
            needs=tuple(needs),
        )  # fmt: skip

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns the numbers of the published images."""
        from crucibench_suites.shift.published_scoring import level_numbers

        return level_numbers(evidence)

    def score(self, evidence: Evidence) -> Scored:
        """Computes what is lost from the home test set."""
        from crucibench.metrics.scoring import rows_of
        from crucibench_suites.shift.published_scoring import lost_from_home

        return Scored(rows_of(lost_from_home(evidence), self, evidence))

    def outcomes(self, evidence: Evidence) -> OutcomeView | None:
        """Returns an outcome an image."""
        from crucibench_suites.shift.place_scoring import view_of_place

        return view_of_place(evidence)


@dataclass(frozen=True, kw_only=True)
class PublishedSummary(Derived):
    """Joins published files of several corruptions and severities, original by original."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_IMAGE_SUMMARY

    @classmethod
    def of(
        cls, suite: str, parts: Sequence[PublishedPart], reference: str | None
    ) -> PublishedSummary:
        """Returns the scenario that joins `parts`; `reference`: a model, `ALEXNET`, or None."""
        needs = _needs(parts, OWN, None)
        if reference not in {None, ALEXNET}:
            needs += _needs(parts, REFERENCE, reference)
        levels: dict[str, list[int]] = {}
        for part in parts:
            levels.setdefault(part.corruption, []).append(part.severity)
        return cls(
            suite=suite,
            name="published/summary",
            parameters={
                "source": "published",
                "reference": reference,
                "corruptions": list(levels),
                "levels": levels,
                "severities": sorted(set.intersection(*map(set, levels.values()))),
                # The rows are of the samples of one role, and of all these files.
                "files": {part.name: part.fingerprint for part in parts},
            },
            points=("", *(of_corruption(name) for name in levels)),
            role=parts[0].role,
            needs=tuple(needs),
        )

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns the numbers over all corruptions, and the mean of each."""
        from crucibench_suites.shift.published_scoring import published_numbers

        return published_numbers(evidence, self)

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns a line a corruption."""
        from crucibench_suites.shift.published_scoring import published_table

        return published_table(evidence, self)


def published_scenarios(request: SuiteRequest, severities: Sequence[int]) -> Sequence[Scenario]:
    """Returns the scenarios of the published files that the data has, at `severities`."""
    config = request.settings(ShiftConfig)
    if config.published is None:
        return ()
    parts = [part for part in _parts(request) if part.severity in severities]
    train = "train" in request.data.counts
    scenarios: list[Scenario] = [PublishedLevel.of("shift", part, train=train) for part in parts]
    joined = [part for part in parts if part.corruption in COMMON] or parts
    if joined:
        scenarios.append(PublishedSummary.of("shift", joined, config.reference))
    return scenarios


def _parts(request: SuiteRequest) -> list[PublishedPart]:
    """Returns the data's sets of published files, corruptions in the published order."""
    found = []
    for role, fingerprint in request.data.role_fingerprints.items():
        if not role.startswith(PUBLISHED + "/"):
            continue
        corruption, _, severity = role.removeprefix(PUBLISHED + "/").rpartition("/")
        if corruption and severity.isdecimal():
            found.append(PublishedPart(corruption, int(severity), fingerprint))
    order = {name: place for place, name in enumerate(COMMON)}
    return sorted(
        found,
        key=lambda part: (order.get(part.corruption, len(order)), part.corruption, part.severity),
    )


def _needs(parts: Sequence[PublishedPart], prefix: str, model: str | None) -> list[Need]:
    passes = {"clean": "test"} | {part.name: part.role for part in parts}
    start = "" if model is None else prefix
    return [
        Need(
            alias=(start if name == "clean" else prefix) + name, cell=f"pass/{role}", model=model,
            optional=model is not None,
        )
        for name, role in passes.items()
    ]  # fmt: skip
