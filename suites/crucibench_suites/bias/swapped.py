"""The scenario ``swapped``: the same table rows with another group in the columns that tell it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability
from crucibench.contracts.data import NO_GROUP
from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Need, Selection, StageView, Work
from crucibench.contracts.statistic import Number
from crucibench.metrics.catalogue import CATALOGUE

if TYPE_CHECKING:
    import pandas as pd

MOST_VALUES = 20
"""A column of more groups is not swapped."""


@dataclass(frozen=True, kw_only=True)
class Swapped(Mapped):
    """Asks about every sample once for each group column, the column holding another group.

    Records: ``prediction``, ``scores`` where the model gives them, and ``swapped``: whether the
    sample's group is known and could be changed; the others are asked about as they are.
    """

    audits: ClassVar[tuple[str, ...]] = ("groups-swapped",)
    reads_groups: ClassVar[bool] = True
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = tuple(
        CATALOGUE[f"swapped-{name}"]
        for name in ("flip-rate", "score-change", "largest-score-change", "value-change")
    )
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.ANY_INPUT})
    draws: ClassVar = "sample"
    perturbs: ClassVar[bool] = True

    @classmethod
    def of(cls, suite: str, columns: list[str], outputs: str) -> Swapped:
        """Returns the scenario for some input columns.

        Args:
            suite: the suite's name.
            columns: group columns that are inputs.
            outputs: what the model is asked for: ``scores``, ``labels`` or ``values``.
        """
        return cls(
            suite=suite,
            name="swapped",
            parameters={"columns": columns, "outputs": outputs},
            points=tuple(f"column={name}" for name in columns),
            needs=(Need(alias="clean", cell="pass/test"),),
        )

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Says for each sample which other groups there are, in turn."""
        groups = view().samples.groups
        carry: dict[str, NDArray[Any]] = {}
        for place, name in enumerate(self.parameters["columns"]):
            own = groups[name].to_numpy(dtype=object)
            values = np.array(sorted(set(own.tolist()) - {NO_GROUP}), dtype=object)
            carry[f"known{place}"] = np.asarray(own != NO_GROUP)
            others = len(values) - 1
            if not 0 < others < MOST_VALUES:
                continue
            at = np.searchsorted(values, np.where(own == NO_GROUP, values[0], own))
            turned = (at[:, None] + np.arange(1, others + 1)) % len(values)
            carry[f"others{place}"] = values[turned].astype(str)
        return Selection(np.ones(len(groups), dtype=np.bool_), carry)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample and column."""
        want = self.parameters["outputs"]
        parts: list[dict[str, Any]] = []
        for place, name in enumerate(self.parameters["columns"]):
            frame = work.batch.inputs
            swapped = np.zeros(len(work.batch), dtype=np.bool_)
            others = work.carry.get(f"others{place}")
            if others is not None:
                which = context.draws.integers(work.batch.ids, name, (), high=others.shape[1])
                texts = others[np.arange(len(others)), which].astype(object)
                own = work.samples.groups[name]
                column, restored = exchanged(frame[name], own.to_numpy(dtype=object), texts)
                swapped = restored & work.carry[f"known{place}"].astype(bool)
                frame = frame.assign(**{name: column.where(swapped, frame[name])})
            outputs = context.adapter.predict(work.batch.with_inputs(frame), frozenset({want}))
            found = getattr(outputs, want)
            columns = {
                "id": list(work.batch.ids),
                "point": [self.points[place]] * len(work.batch),
                "prediction": found,
                "swapped": swapped,
            }
            if want == "scores":
                columns |= {"prediction": found.argmax(axis=1).astype(np.int32), "scores": found}
            parts.append(columns)
        return {key: _joined([part[key] for part in parts]) for key in parts[0]}

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns how often predicted labels change."""
        from crucibench_suites.bias.swapping import flip_numbers

        return flip_numbers(evidence, self.points, "swapped")

    def score(self, evidence: Evidence) -> Scored:
        """Computes how far answers change."""
        from crucibench.metrics.scoring import rows_of
        from crucibench_suites.bias.swapping import change_numbers

        return Scored(rows_of(change_numbers(evidence, self.points, "swapped"), self, evidence))


def _joined(parts: list[Any]) -> Any:
    return list(chain.from_iterable(parts)) if isinstance(parts[0], list) else np.concatenate(parts)


def exchanged(
    column: pd.Series[Any], own: NDArray[np.object_], other: NDArray[np.object_]
) -> tuple[pd.Series[Any], NDArray[np.bool_]]:
    """Returns a column with other groups in it, and where that can be trusted.

    Groups are texts, a column may hold numbers, truth values or categories. A text is read back as
    the column's type, and believed where the sample's own group reads back as its own value.

    Args:
        column: (n,) as the model sees it.
        own: (n,) each sample's group.
        other: (n,) the group that it gets.
    """
    read = _reader(column)
    mine, theirs = read(own), read(other)
    same = (mine == column).fillna(False).to_numpy(dtype=np.bool_)
    return theirs, same & theirs.notna().to_numpy()


def _reader(column: pd.Series[Any]) -> Callable[[NDArray[np.object_]], pd.Series[Any]]:
    import pandas as pd
    from pandas.api import types

    def read(texts: NDArray[np.object_]) -> pd.Series[Any]:
        series = pd.Series(texts, index=column.index, dtype=object)
        if isinstance(column.dtype, pd.CategoricalDtype):
            names = {str(value): value for value in column.dtype.categories}
            return series.map(names).astype(column.dtype)
        if types.is_bool_dtype(column.dtype):
            return series.map({"True": True, "False": False}).astype(column.dtype)
        if types.is_numeric_dtype(column.dtype):
            return pd.to_numeric(series, errors="coerce").astype(column.dtype)
        return series.astype(column.dtype)

    return read
