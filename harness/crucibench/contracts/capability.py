"""What a model can be asked for, and in what form it wants its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from crucibench.contracts.task import Modality


class Capability(StrEnum):
    """Something that a model can answer, and that a scenario can require."""

    LABELS = "labels"
    SCORES = "scores"
    LOGITS = "logits"
    VALUES = "values"
    GRADIENTS = "gradients"
    FEATURES = "features"
    HEAD = "head"
    EMBEDDINGS = "embeddings"
    MISSING_VALUES = "missing-values"
    ANY_INPUT = "any-input"
    TREE = "tree"


ScoreKind = Literal["logits", "probabilities"]


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The canonical form of one sample, as a model wants it before it normalises or tokenises.

    Attributes:
        modality: None for a model that takes whatever the data set holds.
        channels: 1 or 3; None keeps what is stored.
        size: (height, width) in pixels; None keeps what is stored.
        resize: the interpolation, always with antialiasing.
        crop: the share of the shorter side that a central crop keeps after resizing to
            ``size / crop``.
        fit: ``crop`` keeps an image's proportions, and cuts off what is left over; ``stretch``
            gives it those of ``size``.
        columns: how many text columns there are to a sample.
    """

    modality: Modality | None = None
    channels: int | None = None
    size: tuple[int, int] | None = None
    resize: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    crop: float = 1.0
    fit: Literal["crop", "stretch"] = "crop"
    columns: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data: the canonical geometry that a comparison key holds."""
        return {
            "modality": str(self.modality) if self.modality else None,
            "channels": self.channels,
            "size": list(self.size) if self.size else None,
            "resize": self.resize,
            "crop": self.crop,
            "columns": self.columns,
            # Absent where it is as it always was, so that earlier results stay comparable.
            **({} if self.fit == "crop" else {"fit": self.fit}),
        }


def whole_geometry(geometry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a canonical geometry with every field, those too that its plain data leaves out."""
    return InputSpec().as_dict() | {"fit": "crop"} | dict(geometry)


def other_geometry(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Returns a text for each field in which two canonical geometries differ; none means alike."""
    ours, theirs = whole_geometry(first), whole_geometry(second)
    return [
        f"{name} {ours.get(name)} and {theirs.get(name)}"
        for name in ours | theirs
        if ours.get(name) != theirs.get(name)
    ]
