"""Which outputs of an ONNX model say what, and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import ScoreKind
from crucibench.contracts.task import OutputError, Task
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench_adapters._onnx_file import OnnxFile
from crucibench_adapters._outputs import two_columns

KINDS = ("logits", "probabilities", "labels")
_NUMBERS = ("tensor(float)", "tensor(float16)", "tensor(double)")
_LABELS = ("tensor(int64)", "tensor(int32)", "tensor(string)")
_NORMALISING = ("Softmax", "Sigmoid")
_NOISE = 1e-2


@dataclass(frozen=True)
class Output:
    """The output that is read.

    Attributes:
        name: of it.
        form: what it holds; ``maps`` is one dict from class to probability a sample.
        kind: what scores are.
        sure: whether the graph or the user says so, or only that it looks like scikit-learn's.
        note: how it was found out, or "".
    """

    name: str
    form: Literal["values", "labels", "scores", "maps"]
    kind: ScoreKind = "logits"
    sure: bool = True
    note: str = ""


def choose_output(outputs: Sequence[Any], file: OnnxFile, task: Task, uri: URI) -> Output:
    """Decides which output answers the task.

    Raises:
        InputError: if none does, or several may.
    """
    what = file.path.name
    wanted = uri.query.get("output", "")
    if wanted and task.one_number:
        raise InputError(f"{what}: option output is for classification")
    labels = [entry.name for entry in outputs if entry.type in _LABELS]
    scores = [entry for entry in outputs if entry.type in _NUMBERS or _is_maps(entry)]
    named = uri.query.get("scores", "")
    if named:
        if named not in [entry.name for entry in scores]:
            raise InputError(
                f"{what}: " + unknown("output of scores", named, [entry.name for entry in scores])
            )
        scores = [entry for entry in scores if entry.name == named]
    if wanted == "labels" or (not scores and labels and task.one_class):
        if len(labels) != 1:
            raise InputError(f"{what}: expected one output of labels, got {_listed(outputs)}")
        return Output(labels[0], "labels", "probabilities")
    if len(scores) != 1:
        ask = ": say scores=NAME" if scores else ""
        raise InputError(f"{what}: expected one output of numbers, got {_listed(outputs)}{ask}")
    (entry,) = scores
    if task.one_number:
        return Output(entry.name, "values")
    form: Literal["scores", "maps"] = "maps" if _is_maps(entry) else "scores"
    if wanted:
        return Output(entry.name, form, cast("ScoreKind", wanted))
    maker = file.makers.get(entry.name, "")
    if maker in _NORMALISING:
        note = f"scores are probabilities: output {entry.name!r} is made by {maker}"
        return Output(entry.name, form, "probabilities", note=note)
    if form == "maps" or labels:
        note = f"output {entry.name!r} beside labels is taken as probabilities"
        return Output(entry.name, form, "probabilities", sure=False, note=note)
    return Output(entry.name, form, "logits")


def read_scores(answer: Any, output: Output, task: Task) -> NDArray[Any]:
    """Returns scores, (N, columns), in the model's order.

    Raises:
        OutputError: if they are not numbers for each sample.
    """
    if output.form == "maps":
        keys = list(answer[0])
        try:
            answer = np.array([[row[key] for key in keys] for row in answer], dtype=np.float32)
        except KeyError as error:
            raise OutputError(f"scores: not every sample has class {error}") from error
    answer = np.asarray(answer)
    if answer.dtype == np.float16:
        answer = answer.astype(np.float32)
    answer = two_columns(answer, output.kind, task)
    if not output.sure:
        check_distribution(answer, output)
    return cast("NDArray[Any]", answer)


def check_distribution(scores: NDArray[Any], output: Output) -> None:
    """Raises OutputError unless rows are probabilities: some converters give margins that name."""
    if scores.ndim != 2 or not np.isfinite(scores).all():
        return  # refused elsewhere
    off = float(np.abs(scores.sum(axis=1) - 1).max(initial=0.0))
    if scores.min(initial=0.0) < 0 or off > _NOISE:
        raise OutputError(
            f"output {output.name!r} stands beside labels and is no probability (a row's sum is "
            f"off 1 by {off:.3g}): say output=logits or output=probabilities"
        )


def _is_maps(entry: Any) -> bool:
    return str(entry.type).startswith("seq(map(")


def _listed(outputs: Sequence[Any]) -> str:
    return ", ".join(f"{entry.name} {entry.type}" for entry in outputs)
