"""The suite's declaration: its settings, its scenarios, and how the report shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from crucibench.contracts.corruption import corruptions
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Section, Suite, SuiteConfig, SuiteRequest
from crucibench.contracts.task import Modality
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench_suites.explain.scenarios import OWN, Agreement, Attributions

_METHODS = ("gradient-x-input", "integrated-gradients", "occlusion", "grad-cam")
_LIMITS = {"quick": 50, "standard": 500, "full": None}


class ExplainConfig(SuiteConfig):
    """Settings of the explain suite."""

    methods: list[str] = Field(default=list(_METHODS[:2]))
    """Attribution methods: gradient-x-input, integrated-gradients, occlusion, grad-cam."""

    own: str | None = None
    """A file whose function ``attribute(model, inputs, baselines, targets)`` is judged as well:
    it returns a tensor like ``inputs``."""

    regions: str | None = None
    """A file whose function ``regions(images)`` says where what matters lies: from images
    (N, C, H, W) to truth values (N, H, W)."""

    corruptions: list[str] = Field(default_factory=list)
    """Registered corruptions of images under which attributions are to stay as they are."""

    severities: list[int] = Field(default=[1, 3, 5], min_length=1)
    """Of the corruptions."""

    reference: str | None = None
    """A model of the run, such as the earlier release, that attributions are held against."""

    limit: int | None = Field(default=None, ge=2)
    """Samples; null for what the preset says."""

    def files(self) -> Mapping[str, str]:
        """Returns the user's files."""
        named = {"own": self.own, "regions": self.regions}
        return {name: file for name, file in named.items() if file is not None}

    @model_validator(mode="after")
    def _corruptions_known(self) -> Self:
        for name in self.corruptions:
            if name not in corruptions().names():
                raise ValueError(unknown("corruption", name, corruptions().names()))
            one = corruptions().get(name)
            if one.modality != Modality.IMAGE or one.axes:
                raise ValueError(f"{name} is no corruption of images with severities")
            if lacking := sorted(set(self.severities) - set(one.severities)):
                raise ValueError(f"{name} has no severity {lacking[0]}")
        return self

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
    headline: ClassVar[tuple[str, ...]] = (
        "integrated-gradients/deletion-gain",
        "integrated-gradients/colour-share",
    )
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
        config, task = request.settings(ExplainConfig), request.data.task
        if config.reference is not None and config.reference not in request.models:
            raise InputError(unknown("model", config.reference, request.models))
        if not task.one_class:
            return "it needs classes"
        if task.modality not in (Modality.IMAGE, Modality.TABLE):
            return f"it can't take parts of a {task.modality} away"
        if lacking := sorted(Attributions.requires - request.model.capabilities):
            return f"the model has no {' and no '.join(lacking)}"
        found = [_attributions(name, request) for name in config.methods]
        if config.own is not None:
            found.append(_attributions(OWN, request))
        reference = config.reference
        if reference is None or reference == request.model.name:
            return found
        return [*found, *(Agreement.of(one, reference) for one in found)]


def _attributions(method: str, request: SuiteRequest) -> Attributions:
    """Returns the scenario of a method; corruptions and regions are of images."""
    config = request.settings(ExplainConfig)
    images = request.data.task.modality is Modality.IMAGE
    chosen = [corruptions().get(name) for name in config.corruptions if images]
    regions = request.files.get("regions") if images else None
    file = request.files["own"] if method == OWN else None
    digests = {"file": file, "regions": regions}
    return Attributions(
        name=method, method=method, file=file, regions=regions,
        limit=config.limit or _LIMITS[request.preset],
        corruptions=tuple((one.name, tuple(config.severities)) for one in chosen),
        points=("", *(f"{one.name},{one.point(severity)}"
                      for one in chosen for severity in config.severities)),
        parameters={name: one.digest for name, one in digests.items() if one is not None}
        | {one.name: {"version": one.version, "severities": config.severities} for one in chosen},
    )  # fmt: skip
