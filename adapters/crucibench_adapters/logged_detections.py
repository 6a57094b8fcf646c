"""COCO results: what a detector once answered, joined to the annotations by image and category."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.lists import Lists
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import existing_file, parse_uri
from crucibench.util.coco import read_annotations, read_results
from crucibench.util.errors import InputError
from crucibench.util.hashing import file_digest


class LoggedDetections(Adapter):
    """A list of ``image_id``, ``category_id``, ``bbox`` (left, top, width, height) and ``score``.

    Which image and which class an id means, the annotations of the data say: of ``coco:`` data
    alone. An image without an entry has no detections.
    """

    capabilities = frozenset({Capability("boxes"), Capability.LABELS, Capability.SCORES})

    def __init__(self, file: Path, opening: Opening) -> None:
        """Reads the file.

        Raises:
            InputError: if the data is no ``coco:`` data, or an entry can't be meant.
        """
        self.task = opening.data.task
        # Nothing is asked of pixels, which may be shown: whatever sizes images have.
        self.input_spec = InputSpec(own_sizes=self.task.modality is Modality.IMAGE)
        self._file = file
        address = parse_uri(opening.data.uri)
        if file.suffix != ".json" or address.scheme != "coco":
            raise InputError(
                f"{file.name}: expected COCO results (.json) for data of the kind coco:, got "
                f"{file.suffix} for {address.scheme}:"
            )
        self._annotations = existing_file(opening.base, address.rest, "annotations")
        known = read_annotations(self._annotations)
        self._found = {str(key): one for key, one in read_results(file, known).items()}

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        """Opens the file that the address names."""
        return cls(existing_file(opening.base, opening.uri.rest, "predictions"), opening)

    def _predict(self, batch: Batch, want: Request) -> Answer:
        images = [self._found[key] for key in batch.keys]
        found = [one for image in images for one in image]
        lengths = [len(image) for image in images]
        boxes = np.array([one.box for one in found], dtype=np.float64).reshape(-1, 4)
        return Answer(
            boxes=Lists.of(lengths, boxes),
            labels=Lists.of(lengths, np.array([one.place for one in found], dtype=np.int64)),
            scores=Lists.of(lengths, np.array([one.score for one in found], dtype=np.float64)),
        )

    def fingerprint(self) -> Mapping[str, str] | None:
        """Returns the digests of the file, and of what says which images and classes ids mean."""
        return {"file": file_digest(self._file), "annotations": file_digest(self._annotations)}

    def diagnostics(self) -> Mapping[str, Any]:
        """Returns how answers are joined."""
        return {
            "notes": ["logged predictions, joined by image_id and category_id"],
            "preprocessing": {"encoding": "none: the inputs are not looked at"},
        }
