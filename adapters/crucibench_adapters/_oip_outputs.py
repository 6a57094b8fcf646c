"""From a served model's answer to outputs in the data's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Answer, Opening
from crucibench.contracts.capability import ScoreKind
from crucibench.contracts.task import OutputError, Task
from crucibench.util.errors import InputError
from crucibench_adapters._classes import ClassMap, LabelMap
from crucibench_adapters._oip_tensors import FLOATS, Tensor, name_shown
from crucibench_adapters._outputs import two_columns


def output_of(declared: Sequence[Tensor], wanted: str | None) -> Tensor | None:
    """Returns the output that is read: the one that is wanted, the only one, or the only scores.

    None where the server does not say which there are and the URI neither.

    Raises:
        InputError: if there is none of that name, or nothing says which of several is meant.
    """
    if wanted is not None:
        named = [tensor for tensor in declared if tensor.name == wanted]
        # A server may give more than its metadata tells: MLServer's predict_proba is such.
        return named[0] if named else Tensor(wanted, "")
    if len(declared) < 2:
        return declared[0] if declared else None
    scores = [t for t in declared if t.datatype in FLOATS and len(t.shape) == 2]
    if len(scores) != 1:
        raise InputError(
            f"the model has {len(declared)} outputs: say ?outputs=NAME "
            f"({', '.join(map(str, declared))})"
        )
    return scores[0]


def kind_of(given: str | None, output: Tensor | None, task: Task) -> str:
    """Returns what the output holds: one of `KINDS`.

    Raises:
        InputError: if that is not what the data asks for, or the datatype can't hold it.
    """
    regression = task.one_number
    number = output is None or output.datatype in FLOATS | {""}
    kind = given or ("values" if regression else "probabilities" if number else "labels")
    if (kind == "values") != regression:
        raise InputError(f"output={kind}: the data asks for {task.kind}")
    if kind in {"probabilities", "logits"} and not number:
        raise InputError(f"output={kind}: the model's output {output} holds no such numbers")
    return kind


class OutputReader:
    """Reads the answers of one model."""

    def __init__(
        self, kind: str, output: Tensor | None, opening: Opening, labels: Sequence[str], what: str
    ) -> None:
        """Takes what is known before anything is asked.

        Args:
            kind: one of `KINDS`.
            output: the one that is read; None where the server does not say.
            opening: tells the data, and what the spec says of classes.
            labels: the model's classes in its own order, empty where the server does not say.
            what: how messages call the model.

        Raises:
            InputError: if the model's classes don't match the data's.
        """
        self._kind = kind
        self._name = None if output is None else output.name
        self._task = opening.data.task
        self.notes: tuple[str, ...] = ()
        self._labels: LabelMap | None = None
        self._classes: ClassMap | None = None
        if kind == "labels":
            known = bool(labels) or opening.classes is not None
            # Numbers that name the data's classes are no positions: 1 of (1, 2, 3) is the first.
            named = all(entry.lstrip("-").isdigit() for entry in self._task.classes)
            self._labels = LabelMap(
                self._task,
                what,
                names=labels or None,
                declared=opening.classes,
                numbers_are_names=named and not known,
            )
        elif kind != "values":
            self._classes = ClassMap.match(
                labels or None,
                self._task,
                what,
                declared=opening.classes,
                width=_width(output, self._task),
            )
            self.notes = (self._classes.note,) if self._classes.note else ()

    @property
    def score_kind(self) -> ScoreKind:
        """What the scores are."""
        return "logits" if self._kind == "logits" else "probabilities"

    def pick(
        self, outputs: Mapping[str, tuple[str, NDArray[Any]]], rows: int
    ) -> tuple[str, NDArray[Any]]:
        """Returns datatype and content of the output that is read, `rows` rows.

        Raises:
            OutputError: if it is not there, or has another number of rows.
        """
        if self._name is None and len(outputs) == 1:
            name, (datatype, array) = next(iter(outputs.items()))
        elif self._name in outputs:
            name = str(self._name)
            datatype, array = outputs[name]
        else:
            names = ", ".join(map(name_shown, outputs)) or "none"
            wanted = f"no output {name_shown(self._name)}" if self._name else "several outputs"
            raise OutputError(f"the answer has {wanted} (it has: {names}): say ?outputs=NAME")
        if array.ndim == 0 or len(array) != rows:
            raise OutputError(
                f"output {name_shown(name)}: {rows} samples were asked about, the answer has shape "
                f"{array.shape}"
            )
        return datatype, array

    def outputs(self, datatype: str, array: NDArray[Any]) -> Answer:
        """Returns the answer to a batch.

        Raises:
            OutputError: if it holds something else than it should.
        """
        if self._labels is not None:
            return Answer(labels=self._labels.indices(self._whole(_flat(array))))
        if datatype not in FLOATS and not (self._kind == "values" and datatype != "BYTES"):
            raise OutputError(
                f"expected {self._kind} as FP16, BF16, FP32 or FP64, got {datatype}; for labels "
                "say ?output=labels, for another output ?outputs=NAME"
            )
        if self._kind == "values":
            return Answer(values=_flat(array).astype(np.float64))
        scores = self._scores(array)
        labels = scores.argmax(axis=1) if scores.ndim == 2 and scores.shape[1] else None
        return Answer(scores=scores, labels=labels)

    def _scores(self, array: NDArray[Any]) -> NDArray[np.floating[Any]]:
        # 16 bits are what the answer had; sums of them are made in more.
        array = array.astype(np.float32) if array.dtype.itemsize < 4 else array
        if array.ndim > 2 and array[0].size == max(array.shape[1:]):
            array = array.reshape(len(array), -1)  # (N, K, 1, 1), as convolutions leave it
        array = two_columns(array, self._kind, self._task)
        if self._classes is None or array.ndim != 2:
            return array  # `predict` tells what is wrong with its shape
        found: NDArray[np.floating[Any]] = self._classes.apply_scores(array, self.score_kind)
        return found

    def _whole(self, array: NDArray[Any]) -> NDArray[Any]:
        if array.dtype.kind == "f":
            raise OutputError(
                "expected labels as whole numbers or BYTES, got floats; ?output=probabilities or "
                "logits says that they are scores"
            )
        names = set(self._task.classes) == {"False", "True"}
        return array.astype(np.int64) if array.dtype.kind == "b" and not names else array


def _width(output: Tensor | None, task: Task) -> int | None:
    """Returns how many columns of scores there will be, or None where nothing says."""
    if output is None or len(output.shape) < 2:
        return None
    width = max(output.shape[1:])
    if width < 1 or -1 in output.shape[1:]:
        return None
    return 2 if width == 1 and task.binary else width


def _flat(array: NDArray[Any]) -> NDArray[Any]:
    return array.reshape(-1) if array.ndim == 2 and array.shape[1] == 1 else array
