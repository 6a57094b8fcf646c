"""The suite's declaration: its settings, its scenarios, and how the report shows it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field, field_validator

from crucibench.contracts.capability import Capability
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Section, Suite, SuiteConfig, SuiteRequest
from crucibench.contracts.task import Modality
from crucibench.util.errors import InputError
from crucibench.util.numbers import Number
from crucibench.util.suggest import unknown
from crucibench_suites.poison.scan import MOST_CLASSES, Scan
from crucibench_suites.poison.scenarios import FlippedLabels, WithTrigger
from crucibench_suites.poison.triggers import Trigger

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LIMITS = {"quick": 1000, "standard": 5000, "full": None}


class PoisonConfig(SuiteConfig):
    """Settings of the poison suite."""

    triggers: dict[str, Trigger] = Field(default_factory=dict)
    """Triggers by name; whoever suspects none has none to try."""

    scan: bool = False
    """Whether triggers that nobody supplied are searched, of up to 20 classes."""

    flipped: dict[str, Number] = Field(default_factory=dict)
    """What share of labels was flipped in each training, by model of the run. Those of 0 are what
    the others are held against."""

    def files(self) -> Mapping[str, str]:
        """Returns the pictures of triggers."""
        return {
            f"triggers.{name}.file": one.file
            for name, one in self.triggers.items()
            if one.file is not None
        }

    @field_validator("flipped")
    @classmethod
    def _shares(cls, value: dict[str, float]) -> dict[str, float]:
        for name, share in value.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: expected a share from 0 to 1, got {share:g}")
        if value and 0 not in value.values():
            raise ValueError("no model has a share of 0, to hold the others against")
        return value

    @field_validator("triggers")
    @classmethod
    def _named(cls, value: dict[str, Trigger]) -> dict[str, Trigger]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"name {name!r}: expected letters, digits, '.', '_' and '-'")
        return value


class PoisonSuite(Suite):
    """Whether a trigger steers a model, and what flipped labels cost it."""

    name: ClassVar[str] = "poison"
    axis: ClassVar[str] = "poisoning"
    description: ClassVar[str] = (
        "How often triggers that the settings give steer a model to their class, and how much "
        "accuracy trainings on flipped labels lose."
    )
    risks: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "triggers": ("*trigger*",),
        "poisoned-data": ("*flip*",),
    }
    headline: ClassVar[tuple[str, ...]] = ("flipped-labels/flip-sensitivity",)
    sections: ClassVar[tuple[Section, ...]] = (
        Section(
            title="Poisoning",
            kind="metrics",
            note="A trigger that is neither tried nor small is not found: no number here says that "
            "there is no backdoor.",
        ),
        Section(
            title="Smallest triggers",
            kind="table",
            scenario="scan",
            table="triggers",
            note="What the scan found for each class.",
        ),
    )
    config: ClassVar[type[SuiteConfig]] = PoisonConfig
    scoring = ("audits", "known_answers", "metrics")
    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        *WithTrigger.metrics,
        *FlippedLabels.metrics,
        *Scan.metrics,
    )

    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns the scenarios for one model on one data set, or why none applies."""
        config, task = request.settings(PoisonConfig), request.data.task
        for name in config.flipped:
            if name not in request.models:
                raise InputError(unknown("model", name, request.models))
        if not task.one_class:
            return "it needs classes"
        found: list[Scenario] = []
        if config.flipped.get(request.model.name):
            found.append(FlippedLabels.of(config.flipped, request.model.name))
        images = task.modality is Modality.IMAGE and not request.model.geometry.get("own_sizes")
        if images and Capability.ANY_INPUT in request.model.capabilities:
            found += [self._trigger(name, one, request) for name, one in config.triggers.items()]
            if config.scan and len(task.classes) > MOST_CLASSES:
                raise InputError(f"poison.scan searches up to {MOST_CLASSES} classes")
            found += [Scan()] if config.scan else []
        return (
            found or "the settings name no trigger for images, and no flipped labels of this model"
        )

    def _trigger(self, name: str, trigger: Trigger, request: SuiteRequest) -> WithTrigger:
        if trigger.target not in request.data.task.classes:
            raise InputError(unknown("class", trigger.target, request.data.task.classes))
        file = request.files.get(f"triggers.{name}.file")
        parameters = trigger.model_dump(mode="json") | {"file": file and file.digest}
        return WithTrigger(
            name=f"trigger-{name}", trigger=trigger, file=file, parameters=parameters,
            limit=_LIMITS[request.preset],
        )  # fmt: skip
