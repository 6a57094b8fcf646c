"""What a perturbation is, as data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from crucibench.contracts.suite import Preset

SEVERITIES = (1, 2, 3, 4, 5)

DEFAULT_SEVERITIES: dict[Preset, tuple[int, ...]] = {
    "quick": (1, 3, 5), "standard": SEVERITIES, "full": SEVERITIES
}  # fmt: skip

LIMITS: dict[Preset, int | None] = {"quick": 1000, "standard": 5000, "full": None}
"""At most so many samples."""


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """One way to perturb a text or a row of a table.

    Attributes:
        name: as users write it.
        family: what kind it is.
        levels: what severities 1 to 5 mean, in `unit`.
        unit: what a level is a share or a number of.
        scope: what it can be done to; anything else stays as it is.
        per_sample: whether the level bounds what is touched in each sample; else on average.
        default: whether the presets ``quick`` and ``standard`` run it.
        version: raised whenever the same sample, level and draws would give another one.
    """

    name: str
    family: str
    levels: tuple[float, float, float, float, float]
    unit: str
    scope: str
    per_sample: bool = True
    default: bool = True
    version: int = 1

    def parameters(self, severities: Sequence[int]) -> dict[str, Any]:
        """Returns all of it that gives a result its meaning."""
        return {
            "perturbation": self.name,
            "family": self.family,
            "unit": self.unit,
            "scope": self.scope,
            "per_sample": self.per_sample,
            "perturbation_version": self.version,
            "levels": {str(severity): self.levels[severity - 1] for severity in severities},
        }


def chosen(
    known: Iterable[Perturbation], names: Sequence[str] | None, preset: Preset
) -> list[Perturbation]:
    """Returns those asked for by name or family, each once; None for what the preset says."""
    if names is None:
        return [one for one in known if one.default or preset == "full"]
    return [one for one in known if one.name in names or one.family in names]
