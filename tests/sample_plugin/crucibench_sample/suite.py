"""One small scenario of each kind, as a third party would write them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from pydantic import Field

from crucibench.contracts.capability import Capability
from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import (
    Derived,
    MapContext,
    Mapped,
    Need,
    Scenario,
    Selection,
    StageView,
    Timed,
    TimedContext,
    Work,
)
from crucibench.contracts.statistic import Number, RowMetric, Share, Units
from crucibench.contracts.suite import Section, Suite, SuiteConfig, SuiteData, SuiteRequest
from crucibench.stats import weighted_mean
from crucibench.util.numbers import Number as Fraction

ACCURACY = MetricInfo(
    id="accuracy", name="accuracy", direction="higher", definition="The share that is right."
)
BROKEN = MetricInfo(
    id="broken", name="broken", direction="lower", definition="The share that was broken."
)
AGREEMENT = MetricInfo(
    id="agreement", name="agreement", direction="none", definition="The share of equal answers."
)
SHARE_OF_FIRST = MetricInfo(
    id="share-of-first", name="share of the first class", direction="none",
    definition="The share that is given the first class.",
)  # fmt: skip
MEAN_TIME = MetricInfo(
    id="mean-time", name="mean time", direction="lower", unit="s", definition="Mean over rounds."
)


class SampleConfig(SuiteConfig):
    """Settings of the sample suite."""

    sigmas: list[Fraction] = Field(default_factory=lambda: [0.1, 0.3])
    reference: str | None = None
    elsewhere: dict[str, str] = Field(default_factory=dict)
    """Data of its own with labels, perhaps: name to address."""
    outliers: dict[str, str] = Field(default_factory=dict)
    """Data of its own without: name to address."""

    def data_sets(self) -> Mapping[str, SuiteData]:
        return {
            f"sample/{name}": SuiteData(address=address, setting=f"elsewhere.{name}")
            for name, address in self.elsewhere.items()
        } | {
            f"sample/far/{name}": SuiteData(
                address=address, labels="ignored", setting=f"outliers.{name}"
            )
            for name, address in self.outliers.items()
        }


@dataclass(frozen=True, kw_only=True)
class Noise(Mapped):
    """Mapped, with keyed draws: Gaussian noise of several strengths, one draw for all."""

    suite: str = "sample"
    name: str = "noise"
    sigmas: tuple[float, ...]

    metrics: ClassVar[tuple[MetricInfo, ...]] = (ACCURACY,)
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.ANY_INPUT})
    draws: ClassVar = "sample"
    perturbs: ClassVar[bool] = True

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        images = work.batch.inputs
        noise = torch.from_numpy(context.draws.normal(work.batch.ids, "noise", images.shape[1:]))
        ids: list[str] = []
        points: list[str] = []
        predictions: list[np.ndarray] = []
        for sigma in self.sigmas:
            noisy = work.batch.with_inputs((images + sigma * noise).clamp(0, 1))
            outputs = context.adapter.predict(noisy, frozenset({"scores"}))
            assert outputs.scores is not None
            ids += work.batch.ids
            points += [f"sigma={sigma}"] * len(work.batch)
            predictions.append(outputs.scores.argmax(axis=1).astype(np.int32))
        drawn = np.tile(noise.reshape(len(noise), -1)[:, 0].numpy(), len(self.sigmas))
        return {
            "id": ids, "point": points, "prediction": np.concatenate(predictions), "drawn": drawn,
        }  # fmt: skip

    def numbers(self, evidence: Evidence) -> list[Number]:
        return [_share("accuracy", *entry) for entry in self._right(evidence)]

    def _right(self, evidence: Evidence) -> Iterator[tuple[np.ndarray, str]]:
        for point in self.points:
            records = evidence.own.records.at(point).aligned(evidence.own.samples.ids)
            yield records.array("prediction") == evidence.own.samples.targets, point


@dataclass(frozen=True, kw_only=True)
class Search(Mapped):
    """Mapped, with stages: each tries harder on what the stages before did not break."""

    suite: str = "sample"
    name: str = "search"
    limit: int | None = 150

    stages: ClassVar[tuple[str, ...]] = ("weak", "strong", "strongest")
    metrics: ClassVar[tuple[MetricInfo, ...]] = (BROKEN,)
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.ANY_INPUT})
    draws: ClassVar = "sample"
    perturbs: ClassVar[bool] = True

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection | None:
        seen = view()
        clean = seen.needs["clean"].records.aligned(seen.samples.ids).array("prediction")
        keep = clean == seen.samples.targets
        for records in seen.earlier.values():
            broken = set(records.ids[records.array("broken").astype(bool)])
            keep &= np.array([identity not in broken for identity in seen.samples.ids])
        return Selection(keep, {"clean": clean})

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        size = {"weak": 0.3, "strong": 0.6, "strongest": 1.0}[stage]
        shape = work.batch.inputs.shape[1:]
        step = torch.from_numpy(context.draws.uniform(work.batch.ids, stage, shape)) - 0.5
        changed = (work.batch.inputs + 2 * size * step).clamp(0, 1)
        outputs = context.adapter.predict(work.batch.with_inputs(changed), frozenset({"scores"}))
        assert outputs.scores is not None
        prediction = outputs.scores.argmax(axis=1)
        return {
            "id": list(work.batch.ids),
            "stage": [stage] * len(work.batch),
            "broken": prediction != work.carry["clean"],
        }

    def numbers(self, evidence: Evidence) -> list[Number]:
        return [_share("broken", self._flags(evidence))]

    def _flags(self, evidence: Evidence) -> np.ndarray:
        broken = evidence.own.records
        hit = set(broken.ids[broken.array("broken").astype(bool)]) if len(broken) else set()
        return np.array([identity in hit for identity in evidence.own.samples.ids])


@dataclass(frozen=True, kw_only=True)
class Agreement(Derived):
    """Derived, over two cells of two models."""

    suite: str = "sample"
    name: str = "agreement"

    metrics: ClassVar[tuple[MetricInfo, ...]] = (AGREEMENT,)

    def derive(self, evidence: Evidence) -> Columns:
        own = evidence.needs["own"].records
        other = evidence.needs["reference"].records.aligned(own.ids)
        return {
            "id": own.ids.tolist(),
            "agree": own.array("prediction") == other.array("prediction"),
        }

    def score(self, evidence: Evidence) -> Scored:
        flags = evidence.own.records.array("agree")
        why = "how far two models agree is not compared with how far others do"
        row = Row(metric="agreement", value=float(flags.mean()), n=len(flags), reason=why)
        return Scored([row])


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Derived):
    """Derived, over a pass of the main data and one of its own data."""

    suite: str = "sample"

    metrics: ClassVar[tuple[MetricInfo, ...]] = (ACCURACY, SHARE_OF_FIRST)

    def numbers(self, evidence: Evidence) -> list[Number]:
        found = []
        for alias in self.points:
            cell = evidence.needs[alias]
            units = Units(cell.samples, alias)
            predicted = cell.records.aligned(cell.samples.ids).array("prediction")
            found.append(_share("share-of-first", predicted == 0, alias, units))
            if cell.samples.labelled:
                found.append(_share("accuracy", predicted == cell.samples.targets, alias, units))
        return found


@dataclass(frozen=True, kw_only=True)
class Again(Mapped):
    """Mapped, over its own data."""

    suite: str = "sample"

    metrics: ClassVar[tuple[MetricInfo, ...]] = (SHARE_OF_FIRST,)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        outputs = context.adapter.predict(work.batch, frozenset({"scores"}))
        assert outputs.scores is not None
        predicted = outputs.scores.argmax(axis=1).astype(np.int32)
        return {"id": list(work.batch.ids), "prediction": predicted}

    def numbers(self, evidence: Evidence) -> list[Number]:
        predicted = evidence.own.records.aligned(evidence.own.samples.ids).array("prediction")
        return [_share("share-of-first", predicted == 0)]


@dataclass(frozen=True, kw_only=True)
class Rounds(Timed):
    """Timed: rounds of the run's models, interleaved."""

    suite: str = "sample"
    name: str = "rounds"

    metrics: ClassVar[tuple[MetricInfo, ...]] = (MEAN_TIME,)

    def rounds(self, context: TimedContext) -> Iterator[Columns]:
        batch = context.load(16)
        for number in range(6):
            begun = time.perf_counter()
            context.adapter.timed(batch)
            ended = time.perf_counter()
            yield {
                "id": [f"query-{number}"],
                "begun": np.array([begun]),
                "seconds": np.array([ended - begun]),
            }

    def numbers(self, evidence: Evidence) -> list[Number]:
        seconds = evidence.own.records.array("seconds")
        n = len(seconds)
        ids = np.array([f"round {number}" for number in range(n)], dtype=object)
        rounds = Samples(ids, np.zeros(n), pd.DataFrame(index=range(n)))
        form = RowMetric(weighted_mean(seconds), closed=lambda level: "six rounds give no interval")
        units = Units(rounds, "rounds", estimand="model/rounds")
        return [Number(metric="mean-time", make=lambda: form, units=units)]


class SampleSuite(Suite):
    """One scenario of each kind."""

    name = "sample"
    axis = "sample"
    description = "One small scenario of each kind."
    headline = ("noise[sigma=0.1]/accuracy", "search/broken")
    sections = (Section(title="Noise", kind="metrics", scenario="noise"),)
    config = SampleConfig
    metrics = (ACCURACY, BROKEN, AGREEMENT, SHARE_OF_FIRST, MEAN_TIME)

    def scenarios(self, request: SuiteRequest) -> Sequence[Scenario] | str:
        if request.data.task.modality != "image":
            return "it is for images"
        config = request.config
        assert isinstance(config, SampleConfig)
        clean = Need(alias="clean", cell="pass/test", outputs=frozenset({"scores"}))
        found: list[Scenario] = [
            Noise(
                sigmas=tuple(config.sigmas), parameters={"sigmas": list(config.sigmas)},
                points=tuple(f"sigma={sigma}" for sigma in config.sigmas),
            ),
            Search(needs=(clean,)),
            Rounds(),
        ]  # fmt: skip
        if config.reference is not None:
            needs = (
                Need(alias="own", cell="pass/test"),
                Need(alias="reference", cell="pass/test", model=config.reference),
            )
            found.append(Agreement(needs=needs, parameters={"reference": config.reference}))
        for role in config.data_sets():
            alias = role.removeprefix("sample/")
            name = alias.replace("/", ".")
            needs = (Need(alias="test", cell="pass/test"), Need(alias=alias, cell=f"pass/{role}"))
            points = ("test", alias)
            found.append(Elsewhere(name=f"elsewhere-{name}", needs=needs, points=points))
            found.append(Again(name=f"again-{name}", role=role))
        return found


def _share(metric: str, hits: np.ndarray, point: str = "", units: Units | None = None) -> Number:
    return Number(metric=metric, point=point, make=lambda: Share(hits), units=units)
