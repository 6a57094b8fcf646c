"""The scenario that looks at the sets themselves: how many samples, how easy, how much overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from crucibench.contracts.detector import Floats
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Derived, Need
from crucibench.contracts.statistic import Number, Share
from crucibench.stats import auc
from crucibench_suites.ood import metrics
from crucibench_suites.ood.audits import PREFIX, easiest
from crucibench_suites.ood.detection import in_rows
from crucibench_suites.ood.sets import KNOWN, OODSet, kept_apart, meanings, scored


@dataclass(frozen=True, kw_only=True)
class Sets(Derived):
    """The familiar samples and the OOD sets, before any detector.

    Attributes:
        sets: the OOD sets, those for validation among them.
        share: of the test role that is kept apart for validation.
    """

    suite: str = "ood"
    name: str = "sets"
    sets: tuple[OODSet, ...] = ()
    share: float = 0.0

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = metrics.OF_SETS
    audits: ClassVar[tuple[str, ...]] = ("overlapping-sets", "unchanged-sets")

    @classmethod
    def of(cls, sets: tuple[OODSet, ...], share: float, *, train: bool) -> Sets:
        """Returns the scenario."""
        needs = [
            Need(alias="test", cell="pass/test"),
            Need(alias="inputs", cell="ood/inputs/test"),
            *(Need(alias=one.address, cell=one.inputs) for one in sets),
        ]
        if train:
            needs.append(Need(alias="train", cell="pass/train", optional=True))
        parameters = {"sets": meanings(sets), "kept_apart": share}
        return cls(
            sets=sets, share=share, needs=tuple(needs), parameters=parameters, points=(KNOWN,)
        )

    def derive(self, evidence: Evidence) -> Columns | None:
        """Returns a row for every scored set and statistic of its inputs: how well it tells."""
        test = evidence.needs["test"].samples
        ids = test.ids[~kept_apart(test, self.share)]
        known = evidence.needs["inputs"]
        found: list[tuple[str, str, float, int]] = []
        for one in scored(self.sets):
            strange = evidence.needs[one.address]
            for column in known.records.table.column_names:
                if column.startswith(PREFIX) and column in strange.records:
                    before, after = in_rows(known, ids, column), strange.records.array(column)
                    if len(before) and len(after):
                        name = column.removeprefix(PREFIX)
                        area = _best(before, after)
                        found.append((one.address, name, area, len(before) + len(after)))
        return {
            "id": [f"{address} {name}" for address, name, _, _ in found],
            "point": np.array([address for address, _, _, _ in found], dtype=object),
            "statistic": [name for _, name, _, _ in found],
            "auroc": np.array([area for _, _, area, _ in found]),
            "n": np.array([n for _, _, _, n in found], dtype=np.int64),
        }

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns the accuracy on the samples that are scored."""
        test = evidence.needs["test"]
        samples, keep = test.samples, ~kept_apart(test.samples, self.share)
        hits = in_rows(test, samples.ids, "prediction") == samples.targets
        # Nothing but the ids says who is scored: without one there is no row.
        if not keep.any():
            return ()
        form = Share(hits & keep, keep)
        return [Number(metric=metrics.ID_ACCURACY.id, point=KNOWN, make=lambda: form)]

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns a table of what statistic of the inputs tells each set best."""
        test = evidence.needs["test"].samples
        known = int((~kept_apart(test, self.share)).sum())
        return {"sets": _table(evidence, self.sets, known)}


def _best(known: Floats, strange: Floats) -> float:
    area = auc(strange, known)
    middle = float(np.median(known))
    return max(area, 1.0 - area, auc(np.abs(strange - middle), np.abs(known - middle)))


def _table(evidence: Evidence, sets: Sequence[OODSet], known: int) -> pd.DataFrame:
    best = easiest(evidence.own.records)
    lines = [{"set": "in-distribution", "samples": known, "easiest by": "", "its AUROC": np.nan}]
    for one in scored(sets):
        area, name = best.get(one.address, (np.nan, ""))
        count = len(evidence.needs[one.address].records)
        lines.append({"set": one.address, "samples": count, "easiest by": name, "its AUROC": area})
    return pd.DataFrame(lines)
