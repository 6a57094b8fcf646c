"""The suite's declaration: its scenarios, its settings, and how the report shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Preset, Section, Suite, SuiteConfig, SuiteRequest
from crucibench.contracts.task import Modality
from crucibench.util.numbers import Number
from crucibench_suites.adversarial.metrics import METRICS
from crucibench_suites.adversarial.protocol import PROTOCOLS, Precision
from crucibench_suites.adversarial.scenario import SCENARIOS
from crucibench_suites.adversarial.threat import Norm, ThreatModel

_BUNDLED: dict[str, dict[Norm, tuple[float, ...]]] = {
    # 8 x 8 pixels of 17 grey levels: a change that people don't see is larger than of a photo.
    "sklearn:digits": {"linf": (0.05, 0.1, 0.15, 0.2, 0.3), "l2": (0.25, 0.5, 0.75, 1.0, 1.5)},
}
_SMALL: dict[Norm, tuple[float, ...]] = {"linf": (8 / 255,), "l2": (0.5,)}
_LARGE: dict[Norm, tuple[float, ...]] = {"linf": (4 / 255,), "l2": (3.0,)}
_LARGE_SIDE = 64

_LIMITS: dict[Preset, int | None] = {"quick": 200, "standard": 1000, "full": None}
_PRESETS: dict[Preset, Literal["quick", "standard"]] = {
    "quick": "quick",
    "standard": "standard",
    "full": "standard",
}

_NAMES = tuple(
    f"{protocol.name}-{norm}" for protocol in PROTOCOLS.values() for norm in ("linf", "l2")
)


def _listed(value: object) -> object:
    return value if isinstance(value, list | tuple) else [value]


class AdversarialConfig(SuiteConfig):
    """Settings of the adversarial suite."""

    norm: Annotated[
        tuple[Norm, ...],
        BeforeValidator(_listed),
        Field(min_length=1, strict=False, json_schema_extra={"examples": ["linf", ["linf", "l2"]]}),
    ] = ("linf",)
    """``linf``, ``l2``, or a list of both."""

    eps: (
        Annotated[tuple[Number, ...], BeforeValidator(_listed), Field(min_length=1, strict=False)]
        | None
    ) = None
    """One radius or a grid of them, e.g. ``8/255``; left out, what suits the size of the images."""

    protocol: Literal["quick", "standard", "rand"] | None = None
    """Which series of attacks; left out, the preset's: ``quick`` or ``standard``."""

    precision: Precision = "auto"
    """In what attacks compute: ``fp32``, ``bf16``, or ``auto``, which is ``bf16`` on GPUs that have
    it. Examples are confirmed in float32."""

    limit: Annotated[int, Field(ge=1)] | None = None
    """At most so many samples; left out, the preset's 200, 1,000 or all."""

    seed: Annotated[int, Field(ge=0)] | None = None
    """Of all draws; left out, the run's."""

    @model_validator(mode="after")
    def _threats(self) -> AdversarialConfig:
        if self.eps is not None and len(self.norm) > 1:
            raise ValueError("eps: radii of two norms mean different things: name one norm")
        if len(set(self.norm)) != len(self.norm):
            raise ValueError(f"norm: expected each once, got {list(self.norm)}")
        if self.eps is not None:
            try:
                ThreatModel(norm=self.norm[0], eps=self.eps)
            except ValidationError as error:
                raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
        return self


class AdversarialSuite(Suite):
    """AutoAttack over a grid of eps, and whether its number can be believed."""

    name: ClassVar[str] = "adversarial"
    axis: ClassVar[str] = "attack"
    description: ClassVar[str] = (
        "How many predictions withstand the worst small change that attacks can find, by how large "
        "the change may be."
    )
    headline: ClassVar[tuple[str, ...]] = tuple(
        f"{name}/{metric}"
        for name in _NAMES
        for metric in ("robust-accuracy-at-largest-eps", "robust-accuracy-area")
    )
    sections: ClassVar[tuple[Section, ...]] = (
        Section(
            title="Robust accuracy by eps",
            kind="line",
            table="curve",
            x="eps",
            y="robust_accuracy",
            note="The share of samples that no attack made wrong within eps; at 0 it is clean "
            "accuracy. Each number is an upper bound of what a stronger attack would leave.",
        ),
        Section(
            title="What each attack broke",
            kind="table",
            table="attacks",
            note="Attacks run in order; each asks only about samples that those before left at "
            "some eps. The stage 'again' repeats them below what FAB-T or Square broke.",
        ),
        Section(title="All numbers", kind="metrics"),
    )
    config: ClassVar[type[SuiteConfig]] = AdversarialConfig
    metrics: ClassVar[tuple[MetricInfo, ...]] = METRICS

    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        """Returns one scenario a norm, or why none applies."""
        task = request.data.task
        if task.kind != "classification" or task.modality is not Modality.IMAGE:
            return "it attacks classifiers of images"
        if len(task.classes) < 2:
            return f"an attack needs at least two classes, the data has {len(task.classes)}"
        config = request.config
        assert isinstance(config, AdversarialConfig)
        key = config.protocol or _PRESETS[request.preset]
        limit = config.limit if config.limit is not None else _LIMITS[request.preset]
        return [
            SCENARIOS[key].of(
                self.name,
                ThreatModel(
                    norm=norm,
                    eps=config.eps or _default_eps(request, norm),
                    seed=config.seed,
                    **PROTOCOLS[key].budget(),
                ),
                limit,
                config.precision,
            )
            for norm in config.norm
        ]


def _default_eps(request: SuiteRequest, norm: Norm) -> tuple[float, ...]:
    """Returns what bundled data names, else what is usual for images of the size."""
    bundled = _BUNDLED.get(request.data.uri.partition("?")[0])
    if bundled is not None:
        return bundled[norm]
    size = request.model.geometry.get("size") or ()
    return (_LARGE if size and min(size) > _LARGE_SIDE else _SMALL)[norm]
