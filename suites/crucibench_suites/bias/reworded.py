"""The scenario ``reworded``: texts with the words of another group in place of one's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Need, Work
from crucibench.contracts.statistic import Number
from crucibench.metrics.catalogue import CATALOGUE
from crucibench_suites.bias.identity_terms import Category, categories, plain

_NOT_ASKED = -1


@dataclass(frozen=True, kw_only=True)
class Reworded(Mapped):
    """Asks again about the texts that name a group, with another group's words.

    Records: ``swapped``, whether the text names one; where it does ``prediction``, and ``scores``
    where the model gives them, else -1 or NaN.
    """

    audits: ClassVar[tuple[str, ...]] = ("groups-reworded",)
    version: ClassVar[int] = 2
    metrics: ClassVar[tuple[MetricInfo, ...]] = tuple(
        CATALOGUE[f"reworded-{name}"]
        for name in ("flip-rate", "score-change", "largest-score-change", "value-change")
    )
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.ANY_INPUT})
    draws: ClassVar = "sample"
    perturbs: ClassVar[bool] = True

    @classmethod
    def of(cls, suite: str, found: Sequence[Category], outputs: str) -> Reworded:
        """Returns the scenario for some categories; arguments as of `Swapped.of`."""
        return cls(
            suite=suite,
            name="reworded",
            parameters={"terms": plain(found), "outputs": outputs},
            points=tuple(f"category={one.name}" for one in found),
            needs=(Need(alias="clean", cell="pass/test"),),
        )

    @cached_property
    def categories(self) -> tuple[Category, ...]:
        """The lists of words."""
        return categories(self.parameters["terms"])

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a category and text."""
        changed = np.zeros((len(self.categories), len(work.batch)), dtype=np.bool_)
        texts: list[Any] = []
        for place, one in enumerate(self.categories):
            others = len(one.groups) - 1
            shifts = context.draws.integers(work.batch.ids, one.name, (), high=others) + 1
            for row, (text, shift) in enumerate(zip(work.batch.inputs, shifts, strict=True)):
                other, count = _reworded(one, text, int(shift))
                if count:
                    changed[place, row] = True
                    texts.append(other)
        want = self.parameters["outputs"]
        found = _not_asked(want, changed.size, len(context.adapter.task.classes))
        asked = np.flatnonzero(changed)
        if len(asked):
            batch = work.batch.take((asked % len(work.batch)).tolist()).with_inputs(texts)
            found[asked] = getattr(context.adapter.predict(batch, frozenset({want})), want)
        columns: dict[str, Any] = {
            "id": list(work.batch.ids) * len(self.points),
            "point": [point for point in self.points for _ in work.batch.ids],
            "prediction": found,
            "swapped": changed.ravel(),
        }
        if want == "scores":
            best = np.full(len(found), _NOT_ASKED, dtype=np.int32)
            best[asked] = found[asked].argmax(axis=1)
            columns |= {"prediction": best, "scores": found}
        return columns

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns how often predicted labels change."""
        from crucibench_suites.bias.swapping import flip_numbers

        return flip_numbers(evidence, self.points, "reworded")

    def score(self, evidence: Evidence) -> Scored:
        """Computes how far answers change."""
        from crucibench.metrics.scoring import rows_of
        from crucibench_suites.bias.swapping import change_numbers

        return Scored(rows_of(change_numbers(evidence, self.points, "reworded"), self, evidence))


def _reworded(one: Category, text: Any, shift: int) -> tuple[Any, int]:
    if isinstance(text, str):
        return one.swap(text, shift)
    parts = [one.swap(part, shift) for part in text]
    return tuple(part for part, _ in parts), sum(count for _, count in parts)


def _not_asked(want: str, rows: int, classes: int) -> NDArray[Any]:
    """Returns what stands where nobody was asked."""
    found: Mapping[str, NDArray[Any]] = {
        "labels": np.full(rows, _NOT_ASKED, dtype=np.int32),
        "values": np.full(rows, np.nan, dtype=np.float64),
        "scores": np.full((rows, classes), np.nan, dtype=np.float32),
    }
    return found[want]
