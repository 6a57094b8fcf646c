"""The kind ``generation``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.adapter import Answer
from crucibench.contracts.evidence import CellEvidence, OutcomeView
from crucibench.contracts.lists import Column, Lists, from_arrow, is_list
from crucibench.contracts.task import AnswerField, OutputError, Target, Task, TaskKind
from crucibench.util.errors import InputError


class Generation(TaskKind):
    """Each sample is an item of fields, with any number of reference answers.

    A target is a text, a number or a list of texts; lists of texts are stored. What is asked about
    an item, and how an answer is judged, a suite says: a plain pass is not judged.
    """

    name: ClassVar[str] = "generation"
    fields: ClassVar[tuple[AnswerField, ...]] = (
        AnswerField(name="texts", dimensions=1, lists=True, check=lambda array, task: None),
    )
    list_targets: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ()
    headline: ClassVar[str] = ""

    @property
    def unlabelled(self) -> Lists:
        """No reference."""
        return Lists.of([0], np.zeros(0, dtype=object))

    def read_targets(
        self, target: Target, columns: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], dict[str, Column]]:
        """Returns no classes, and the references as texts, by role."""
        return (), {role: _references(target.name, column) for role, column in columns.items()}

    def best_answer(self, capabilities: frozenset[str]) -> str:
        """Returns ``texts``."""
        return "texts"

    def from_array(self, array: NDArray[Any]) -> Answer:
        """Refuses: numbers are no texts.

        Raises:
            OutputError: always.
        """
        raise OutputError("expected texts, got an array: it takes a language model")

    def prediction(self, answer: Answer) -> NDArray[np.int64]:
        """Returns how many texts there are."""
        return answer.lists("texts").lengths

    def packed(self, targets: Lists) -> Lists:
        """Returns no references."""
        return Lists.of([0] * len(targets), np.zeros(0, dtype=object))

    def outcome_columns(self, answer: Answer, targets: Any, score_kind: str) -> dict[str, Column]:
        """Returns ``prediction``."""
        return {"prediction": self.prediction(answer)}

    def view(
        self, cell: CellEvidence, task: Task, ids: NDArray[np.object_] | None = None
    ) -> NDArray[np.object_]:
        """Returns the ids: nothing is judged."""
        return cell.samples.ids if ids is None else ids

    def view_of_outcomes(
        self, columns: Mapping[str, Any], cell: CellEvidence, task: Task
    ) -> NDArray[np.object_]:
        """Returns the ids."""
        return cell.samples.ids

    def quality(self, view: NDArray[np.object_]) -> NDArray[np.float64]:
        """Returns NaN."""
        return np.full(len(view), np.nan)

    def outcomes(self, view: NDArray[np.object_]) -> OutcomeView:
        """Returns that nothing is known to be right or wrong."""
        unknown = self.quality(view)
        return OutcomeView(view, np.full(len(view), "", object), unknown, unknown, unknown)


def _references(name: str, column: Any) -> Lists:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not is_list(column.type):
        lengths, values = np.ones(len(column), np.int64), column
    else:
        found = from_arrow(column)
        if not isinstance(found, Lists) or found.values.ndim != 1:
            raise InputError(f"target {name!r}: expected texts, got {column.type}")
        lengths, values = found.lengths, pa.array(found.values)
    if pa.types.is_nested(values.type):
        raise InputError(f"target {name!r}: expected texts or lists of them, got {column.type}")
    texts = np.array([str(value) for value in values.to_pylist()], dtype=object)
    return Lists.of(lengths, texts)
