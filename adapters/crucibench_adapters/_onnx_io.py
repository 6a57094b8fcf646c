"""From a batch in canonical form to what an ONNX model wants to be fed."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Normalisation, Opening
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import InputSpec, ScoreKind
from crucibench.contracts.task import Modality, OutputError, Task
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown
from crucibench_adapters._named_inputs import NamedInput, TableInputs, text_arrays
from crucibench_adapters._onnx_file import Feeds, OnnxFile
from crucibench_adapters._outputs import two_columns
from crucibench_adapters._preprocessing import (
    described_preprocessing,
    normalised,
    preprocessing,
    preprocessing_digest,
    stored_form,
)

LAYOUTS = ("nchw", "nhwc", "flat")
_TYPES: dict[str, Any] = {
    "float": np.float32,
    "float16": np.float16,
    "double": np.float64,
    "uint8": np.uint8,
    "int32": np.int32,
    "int64": np.int64,
    "bool": np.bool_,
    "string": np.object_,
}
_PIXELS = ("float", "float16", "double", "uint8")
_CHANNELS = re.compile(r"c|.*chan.*", re.IGNORECASE)


class Feeder(ABC):
    """Makes feeds of batches.

    Attributes:
        input_spec: the canonical form that the model wants.
        normalisation: what is done to pixels.
        batch: how many samples the model takes at once, or None for any number.
        missing: whether missing values reach the model as such.
        form: layout and element types: what is done beside the above.
    """

    input_spec: InputSpec
    normalisation: Normalisation | None = None
    batch: int | None = None
    missing: bool = False
    form: tuple[str, ...] = ()

    @abstractmethod
    def feeds(self, batch: Batch) -> Feeds:
        """Returns arrays by input name.

        Raises:
            InputError: if the batch has not what the model wants.
        """

    @abstractmethod
    def described(self) -> dict[str, str]:
        """Returns what is done to a sample, for people."""

    def digest(self) -> str:
        """Returns a digest of what is done to a sample."""
        return preprocessing_digest(self.input_spec, self.normalisation, list(self.form))


def feeder(inputs: Sequence[Any], file: OnnxFile, opening: Opening) -> Feeder:
    """Returns what makes feeds of the data's batches for a model with `inputs`.

    Raises:
        InputError: if the model can't take the data.
    """
    what, uri = file.path.name, opening.uri
    names = [entry.name for entry in inputs]
    if "input" in uri.query:
        if uri.query["input"] not in names:
            raise InputError(f"{what}: " + unknown("input", uri.query["input"], names))
        if len(names) > 1:
            others = ", ".join(name for name in names if name != uri.query["input"])
            raise InputError(f"{what}: option input: it needs its other inputs too: {others}")
    if not inputs:
        raise InputError(f"{what}: it has no inputs")
    for entry in inputs:
        if _kind(entry) not in _TYPES:
            known = ", ".join(_TYPES)
            raise InputError(f"{what}: input {entry.name!r} is {entry.type}; known: {known}")
    modality = opening.data.task.modality
    if "layout" in uri.query and modality is not Modality.IMAGE:
        raise InputError(f"{what}: option layout is for images")
    if modality is Modality.IMAGE:
        if len(inputs) > 1:
            raise InputError(f"{what}: expected one input for images, got {', '.join(names)}")
        return ImageFeeder(inputs[0], file, opening)
    # Raises if the spec normalises what is no image.
    preprocessing(SimpleNamespace(crucibench_input=dict(file.declared)), opening, what)
    if modality is Modality.TEXT:
        return TextFeeder(inputs, what, opening)
    if modality is not Modality.TABLE:
        raise InputError(f"{what}: expected images, a table or texts, the data holds {modality}s")
    return TableFeeder(inputs, what, opening)


class ImageFeeder(Feeder):
    """Pixels: normalised in float32, laid out, cast."""

    def __init__(self, entry: Any, file: OnnxFile, opening: Opening) -> None:
        what = file.path.name
        shape = list(entry.shape)
        self._name = entry.name
        self._kind = _kind(entry)
        if self._kind not in _PIXELS:
            raise InputError(
                f"{what}: input {entry.name!r} is {entry.type}, expected pixels as "
                f"{', '.join(_PIXELS)}"
            )
        self._layout = _layout(shape, opening.uri.query.get("layout", ""), what, entry.name)
        declared = _of_shape(shape, self._layout, self._kind)
        for key, value in file.declared.items():
            if declared.setdefault(key, value) != value:
                raise InputError(
                    f"{what}: its metadata declares {key} {value}, its input has {declared[key]}"
                )
        module = SimpleNamespace(crucibench_input=declared)
        self.input_spec, self.normalisation = preprocessing(module, opening, what)
        self.batch = _fixed(shape[0])
        self.form = (self._layout, self._kind)

    def feeds(self, batch: Batch) -> Feeds:
        pixels: NDArray[Any] = batch.inputs.detach().cpu().numpy()
        if self.normalisation is not None:
            pixels = normalised(pixels, self.normalisation)
        if self._kind == "uint8":
            pixels = np.rint(pixels).clip(0, 255)
        if self._layout == "nhwc":
            pixels = pixels.transpose(0, 2, 3, 1)
        elif self._layout == "flat":
            pixels = pixels.reshape(len(pixels), -1)
        return {self._name: np.ascontiguousarray(pixels, dtype=_TYPES[self._kind])}

    def described(self) -> dict[str, str]:
        dtype = str(np.dtype(_TYPES[self._kind]))
        if self._kind == "uint8":
            dtype += ", rounded"
        layout = {"flat": "N x (C * H * W)"}.get(self._layout, self._layout.upper())
        return described_preprocessing(self.input_spec, self.normalisation, dtype, layout)


class TableFeeder(Feeder):
    """Columns: one input for each, found by name, or one input for all in their order."""

    def __init__(self, inputs: Sequence[Any], what: str, opening: Opening) -> None:
        self.input_spec = stored_form(opening.data)
        kinds = [_kind(entry) for entry in inputs]
        self._types = {entry.name: _TYPES[_kind(entry)] for entry in inputs}
        columns = list(opening.data.features)
        self._table = TableInputs(list(map(_named, inputs)), columns, f"{what}: ")
        self.batch = _common_batch(inputs, what)
        self.form = (str(self._table.stacked), *kinds)
        self.missing = all(kind in {"float", "float16", "double"} for kind in kinds)

    def feeds(self, batch: Batch) -> Feeds:
        found = self._table.arrays(batch.inputs)
        return {name: array.astype(self._types[name]) for name, array in found.items()}

    def described(self) -> dict[str, str]:
        dtypes = dict.fromkeys(str(np.dtype(kind)) for kind in self._types.values())
        stacked = self._table.stacked
        how = "columns in their order, one input" if stacked else "an input for each column"
        return {"encoding": how, "dtype": ", ".join(dtypes)}


class TextFeeder(Feeder):
    """Texts as strings: the model holds its own tokenizer."""

    def __init__(self, inputs: Sequence[Any], what: str, opening: Opening) -> None:
        self.input_spec = stored_form(opening.data)
        self._inputs = list(map(_named, inputs))
        numbers = [entry.name for entry in inputs if _kind(entry) != "string"]
        if numbers:
            raise InputError(
                f"{what}: its inputs {', '.join(numbers)} are numbers: a model for texts must take "
                "strings; for one with a tokenizer beside it use hf:"
            )
        if len(inputs) not in {1, self.input_spec.columns}:
            raise InputError(
                f"{what}: it has {len(inputs)} inputs, the data {self.input_spec.columns} columns"
            )
        self.batch = _common_batch(inputs, what)

    def feeds(self, batch: Batch) -> Feeds:
        return text_arrays(self._inputs, batch.inputs)

    def described(self) -> dict[str, str]:
        return {"encoding": "strings as they are", "dtype": "string"}


def _named(entry: Any) -> NamedInput:
    kind = _kind(entry)
    dtype = "string" if kind == "string" else str(np.dtype(_TYPES[kind]))
    # Of a tensor of no known rank, a column is taken to be (N, 1).
    shape = tuple(map(_fixed, entry.shape)) or (None, None)
    return NamedInput(entry.name, dtype, shape, f"input {entry.name!r}")


def _kind(entry: Any) -> str:
    """Returns the element type of a tensor: ``float`` of ``tensor(float)``; else the whole type."""
    match = re.fullmatch(r"tensor\((\w+)\)", entry.type)
    return match[1] if match else str(entry.type)


def _fixed(size: Any) -> int | None:
    return size if isinstance(size, int) and size > 0 else None


def _common_batch(inputs: Sequence[Any], what: str) -> int | None:
    sizes = {_fixed(entry.shape[0]) if entry.shape else None for entry in inputs}
    if len(sizes) > 1:
        raise InputError(f"{what}: its inputs take different numbers of samples")
    return sizes.pop()


def _layout(shape: list[Any], wanted: str, what: str, name: str) -> str:
    if wanted and wanted not in LAYOUTS:
        raise InputError(f"{what}: " + unknown("layout", wanted, LAYOUTS))
    shown = " x ".join("?" if side is None else str(side) for side in shape)
    if len(shape) == 2:
        found = ["flat"]
    elif len(shape) == 4:
        sides = {"nchw": shape[1], "nhwc": shape[3]}
        found = [key for key, side in sides.items() if side in (1, 3)]
        if not found and not any(isinstance(side, int) for side in sides.values()):
            found = [key for key, side in sides.items() if _CHANNELS.fullmatch(str(side))]
        found = [wanted] if wanted in sides else found
    else:
        found = []
    if wanted and found != [wanted]:
        raise InputError(f"{what}: layout {wanted!r} does not suit input {name!r}: {shown}")
    if not found and len(shape) != 4:
        raise InputError(f"{what}: input {name!r} is no batch of images: {shown}")
    if len(found) != 1:
        raise InputError(
            f"{what}: input {name!r}: {shown} does not tell where the channels are: say "
            "layout=nchw or layout=nhwc"
        )
    return found[0]


def _of_shape(shape: list[Any], layout: str, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {"range": [0, 255]} if kind == "uint8" else {}
    if layout == "flat":
        return found
    channels, *sides = shape[1:] if layout == "nchw" else (shape[3], *shape[1:3])
    if _fixed(channels):
        found["channels"] = channels
    if all(_fixed(side) for side in sides):
        found["size"] = sides
    return found


# Which outputs of an ONNX model say what, and reading them.

KINDS = ("logits", "probabilities", "labels")
_NUMBERS = ("tensor(float)", "tensor(float16)", "tensor(double)")
_LABEL_TYPES = ("tensor(int64)", "tensor(int32)", "tensor(string)")
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
    labels = [entry.name for entry in outputs if entry.type in _LABEL_TYPES]
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
            raise InputError(
                f"{what}: expected one output of labels, got {_shown_outputs(outputs)}"
            )
        return Output(labels[0], "labels", "probabilities")
    if len(scores) != 1:
        ask = ": say scores=NAME" if scores else ""
        raise InputError(
            f"{what}: expected one output of numbers, got {_shown_outputs(outputs)}{ask}"
        )
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


def _shown_outputs(outputs: Sequence[Any]) -> str:
    return ", ".join(f"{entry.name} {entry.type}" for entry in outputs)
