"""The kind ``regression``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Answer
from crucibench.contracts.evidence import CellEvidence, OutcomeView
from crucibench.contracts.records import Records
from crucibench.contracts.task import AnswerField, Target, Task, TaskKind, require_finite
from crucibench.tasks.columns import is_number
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from crucibench.contracts.rows import Row

_TENTHS = 10


@dataclass(frozen=True)
class NumberView:
    """What a model answered to samples whose targets are numbers.

    Attributes:
        ids: sample ids, shape (n,).
        targets: shape (n,), float64; NaN where there is no label.
        predictions: shape (n,), float64.
    """

    ids: NDArray[np.object_]
    targets: NDArray[np.float64]
    predictions: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def errors(self) -> NDArray[np.float64]:
        """The absolute error of each prediction, shape (n,)."""
        return np.asarray(np.abs(self.predictions - self.targets))


def read_values(records: Records, ids: NDArray[np.object_]) -> NDArray[np.float64]:
    """Returns the predictions of a pass over a regression role, shape (n,)."""
    return records.aligned(ids).array("prediction").astype(np.float64)


class Regression(TaskKind):
    """Each sample has one number."""

    name: ClassVar[str] = "regression"
    fields: ClassVar[tuple[AnswerField, ...]] = (
        AnswerField(
            name="values", dimensions=1, check=lambda array, _: require_finite("values", array)
        ),
    )
    one_number: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = (
        "mae", "rmse", "median-absolute-error", "r2", "spearman"
    )  # fmt: skip
    headline: ClassVar[str] = "mae"

    @property
    def unlabelled(self) -> np.float64:
        """NaN."""
        return np.float64(np.nan)

    def read_targets(
        self, target: Target, columns: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], dict[str, NDArray[Any]]]:
        """Returns no classes, and numbers, float64, by role."""
        if target.known or not all(is_number(column.type) for column in columns.values()):
            raise _not_numeric(target.name, columns)
        return (), {role: column.to_numpy().astype(np.float64) for role, column in columns.items()}

    def best_answer(self, capabilities: frozenset[str]) -> str:
        """Returns ``values``."""
        return "values"

    def prediction(self, answer: Answer) -> NDArray[np.float64]:
        """Returns the values, float64."""
        return answer["values"].astype(np.float64)

    def outcome_columns(
        self, answer: Answer, targets: NDArray[Any], score_kind: str
    ) -> dict[str, NDArray[Any]]:
        """Returns ``prediction``."""
        return {"prediction": self.prediction(answer)}

    def view(
        self, cell: CellEvidence, task: Task, ids: NDArray[np.object_] | None = None
    ) -> NumberView:
        """Reads a plain pass."""
        rows = cell.samples if ids is None else cell.samples.within(ids)
        found = cell.records.aligned(rows.ids).array("prediction").astype(np.float64)
        return NumberView(rows.ids, rows.targets.astype(np.float64), found)

    def view_of_outcomes(
        self, columns: Mapping[str, NDArray[Any]], cell: CellEvidence, task: Task
    ) -> NumberView:
        """Reads ``prediction``."""
        targets = cell.samples.targets.astype(np.float64)
        return NumberView(cell.samples.ids, targets, columns["prediction"].astype(np.float64))

    def quality(self, view: NumberView) -> NDArray[np.float64]:
        """Returns absolute errors."""
        return view.errors

    def baselines(
        self, targets: NDArray[Any], task: Task, uniform: NDArray[np.floating[Any]]
    ) -> Mapping[str, Answer]:
        """Returns the mean, the best constant by squares, and the median, by absolute errors."""
        known = targets[np.isfinite(targets)]
        if not len(known):
            return {}
        return {
            name: Answer(values=np.full(len(targets), value))
            for name, value in (("mean", known.mean()), ("median", np.median(known)))
        }

    def tables(
        self, view: NumberView, rows: Sequence[Row], level: float
    ) -> dict[str, pd.DataFrame]:
        """Returns ``error-by-target``: tenths of the samples, ordered by target."""
        import pandas as pd

        targets = view.targets
        # Equal targets in the order of ids, so that the table does not hang on the order of rows.
        order = np.lexsort((view.ids.astype(str), targets))
        parts = [part for part in np.array_split(order, _TENTHS) if len(part)]
        table = pd.DataFrame(
            {
                "lowest_target": [targets[part].min() for part in parts],
                "highest_target": [targets[part].max() for part in parts],
                "count": [len(part) for part in parts],
                "mean_target": [targets[part].mean() for part in parts],
                "mean_prediction": [view.predictions[part].mean() for part in parts],
                "mae": [np.abs(view.predictions[part] - targets[part]).mean() for part in parts],
            }
        )
        return {"error-by-target": table}

    def outcomes(self, view: NumberView) -> OutcomeView:
        """Returns the values, which are also the scores; none is right or wrong."""
        point = np.full(len(view), "", dtype=object)
        unknown = np.full(len(view), np.nan)
        return OutcomeView(view.ids, point, view.predictions, view.predictions, unknown)


def _not_numeric(name: str, columns: Mapping[str, Any]) -> InputError:
    for role, column in columns.items():
        if not is_number(column.type) and len(column):
            got = column[0].as_py()
            return InputError(
                f"target {name!r}: expected numbers for regression, got {got!r} ({role} row 0)"
            )
    return InputError(f"target {name!r}: expected numbers for regression, got named classes")
