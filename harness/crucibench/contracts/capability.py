"""What a model can be asked for, and in what form it wants its inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from crucibench.contracts.task import Modality, task_kinds
from crucibench.util.errors import InputError
from crucibench.util.registry import OpenName


class Capability(OpenName):
    """Something that a model can answer, and that a scenario can require.

    One of these, an answer field of a registered task kind, or what a package declares
    (`Capability.declare`).
    """

    what = "capability"

    LABELS: ClassVar[Capability]
    SCORES: ClassVar[Capability]
    LOGITS: ClassVar[Capability]
    VALUES: ClassVar[Capability]
    GRADIENTS: ClassVar[Capability]
    FEATURES: ClassVar[Capability]
    HEAD: ClassVar[Capability]
    EMBEDDINGS: ClassVar[Capability]
    MISSING_VALUES: ClassVar[Capability]
    ANY_INPUT: ClassVar[Capability]
    TREE: ClassVar[Capability]
    TEXTS: ClassVar[Capability]
    LOGLIKELIHOODS: ClassVar[Capability]

    @classmethod
    def added(cls) -> Iterable[str]:
        """Returns the names of the answer fields of the registered task kinds."""
        for name in task_kinds().names():
            try:
                kind = task_kinds().get(name)
            except InputError:
                continue  # a broken plug-in breaks nothing but its own use
            yield from (field.name for field in kind.fields)


Capability.LABELS = Capability.declare("labels")
Capability.SCORES = Capability.declare("scores")
Capability.LOGITS = Capability.declare("logits")
Capability.VALUES = Capability.declare("values")
Capability.GRADIENTS = Capability.declare("gradients")
Capability.FEATURES = Capability.declare("features")
Capability.HEAD = Capability.declare("head")
Capability.EMBEDDINGS = Capability.declare("embeddings")
Capability.MISSING_VALUES = Capability.declare("missing-values")
Capability.ANY_INPUT = Capability.declare("any-input")
Capability.TREE = Capability.declare("tree")
Capability.TEXTS = Capability.declare("texts")
Capability.LOGLIKELIHOODS = Capability.declare("loglikelihoods")


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
        own_sizes: whether images keep the sizes that they have: a batch is then a list of tensors
            (C, H, W), and the adapter owns its resize and the inverse, so that places in an answer
            are those of the decoded image.
    """

    modality: Modality | None = None
    channels: int | None = None
    size: tuple[int, int] | None = None
    resize: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    crop: float = 1.0
    fit: Literal["crop", "stretch"] = "crop"
    columns: int = 1
    own_sizes: bool = False

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
            **({"own_sizes": True} if self.own_sizes else {}),
        }


def whole_geometry(geometry: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a canonical geometry with every field, those too that its plain data leaves out."""
    return InputSpec().as_dict() | {"fit": "crop", "own_sizes": False} | dict(geometry)


def other_geometry(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Returns a text for each field in which two canonical geometries differ; none means alike."""
    ours, theirs = whole_geometry(first), whole_geometry(second)
    return [
        f"{name} {ours.get(name)} and {theirs.get(name)}"
        for name in ours | theirs
        if ours.get(name) != theirs.get(name)
    ]
