"""The suite's declaration: its settings, its scenarios, and how the report shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field, field_validator

from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Section, Suite, SuiteConfig, SuiteRequest
from crucibench.contracts.task import Modality
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench_suites.explain.scenarios import OWN, Agreement, Attributions

_METHODS = ("gradient-x-input", "integrated-gradients", "occlusion")
_LIMITS = {"quick": 50, "standard": 500, "full": None}


class ExplainConfig(SuiteConfig):
    """Settings of the explain suite."""

    methods: list[str] = Field(default=list(_METHODS[:2]))
    """Attribution methods: gradient-x-input, integrated-gradients, occlusion."""

    own: str | None = None
    """A file whose function ``attribute(model, inputs, baselines, targets)`` is judged as well:
    it returns a tensor like ``inputs``."""

    reference: str | None = None
    """A model of the run, such as the earlier release, that attributions are held against."""

    limit: int | None = Field(default=None, ge=2)
    """Samples; null for what the preset says."""

    def files(self) -> Mapping[str, str]:
        """Returns the user's file, if there is one."""
        return {} if self.own is None else {"own": self.own}

    @field_validator("methods")
    @classmethod
    def _known(cls, names: list[str]) -> list[str]:
        for name in names:
            if name not in _METHODS:
                raise ValueError(unknown("method", name, _METHODS))
        return list(dict.fromkeys(names))


class ExplainSuite(Suite):
    """Whether attributions say what a model's answers rest on."""

    name: ClassVar[str] = "explain"
    axis: ClassVar[str] = "explanations"
    description: ClassVar[str] = (
        "Whether attributions say what a model's answers rest on: by deletion and insertion in "
        "their order and at random, under shuffled weights and noise, and how much rests on colour."
    )
    risks: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "explanations": ("*",),
        "shortcuts": ("*colour*",),
    }
    headline: ClassVar[tuple[str, ...]] = ("integrated-gradients/deletion-gain",)
    sections: ClassVar[tuple[Section, ...]] = (
        Section(
            title="Attributions",
            kind="metrics",
            note="Means over samples. A method whose attributions stay as they are when all "
            "weights are shuffled says nothing of the model.",
        ),
    )
    config: ClassVar[type[SuiteConfig]] = ExplainConfig
    scoring = ("audits", "known_answers", "metrics")
    metrics: ClassVar[tuple[MetricInfo, ...]] = (*Attributions.metrics, *Agreement.metrics)

    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns the scenarios for one model on one data set, or why none applies."""
        config, task = request.config, request.data.task
        if not isinstance(config, ExplainConfig):
            raise TypeError(f"expected an ExplainConfig, got {type(config).__name__}")
        if config.reference is not None and config.reference not in request.models:
            raise InputError(unknown("model", config.reference, request.models))
        if not task.one_class:
            return "it needs classes"
        if task.modality not in (Modality.IMAGE, Modality.TABLE):
            return f"it can't take parts of a {task.modality} away"
        if lacking := sorted(Attributions.requires - request.model.capabilities):
            return f"the model has no {' and no '.join(lacking)}"
        limit = config.limit or _LIMITS[request.preset]
        found = [Attributions(name=name, method=name, limit=limit) for name in config.methods]
        if config.own is not None:
            file = request.files["own"]
            parameters = {"file": file.digest}
            found.append(
                Attributions(name=OWN, method=OWN, file=file, limit=limit, parameters=parameters)
            )
        reference = config.reference
        if reference is None or reference == request.model.name:
            return found
        return [*found, *(Agreement.of(one, reference) for one in found)]
