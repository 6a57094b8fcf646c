"""The scenarios: attributions by one method, judged, and held against those of another model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.metric import Metric, MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import Derived, MapContext, Mapped, Need, Work
from crucibench.contracts.statistic import Number
from crucibench.contracts.suite import NamedFile
from crucibench.metrics.numbers import numbers_of
from crucibench.util.loading import load_factory, parse_factory
from crucibench_suites.explain import metrics
from crucibench_suites.explain.metrics import PerSample, correlations

if TYPE_CHECKING:
    import torch

    from crucibench_suites.explain.methods import Question

OWN = "own"
"""The method of a user's own function."""

_NOISE = 0.02


@dataclass(frozen=True, kw_only=True)
class Attributions(Mapped):
    """Attributes the predicted class's score, and asks how far that says what the model does.

    Attributes:
        method: of `methods.METHODS`, or `OWN`.
        file: the user's file, where the method is their own.
    """

    suite: str = "explain"
    method: str
    file: NamedFile | None = None

    metrics: ClassVar[tuple[MetricInfo, ...]] = tuple(
        metric.info for metric in metrics.OF_METHOD.values()
    )
    requires: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.GRADIENTS, Capability.SCORES, Capability.ANY_INPUT}
    )
    draws: ClassVar[Literal["sample", "batch", "none"]] = "sample"
    perturbs: ClassVar[bool] = True
    intensive: ClassVar[bool] = True
    audits: ClassVar[tuple[str, ...]] = ("attributions",)

    @property
    def stream(self) -> str:
        """All methods are judged by the same random orders and the same noise."""
        return "explain"

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample."""
        import torch

        from crucibench_suites.explain import methods

        module = context.adapter.module()
        inputs = context.adapter.encode(work.batch).float()
        with torch.no_grad():
            targets = module(inputs).argmax(dim=1)
        question = methods.Question(
            module,
            inputs,
            methods.flat_baseline(inputs),
            targets,
            methods.parts_of(inputs.shape[1:]),
        )
        method = self._method()
        ids, draws = list(work.batch.ids), context.draws

        def attributed(asked: Question) -> Any:
            return asked.pooled(method(asked)).cpu().numpy()

        found = attributed(question)
        best = torch.from_numpy(found).argsort(dim=1, descending=True, stable=True)
        chance = torch.from_numpy(draws.uniform(ids, "order", found.shape[1:])).argsort(dim=1)
        areas = {
            insert: [methods.curve(question, order, insert=insert) for order in (best, chance)]
            for insert in (False, True)
        }
        noise = torch.from_numpy(draws.normal(ids, "noise", tuple(inputs.shape[1:])))
        noisy = inputs + _NOISE * noise.to(inputs.device)
        noisy = noisy.clamp(0, 1) if inputs.ndim == 4 else noisy
        other = methods.randomised(module, draws.seed)
        unknown = np.full(len(ids), np.nan)
        shuffled = colour = unknown
        if other is not None:
            shuffled = correlations(found, attributed(replace(question, scores=other)))
        if inputs.ndim == 4 and inputs.shape[1] == 3:
            colour = methods.colour_share(question, method).cpu().numpy()
        return {
            "id": ids, "prediction": targets.cpu().numpy(), "attribution": found,
            "deletion": (areas[False][1] - areas[False][0]).numpy(),
            "insertion": (areas[True][0] - areas[True][1]).numpy(),
            "randomised": shuffled, "colour": colour,
            "noise": correlations(found, attributed(replace(question, inputs=noisy))),
        }  # fmt: skip

    def _method(self) -> Callable[[Question], torch.Tensor]:
        from crucibench_suites.explain.methods import METHODS

        if self.file is None:
            return METHODS[self.method]
        file = self.file.path
        function = load_factory(parse_factory(f"{file}:attribute", file.parent))

        def attribute(asked: Question) -> torch.Tensor:
            found: torch.Tensor = function(
                asked.scores, asked.inputs, asked.baselines, asked.targets
            )
            if found.shape != asked.inputs.shape:
                raise ValueError(
                    f"attribute of {file.name}: expected shape {tuple(asked.inputs.shape)}, got "
                    f"{tuple(found.shape)}"
                )
            return found.detach()

        return attribute

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns the means over samples."""
        records = evidence.own.records.aligned(evidence.own.samples.ids)
        columns = {name: records.array(name) for name in metrics.OF_METHOD}
        return numbers_by_column(metrics.OF_METHOD, columns)


def numbers_by_column(of: Mapping[str, Metric], columns: Mapping[str, Any]) -> list[Number]:
    """Returns the mean of each column, by the metric that stands for it."""
    return [
        number
        for name, metric in of.items()
        for number in numbers_of([metric], PerSample(columns[name].astype(np.float64)))
    ]


@dataclass(frozen=True, kw_only=True)
class Agreement(Derived):
    """How alike the attributions of a model and of its reference are."""

    suite: str = "explain"
    perturbs: ClassVar[bool] = True
    metrics: ClassVar[tuple[MetricInfo, ...]] = (metrics.RELEASES.info,)

    @classmethod
    def of(cls, source: Attributions, reference: str) -> Agreement:
        """Returns the scenario of a method's attributions and those of a reference model."""
        return cls(
            name=f"agreement-{source.name}", limit=source.limit,
            parameters={"reference": reference, **source.parameters},
            needs=(
                Need(alias="own", cell=source.address),
                Need(alias="reference", cell=source.address, model=reference),
            ),
        )  # fmt: skip

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns the mean agreement."""
        ids = evidence.own.samples.ids
        found = [
            evidence.needs[name].records.aligned(ids).array("attribution")
            for name in ("own", "reference")
        ]
        column = {"agreement": correlations(*found)}
        return numbers_by_column({"agreement": metrics.RELEASES}, column)
