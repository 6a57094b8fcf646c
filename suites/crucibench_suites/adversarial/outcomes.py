"""What became of each sample, read off the records of all stages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence
from crucibench_suites.adversarial.threat import ThreatModel


@dataclass(frozen=True)
class Series:
    """What was run: the threat model, the stages in order, and the name of the random stream."""

    threat: ThreatModel
    stages: tuple[str, ...]
    stream: str


@dataclass(frozen=True)
class Outcomes:
    """What became of n samples, in the order of the evidence's sample table.

    Attributes:
        right: whether each is right as it is.
        clean: its class as the model says, without an attack.
        level: the index of the smallest eps that breaks it, the grid's length if none does; 0 for
            samples that are wrong as they are.
        after: the same after each stage, by stage.
        prediction: the class that its nearest example is taken for, -1 without one.
        distance: of that example in the threat's norm; 0 for samples that are wrong as they are,
            infinite where none was found.
        asked: by stage, the samples that it asked about, bool.
        spent: forwards, backwards and queries of each sample, by name.
        examples: examples that the plain model saw, and those that it got right after all.
    """

    right: NDArray[np.bool_]
    clean: NDArray[np.int64]
    level: NDArray[np.int64]
    after: dict[str, NDArray[np.int64]]
    prediction: NDArray[np.int64]
    distance: NDArray[np.float64]
    asked: dict[str, NDArray[np.bool_]]
    spent: dict[str, NDArray[np.int64]]
    examples: tuple[int, int]

    def robust(self, at: int, stage: str | None = None) -> NDArray[np.bool_]:
        """Whether each sample withstands the radius at index `at` (up to a stage)."""
        level = self.level if stage is None else self.after[stage]
        return np.asarray(self.right & (level > at))


def read_outcomes(series: Series, evidence: Evidence) -> Outcomes:
    """Reads the records of all stages."""
    samples = evidence.own.samples
    clean = evidence.needs["clean"].records.aligned(samples.ids).array("prediction")
    right = np.asarray(clean == samples.targets, dtype=np.bool_)
    n, top = len(samples), len(series.threat.eps)
    level = np.where(right, top, 0).astype(np.int64)
    prediction = np.full(n, -1, dtype=np.int64)
    distance = np.where(right, np.inf, 0.0)
    spent = {name: np.zeros(n, dtype=np.int64) for name in ("forwards", "backwards", "queries")}
    after: dict[str, NDArray[np.int64]] = {}
    asked: dict[str, NDArray[np.bool_]] = {}
    seen = failed = 0
    records = evidence.own.records
    if len(records):
        frame = records.frame()
        frame["row"] = pd.Index(samples.ids).get_indexer(pd.Index(frame["id"]))
    for stage in series.stages:
        entered = np.zeros(n, dtype=np.bool_)
        part = frame[frame["attack"] == stage] if len(records) else None
        if part is not None and len(part):
            rows = part["row"].to_numpy()
            entered[rows] = True
            level[rows] = np.minimum(level[rows], part["level"].to_numpy())
            own = part[f"distance_{series.threat.norm}"].to_numpy()
            nearer = np.asarray(own < distance[rows])
            distance[rows[nearer]] = own[nearer]
            prediction[rows[nearer]] = part["prediction"].to_numpy()[nearer]
            for name, total in spent.items():
                total[rows] += part[name].to_numpy()
            seen += int(part["confirmations"].sum())
            failed += int(part["unconfirmed"].sum())
        after[stage], asked[stage] = level.copy(), entered
    return Outcomes(
        right, clean.astype(np.int64), level, after, prediction, distance, asked, spent,
        (seen, failed),
    )  # fmt: skip
