"""Evidence and fitting material made by hand from arrays: no engine, no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.detector import Answers, Head, Material, Moments, TrainArrays
from crucibench.contracts.evidence import CellEvidence, Evidence, ModelInfo, ScoringOptions
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.task import Modality, Task


class Workbench:
    """Makes answers and material."""

    def __init__(self) -> None:
        self.train_class = TrainArrays

    def answers(self, features: Any, head: Head) -> Answers:
        features = np.asarray(features, dtype=np.float64)
        return Answers(raw=head.logits(features), kind="logits", features=features)

    def material(self, features: Any, targets: np.ndarray, head: Head, block: int = 64) -> Material:
        answers = self.answers(features, head)
        train = TrainArrays(answers, targets, block)
        classes = len(head.bias)
        return Material(
            classes=classes,
            train=train,
            moments=Moments.of(train.blocks(), classes),
            head=head,
            kept=(answers, targets),
        )


@pytest.fixture(scope="session")
def bench() -> Workbench:
    return Workbench()


class Maker:
    """Makes cells and evidence of a three-class task."""

    classes = ("a", "b", "c")

    def model(self, **changes: Any) -> ModelInfo:
        fields: dict[str, Any] = {
            "name": "model", "uri": "test:model", "geometry": {}, "fingerprint": None,
            "capabilities": frozenset({Capability.SCORES, Capability.LOGITS}),
            "score_kind": "logits",
        }  # fmt: skip
        return ModelInfo(**fields | changes)

    def samples(self, ids: Sequence[str], clusters: Sequence[str] | None = None) -> Samples:
        return Samples(
            ids=np.array(ids, dtype=object),
            targets=np.arange(len(ids)) % 3,
            groups=pd.DataFrame(index=range(len(ids))),
            clusters=None if clusters is None else np.array(clusters, dtype=object),
        )

    def cell(
        self, columns: Mapping[str, Any], samples: Samples | None = None, role: str = "test"
    ) -> CellEvidence:
        return CellEvidence(
            cell="cell", model=self.model(), role=role, records=Records(to_table(columns)),
            samples=samples or self.samples(list(columns["id"])),
        )  # fmt: skip

    def evidence(self, own: CellEvidence, **needs: CellEvidence) -> Evidence:
        task = Task(kind="classification", modality=Modality.IMAGE, classes=self.classes)
        return Evidence(
            own=own,
            needs={name.replace("__", "/").replace("_", "-"): cell for name, cell in needs.items()},
            data=DataCard(name="data", uri="test:data", task=task),
            options=ScoringOptions(replicates=200),
        )

    def scores(
        self, known: Any, sets: Mapping[str, Any], *, paired: bool = True
    ) -> dict[str, np.ndarray]:
        """A detector's records: `known` scores, and those of each set by address."""
        parts = {"id": np.asarray(known), **{name: np.asarray(v) for name, v in sets.items()}}
        ids = []
        for name, values in parts.items():
            own = name != "id" and not paired
            ids += [f"{name}-s{row}" if own else f"s{row}" for row in range(len(values))]
        return {
            "id": np.array(ids, dtype=object),
            "point": np.repeat(list(parts), [len(v) for v in parts.values()]).astype(object),
            "score": np.concatenate(list(parts.values())).astype(np.float64),
            "value": np.full(len(ids), np.nan),
        }

    def detection(
        self,
        known: Any,
        sets: Mapping[str, Any],
        *,
        paired: bool = True,
        clusters: Sequence[str] | None = None,
    ) -> Evidence:
        """Evidence of a detector's cell."""
        samples = self.samples([f"s{row}" for row in range(len(known))], clusters)
        own = self.cell(self.scores(known, sets, paired=paired), samples)
        test = self.cell({"id": samples.ids, "prediction": samples.targets}, samples)
        return self.evidence(own, test=test)


@pytest.fixture(scope="session")
def maker() -> Maker:
    return Maker()
