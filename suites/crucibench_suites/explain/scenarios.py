"""The scenarios: attributions by one method, judged, and held against those of another model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.corruption import Changed, CorruptionContext, corruptions
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.metric import Metric, MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import Derived, MapContext, Mapped, Need, Work
from crucibench.contracts.statistic import Number
from crucibench.contracts.suite import NamedFile
from crucibench.metrics.numbers import numbers_of
from crucibench.util.draws import Draws
from crucibench.util.loading import load_factory, parse_factory
from crucibench_suites.explain import metrics
from crucibench_suites.explain.metrics import PerSample, correlations

if TYPE_CHECKING:
    import torch

    from crucibench_suites.explain.methods import Question

OWN = "own"
"""The method of a user's own function."""

_NOISE = 0.02
_SMALL = 64
"""Images of up to so many pixels a side are corrupted as CIFAR-10-C is, where that is defined."""


@dataclass(frozen=True, kw_only=True)
class Attributions(Mapped):
    """Attributes the predicted class's score, and asks how far that says what the model does.

    Attributes:
        method: of `methods.METHODS`, or `OWN`.
        file: the user's file, where the method is their own.
        regions: the user's file that marks what matters.
        corruptions: of images, by name, with severities.
    """

    suite: str = "explain"
    method: str
    file: NamedFile | None = None
    regions: NamedFile | None = None
    corruptions: tuple[tuple[str, tuple[int, ...]], ...] = ()

    metrics: ClassVar[tuple[MetricInfo, ...]] = (
        *(metric.info for metric in metrics.OF_METHOD.values()),
        metrics.CORRUPTED.info,
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

        whole = method(question)
        found = question.pooled(whole).cpu().numpy()
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
        shuffled = colour = within = share = unknown
        if other is not None:
            shuffled = correlations(found, attributed(replace(question, scores=other)))
        if inputs.ndim == 4 and inputs.shape[1] == 3 and self.method != "grad-cam":
            colour = methods.colour_share(question, method).cpu().numpy()
        if self.regions is not None:
            marked = self._marked(inputs)
            within = methods.mass_within(whole.cpu(), marked).numpy()
            share = marked.double().mean(dim=(1, 2)).numpy()
        known = np.where(np.isfinite(found).all(axis=1), 0.0, np.nan)
        return {
            "id": ids, "prediction": targets.cpu().numpy(), "attribution": found,
            "deletion": known + (areas[False][1] - areas[False][0]).numpy(),
            "insertion": known + (areas[True][0] - areas[True][1]).numpy(),
            "randomised": shuffled, "colour": colour,
            "noise": correlations(found, attributed(replace(question, inputs=noisy))),
            "localised": within, "localised_gain": within - share,
            **{
                point: correlations(found, attributed(replace(question, inputs=encoded)))
                for point, encoded in self._corrupted(work, context)
            },
        }  # fmt: skip

    def _corrupted(self, work: Work, context: MapContext) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields images as the corruptions leave them, by point."""
        for name, severities in self.corruptions:
            one, images = corruptions().get(name), work.batch.inputs
            if one.needs == "colour" and images.shape[1] != 3:
                raise ValueError(f"corruption {name} is of images in colour")
            small = max(images.shape[2:]) <= _SMALL and "cifar" in one.levels
            given = CorruptionContext(work.batch.ids, Draws(context.draws.seed, one.stream))
            made = one.apply(images, severities, given, "cifar" if small else "")
            for severity, changed in zip(severities, made, strict=True):
                inputs = Changed.of(images, changed).inputs
                point = f"{name},{one.point(severity)}"
                yield point, context.adapter.encode(work.batch.with_inputs(inputs)).float()

    def _marked(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the user's regions, shape (N, H, W), bool."""
        import torch

        found = torch.as_tensor(np.asarray(_function(self.regions, "regions")(images.cpu())))
        expected = (len(images), *images.shape[2:])
        if tuple(found.shape) != expected:
            raise ValueError(f"regions: expected shape {expected}, got {tuple(found.shape)}")
        return found.bool()

    def _method(self) -> Callable[[Question], torch.Tensor]:
        from crucibench_suites.explain.methods import METHODS

        if self.file is None:
            return METHODS[self.method]
        file = self.file.path
        function = _function(self.file, "attribute")

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
        found = numbers_by_column(metrics.OF_METHOD, columns)
        for point in self.points[1:]:
            column = {point: records.array(point)}
            numbers = numbers_by_column({point: metrics.CORRUPTED}, column)
            found += [replace(one, point=point) for one in numbers]
        return found


def _function(file: NamedFile | None, name: str) -> Callable[..., Any]:
    """Returns a function of a user's file."""
    assert file is not None
    return load_factory(parse_factory(f"{file.path}:{name}", file.path.parent))


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
