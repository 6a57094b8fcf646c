"""Object detectors in ONNX files: which outputs say what is declared in the address.

Images are asked about one by one, so that no answer depends on which lie together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.batch import Batch
from crucibench.contracts.task import OutputError
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest
from crucibench.util.suggest import unknown
from crucibench_adapters._onnx_file import OnnxFile, OnnxSession
from crucibench_adapters._onnx_io import feeder
from crucibench_adapters._outputs import label_places, list_answer, list_capabilities, scales_of

FORMS = ("xyxy", "xywh", "cxcywh")
UNITS = ("pixels", "share")
OPTIONS = ("boxes", "labels", "form", "unit")


class OnnxDetector(Adapter):
    """A detector whose outputs are boxes (m, 4), scores (m,) or (m, K), and labels (m,).

    Options: ``boxes``, ``scores`` and ``labels`` name the outputs (default: these words; without
    labels a box is of the class of its highest score); ``form=xyxy|xywh|cxcywh``, what a box's
    numbers are: two corners, the left upper corner and the size, or the middle and the size;
    ``unit=pixels|share``: of the model's input, or shares of its sides. A first side of 1 is left
    out. Nothing is suppressed: what the graph returns is what it detects.
    """

    def __init__(self, session: OnnxSession, file: OnnxFile, opening: Opening) -> None:
        what, query = file.path.name, opening.uri.query
        self.task = opening.data.task
        self._session, self._file, self._what = session, file, what
        names = [entry.name for entry in session.outputs]
        self._outputs = {part: query.get(part, part) for part in ("boxes", "scores", "labels")}
        if "labels" not in query and "labels" not in names:
            del self._outputs["labels"]
        for part, name in self._outputs.items():
            if name not in names:
                raise InputError(f"{what}: option {part}: {unknown('output', name, names)}")
        self._form, self._unit = query.get("form", FORMS[0]), query.get("unit", UNITS[0])
        self._feeder = feeder(session.inputs, file, opening)
        if self._feeder.batch not in (None, 1):
            raise InputError(
                f"{what}: it takes {self._feeder.batch} images at a time, a detector 1"
            )
        spec = self._feeder.input_spec
        self.input_spec = replace(spec, own_sizes=spec.size is None, fit="stretch")
        declared, own = opening.classes, file.classes
        if isinstance(declared, Mapping):
            own = None if own is None else tuple(declared.get(name, name) for name in own)
        elif declared is not None:
            own = declared
        self._places = label_places(own, self.task, what)
        self.capabilities = list_capabilities(self.task)

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        """Is never called: `OnnxAdapter.open` makes one."""
        raise NotImplementedError

    def _predict(self, batch: Batch, want: Request) -> Answer:
        found = [self._image(batch.inputs[row]) for row in range(len(batch))]
        scales = scales_of(batch, self.input_spec)
        return list_answer(found, self.task, scales, len(batch), self._places)

    def timed_raw(self, batch: Batch) -> object:
        """Returns what the graph returns."""
        return [self._asked(batch.inputs[row]) for row in range(len(batch))]

    def _asked(self, image: Any) -> Any:
        feeds = self._feeder.feeds(Batch(("asked",), image[None]))
        return self._session.run(list(self._outputs.values()), feeds, self._feeder.batch)

    def _image(self, image: Any) -> dict[str, NDArray[Any]]:
        parts = dict(zip(self._outputs, map(np.asarray, self._asked(image)), strict=True))
        for part, most in (("boxes", 2), ("scores", 2), ("labels", 1)):
            if part in parts and parts[part].ndim > 1 and parts[part].shape[0] == 1:
                # Of one image: (1, m, ...); a single box has no side to spare.
                whole = parts[part].ndim > most or part == "scores"
                parts[part] = parts[part][0] if whole else parts[part]
        boxes, scores = parts["boxes"].astype(np.float64), parts["scores"].astype(np.float64)
        if "labels" not in parts:
            if scores.ndim != 2:
                raise OutputError(
                    f"{self._what}: without labels expected scores (m, K), got {scores.shape}"
                )
            parts["labels"], scores = scores.argmax(axis=1), scores.max(axis=1, initial=-np.inf)
        labels = parts["labels"].astype(np.int64)
        if boxes.shape != (len(scores), 4) or scores.shape != labels.shape:
            raise OutputError(
                f"{self._what}: expected boxes (m, 4), scores (m,) and labels (m,), got "
                f"{boxes.shape}, {scores.shape} and {labels.shape}"
            )
        if self._unit == "share":
            boxes = boxes * np.tile(np.array(image.shape[:-3:-1], dtype=np.float64), 2)
        if self._form == "cxcywh":
            boxes[:, :2] -= boxes[:, 2:] / 2
        if self._form != "xyxy":
            boxes[:, 2:] += boxes[:, :2]
        return {"boxes": boxes, "labels": labels, "scores": scores}

    def fingerprint(self) -> Mapping[str, str] | None:
        """Returns the digests of the file and of what is done before and after it."""
        read = [self._outputs, self._form, self._unit]
        return {"weights": self._file.digest(), "preprocessing": self._feeder.digest(),
                "output": data_digest(read)}  # fmt: skip

    def diagnostics(self) -> Mapping[str, Any]:
        """Returns what the file says, and what is done to an image."""
        return {
            **self._file.facts, "parameters": self._file.parameters,
            "preprocessing": self._feeder.described(), "notes": list(self._session.notes),
        }  # fmt: skip

    def numerics(self) -> Mapping[str, str]:
        """Returns those of the session."""
        return self._session.numerics()
