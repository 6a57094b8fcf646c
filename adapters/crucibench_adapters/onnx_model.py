"""``onnx:``: a model in an ONNX file, run by ONNX Runtime.

Reading and running one executes no code of the file's. What the file may say of itself, beside its
graph, in its metadata: ``classes`` (a JSON list, or names with commas between) and
``crucibench_input`` (JSON, as for torch: range, mean, std, size, channels, resize, crop, fit).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request, Sources
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.task import Modality, OutputError
from crucibench.contracts.uri import URI, existing_file
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest
from crucibench.util.suggest import unknown
from crucibench.util.user_errors import one_line
from crucibench_adapters._classes import ClassMap, LabelMap, shown
from crucibench_adapters._onnx_boxes import FORMS, UNITS, OnnxDetector
from crucibench_adapters._onnx_boxes import OPTIONS as OF_BOXES
from crucibench_adapters._onnx_file import OnnxFile, OnnxForm, OnnxSession, in_form, read_onnx
from crucibench_adapters._onnx_io import (
    KINDS,
    LAYOUTS,
    Feeder,
    Output,
    choose_output,
    feeder,
    read_scores,
)
from crucibench_adapters._outputs import capabilities_of, list_fields
from crucibench_adapters._preprocessing import made_up

_OPTIONS = ("output", "scores", "input", "layout", "providers")
_KNOWN = {"output": KINDS, "layout": LAYOUTS, "form": FORMS, "unit": UNITS}


class OnnxAdapter(Adapter):
    """A model in an ONNX file.

    Options: ``output=logits|probabilities|labels`` (default: logits, unless the graph ends in a
    Softmax or Sigmoid, or gives labels and probabilities as scikit-learn's converters do);
    ``scores=NAME`` (which output, where several hold numbers); ``input=NAME``;
    ``layout=nchw|nhwc|flat`` (default: by the shape of the input); ``providers=NAME,NAME`` (of
    ONNX Runtime, e.g. ``cuda,cpu``; default: those of the device). Float16, double and uint8 inputs
    are cast to; a fixed batch is filled up. Detectors: see `OnnxDetector`.
    """

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        uri.only(*_OPTIONS, *OF_BOXES)
        for option, known in _KNOWN.items():
            value = uri.query.get(option, known[0])
            if value not in known:
                raise InputError(unknown(f"{option} of onnx:", value, known))
        file = _file(uri, base)
        return Sources((file, *read_onnx(file).external))

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        file = cls.sources(opening.uri, opening.base).files[0]
        if list_fields(opening.data.task):
            return OnnxDetector(_session(file, opening), read_onnx(file), opening)
        opening.uri.only(*_OPTIONS)
        return cls(_session(file, opening), read_onnx(file), opening)

    def __init__(
        self, session: OnnxSession, file: OnnxFile, opening: Opening, form: OnnxForm | None = None
    ) -> None:
        self.task = opening.data.task
        self._opening = opening
        self._form = form
        self._session: OnnxSession = session
        self._file = file
        self._what = file.path.name
        self._feeder: Feeder = feeder(session.inputs, file, opening)
        self._output: Output = choose_output(session.outputs, file, self.task, opening.uri)
        self.input_spec = self._feeder.input_spec
        self.normalisation = self._feeder.normalisation
        self.score_kind = self._output.kind
        self._classes = ClassMap.by_position(0)
        self._labels: LabelMap | None = None
        self._digest = file.digest()
        self._look(opening)
        self.capabilities = self._claimed(opening)

    def _predict(self, batch: Batch, want: Request) -> Answer:
        answer = self._answer(batch)
        if self._output.form == "values":
            values = np.asarray(answer)
            values = values.astype(np.promote_types(values.dtype, np.float32))
            return Answer(values=values.ravel() if values.size == len(batch) else values)
        if self._labels is not None:
            labels = np.asarray(answer)
            flat = labels.ravel() if labels.size == len(batch) else labels
            return Answer(labels=self._labels.indices(flat))
        own = read_scores(answer, self._output, self.task)
        scores = self._classes.apply_scores(own, self.score_kind)
        best = scores.argmax(axis=1) if "labels" in want and scores.ndim == 2 else None
        return Answer(scores=scores, labels=best)

    def fingerprint(self) -> Mapping[str, str] | None:
        return {
            "weights": self._digest,
            "preprocessing": self._feeder.digest(),
            "output": data_digest([self._output.name, self._output.form, self._output.kind]),
            **(self._labels or self._classes).fingerprint(),
            **({} if self._form is None else {"variant": self._form.name}),
        }

    def with_variant(self, name: str) -> Adapter:
        if name == "fp32":
            return self
        batch = made_up(self._opening.data, self.input_spec)
        feeds = {} if batch is None else self._feeder.feeds(batch.take(range(1)))
        shapes = {key: array.shape for key, array in feeds.items()} or None
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                form = in_form(name, self._file.path, Path(folder), shapes, self._session.device)
                session = _session(form.path or self._file.path, self._opening, form.threads)
            except InputError as error:
                raise type(error)(f"{self._what}: {error}", detail=error.detail) from error
            return type(self)(session, self._file, self._opening, form)

    def diagnostics(self) -> Mapping[str, Any]:
        found: dict[str, Any] = {
            **self._file.facts,
            "parameters": self._file.parameters,
            "inputs": {entry.name: _type_and_shape(entry) for entry in self._session.inputs},
            "outputs": {entry.name: _type_and_shape(entry) for entry in self._session.outputs},
            "preprocessing": self._feeder.described(),
            "notes": [*self._session.notes, *([self._output.note] if self._output.note else [])],
        }
        if self._form is not None:
            found |= self._form.measured
            found["notes"] += self._form.notes
        if self._feeder.batch is not None:
            size = self._feeder.batch
            found["notes"].append(f"the model takes {size} samples at a time, filled up by us")
        return found | self._classes.diagnostics()

    def numerics(self) -> Mapping[str, str]:
        return self._session.numerics()

    def _answer(self, batch: Batch) -> Any:
        feeds = self._feeder.feeds(batch)
        return self._session.run([self._output.name], feeds, self._feeder.batch)[0]

    def _look(self, opening: Opening) -> None:
        """Asks about made-up samples, and matches the classes.

        Raises:
            InputError: if the model fails, or its classes are not the data's.
        """
        batch = made_up(opening.data, self.input_spec)
        answer = None
        if batch is not None:
            feeds = self._feeder.feeds(batch)
            try:
                answer = self._session.run([self._output.name], feeds, self._feeder.batch)[0]
            except Exception as error:
                shapes = ", ".join(str(array.shape) for array in feeds.values())
                raise InputError(
                    f"{self._what} raised {one_line(error)} on made-up samples of shape {shapes}"
                ) from None
        if self.task.one_number:
            self._check_values(answer, batch)
        elif self._output.form == "labels":
            self._read_labels(opening)
        else:
            self._match_classes(answer, opening)

    def _read_labels(self, opening: Opening) -> None:
        # Whole numbers that a classifier's own list holds, or that could be the data's numerals,
        # are names; others are positions.
        names, declared = self._file.classes, opening.classes
        numerals = all(name.lstrip("-").isdigit() for name in self.task.classes)
        listed = names is not None and self._file.labelled
        if listed and names is not None and isinstance(declared, tuple):
            if len(names) != len(declared):
                raise InputError(
                    f"{self._what}: classes: expected one name for each of {shown(names)}, "
                    f"got {shown(declared)}"
                )
            declared = dict(zip(names, declared, strict=True))
        self._labels = LabelMap(
            self.task,
            self._what,
            names=names,
            declared=declared,
            numbers_are_names=listed or (names is None and declared is None and numerals),
        )
        if self._labels.classes is not None:
            self._classes = self._labels.classes

    def _match_classes(self, answer: Any, opening: Opening) -> None:
        names, width = self._file.classes, None
        if self._output.form == "maps" and answer is not None:
            names = tuple(map(str, answer[0]))
        if answer is not None:
            try:
                scores = read_scores(answer, self._output, self.task)
            except OutputError as error:
                raise InputError(f"{self._what}: {error}") from error
            if scores.ndim != 2:
                raise InputError(
                    f"{self._what}: expected scores of shape (N, K) from output "
                    f"{self._output.name!r}, got {scores.shape}"
                )
            width = scores.shape[1]
        self._classes = ClassMap.match(
            names, self.task, self._what, declared=opening.classes, width=width
        )

    def _check_values(self, answer: Any, batch: Batch | None) -> None:
        if answer is not None and batch is not None and np.size(answer) != len(batch):
            raise InputError(
                f"{self._what}: expected one number a sample from output {self._output.name!r}, "
                f"got shape {np.shape(answer)} for {len(batch)} samples"
            )

    def _claimed(self, opening: Opening) -> frozenset[Capability]:
        scored = self._output.form in {"scores", "maps"}
        claimed = capabilities_of(self.score_kind if scored else self._output.form)
        if self.task.modality is Modality.TABLE and self._takes_missing(opening):
            claimed |= {Capability.MISSING_VALUES}
        return claimed

    def _takes_missing(self, opening: Opening) -> bool:
        batch = made_up(opening.data, self.input_spec)
        if batch is None or not self._feeder.missing or self._labels is not None:
            return False  # a label does not tell whether it was made of NaN
        frame = batch.inputs.astype("float64")
        frame.iloc[:, :] = np.nan
        want = frozenset({"values" if self.task.one_number else "labels"})
        try:
            outputs = self._predict(batch.with_inputs(frame), want)
        except Exception:
            return False  # it says so itself
        found = outputs.values if outputs.scores is None else outputs.scores
        return found is None or bool(np.isfinite(found).all())


def _session(file: Path, opening: Opening, threads: int | None = None) -> OnnxSession:
    providers, auto = opening.uri.names("providers"), opening.auto_device
    return OnnxSession(file, opening.device, providers, auto=auto, threads=threads)


def _file(uri: URI, base: Path) -> Path:
    if Path(uri.rest).suffix != ".onnx":
        raise InputError(f"onnx {uri.rest!r}: expected FILE.onnx")
    return existing_file(base, uri.rest, "model")


def _type_and_shape(entry: Any) -> str:
    sides = ["?" if side is None else str(side) for side in entry.shape]
    return f"{entry.type} {' x '.join(sides)}".strip()
