"""Whether objects with some attribute are found less often than the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.data import OF_OBJECTS
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import Derived, Need
from crucibench.contracts.statistic import Number, RowMetric
from crucibench.stats import difference, weighted_ratio
from crucibench.util.untrusted.json_text import parse_json

if TYPE_CHECKING:
    from crucibench.tasks.detection.kind import Detection

FOUND = MetricInfo(
    id="detection-objects-found", name="Objects found", direction="higher", lower=0.0, upper=1.0,
    definition="The share of the objects with an attribute that a detection takes, its mean over "
    "IoU thresholds .50:.05:.95. What is detected beside them does not count.",
)  # fmt: skip
MINUS_REST = MetricInfo(
    id="detection-objects-found-minus-rest", name="Objects found, minus the rest",
    direction="target=0", lower=-1.0, upper=1.0,
    definition="The same less the share of all other objects whose attribute is known.",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ObjectGroups(Derived):
    """Compares how often objects are found by what is written of them."""

    metrics: ClassVar[tuple[MetricInfo, ...]] = (FOUND, MINUS_REST)
    reads_groups: ClassVar[bool] = True

    @classmethod
    def of(cls, suite: str, columns: Sequence[str]) -> ObjectGroups:
        """Returns the scenario of some group columns of objects."""
        needs = (Need(alias="test", cell="pass/test"),)
        return cls(suite=suite, name="objects", needs=needs, parameters={"columns": list(columns)})

    def derive(self, evidence: Evidence) -> Columns:
        """Returns at which share of the thresholds each object is found."""
        kind: Detection = evidence.task.definition  # type: ignore[assignment]
        return kind.found(evidence.needs["test"])

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns the share found by attribute, and less that of the rest."""
        samples = evidence.own.samples
        found = evidence.own.records.aligned(samples.ids).lists("found")
        least, numbers = evidence.options.min_group_size, []
        for column in self.parameters["columns"]:
            if column not in samples.groups:
                continue  # a pack without groups
            parsed = [parse_json(text, column) for text in samples.groups[column]]
            values = np.array([one for image in parsed for one in image], dtype=object)
            known = np.array([one is not None for one in values], dtype=np.bool_)
            known &= ~np.isnan(found.values)
            for value in sorted(set(values[known])):
                name = f"{column.removeprefix(OF_OBJECTS)}={value}"
                chosen = known & (values == value)
                here, rest = (_by_image(part, found.rows, found.values, len(samples))
                              for part in (chosen, known & ~chosen))  # fmt: skip
                counts = int(chosen.sum()), int((known & ~chosen).sum())
                few = f"{min(counts)} objects, fewer than {least}" if min(counts) < least else ""
                numbers += [
                    Number(metric=FOUND.id, group=name, make=partial(_share, here)),
                    Number(
                        metric=MINUS_REST.id, group=name, undefined=few, n=sum(counts),
                        make=None if few else partial(_gap, here, rest),
                    ),
                ]  # fmt: skip
        return numbers


_Counts = tuple[NDArray[np.float64], NDArray[np.float64]]


def _by_image(
    chosen: NDArray[np.bool_], images: NDArray[np.int64], shares: NDArray[np.float64], n: int
) -> _Counts:
    """Returns the shares' sum and the objects of each image, (n,) each."""
    rows = images[chosen]
    hits = np.bincount(rows, weights=shares[chosen], minlength=n).astype(np.float64)
    return hits, np.bincount(rows, minlength=n).astype(np.float64)


def _share(here: _Counts) -> RowMetric:
    return RowMetric(weighted_ratio(*here), rare=int(np.count_nonzero(here[1])))


def _gap(here: _Counts, rest: _Counts) -> RowMetric:
    return RowMetric(difference(weighted_ratio(*here), weighted_ratio(*rest)))
