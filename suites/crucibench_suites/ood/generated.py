"""The scenarios that ask the model: about generated samples, and about steps for ODIN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Selection, StageView, Work
from crucibench.util.draws import Draws
from crucibench_suites.ood.detectors.odin import SIZES, TEMPERATURE
from crucibench_suites.ood.generator import Generator, Making
from crucibench_suites.ood.generators import generators
from crucibench_suites.ood.inputs import measured
from crucibench_suites.ood.sources import OODSet, kept_apart, partners


@dataclass(frozen=True, kw_only=True)
class Asked(Mapped):
    """Asks about samples of the test role, those that are scored or those kept apart, or of a set.

    Attributes:
        ood: the set that is made of them; None for the samples as they are.
        share: of the test role that is kept apart; without a set, 0 asks about all samples, and any
            other share about those that are scored.
    """

    suite: str = "ood"
    ood: OODSet | None = None
    share: float = 0.0

    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.ANY_INPUT})
    draws: ClassVar[Literal["sample", "batch", "none"]] = "sample"
    perturbs: ClassVar[bool] = True

    @property
    def stream(self) -> str:
        """The draws of a generator are the same for whatever asks about what it makes."""
        return f"ood/{self.ood.name}" if self.ood else "ood"

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection | None:
        """Chooses the scored samples, or for a validation set the others, with their partners."""
        if (self.share == 0.0) if self.ood is None else (not self.ood.generated):
            return None
        samples = view().samples
        apart = kept_apart(samples, self.share)
        keep = apart if self.ood is not None and self.ood.kind == "validation" else ~apart
        return Selection(keep, {"partner": partners(samples, keep)})

    def _made(self, work: Work, context: MapContext) -> Batch:
        if self.ood is None or not self.ood.generated:
            return work.batch
        generator: Generator = generators(context.adapter.task.modality)[self.ood.name]
        others = None
        if generator.partners:
            if context.load is None:
                raise TypeError(f"{self.address}: expected a context that loads other samples")
            others = context.load(work.carry["partner"].tolist())
        draws = Draws(context.draws.seed, self.stream)
        return work.batch.with_inputs(generator.make(Making(work.batch, draws, others)))


@dataclass(frozen=True, kw_only=True)
class Generated(Asked):
    """Records scores, features and input statistics of generated samples.

    Attributes:
        features: whether features are recorded.
    """

    features: bool = False

    version: ClassVar[int] = 2

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample."""
        made = self._made(work, context)
        want = frozenset({"scores", "features"} if self.features else {"scores"})
        outputs = context.adapter.predict(made, want)
        columns: dict[str, Any] = {"id": list(made.ids), "scores": outputs.scores}
        if self.features:
            columns["features"] = outputs.features
        return {**columns, **measured(made, context.adapter.task.modality)}


@dataclass(frozen=True, kw_only=True)
class Steps(Asked):
    """Records what ODIN needs: answers after steps against the gradient.

    Attributes:
        sizes: of the steps; of `SIZES`, others are recorded as nan.
    """

    sizes: tuple[float, ...] = SIZES

    version: ClassVar[int] = 2
    requires: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.LOGITS, Capability.GRADIENTS, Capability.ANY_INPUT}
    )

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample: the highest probability at each size of step."""
        made = self._made(work, context)
        return {"id": list(made.ids), "steps": odin_steps(made, context, self.sizes)}


def odin_steps(
    batch: Batch, context: MapContext, sizes: Sequence[float] = SIZES
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Returns the highest softmax probability at temperature 1000 after steps of some sizes.

    Liang, Li and Srikant, ICLR 2018: x - eps sign(d loss / d x), the loss being the log loss of the
    predicted class at the same temperature. No step leaves the canonical form by more than eps.

    Returns:
        A column for each of `SIZES`, nan where it is none of `sizes`; shape (N, s), float64.
    """
    import torch

    module = context.adapter.module()
    encoded = context.adapter.encode(batch).detach().clone().requires_grad_()
    logits = module(encoded)
    predicted = logits.argmax(dim=1)
    loss = torch.nn.functional.cross_entropy(logits / TEMPERATURE, predicted, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, encoded)
    direction = gradient.sign()
    found = np.full((len(logits), len(SIZES)), np.nan)
    with torch.no_grad():
        for size in sizes:
            stepped = logits if size == 0 else module(encoded - size * direction)
            # In double precision: at this temperature all probabilities are nearly equal.
            tall = (stepped.detach().double() / TEMPERATURE).softmax(dim=1).amax(dim=1)
            found[:, SIZES.index(size)] = tall.cpu().numpy()
    return found


def parameters_of(ood: OODSet, share: float, **more: Any) -> Mapping[str, Any]:
    """Returns what gives the records of a generated set their meaning, as plain data."""
    return {"set": ood.address, "meaning": ood.meaning, "kept_apart": share, **more}
