"""Images to corrupt, and draws for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_sample_image

from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, ModelInfo, ScoringOptions
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.task import Decision, Modality, Task


@pytest.fixture(scope="session")
def photos() -> Callable[[int, int, int], np.ndarray]:
    """Returns `count` cuts of a photograph, uint8, (count, side, side, channels)."""
    flower, temple = (load_sample_image(f"{name}.jpg") for name in ("flower", "china"))

    def cuts(count: int, side: int, channels: int = 3) -> np.ndarray:
        rng = np.random.default_rng(side)
        found = []
        for place in range(count):
            whole = (flower, temple)[place % 2]
            top, left = (int(rng.integers(0, size - side)) for size in whole.shape[:2])
            found.append(whole[top : top + side, left : left + side])
        stacked = np.stack(found)
        if channels == 1:
            weights = np.array([0.299, 0.587, 0.114])
            stacked = np.rint(stacked @ weights).astype(np.uint8)[..., None]
        return stacked

    return cuts


class Bench:
    """Makes evidence by hand from answers: no engine, no model.

    Attributes:
        targets: class indices, shape (n,).
        classes: how many there are.
    """

    def __init__(
        self,
        targets: Any,
        classes: int,
        *,
        decision: Decision | None = None,
        clusters: Sequence[str] | None = None,
    ) -> None:
        self.targets = np.asarray(targets)
        self.classes = classes
        self.decision = decision or Decision()
        n = len(self.targets)
        self.ids = np.array([f"sample{place:06d}" for place in range(n)], dtype=object)
        self.samples = Samples(
            ids=self.ids,
            targets=self.targets,
            groups=pd.DataFrame(index=range(n)),
            clusters=None if clusters is None else np.array(clusters, dtype=object),
        )

    def cell(self, columns: Mapping[str, Any], name: str = "cell") -> CellEvidence:
        """Returns a cell of records."""
        model = ModelInfo(
            name="model", uri="test:model", capabilities=frozenset({Capability.SCORES}),
            score_kind="probabilities", geometry={}, fingerprint=None, decision=self.decision,
        )  # fmt: skip
        records = Records(to_table(columns))
        return CellEvidence(
            cell=name, model=model, role="test", records=records, samples=self.samples
        )

    def clean(self, predictions: Any, confidence: float = 0.9) -> CellEvidence:
        """Returns a pass over the clean samples, equally sure of everything."""
        said = np.asarray(predictions)
        scores = np.full((len(said), self.classes), (1 - confidence) / (self.classes - 1))
        scores[np.arange(len(said)), said] = confidence
        columns = {"id": list(self.ids), "prediction": said.astype(np.int32), "scores": scores}
        return self.cell(columns, "pass-test")

    def shifted(
        self,
        by_point: Mapping[str, Any],
        *,
        distances: Mapping[str, Any] | None = None,
        confidence: float = 0.8,
        name: str = "cell",
    ) -> CellEvidence:
        """Returns a cell of predictions by point."""
        parts: dict[str, list[Any]] = {}
        for place, (point, predictions) in enumerate(by_point.items()):
            said = np.asarray(predictions).astype(np.int32)
            n = len(said)
            right = said == self.targets
            others = (1 - confidence) / (self.classes - 1)
            score = np.full(n, confidence)
            if self.classes == 2:
                score = np.where(said == 1, confidence, 1 - confidence)
            loss = -np.log(np.where(right, confidence, others))
            distance = 0.1 * (place + 1) if distances is None else distances[point]
            columns = {
                "id": list(self.ids), "point": [point] * n, "prediction": said, "score": score,
                "loss": loss, "distance": np.broadcast_to(np.float32(distance), n).copy(),
                "distance_l2": np.full(n, 1.0, dtype=np.float32),
            }  # fmt: skip
            for key, value in columns.items():
                parts.setdefault(key, []).append(value)
        joined = {
            key: [*chain(*part)] if isinstance(part[0], list) else np.concatenate(part)
            for key, part in parts.items()
        }
        return self.cell(joined, name)

    def evidence(self, own: CellEvidence, **needs: CellEvidence) -> Evidence:
        """Returns evidence of a cell; aliases hold ``__`` for a slash."""
        task = Task(
            kind="classification", modality=Modality.IMAGE,
            classes=tuple(f"c{k}" for k in range(self.classes)),
        )  # fmt: skip
        return Evidence(
            own=own,
            needs={alias.replace("__", "/"): cell for alias, cell in needs.items()},
            data=DataCard(name="data", uri="test:data", task=task, counts={"test": len(self.ids)}),
            options=ScoringOptions(replicates=200),
        )


@pytest.fixture(scope="session")
def bench() -> type[Bench]:
    """Makes evidence by hand."""
    return Bench
