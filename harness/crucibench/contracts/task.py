"""What is asked of a model: the kind of task, its modality and its classes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal


class Modality(StrEnum):
    """The form of one sample."""

    IMAGE = "image"
    TEXT = "text"
    TABLE = "table"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a data set asks.

    Attributes:
        kind: ``classification`` (each sample has one class) or ``regression`` (one number).
        modality: the form of a sample.
        classes: class names in index order; empty for regression.
    """

    kind: Literal["classification", "regression"]
    modality: Modality
    classes: tuple[str, ...] = ()

    @property
    def binary(self) -> bool:
        """Whether there are exactly two classes."""
        return len(self.classes) == 2

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data, as it is stored."""
        return {"kind": self.kind, "modality": str(self.modality), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Task:
        """The inverse of `as_dict`."""
        return cls(
            kind=data["kind"],
            modality=Modality(data["modality"]),
            classes=tuple(data["classes"]),
        )


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How a binary model's score becomes a decision.

    Attributes:
        positive: the index of the positive class.
        threshold: the decision is positive where its probability is at least this.
    """

    positive: int = 1
    threshold: float = 0.5
