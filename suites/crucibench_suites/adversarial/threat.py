"""What an attacker may do, as typed data: no robustness number exists without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from crucibench.contracts.attack import Floats, Norm
from crucibench.util.draws import Draws
from crucibench.util.numbers import Number
from crucibench.util.suggest import unknown

ImageNorm = Literal["linf", "l2", "l1"]

COLUMN = {"linf": 0, "l2": 1, "l1": 2}
"""Of the distances in a norm, where those in Linf, L2 and L1 stand side by side."""

ORDERS = {"linf": np.inf, "l2": 2, "l1": 1}
"""The p of each norm."""

Sees = Literal["white-box", "score", "decision", "transfer"]
"""What an attacker sees: as attacks do, or another model alone."""

_LARGEST = {
    ("pixels", "linf"): ("pixels lie in [0, 1]", 1.0),
    ("words", "words"): ("it is a share of words", 1.0),
}


_OF_GRADIENTS = frozenset({"steps", "restarts", "targets", "eot", "close_restarts"})
"""Budgets that say nothing of an attack without gradients."""


class ThreatModel(BaseModel):
    """What an attacker may do to a sample, and what he sees of the model.

    Attributes:
        norm: of the change to the canonical sample; of texts ``words``, the share of the words that
            are changed.
        unit: what it is measured in: ``pixels``, which lie in [0, 1], ``spreads``, the standard
            deviation of each of a table's columns (a changed category counts 1), or ``words``.
        eps: the radii at which robustness is read, ascending, each once; ``8/255`` is welcome.
        targeted: whether the attacker must reach a class of his choice; else any wrong one will do.
        access: ``white-box`` sees gradients, ``score`` logits, ``decision`` labels, ``transfer``
            nothing but another model.
        steps: gradient steps in each run of an attack.
        restarts: runs of each gradient attack without a target; a targeted one has one a target.
        targets: the likeliest other classes that targeted losses try in turn.
        queries: what an attack without gradients may ask about each sample (Square at each radius).
        eot: gradients averaged in each step, for models that are random.
        close_restarts: runs of APGD, each loss, on a sample whose nearest example lies beyond a
            radius by at most a tenth: more than the published series spends; 0 for none.
        seed: of all draws; None is the run's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    norm: Norm
    eps: Annotated[tuple[Number, ...], Field(min_length=1, max_length=64, strict=False)]
    unit: Literal["pixels", "spreads", "words"] = "pixels"
    targeted: bool = False
    access: Sees = "white-box"
    steps: Annotated[int, Field(ge=1)] = 100
    restarts: Annotated[int, Field(ge=1)] = 1
    targets: Annotated[int, Field(ge=1)] = 9
    queries: Annotated[int, Field(ge=0)] = 5000
    eot: Annotated[int, Field(ge=1)] = 1
    close_restarts: Annotated[int, Field(ge=0)] = 0
    seed: Annotated[int, Field(ge=0)] | None = None

    @field_validator("eps", mode="after")
    @classmethod
    def _ascending(cls, eps: tuple[float, ...]) -> tuple[float, ...]:
        for number in eps:
            if not 0 <= number < float("inf"):
                raise ValueError(f"eps: expected a number that is not negative, got {number}")
        if len(set(eps)) != len(eps):
            raise ValueError(f"eps: expected each number once, got {list(eps)}")
        return tuple(sorted(eps))

    @model_validator(mode="after")
    def _within_pixels(self) -> ThreatModel:
        why, largest = _LARGEST.get((self.unit, self.norm), ("", float("inf")))
        if self.eps[-1] > largest:
            raise ValueError(
                f"eps: {why}, so that {self.norm} goes up to {largest:g}; "
                f"got {self.eps[-1]:g} (is it {self.eps[-1]:g}/255?)"
            )
        return self

    def as_parameters(self) -> Mapping[str, Any]:
        """Returns plain data, as a scenario's parameters hold it."""
        parameters = self.model_dump(mode="json")
        # Absent where it is as it always was, so that earlier results stay comparable.
        return {
            key: value for key, value in parameters.items() if (key, value) != ("unit", "pixels")
        }

    def query_parameters(self) -> Mapping[str, Any]:
        """Returns the same of an attack without gradients, whose budget is its queries."""
        parameters = self.as_parameters()
        return {key: value for key, value in parameters.items() if key not in _OF_GRADIENTS}

    @property
    def points(self) -> tuple[str, ...]:
        """The points of a scenario: all radii together, then each."""
        return ("", *map(point_of, self.eps))

    @property
    def grid(self) -> Floats:
        """The radii as an array."""
        return np.asarray(self.eps, dtype=np.float64)

    def draws(self, own: Draws) -> Draws:
        """Returns draws of the threat model's own seed if it has one, of the same stream."""
        return own if self.seed is None else Draws(self.seed, own.stream)


def check_norm(norm: str) -> None:
    """Raises ValueError unless the norm is Linf, L2 or L1, in which points can be moved."""
    if norm not in COLUMN:
        raise ValueError(unknown("norm", norm, COLUMN))


def sizes(moves: Floats, norm: Norm) -> Floats:
    """Returns the norm of each of m moves, shape (m, d) or (m, leaves, d), along the last axis."""
    if not moves.shape[-1]:
        return np.zeros(moves.shape[:-1])
    return np.asarray(np.linalg.norm(moves, ord=ORDERS[norm], axis=-1))


def point_of(eps: float) -> str:
    """Returns the name of a radius: ``eps=0.1``, ``eps=8/255``."""
    short = f"{eps:.4g}"
    steps = round(eps * 255)
    if float(short) == eps or abs(eps * 255 - steps) > 1e-9:
        return f"eps={short if float(short) == eps else repr(eps)}"
    return f"eps={steps}/255"
