"""The scenarios that ask the model: about generated samples, for a detector, or for its head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.detector import Head, recorded
from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Selection, StageView, Work
from crucibench.contracts.task import Modality
from crucibench.util.draws import Draws
from crucibench_suites.ood.audits import PREFIX
from crucibench_suites.ood.detectors import detector
from crucibench_suites.ood.generators import Generator, Making, generators, statistics
from crucibench_suites.ood.sets import OODSet, kept_apart, partners

_HEAD = "head"


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
class AskedByDetector(Asked):
    """Records what a detector asks the model itself, as ODIN its steps along the gradient.

    Attributes:
        detector: its name.
        values: those of its setting that are asked for; others are recorded as nan.
    """

    detector: str = ""
    values: tuple[float, ...] = ()

    version: ClassVar[int] = 2

    def __post_init__(self) -> None:
        # What a model must give depends on the detector; elsewhere it belongs to the class.
        object.__setattr__(self, "requires", detector(self.detector).requires)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample: what is asked by each value of the setting."""
        made, adapter = self._made(work, context), context.adapter
        found = recorded(
            detector(self.detector), adapter.module(), adapter.encode(made), self.values
        )
        return {"id": list(made.ids), "asked": found}


def parameters_of(ood: OODSet, share: float, **more: Any) -> Mapping[str, Any]:
    """Returns what gives the records of a generated set their meaning, as plain data."""
    return {"set": ood.address, "meaning": ood.meaning, "kept_apart": share, **more}


@dataclass(frozen=True, kw_only=True)
class LinearHead(Mapped):
    """Reads the weights, once; it asks about no sample."""

    suite: str = "ood"
    name: str = "head"

    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.HEAD})

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Chooses one sample, since a cell has to have some."""
        keep = np.zeros(len(view().samples), dtype=np.bool_)
        keep[:1] = True
        return Selection(keep)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns a record that says nothing."""
        return {"id": list(work.batch.ids)}

    def probe(self, work: Work, context: MapContext) -> Mapping[str, Columns]:
        """Returns weight and bias, a row a class."""
        weight, bias = context.adapter.head()
        return {
            _HEAD: {
                "id": list(context.adapter.task.classes),
                "weight": np.asarray(weight, dtype=np.float64),
                "bias": np.asarray(bias, dtype=np.float64),
            }
        }


def read_head(cell: CellEvidence) -> Head:
    """Returns the layer that the scenario recorded."""
    probe = cell.probes[_HEAD]
    return Head(weight=probe.array("weight"), bias=probe.array("bias"))


@dataclass(frozen=True, kw_only=True)
class MeasuredInputs(Mapped):
    """Measures the inputs of a role; it asks the model nothing."""

    suite: str = "ood"
    version: ClassVar[int] = 2

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample."""
        return {"id": list(work.batch.ids), **measured(work.batch, context.adapter.task.modality)}


def measured(batch: Batch, modality: Modality) -> dict[str, NDArray[np.float64]]:
    """Returns the statistics of a batch by column name, each of shape (N,)."""
    found = dict(statistics(modality)(batch.inputs))
    if batch.stored:
        found["stored-height"], found["stored-width"] = zip(*batch.stored, strict=True)
    return {f"{PREFIX}{name}": np.asarray(values, dtype=np.float64)
            for name, values in found.items()}  # fmt: skip
