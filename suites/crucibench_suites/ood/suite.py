"""The suite's declaration: its settings, its scenarios, and how the report shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from crucibench.contracts.capability import Capability
from crucibench.contracts.detector import Detector
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Section, Suite, SuiteConfig, SuiteData, SuiteRequest
from crucibench.contracts.task import Modality
from crucibench.util.errors import InputError
from crucibench.util.numbers import Number
from crucibench.util.suggest import unknown
from crucibench_suites.ood import metrics
from crucibench_suites.ood.asking import (
    AskedByDetector,
    Generated,
    LinearHead,
    MeasuredInputs,
    parameters_of,
)
from crucibench_suites.ood.detection import Detection, TrainMoments
from crucibench_suites.ood.detectors import detector, detectors
from crucibench_suites.ood.generators import Kind, every_name, generators
from crucibench_suites.ood.headline import Detectors, Headline
from crucibench_suites.ood.set_checks import Sets
from crucibench_suites.ood.sets import OODSet

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
KINDS: tuple[Kind, ...] = ("near", "far", "validation")


class OODConfig(SuiteConfig):
    """Settings of the ood suite."""

    near: dict[str, str] = Field(default_factory=dict)
    """Name to address of data sets near to the known data."""

    far: dict[str, str] = Field(default_factory=dict)
    """Name to address of data sets far from it."""

    validation: dict[str, str] = Field(default_factory=dict)
    """Name to address of data sets that hyper-parameters are chosen by: they are never scored."""

    generators: list[str] | None = None
    """Generated sets; null for those of the data's modality, [] for none."""

    detectors: list[str] | None = None
    """Detectors; null for all."""

    headline: str = "msp"
    """The detector of the leaderboard's numbers."""

    kept_apart: Number = Field(default=0.2, ge=0.0, le=0.5)
    """The share of the test role that hyper-parameters are chosen by: it is never scored."""

    def data_sets(self) -> Mapping[str, SuiteData]:
        """Returns the data sets of the settings, by role; their labels are no matter."""
        return {
            f"ood/{kind}/{name}": SuiteData(
                address=address, labels="ignored", setting=f"{kind}.{name}"
            )
            for kind in KINDS
            for name, address in getattr(self, kind).items()
        }

    @field_validator("near", "far", "validation")
    @classmethod
    def _names(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"name {name!r}: expected letters, digits, '.', '_' and '-'")
            if name in every_name():
                raise ValueError(f"name {name!r} is that of a generator; choose another")
        return value

    @field_validator("generators")
    @classmethod
    def _known_generators(cls, value: list[str] | None) -> list[str] | None:
        for name in value or ():
            if name not in every_name():
                raise ValueError(unknown("generator", name, every_name()))
        return value

    @model_validator(mode="after")
    def _known_detectors(self) -> OODConfig:
        for name in (*(self.detectors or ()), self.headline):
            try:
                detector(name)
            except InputError as error:
                raise ValueError(str(error)) from error
        if self.detectors is not None and self.headline not in self.detectors:
            raise ValueError(f"headline: {self.headline!r} is none of the detectors")
        return self


class OODSuite(Suite):
    """Near and far OOD sets, detectors over one feature pass a role."""

    name: ClassVar[str] = "ood"
    axis: ClassVar[str] = "unfamiliar inputs"
    description: ClassVar[str] = (
        "Whether the model can tell inputs that are unlike what it was made for, near and far, by "
        "fourteen detectors."
    )
    risks: ClassVar[Mapping[str, tuple[str, ...]]] = {"unfamiliar-inputs": ("*",)}
    headline: ClassVar[tuple[str, ...]] = ("headline[near]/ood-auroc", "headline[far]/ood-auroc")
    sections: ClassVar[tuple[Section, ...]] = (
        Section(
            title="Detectors",
            kind="table",
            scenario="detectors",
            table="detectors",
            note="OOD AUROC: the probability that an out-of-distribution sample scores above an "
            "in-distribution one. Near, far and overall are means over sets. Settings were chosen "
            "on validation sets that are not scored. The headline detector was declared "
            "beforehand: the best of this table was found on these very sets.",
        ),
        Section(title="Detectors by set", kind="table", scenario="detectors", table="by-set"),
        Section(
            title="Headline detector",
            kind="metrics",
            scenario="headline",
            metrics=tuple(metric.id for metric in metrics.OF_HEADLINE),
        ),
        Section(
            title="Scores",
            kind="histogram",
            scenario="headline",
            table="histogram",
            x="score",
            y="share",
            note="Histograms of the headline detector's score, as shares of each kind of input in "
            "50 bins; the outermost hold what lies beyond.",
        ),
        Section(
            title="ROC of the headline detector",
            kind="line",
            scenario="headline",
            table="roc",
            x="false_positive_rate",
            y="true_positive_rate",
            note="Share of out-of-distribution inputs flagged, against the share of familiar ones "
            "flagged by the same threshold; near and far are means over sets.",
        ),
        Section(
            title="Accuracy and coverage, half of the inputs OOD",
            kind="line",
            scenario="headline",
            table="accuracy-coverage",
            x="coverage",
            y="accuracy",
            note="Share of right predictions if only the inputs that are most familiar to the "
            "headline detector are answered; any answer to an out-of-distribution input is wrong.",
        ),
        Section(
            title="Sets",
            kind="table",
            scenario="sets",
            table="sets",
            note="Easiest by: the statistic of the input alone that tells the set best.",
        ),
    )
    config: ClassVar[type[SuiteConfig]] = OODConfig
    scoring = ("audits", "known_answers", "set_checks")
    metrics: ClassVar[tuple[MetricInfo, ...]] = metrics.METRICS

    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns the scenarios for one model on one data set, or why none applies."""
        config = request.settings(OODConfig)
        task = request.data.task
        if not task.one_class:
            return "it needs classes"
        if len(task.classes) < 2:
            return f"it needs at least two classes, the data has {len(task.classes)}"
        if Capability.SCORES not in request.model.capabilities:
            return "the model gives labels only"
        sets = _sets(config, request, task.modality)
        if not any(one.kind != "validation" for one in sets):
            if Capability.ANY_INPUT not in request.model.capabilities:
                return (
                    "the model can't answer generated inputs, and the settings name no data set "
                    "under near or far"
                )
            return "the settings name no generator and no data set under near or far"
        return _plan(config, request, sets)


def _sets(config: OODConfig, request: SuiteRequest, modality: Modality) -> tuple[OODSet, ...]:
    found: list[OODSet] = []
    if Capability.ANY_INPUT in request.model.capabilities:
        known = generators(modality)
        floats = any("float" in kind for kind in request.data.features.values())
        wanted = [name for name, one in known.items() if floats or not one.floats]
        if config.generators is not None:
            wanted = [name for name in known if name in config.generators]
        found = [
            OODSet(kind=known[name].kind, name=name, meaning=f"version {known[name].version}")
            for name in wanted
        ]
    for kind in KINDS:
        named: dict[str, str] = getattr(config, kind)
        for name in named:
            meaning = request.data.role_fingerprints.get(f"ood/{kind}/{name}", "")
            found.append(OODSet(kind=kind, name=name, generated=False, meaning=meaning))
    order = {kind: place for place, kind in enumerate(KINDS)}
    return tuple(sorted(found, key=lambda one: order[one.kind]))


def _plan(
    config: OODConfig, request: SuiteRequest, sets: tuple[OODSet, ...]
) -> tuple[Scenario, ...]:
    """Returns the suite's scenarios for one model on one data set.

    Args:
        config: the settings.
        request: the model and the data.
        sets: the OOD sets, at least one of them near or far.
    """
    share = float(config.kept_apart)
    if config.detectors is None:
        # What needs least of the model comes first, in reports as well.
        every = [detector(name) for name in detectors().names()]
        every.sort(key=lambda entry: len(entry.requires) + len(entry.uses))
        wanted = tuple(entry.name for entry in every)
    else:
        wanted = tuple(dict.fromkeys(config.detectors))
    entries = {name: detector(name) for name in wanted}
    capabilities = request.model.capabilities
    features = Capability.FEATURES in capabilities and any(
        Capability.FEATURES in entry.requires for entry in entries.values()
    )
    found: list[Scenario] = [MeasuredInputs(name="inputs/test")]
    for one in sets:
        if one.generated:
            parameters = parameters_of(one, share, features=features)
            found.append(
                Generated(
                    name=one.address, ood=one, share=share, features=features, parameters=parameters
                )
            )
        else:
            found.append(MeasuredInputs(name=f"inputs/{one.address}", role=one.role))
    uses = {part for entry in entries.values() for part in entry.uses}
    # Where the model can't give what these need, the detectors say so themselves.
    if "head" in uses and LinearHead.requires <= capabilities:
        found.append(LinearHead())
    if "moments" in uses and TrainMoments.requires <= capabilities:
        found.append(TrainMoments())
    for entry in entries.values():
        if entry.asks and entry.requires <= capabilities:
            found += _asked(entry, sets, share)
    found.append(Sets.of(sets, share, train=request.data.counts.get("train", 0) > 0))
    found += [Detection.of(name, sets, share) for name in wanted]
    found += [Headline.of(sets, config.headline), Detectors.of(sets, config.headline, wanted)]
    return tuple(found)


def _asked(entry: Detector, sets: tuple[OODSet, ...], share: float) -> list[Scenario]:
    """Returns what a detector asks itself; where nothing chooses its setting, the default will do.

    Without validation sets those test samples are not asked about that would choose.
    """
    chosen = any(one.kind == "validation" for one in sets) and share > 0
    values = tuple(dict.fromkeys((entry.default, *entry.values))) if chosen else (entry.default,)
    apart = 0.0 if chosen else share
    given = {"detector": entry.name, "version": entry.version, "values": list(values)}
    make = partial(AskedByDetector, detector=entry.name, values=values)
    found: list[Scenario] = [
        make(name=f"asked/{entry.name}/test", share=apart,
             parameters={**given, "kept_apart": apart})
    ]  # fmt: skip
    for one in sets:
        name = f"asked/{entry.name}/{one.address}"
        if one.generated:
            parameters = parameters_of(one, share, **given)
            found.append(make(name=name, ood=one, share=share, parameters=parameters))
        else:
            found.append(make(name=name, role=one.role, ood=one, parameters=given))
    return found
