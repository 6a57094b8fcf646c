"""What inputs look like without any model: trivial statistics, by which easy sets are told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.batch import Batch
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Work
from crucibench.contracts.task import Modality

PREFIX = "input_"
"""Columns of statistics begin with it."""


@dataclass(frozen=True, kw_only=True)
class Inputs(Mapped):
    """Measures the inputs of a role; it asks the model nothing."""

    suite: str = "ood"
    version: ClassVar[int] = 2

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample."""
        return {"id": list(work.batch.ids), **measured(work.batch, context.adapter.task.modality)}


def measured(batch: Batch, modality: Modality) -> dict[str, NDArray[np.float64]]:
    """Returns the statistics of a batch by column name, each of shape (N,)."""
    found = dict(_MEASURES[modality](batch.inputs))
    if batch.stored:
        found["stored height"], found["stored width"] = zip(*batch.stored, strict=True)
    return {f"{PREFIX}{name}": np.asarray(values, dtype=np.float64)
            for name, values in found.items()}  # fmt: skip


def _of_images(images: Any) -> Mapping[str, Any]:
    flat = images.double().flatten(start_dim=1)
    found = {"brightness": flat.mean(dim=1), "contrast": flat.std(dim=1, correction=0)}
    across = images.double().diff(dim=3).abs().flatten(start_dim=1)
    if across.shape[1]:
        found["roughness"] = across.mean(dim=1)
    return {name: values.numpy() for name, values in found.items()}


def _of_texts(texts: Any) -> Mapping[str, Any]:
    joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
    words = [text.split() for text in joined]
    return {
        "characters": [len(text) for text in joined],
        "words": [len(entry) for entry in words],
        "distinct words": [len(set(entry)) / max(1, len(entry)) for entry in words],
    }


def _of_tables(frame: Any) -> Mapping[str, Any]:
    missing = frame.isna().to_numpy().mean(axis=1)
    numbers = frame.select_dtypes("number")
    if not len(numbers.columns):
        return {"missing values": missing}
    matrix = np.nan_to_num(numbers.to_numpy(dtype=np.float64, na_value=np.nan))
    return {
        "missing values": missing,
        "mean of numbers": matrix.mean(axis=1),
        "largest number": np.abs(matrix).max(axis=1),
    }


_MEASURES: Mapping[Modality, Callable[[Any], Mapping[str, Any]]] = {
    Modality.IMAGE: _of_images,
    Modality.TEXT: _of_texts,
    Modality.TABLE: _of_tables,
}
